import json
import shutil

import jax
import numpy as np
import polars as pl
import pytest
from tiny import tiny_values

from npi_jax.cli import main
from npi_jax.config import make_config
from npi_jax.models import load_hf
from npi_jax.run import open_run
from npi_jax.scoring import ScoreSpec

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
    assert "mean of 17 paradigms: sentence 0." in shown
    keys = ["member", "step", "item", "region"]
    again = pl.read_parquet(out).sort(keys)
    before = open_run(run).scores().filter(pl.col("step").is_in(again["step"].unique().to_list())).sort(keys)
    assert again["step"].unique().sort().to_list() == [2, 4]
    assert again["spec"].unique().to_list() == [ScoreSpec.preset("lm_eval_v03").label]
    np.testing.assert_allclose(again["delta"], before["delta"], atol=1e-5)
    assert again["variant"].to_list() == before["variant"].to_list()
    assert "lm_eval_v03" in pl.read_parquet_metadata(out)["npi_jax.score_spec"]


def test_an_exported_member_scores_alike(run, tmp_path, capsys):
    directory = tmp_path / "exported"
    assert main(["export", str(run), "--member", "1", "--hf", str(directory)]) == 0
    assert "member 1, variant" in capsys.readouterr().out
    assert load_hf(directory).model.config.width == 8
    common = ["score", "--suite", "grammar", "--limit", "3", "--spec", "minicons", "--set", "normalization=sum"]
    twin = shutil.copytree(directory, tmp_path / "twin")
    assert main([*common, "--model", str(directory), str(directory), "--out", str(tmp_path / "hf.csv")]) == 1
    assert "a directory is given twice" in capsys.readouterr().err
    assert main([*common, "--model", str(directory), str(twin), "--out", str(tmp_path / "hf.csv")]) == 0
    assert main([*common, "--model", str(run), "--members", "1", "--out", str(tmp_path / "run.csv")]) == 0
    # The grammar's pairs depend on the run's corpus; what both have must agree.
    hf, ours = pl.read_csv(tmp_path / "hf.csv"), pl.read_csv(tmp_path / "run.csv")
    assert len(hf) == 2 * 17 * 3
    assert len(ours) == 17 * 3
    first = hf.head(17 * 3).select("good", "bad", "item")
    assert np.isfinite(first["good"].to_numpy()).all()
    np.testing.assert_array_equal(hf["delta"][: 17 * 3], hf["delta"][17 * 3 :])
    # Twice to one place is refused.
    assert main(["export", str(run), "--hf", str(directory)]) == 1
    assert "is there already" in capsys.readouterr().err


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
    assert "add --set normalization=sum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.txt"], "the name must end in .parquet or .csv"),
        (["--out", "x.csv", "--spec", "blimp"], "there is no preset 'blimp'"),
        (["--out", "x.csv", "--set", "tie=good"], "--set tie=good: write FIELD=VALUE with one of beginning"),
        (["--out", "x.csv", "--set", "score_end=1"], "it must be true or false"),
        (["--out", "x.csv", "--set", "ties=lost"], "valid are half, good, bad"),
        (["--out", "x.csv", "--steps", "3"], "no checkpoint of step 3; there are 2, 4"),
        (["--out", "x.csv", "--members", "9"], "no member 9; there are 0 to 3"),
        (["--out", "x.csv", "--members", "a"], "--members a: give whole numbers"),
        (["--out", "x.csv", "--suite", "blimp"], "suite 'blimp' needs the path of its files"),
        (["--out", "x.csv", "--set", "regions=npi"], "asks for the region 'npi'; these sentences have"),
    ],
)
def test_faults_are_said_in_a_line(run, arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["score", "--suite", "grammar", "--limit", "1", "--model", str(run), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_words_and_recurrent_members_cannot_be_exported(tmp_path, capsys):
    assert main(["score", "--suite", "grammar", "--model", str(tmp_path), "--out", "x.csv"]) == 1
    assert "config.json: no such file; give the directory" in capsys.readouterr().err


def test_a_spec_may_be_a_presets_name_in_a_config():
    values = tiny_values(score__suites={"grammar": {"spec": "blimp_paper"}})
    assert make_config(values).score.suites["grammar"].spec == ScoreSpec.preset("blimp_paper")
    values["score"]["suites"]["grammar"]["spec"] = "blimp"
    with pytest.raises(Exception, match=r"score.suites.grammar.spec: there is no preset 'blimp'"):
        make_config(values)


def test_positions_must_reach_as_far_as_rows():
    model = {"kind": "transformer", "width": 8, "heads": 2, "positions": "learned", "max_positions": 4}
    with pytest.raises(Exception, match=r"max_positions=4 is less than train.row_length"):
        make_config(tiny_values(model=model))
    assert jax.device_count() >= 1
