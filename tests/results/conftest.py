"""A small finished run that the tests of its directory share."""

import shutil
from pathlib import Path

import pytest
from gram_files import draw_gradients, file_arrays
from run_files import CONFIG, LAST, called
from tiny import tiny_values

from npi_jax.analysis.tables import write_tables
from npi_jax.experiment import reporting, run
from npi_jax.files.writing import write_arrays
from npi_jax.results.directory import Run


@pytest.fixture(scope="session")
def config_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("config") / "tiny.py"
    values = tiny_values(train__steps=LAST, score__every=2, checkpoints={"every": 2, "keep": 9})
    file.write_text(CONFIG.format(values=values))
    return file


@pytest.fixture(scope="session")
def whole(config_file, tmp_path_factory) -> Path:
    """Train a run once. Its gradients are drawn at random, since comparing gradients takes a minute to compile."""
    path = tmp_path_factory.mktemp("whole") / "lr1"
    outcome = called("train", config_file, path)
    assert outcome.status == 0, outcome.error
    run = Run(path)
    for step in (0, LAST):
        file = path / "gradients" / f"{step}.npz"
        drawn = draw_gradients(members=4, groups=1, tasks=3)
        write_arrays(file, file_arrays(drawn, tasks=("x", "y", "z"), groups=("embedding",)))
        run.note_written(file)
    write_tables(run)
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Let reports make tables but draw nothing, since drawing takes most of their time."""
    for module in (reporting, run):
        monkeypatch.setattr(module, "write_and_print_report", lambda *arguments: None)


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))
