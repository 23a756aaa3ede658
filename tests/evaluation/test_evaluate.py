import json
import shutil

import jax
import numpy as np
import polars as pl
import pytest
from calls import assert_refused, call
from facts import facts, sentence_with
from tiny import tiny_values

from npi_jax.analysis.curves import curves_table, task_curves
from npi_jax.analysis.summary import compare_scores
from npi_jax.cli.main import main
from npi_jax.config.build import make_config
from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files
from npi_jax.corpus.text.tokenizer import BPETokenizer, Tokenizer
from npi_jax.errors import UserError
from npi_jax.evaluation.models import EvaluateError, member_columns, open_models
from npi_jax.evaluation.scoring import open_suite
from npi_jax.models import TransformerConfig, load_hf, make_model, save_hf
from npi_jax.results.directory import open_run
from npi_jax.results.names import MEAN_OVER_TASKS
from npi_jax.scoring import ScoreSpec, SpecMismatchError
from npi_jax.suites import SuiteError

CONFIG = "from ml_collections import ConfigDict\n\ndef get_config():\n    return ConfigDict({values!r})\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of transformers with a BPE vocabulary, scored at three checkpoints that are all kept."""
    folder = tmp_path_factory.mktemp("run")
    values = tiny_values(
        train__steps=4,
        run_dir=str(folder / "run"),
        model={"kind": "transformer", "width": 8, "layers": 1, "heads": 2, "mlp": 12},
        tokenizer={"kind": "bpe", "size": 280},
        checkpoints={"keep": 9},
        score={"every": 2, "suites": {"grammar": {"limit": 2, "spec": "lm_eval_v03"}}},
    )
    (folder / "tiny.py").write_text(CONFIG.format(values=values))
    assert main(["train", "--config", str(folder / "tiny.py")]) == 0
    return folder / "run"


def test_members_are_scored_as_they_were_in_training(run, tmp_path, capsys):
    out = tmp_path / "scores.parquet"
    arguments = ["score", "--suite", "grammar", "--limit", "2", "--model", str(run), "--steps", "all"]
    assert main([*arguments, "--spec", "lm_eval_v03", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert sentence_with(shown, "mean over 17 paradigms", "sentence")
    assert "unlike the run's own scores" not in shown
    # The grammar's regions are whole words.
    assert open_run(run).manifest["suites"]["grammar"]["split_regions"] == 0
    # The report's means are over tasks, kind of pair by kind; what is printed are the last step's.
    curves = task_curves(curves_table(open_run(run).scores()), open_run(run).members())
    last = curves.filter(pl.col("step") == 4, pl.col("task") == MEAN_OVER_TASKS, pl.col("variant") == "no_npi")
    for kind, tasks in (("licensor", 9), ("scope", 8)):
        mean = last.filter(pl.col("kind") == kind)["accuracy"].mean()
        assert sentence_with(shown, "no_npi", f"{tasks} tasks", f"{kind} pairs", f"sentence {mean:.3f}")
    keys = ["member", "step", "item", "region"]
    again = pl.read_parquet(out).sort(keys)
    before = open_run(run).scores().filter(pl.col("step").is_in(again["step"].unique().to_list())).sort(keys)
    assert again["step"].unique().sort().to_list() == [2, 4]
    assert again["spec"].unique().to_list() == [ScoreSpec.preset("lm_eval_v03").label]
    np.testing.assert_allclose(again["delta"], before["delta"], atol=1e-5)
    assert again["variant"].to_list() == before["variant"].to_list()
    assert "parameters_sha256" not in before.columns
    digests = again.select("member", "step", "parameters_sha256").unique()
    assert len(digests) == digests["parameters_sha256"].n_unique() == 8
    assert "the same model" not in shown
    assert "lm_eval_v03" in pl.read_parquet_metadata(out)["npi_jax.score_spec"]


def test_scores_are_printed_and_written(run, tmp_path, capsys):
    encode = lambda text: len(Tokenizer.load(run / "tokenizer").encode(text).ids)  # noqa: E731
    kept = open_run(run).manifest["suites"]["grammar"]
    scores = open_run(run).scores().filter((pl.col("member") == 0) & (pl.col("step") == 0))
    unequal = (scores["n_good"] != scores["n_bad"]).sum()
    assert 0 < unequal < 2 * 17
    # The fixture's spec scores sentences.
    assert (kept["items"], kept["region"], kept["unequal_regions"]) == (2 * 17, "sentence", unequal)
    path, out = tmp_path / "own.csv", tmp_path / "own.parquet"
    path.write_text("good,bad\nno dog ran,no dog run\nno dog ran,a dog of the man ran\nno dog ran,no dog ran\n")
    assert main(["score", "--suite", "table", "--path", str(path), "--model", str(run), "--out", str(out)]) == 0
    count = 1 + (encode("no dog run") != encode("no dog ran"))
    said = f"{count} of 3 pairs have sentences of different numbers of tokens: compared by their means over tokens"
    assert said in " ".join(capsys.readouterr().out.split())
    assert '"normalization": "matched"' in pl.read_parquet_metadata(out)["npi_jax.score_spec"]
    # Without columns that say so, the critical region is the whole sentence.
    critical = pl.read_parquet(out).filter(pl.col("region") == "critical")
    assert critical["n_bad"].to_list()[:3] == [
        encode(text) for text in ("no dog run", "a dog of the man ran", "no dog ran")
    ]


def test_an_exported_member_has_the_scores_of_the_run(run, tmp_path, capsys):
    directory = tmp_path / "exported"
    assert main(["export", str(run), "--member", "1", "--hf", str(directory)]) == 0
    assert "member 1, variant" in capsys.readouterr().out
    assert load_hf(directory).model.config.width == 8
    common = ["score", "--suite", "grammar", "--limit", "3", "--spec", "minicons", "--set", "normalization=sum"]
    fields = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**fields, "unsloth_version": "2024.9"}))
    twin = shutil.copytree(directory, tmp_path / "twin")
    assert main([*common, "--model", str(directory), str(directory), "--out", str(tmp_path / "hf.csv")]) == 1
    assert "twice" in capsys.readouterr().err
    assert main([*common, "--model", str(directory), str(twin), "--out", str(tmp_path / "hf.csv")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "warning: the same model under 2 names" in shown
    # A field without effect is named once, not for each directory.
    assert shown.count("not used: unsloth_version") == 1
    assert main([*common, "--model", str(run), "--members", "1", "--out", str(tmp_path / "run.csv")]) == 0
    shown, label = " ".join(capsys.readouterr().out.split()), ScoreSpec.preset("lm_eval_v03").label
    assert sentence_with(shown, "grammar", label, "beginning: 'special'", "'token'")
    # The grammar's pairs depend on the run's corpus; what both have must agree.
    hf, ours = pl.read_csv(tmp_path / "hf.csv"), pl.read_csv(tmp_path / "run.csv")
    assert len(hf) == 2 * 17 * 3
    # One digest for the run's member and for what was exported of it.
    assert set(hf["parameters_sha256"]) == set(ours["parameters_sha256"])
    assert len(ours) == 17 * 3
    first = hf.head(17 * 3).select("good", "bad", "item")
    assert np.isfinite(first["good"].to_numpy()).all()
    np.testing.assert_array_equal(hf["delta"][: 17 * 3], hf["delta"][17 * 3 :])
    # Twice to one place is refused.
    assert main(["export", str(run), "--hf", str(directory)]) == 1
    assert "already" in capsys.readouterr().err


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Member 1 of the run as a Hugging Face directory."""
    directory = tmp_path_factory.mktemp("export") / "member1"
    assert main(["export", str(run), "--member", "1", "--hf", str(directory)]) == 0
    return directory


def pairs_table(folder):
    """One pair, whose region in the good sentence ends before the last letter of a word."""
    good, bad = "no teacher has ever slept .", "some teacher has ever slept ."
    columns = "good,bad,critical_good_start,critical_good_end,critical_bad"
    (folder / "pairs.csv").write_text(f"{columns}\n{good},{bad},15,18,ever\n")
    return ["--suite", "table", "--path", str(folder / "pairs.csv")]


def test_a_run_and_its_export_are_scored_by_one_convention(run, exported, tmp_path, capsys):
    common = ["score", *pairs_table(tmp_path)]
    assert main([*common, "--model", str(run), "--members", "1", "--out", str(tmp_path / "run.parquet")]) == 0
    assert main([*common, "--model", str(exported), "--out", str(tmp_path / "hf.parquet")]) == 0
    cut = "1 of 1 items: a critical region begins or ends inside a token; all of the token is scored"
    assert capsys.readouterr().out.count(cut) == 2
    ours, theirs = (pl.read_parquet(tmp_path / f"{name}.parquet").sort("region") for name in ("run", "hf"))
    # In byte-pairs the licensors are not of one length.
    matched = ScoreSpec(normalization="matched")
    assert ours["spec"].unique().to_list() == theirs["spec"].unique().to_list() == [matched.label]
    np.testing.assert_allclose(ours["delta"], theirs["delta"], atol=1e-5)
    origin = json.loads((exported / "npi_jax.json").read_text())["origin"]
    assert (origin["model"], origin["member"], origin["step"], origin["seed"]) == ("run", 1, 4, 1)
    # Models that never learned where sentences end are not asked, which is said in words.
    capsys.readouterr()
    other = shutil.copytree(exported, tmp_path / "other")
    (other / "npi_jax.json").unlink()
    assert main([*common, "--model", str(other), "--out", str(tmp_path / "other.parquet")]) == 0
    unlike = ScoreSpec(score_end=False, normalization="matched").label
    assert sentence_with(capsys.readouterr().out, unlike, "score_end=False", "normalization=matched")
    with pytest.raises(SpecMismatchError, match=facts("score_end: True", "False")):
        compare_scores(ours, pl.read_parquet(tmp_path / "other.parquet"))
    (other / "npi_jax.json").write_text('{"score_end": "yes", "origin": {}}')
    assert main([*common, "--model", str(other), "--out", str(tmp_path / "other.parquet")]) == 1
    assert "npi_jax.json: score_end: Input should be a valid boolean" in capsys.readouterr().err


def test_scores_of_a_sweep_name_the_hyper_parameters_that_differ():
    values = tiny_values()
    del values["variants"], values["seeds"]
    rates = ({"variant": "full", "seed": 0, "learning_rate": rate} for rate in (0.1, 0.2))
    config = make_config({**values, "sweep": tuple(rates)})
    assert [member_columns(config, member) for member in (0, 1)] == [
        {"variant": "full", "seed": 0, "learning_rate": 0.1},
        {"variant": "full", "seed": 0, "learning_rate": 0.2},
    ]
    assert member_columns(make_config(tiny_values()), 1).keys() == {"variant", "seed"}


def test_invalid_model_directories_are_named(run, exported, tmp_path):
    (tmp_path / "file").write_text("")
    for models, message in (
        (["nowhere"], ("nowhere", "no such directory", "Hugging Face")),
        ([str(tmp_path / "file")], ("file", "directory")),
        ([str(tmp_path)], (f"{tmp_path}: ", "config.json")),
        ([str(exported), str(run)], (str(run), "one at a time")),
        ([str(exported), "nowhere"], ("nowhere", "no such directory")),
    ):
        with pytest.raises(UserError, match=facts(message)):
            open_models(models)
    with pytest.raises(EvaluateError, match=facts("Hugging Face checkpoint", "run", "steps", "members")):
        open_models([exported], members=[0])


def test_a_tokenizer_of_another_model_is_named(tmp_path):
    tokenizer = BPETokenizer.train(["no teacher has ever slept"] * 3, size=280)
    model = make_model(TransformerConfig(width=8, layers=1, heads=2, mlp=12), 100)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    directory = str(tmp_path / "small")
    save_hf(directory, model, params, start=0, end=0, files=hf_tokenizer_files(tokenizer))
    found = call("score", *pairs_table(tmp_path), "--model", directory, "--out", str(tmp_path / "s.csv"), seconds=60)
    assert sentence_with(assert_refused(found), "100 token types", "tokenizer")


@pytest.mark.parametrize("limit", ["-1", "0", "x", "1.5"])
def test_a_limit_is_a_number_from_one(limit, exported):
    found = call("score", "--suite", "grammar", "--model", "x", "--limit", limit, "--out", "s.csv")
    assert found.status == 2
    assert sentence_with(found.error, "--limit", f"'{limit}'", "whole number from 1")
    with pytest.raises(SuiteError, match=facts("limit", "0", "at least 1")):
        open_suite("grammar", None, open_models([exported]), limit=0)


def test_items_of_several_conditions_and_their_predictions(run, tmp_path, capsys):
    suite = tmp_path / "suite.json"
    regions = lambda *words: [{"region_number": i, "content": w} for i, w in enumerate(words, 1)]  # noqa: E731
    conditions = [
        {"condition_name": "neg", "regions": regions("no teacher has", "ever", "slept .")},
        {"condition_name": "pos", "regions": regions("some teacher has", "ever", "slept .")},
    ]
    items = [{"item_number": n, "conditions": conditions} for n in (1, 2)]
    record = {"meta": {"name": "npi", "metric": "sum"}, "items": items}
    record["predictions"] = [{"formula": "(2;%neg%) < (2;%pos%)"}, {"formula": "(2;%neg%) = (2;%neg%)"}]
    suite.write_text(json.dumps(record))
    out = tmp_path / "s.parquet"
    arguments = ["score", "--suite", "syntaxgym", "--path", str(suite), "--model", str(run), "--out", str(out)]
    assert main(arguments) == 0
    assert "npi" in capsys.readouterr().out
    scores = pl.read_parquet(out)
    assert scores["region"].unique().to_list() == ["2"]
    found = pl.read_parquet(tmp_path / "s_predictions.parquet")
    assert found.filter(pl.col("prediction") == 1)["result"].unique().to_list() == [1.0]
    by = scores.filter((pl.col("member") == 0) & (pl.col("item") == "npi/1"))
    neg, pos = (by.filter(pl.col("condition") == c)["score"].item() for c in ("neg", "pos"))
    result = found.filter((pl.col("member") == 0) & (pl.col("prediction") == 0))["result"][0]
    assert result == float(neg > pos)
    assert main([*arguments, "--spec", "minicons"]) == 1
    assert "--set normalization=sum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.txt"], (".parquet or .csv",)),
        (["--out", "x.csv", "--spec", "blimp"], ("preset 'blimp'",)),
        (["--out", "x.csv", "--set", "tie=good"], ("--set tie=good: ", "FIELD=VALUE", "beginning")),
        (["--out", "x.csv", "--set", "score_end=1"], ("score_end", "true or false")),
        (["--out", "x.csv", "--set", "ties=lost"], ("half, good, bad",)),
        (["--out", "x.csv", "--steps", "3"], ("step 3", "2, 4")),
        (["--out", "x.csv", "--members", "1,0,1"], ("member 1", "twice")),
        (["--out", "x.csv", "--steps", "2,2"], ("step 2", "twice")),
        (["--out", "x.csv", "--members", "9"], ("member 9", "0 to 3")),
        (["--out", "x.csv", "--members", "a"], ("--members a: ", "whole numbers")),
        (["--out", "x.csv", "--suite", "blimp"], ("suite 'blimp'", "path")),
        (["--out", "x.csv", "--set", "regions=npi"], ("region 'npi'", "sentence")),
    ],
)
def test_errors_of_scoring_are_one_line(run, arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["score", "--suite", "grammar", "--limit", "1", "--model", str(run), *arguments]) == 1
    assert sentence_with(capsys.readouterr().err, *message)
    assert not list(tmp_path.iterdir())


def test_words_and_recurrent_members_cannot_be_exported(tmp_path, capsys):
    assert main(["score", "--suite", "grammar", "--model", str(tmp_path), "--out", "x.csv"]) == 1
    assert "config.json" in capsys.readouterr().err


def test_a_config_may_name_a_preset_of_the_spec():
    values = tiny_values(score__suites={"grammar": {"spec": "blimp_paper"}})
    assert make_config(values).score.suites["grammar"].spec == ScoreSpec.preset("blimp_paper")
    values["score"]["suites"]["grammar"]["spec"] = "blimp"
    with pytest.raises(Exception, match=facts("score.suites.grammar.spec", "preset 'blimp'")):
        make_config(values)


def test_positions_must_reach_as_far_as_rows():
    model = {"kind": "transformer", "width": 8, "heads": 2, "positions": "learned", "max_positions": 4}
    with pytest.raises(Exception, match=facts("max_positions=4", "train.row_length")):
        make_config(tiny_values(model=model))
    assert jax.device_count() >= 1
