"""Which folders count as runs, how they may be named, and links in them."""

import json
import shutil
import string

import numpy as np
import polars as pl
import pytest
from calls import assert_refused, call
from damage import MORE
from declared import make_table
from facts import sentence_with
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from run_files import (
    LAST,
    called,
)

from npi_jax.experiment.claim import claim_run
from npi_jax.files.writing import write_table
from npi_jax.results.directory import open_run
from npi_jax.results.tables_learning import Curves
from npi_jax.results.tables_training import Members, Metrics


def test_a_folder_of_another_program_is_refused_untouched(tmp_path, config_file):
    """The folder holds the configuration of a Hugging Face model, and manifest and tables of another program."""
    for name, content in {
        "config.json": json.dumps({"model_type": "gpt2", "vocab_size": 9}),
        "manifest.json": '{"files": []}',
        "corpus.parquet": "mine",
        ".notes.tmp": "draft",
        ".lock": "mine",
    }.items():
        (tmp_path / name).write_text(content)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    for command in ("prepare", "train"):
        message = assert_refused(called(command, config_file, tmp_path))
        assert "run directory" in message
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()} == before


def test_a_run_without_most_of_its_files_is_still_that_run(copy, config_file):
    for folder in ("scores", "metrics", "gradients", "checkpoints", "tables"):
        shutil.rmtree(copy / folder)
    outcome = called("train", config_file, copy, "--config.seeds=(7,8)")
    assert_refused(outcome)
    assert "configuration" in outcome.error
    for name in ("members.parquet", "log.jsonl"):
        (copy / name).unlink()
    assert_refused(called("prepare", config_file, copy, "--config.seeds=(7,8)"))
    assert open_run(copy).config["seeds"] == [0, 1]


def test_a_newer_format_is_refused_and_a_run_without_a_marker_gets_one(copy, config_file):
    values = json.loads((copy / "manifest.json").read_text())
    newer = {**values, "npi_jax": {**values["npi_jax"], "format": 2}}
    (copy / "manifest.json").write_text(json.dumps(newer, indent=2))
    score = ("score", "--model", str(copy), "--suite", "grammar", "--out", str(copy / "x.csv"))
    commands = [("report", str(copy)), score]
    for outcome in (called("train", config_file, copy), *(call(*words) for words in commands)):
        assert sentence_with(assert_refused(outcome), "newer", "format 2", "1")
    del values["npi_jax"]
    (copy / "manifest.json").write_text(json.dumps(values))
    for sums in ("checksums.json", "tables/checksums.json"):
        (copy / sums).unlink()
    assert open_run(copy).manifest == values
    outcome = called("train", config_file, copy)
    assert outcome.status == 0
    assert "lost" not in outcome.out
    assert json.loads((copy / "manifest.json").read_text())["npi_jax"]["format"] == 1
    assert (copy / "checksums.json").exists()


def test_a_refusal_leaves_nothing_behind(tmp_path, config_file):
    outcome = called("train", config_file, tmp_path / "a" / "b", "--config.score.suites.grammar.loader=blimp")
    assert_refused(outcome)
    assert not list(tmp_path.iterdir())


# Names.

NAMES = st.text(st.sampled_from(string.printable[:95].replace("/", "") + "é中"), min_size=1, max_size=12)
RUN = {"name": "x", "run_dir": "", "seeds": [0], "variants": [], "corpus": {}, "model": {}, "train": {}}


def _pattern(name: str, kind: str) -> str:
    return {"*": "*", "?": "?" * len(name), "[": f"[{name[0]}]{name[1:]}", "same": name + "[x]"}[kind]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8 * MORE)
@given(name=NAMES, kind=st.sampled_from(["*", "?", "[", "same"]))
def test_a_run_reads_its_own_tables_whatever_it_is_called(tmp_path_factory, name, kind):
    """A second run whose name is a pattern that matches the first one never reads the tables of the first."""
    other = _pattern(name, kind)
    assume(not {name, other} & {".", ".."} and name != other)
    at = tmp_path_factory.mktemp("names")
    for number, one in enumerate((name, other)):
        with claim_run(at / one, RUN) as run:
            rows = {Members: {"seed": [number]}, Metrics: {"valid_loss": [float(number)]}, Curves: {"seed": [number]}}
            for table, values in rows.items():
                write_table(at / one / table.file_of(0), make_table(table, values))
                run.note_written(at / one / table.file_of(0))
            run.update_manifest(name=one)
    for number, one in enumerate((name, other)):
        with claim_run(at / one, RUN) as run:
            assert run.manifest == {"name": one}
        opened = open_run(at / one)
        assert [opened.members()["seed"].item(), opened.metrics()["valid_loss"].item()] == [number, number]
        assert opened.curves()["seed"].item() == number


def test_two_runs_one_named_by_a_pattern_that_fits_the_other(whole, config_file, tmp_path, undrawn):
    shutil.copytree(whole, tmp_path / "lr1")
    second = tmp_path / "lr[1][/x]y[bold] :smile: $a"
    shutil.copytree(whole, tmp_path / "lr1y :smile: $a")
    outcome = called("run", config_file, second, "--config.seeds=(5,6)", "--config.score.ngram=False")
    assert outcome.status == 0, outcome.error
    assert str(second) in outcome.out.replace("\n", "")
    opened = open_run(second)
    assert opened.members()["seed"].unique().sort().to_list() == [5, 6]
    assert not opened.scores(LAST).equals(open_run(whole).scores(LAST))


@pytest.mark.drill
def test_a_run_of_any_name_is_reported_and_compared(config_file, tmp_path):
    second = tmp_path / "lr[1][/x]y[bold] :smile: $a\\b*?#%"
    for path, seeds in ((tmp_path / "lr1", "(0,1)"), (second, "(5,6)")):
        assert called("run", config_file, path, f"--config.seeds={seeds}").status == 0
    outcome = call("report", str(second), str(tmp_path / "lr1"), seconds=120)
    assert outcome.status == 0, outcome.error
    assert str(second / "report" / "against_lr1.html") in outcome.out.replace("\n", "")
    assert (second / "report" / "against_lr1.html").is_file()
    out = tmp_path / "s[1].parquet"
    score = ("--suite", "grammar", "--limit", "3", "--out", str(out))
    assert call("score", "--model", str(second), *score, seconds=60).status == 0
    scored = pl.read_parquet(out.read_bytes())
    np.testing.assert_allclose(scored["delta"], open_run(second).scores(LAST)["delta"], atol=1e-4)


# Links.


@pytest.mark.parametrize("name", ["tables", "scores", ".lock", "log.jsonl", "members.parquet", "scores/4.parquet"])
def test_links_out_of_a_run_directory_are_not_followed(copy, config_file, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    if (copy / name).is_dir():
        shutil.rmtree(copy / name)
        elsewhere.mkdir()
        (elsewhere / "final.parquet").write_text("precious")
    else:
        (copy / name).unlink()
        elsewhere.write_text("precious")
    (copy / name).symlink_to(elsewhere)
    precious = elsewhere / "final.parquet" if elsewhere.is_dir() else elsewhere
    reports = call("report", str(copy)), call("report", str(copy), str(copy))
    for outcome in (called("train", config_file, copy), *reports):
        assert sentence_with(assert_refused(outcome), f"{copy / name}", "link", str(elsewhere))
    assert precious.read_text() == "precious"
    assert len(list(tmp_path.rglob("*"))) == len(list(copy.rglob("*"))) + 2 + elsewhere.is_dir()
