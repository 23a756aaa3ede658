"""Damaged or lost files of a run: they are harmless, rebuilt, or refused with a message that names them."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from calls import assert_refused, call
from damage import MORE
from facts import facts, sentence_with
from run_files import LAST, READ, called, contents, flip, flipped, read_or_name, same

from npi_jax.evaluation.models import open_models
from npi_jax.files.checksums import damaged
from npi_jax.results.directory import RunError, open_run
from npi_jax.results.folder import TABLES

# Orbax leaves the reads of other files unfinished when one file is damaged.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


def _parameters(path: Path) -> Any:
    (found, _), *_ = open_models([path]).batches()
    return found


@pytest.mark.parametrize("name", READ)
def test_a_flipped_bit_of_a_file_is_named_or_harmless(whole, name):
    read, file, named = READ[name], whole / name, 0
    content, before, rng = file.read_bytes(), read(whole), np.random.default_rng(len(name))
    flips = 4 * MORE
    try:
        for _ in range(flips):
            file.write_bytes(flipped(content, rng))
            found = read_or_name(read, whole)
            named += found is None
            assert found is None or same(found, before)
    finally:
        file.write_bytes(content)
    print(f"{name}: {named} of {flips} flips named, the others harmless")
    if not name.endswith("checksums.json"):
        assert named == flips, "every bit of these counts"


def test_a_flipped_bit_of_a_checkpoint_is_named_or_harmless(whole):
    before = _parameters(whole)
    files = sorted(file for file in (whole / "checkpoints" / str(LAST)).rglob("*") if file.is_file())
    rng, named = np.random.default_rng(0), 0
    for _ in range(2 * MORE):
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        if not content:
            continue
        file.write_bytes(flipped(content, rng))
        try:
            found = read_or_name(_parameters, whole, whole / "checkpoints" / str(LAST))
        finally:
            file.write_bytes(content)
        named += found is None
        if found is not None:
            jax.tree.map(np.testing.assert_array_equal, found, before)
    print(f"checkpoint: {named} of {2 * MORE} flips named, the others harmless")


PREPARED = (*TABLES, "tokenizer/vocab.txt", "tokenizer/tokenizer.json", "members.parquet", "config.json")


@pytest.mark.parametrize("damage", [Path.unlink, pytest.param(flip, marks=pytest.mark.drill)])
def test_training_rebuilds_prepared_files(copy, config_file, damage):
    before = contents(copy)
    for name in PREPARED:
        damage(copy / name)
    outcome = called("train", config_file, copy)
    assert outcome.status == 0, outcome.error
    said = outcome.out.replace("\n", "")
    for name in PREPARED:
        assert f"{copy / name} was damaged or lost".replace("\n", "") in said
    assert contents(copy) == before
    assert not damaged(copy)


def test_a_report_rebuilds_members_checksums_and_tables(copy, undrawn):
    before = contents(copy)
    (copy / "members.parquet").rename(copy / "away")
    with pytest.raises(RunError, match=facts("members.parquet", "gone", "npi-jax report")):
        open_run(copy).members()
    (copy / "away").rename(copy / "members.parquet")
    for name in ("checksums.json", "scores/checksums.json"):
        (copy / name).unlink()
    (copy / "metrics" / "checksums.json").write_text("[")
    flip(copy / "tables" / "curves.parquet")
    with pytest.raises(RunError, match=facts("curves.parquet", "damaged", "npi-jax report")):
        open_run(copy).curves()
    (copy / "members.parquet").unlink()
    outcome = call("report", str(copy), seconds=120)
    assert outcome.status == 0, outcome.error
    assert contents(copy) == before
    said = outcome.out.replace("\n", "")
    for name in ("checksums.json", "metrics/checksums.json", "scores/checksums.json", "members.parquet"):
        assert f"{copy / name} was " in said


@pytest.mark.parametrize("damage", [Path.unlink, pytest.param(flip, marks=pytest.mark.drill)])
def test_a_lost_step_is_refused_and_rewritten_from_the_checkpoint_before_it(copy, config_file, damage, undrawn):
    before, table = contents(copy), copy / "scores" / f"{LAST}.parquet"
    damage(table)
    with pytest.raises(RunError, match=rf"scores/{LAST}\.parquet\b.*\b(damaged|gone)"):
        open_run(copy).scores()
    assert str(table) in assert_refused(call("report", str(copy)))
    # Scoring needs none of it.
    score = ("--suite", "grammar", "--limit", "1", "--out", str(copy / "s.csv"))
    assert call("score", "--model", str(copy), *score, seconds=60).status == 0
    (copy / "s.csv").unlink()
    # Its gradients are not the run's own, which compares none.
    outcome = called("train", config_file, copy)
    assert "resuming at step 2" in outcome.out, outcome.error
    assert contents(copy) == before


@pytest.mark.drill
def test_without_an_earlier_checkpoint_the_advice_keeps_everything_and_restores_the_step(copy, config_file):
    before = contents(copy)
    (copy / "metrics" / "0.parquet").unlink()
    message = assert_refused(called("train", config_file, copy))
    assert "metrics" in message
    assert f"rename {copy / 'checkpoints'}" in message
    assert str(copy / "metrics" / "0.parquet") in assert_refused(call("report", str(copy)))
    (copy / "checkpoints").rename(copy / "checkpoints.old")
    assert called("train", config_file, copy).status == 0
    shutil.rmtree(copy / "checkpoints.old")
    assert contents(copy) == before


def test_an_empty_newest_checkpoint_hides_no_other(copy, config_file):
    before, newest = contents(copy), copy / "checkpoints" / str(LAST)
    shutil.rmtree(newest)
    newest.mkdir()
    score = ("score", "--model", str(copy), "--suite", "grammar", "--limit", "1", "--out", str(copy / "s.csv"))
    assert sentence_with(assert_refused(call(*score)), str(newest), "checkpoint")
    assert call(*score, "--steps", "2", seconds=60).status == 0
    (copy / "s.csv").unlink()
    outcome = called("train", config_file, copy)
    assert "resuming at step 2" in outcome.out, outcome.error
    assert contents(copy) == before
    assert (copy / "checkpoints" / "damaged" / str(LAST)).is_dir()


def test_training_does_not_restart_while_all_checkpoints_are_set_aside(copy, config_file):
    for step in (copy / "checkpoints").iterdir():
        shutil.rmtree(step)
        step.mkdir()
    for _ in range(2):
        assert "same command" in assert_refused(called("train", config_file, copy))
