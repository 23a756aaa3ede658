"""Two real processes that train together: stopped, killed, left alone, resumed with other devices."""

import shutil
import signal
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from facts import sentence_with
from run_processes import assert_same_run, finish, kill, parameters, start, start_together, wait_until, write_config
from tiny import tiny_values

pytestmark = pytest.mark.drill

EVERY = 20
# Three members on two devices: one place is a copy.
VALUES = tiny_values(
    seeds=(0, 1, 2),
    variants=("full",),
    train={"steps": 240, "batch_size": 32, "row_length": 32, "steps_per_call": 5, "dropout": 0.1},
    model={"kind": "lstm", "embedding": 64, "hidden": 64, "layers": 1},
    score__every=EVERY,
    checkpoints={"every": EVERY},
)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("config"), VALUES)


def together(config_file, run_dir, *overrides, **options):
    return start_together(config_file, [run_dir, run_dir], *overrides, **options)


@pytest.fixture(scope="module")
def uninterrupted(config_file, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    first, second = together(config_file, run_dir)
    shown = finish(first), finish(second)
    for number, output in enumerate(shown):
        assert f"process {number} of 2" in output
        assert "all are here" in output
    # What all would say the first one says.
    assert "step 240/240" in shown[0]
    assert "step" not in shown[1]
    return run_dir


@pytest.mark.parametrize(("asked", "number"), [(1, signal.SIGTERM), (0, signal.SIGINT)])
def test_one_asked_to_stop_stops_both_at_one_step_and_they_resume_bitwise(
    config_file, uninterrupted, tmp_path, asked, number
):
    run_dir = tmp_path / "run"
    processes = together(config_file, run_dir)
    wait_until(processes[0], run_dir, 40)
    processes[asked].send_signal(number)
    stopped = [finish(process, status=42) for process in processes]
    assert sentence_with(stopped[0], "saved", "same command")
    # Rows read from disk, or held on the devices as before: the same batches.
    first, second = together(config_file, run_dir, f"--config.mesh.rows={'stream' if asked else 'device'}")
    assert "resuming at step" in finish(first)
    finish(second)
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_one_asked_to_stop_before_training_begins_stops_both(config_file, tmp_path):
    run_dir = tmp_path / "run"
    processes = together(config_file, run_dir)
    while processes[0].poll() is None and not (run_dir / "config.json").exists():
        time.sleep(0.02)
    # Text is prepared, or programs are compiled.
    processes[1].terminate()
    shown = [finish(process, status=42) for process in processes]
    # The first speaks for all.
    assert "same command" in shown[0]


@pytest.fixture(scope="module")
def stopped(config_file, tmp_path_factory):
    """A run of two processes of which one was asked to stop."""
    run_dir = tmp_path_factory.mktemp("stopped") / "run"
    processes = together(config_file, run_dir)
    wait_until(processes[0], run_dir, 100)
    processes[1].terminate()
    for process in processes:
        finish(process, status=42)
    return run_dir


@pytest.mark.parametrize("devices", [2, 1])
def test_a_run_of_two_processes_goes_on_in_one(config_file, uninterrupted, stopped, tmp_path, devices):
    run_dir = Path(shutil.copytree(stopped, tmp_path / "run"))
    shown = finish(start(config_file, run_dir, environ={"JAX_NUM_CPU_DEVICES": str(devices)}))
    assert "other devices" in shown
    for name, leaf in parameters(run_dir, VALUES).items():
        np.testing.assert_allclose(leaf, parameters(uninterrupted, VALUES)[name], rtol=1e-3, atol=1e-4, err_msg=name)
    losses = [pl.read_parquet(folder / "metrics" / "240.parquet")["valid_loss"] for folder in (run_dir, uninterrupted)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize("victim", [0, 1])
def test_where_one_is_killed_the_other_ends_and_both_resume(config_file, uninterrupted, tmp_path, victim):
    run_dir = tmp_path / "run"
    processes = together(config_file, run_dir)
    wait_until(processes[0], run_dir, 60)
    kill(processes[victim])
    other = processes[1 - victim]
    other.communicate(timeout=150)
    assert other.returncode not in (0, 42)
    first, second = together(config_file, run_dir)
    assert "resuming at step" in finish(first)
    finish(second)
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_of_a_damaged_checkpoint_both_learn_and_use_the_one_before(config_file, uninterrupted, stopped, tmp_path):
    run_dir = Path(shutil.copytree(stopped, tmp_path / "run"))
    steps = sorted(int(path.name) for path in (run_dir / "checkpoints").iterdir() if path.name.isdigit())
    # Of one process's share: the other can read all that it needs.
    share = run_dir / "checkpoints" / str(steps[-1]) / "default" / "ocdbt.process_1"
    for file in (file for file in share.rglob("*") if file.is_file()):
        file.write_bytes(file.read_bytes()[:100])
    first, second = together(config_file, run_dir)
    assert f"resuming at step {steps[-2]}" in finish(first)
    finish(second)
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_one_that_does_not_come_is_named_with_what_to_do(config_file, tmp_path):
    first, second = together(config_file, tmp_path / "run", environ={"NPI_START_TIMEOUT": "8"})
    kill(second)
    output = finish(first, status=1)
    assert "process 0 of 2" in output
    assert sentence_with(output, "other processes", "8 s")
    assert not (tmp_path / "run").exists()


def test_what_one_cannot_do_ends_both(config_file, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "thesis.tex").write_text("not a run")
    first, second = together(config_file, run_dir)
    assert sentence_with(finish(first, status=1), "run directory", "thesis.tex")
    assert "process 0" in finish(second, status=1)


def test_a_run_directory_that_is_not_shared_is_refused(config_file, tmp_path):
    here, there = tmp_path / "here" / "run", tmp_path / "there" / "run"
    for run_dir in (here, there):
        run_dir.parent.mkdir()
    first, second = start_together(config_file, [here, there], environ={"NPI_SHARED_TIMEOUT": "2"})
    finish(first, status=1)
    assert sentence_with(finish(second, status=1), "run_dir", "file system")
