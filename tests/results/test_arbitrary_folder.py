"""Run directories with arbitrary files in them: every command reads them or refuses them with a message."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from calls import assert_refused, call
from damage import JSON, MORE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_files import (
    all_tables,
    called,
    gradient_tables,
    read_or_name,
)

from npi_jax.evaluation.models import open_models
from npi_jax.experiment.claim import claim_run
from npi_jax.experiment.mending import mend
from npi_jax.results import manifest
from npi_jax.results.directory import open_run
from npi_jax.results.folder import ANALYZED
from npi_jax.training.checkpoints.checkpoints import set_aside

# Orbax leaves the reads of other files unfinished when one file is damaged.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
STRAY = (
    "scores/2.csv",
    "scores/002.parquet",
    "metrics/2.npz",
    "gradients/last.npz",
    "gradients/²",
    "tables/my.parquet",
)
STRAY += ("checkpoints/7", "checkpoints/notes.txt", "checkpoints/007", "notes", ".hidden", "scores/\udcff.parquet")
WRITTEN = ("manifest.json", "config.json", "checksums.json", "scores/checksums.json", "figures/.report.json")
WRITTEN += (
    "members.parquet",
    "scores/2.parquet",
    "tokenizer/tokenizer.json",
    "corpus.parquet",
    "tables/curves.parquet",
)
WRITTEN += ("gradients/0.npz", "checkpoints/4/_CHECKPOINT_METADATA", "log.jsonl")


@st.composite
def mischief(draw: st.DrawFn) -> list[tuple[str, bytes | None]]:
    """Draw names of files with new content; None removes the file."""
    found: list[tuple[str, bytes | None]] = []
    for _ in range(draw(st.integers(1, 3))):
        stray = draw(st.booleans())
        name = draw(st.sampled_from(STRAY if stray else WRITTEN))
        content = draw(st.binary(max_size=9) | JSON.map(lambda value: json.dumps(value).encode()))
        found.append((name, None if not stray and draw(st.booleans()) else content))
    if draw(st.booleans()):
        fields = draw(st.dictionaries(st.sampled_from(list(manifest._FIELDS)), JSON, max_size=3))
        found.append(("manifest.json", json.dumps(fields).encode()))
    return found


def _apply(path: Path, changes: list[tuple[str, bytes | None]]) -> None:
    for name, content in changes:
        file = path / name
        if content is None:
            file.unlink(missing_ok=True)
        elif not file.is_dir():
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)


def open_models_of(path: Path) -> Any:
    return open_models([path])


def _tables(path: Path) -> list[pl.DataFrame]:
    return [open_run(path).table(name) for name in ANALYZED]


def _use(path: Path, config: dict[str, Any]) -> None:
    """Call everything that reads a run except training, scoring and drawing."""

    def claim(path: Path) -> None:
        with claim_run(path, config) as run:
            mend(run, print)
            set_aside(path / "checkpoints")

    reads = (all_tables, open_models_of, _tables, gradient_tables)
    for use in (*reads, claim, *reads):
        read_or_name(use, path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8 * MORE)
@given(changes=mischief())
def test_a_folder_with_anything_in_it_is_read_or_refused_by_name(whole, tmp_path_factory, changes):
    at = Path(shutil.copytree(whole, tmp_path_factory.mktemp("at") / "copy"))
    config = json.loads((at / "config.json").read_text())
    _apply(at, changes)
    _use(at, config)
    shutil.rmtree(at)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=3 * MORE)
@given(changes=mischief(), command=st.sampled_from(["train", "report", "score"]))
def test_a_command_on_a_folder_with_anything_in_it_succeeds_or_says_a_line(
    whole, config_file, tmp_path_factory, undrawn, changes, command
):
    at = Path(shutil.copytree(whole, tmp_path_factory.mktemp("at") / "copy"))
    _apply(at, changes)
    score = ("score", "--model", str(at), "--suite", "grammar", "--limit", "1", "--out", str(at / "s.csv"))
    outcome = (
        called("train", config_file, at)
        if command == "train"
        else call(*(score if command == "score" else ("report", str(at))), seconds=60)
    )
    if outcome.status:
        assert_refused(outcome)
    shutil.rmtree(at)
