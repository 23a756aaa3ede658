"""Damaged files: reading gives a value or a `UserError` that names the file, and executes nothing.

Every loader gets files with random damage: bytes changed, cut off, inserted or repeated, and JSON in which any value is
replaced by any other. `tests/suites/test_relatives.py` and `tests/models/test_hf.py` have more of such tests.
"""

import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from calls import assert_refused, at_most, call
from damage import MORE, damaged, is_read_or_refused_by_name
from gram_files import draw_gradients, file_arrays
from hostile_cases import CASES, write_hf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_values

from npi_jax.analysis.alignment.grams import load_grams
from npi_jax.cli.main import main
from npi_jax.config.build import make_config
from npi_jax.corpus.stored import StoredVariants
from npi_jax.evaluation.models import open_models
from npi_jax.preparation.prepare import prepare
from npi_jax.results.directory import open_run

# Orbax leaves the reads of other files unfinished when one file is damaged.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_read_or_refused_by_name(folder, name):
    @settings(deadline=None, max_examples=CASES[name].draws * MORE)
    @given(data=st.data())
    def fuzz(data):
        damage_and_read(folder, name, data)

    fuzz()


def damage_and_read(folder, name, data):
    case, at = CASES[name], folder / name.replace(" ", "_")
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir()
    case.write(at)
    case.read(at)
    which = at / data.draw(st.sampled_from(case.files))
    which.write_bytes(data.draw(damaged(which.read_bytes())))
    before = sorted(folder.rglob("*"))
    with at_most(30):
        assert is_read_or_refused_by_name(case.read, at)
    assert sorted(folder.rglob("*")) == before


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _endless(file: Path) -> None:
    file.symlink_to("/dev/zero")


def _huge(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(10 << 40)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "npi_jax.json"]
)
@pytest.mark.parametrize(
    "make",
    [_pipe, _endless, _huge, lambda file: file.write_bytes(b"\xff{}"), lambda file: file.write_bytes(b"[" * 99_999)],
    ids=["pipe", "device", "huge", "not UTF-8", "deep"],
)
def test_the_command_line_refuses_special_files_within_seconds(tmp_path, name, make):
    write_hf(tmp_path, "llama")
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    words = ("--suite", "grammar", "--limit", "1", "--model", str(tmp_path), "--out", str(tmp_path / "x.csv"))
    assert str(tmp_path) in assert_refused(call("score", *words, seconds=60))
    assert not (tmp_path / "x.csv").exists()


# A run directory and prepared data, made once and copied for each damage.

CONFIG = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"


def _read_prepared(path: Path) -> None:
    assert StoredVariants.open(path).variants


def _read_tables(path: Path) -> None:
    run = open_run(path)
    for table in (run.members(), run.corpus(), run.metrics(), run.scores()):
        assert len(table)
    assert isinstance(run.manifest, dict)


def _read_models(path: Path) -> None:
    for stack, _ in open_models([path]).batches():
        assert jax.tree.leaves(stack)


@pytest.fixture(scope="module")
def prepared():
    """Return a cache folder of variants."""
    return prepare(make_config(tiny_values()), lambda line: None).folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Train a tiny run, with vocabulary, checkpoint and tables."""
    folder = tmp_path_factory.mktemp("whole")
    values = tiny_values(train__steps=2, seeds=(0,), run_dir=str(folder / "run"), score__every=2)
    (folder / "tiny.py").write_text(CONFIG.format(values=values))
    assert main(["train", "--config", str(folder / "tiny.py")]) == 0
    _read_tables(folder / "run")
    _read_models(folder / "run")
    return folder / "run"


IN_FOLDERS = [
    (_read_prepared, ("variants.json", "pool/columns.json", "rows/rows_0.bin", "corpus.parquet")),
    (_read_tables, ("manifest.json", "members.parquet", "corpus.parquet", "metrics/2.parquet", "scores/2.parquet")),
    (_read_tables, ("scores/checksums.json",)),
    (_read_models, ("config.json", "tokenizer/tokenizer.json", "tokenizer/vocab.txt", "checkpoints")),
]


@pytest.mark.parametrize(("read", "name"), [(read, name) for read, names in IN_FOLDERS for name in names])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30 * MORE)
@given(data=st.data())
def test_a_folder_with_a_damaged_file_is_read_or_refused_by_name(whole, prepared, folder, read, name, data):
    at = folder / "copy"
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(prepared if read is _read_prepared else whole, at)
    files = sorted(file for file in (at / name).rglob("*") if file.is_file()) if (at / name).is_dir() else [at / name]
    which = data.draw(st.sampled_from(files))
    which.write_bytes(data.draw(damaged(which.read_bytes())))
    assert is_read_or_refused_by_name(read, at)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60 * MORE)
@given(data=st.data())
def test_damaged_gradients_are_read_or_refused_by_name(folder, data):
    at = folder / "5.npz"
    np.savez(at, **file_arrays(draw_gradients(members=1, groups=2, tasks=2, batches=2), 2, ("a", "b"), ("x", "y")))
    at.write_bytes(data.draw(damaged(at.read_bytes())))
    assert is_read_or_refused_by_name(load_grams, at)
