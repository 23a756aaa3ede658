"""Real processes: killed, asked to stop, started twice."""

import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import run_processes as runs
from facts import sentence_with
from run_processes import (
    assert_resumes,
    assert_same_run,
    finish,
    kill,
    last_logged_step,
    seconds_between_checkpoints,
    wait_until,
    write_config,
)
from tiny import tiny_values

pytestmark = pytest.mark.drill
# The whole of it, with analysis and report.
start = partial(runs.start, command="run")

EVERY = 40
VALUES = tiny_values(
    train={"steps": 320, "batch_size": 32, "row_length": 32, "steps_per_call": 5, "dropout": 0.1},
    score__every=EVERY,
    gradients__enabled=True,
    checkpoints={"every": EVERY},
    model={"kind": "lstm", "embedding": 96, "hidden": 96, "layers": 2},
)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    return write_config(tmp_path_factory.mktemp("config"), VALUES)


@pytest.fixture(scope="module")
def uninterrupted(config_file, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    finish(start(config_file, run_dir))
    return run_dir


def kill_and_assert_little_is_lost(process: subprocess.Popen[str], reached: int) -> None:
    """Kill a process as soon as it says from where it goes on: at most one checkpoint interval back."""
    assert assert_resumes(process) >= reached - EVERY


def test_killed_six_times_and_resumed_it_ends_the_same(config_file, uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    rng = random.Random(0)
    pace = seconds_between_checkpoints(uninterrupted)
    for target_after in (0, 8, 0):
        process = start(config_file, run_dir)
        before = last_logged_step(run_dir)
        # Somewhere between the next checkpoints, wherever that is: in a call, a score, a write.
        target = before + target_after
        while process.poll() is None and last_logged_step(run_dir) <= target:
            time.sleep(0.02)
        time.sleep(rng.random() * pace)
        assert process.poll() is None, "it ended before it was killed: give it more steps"
        kill(process)
        reached = last_logged_step(run_dir)
        resumed = start(config_file, run_dir)
        if reached >= 2 * EVERY:
            kill_and_assert_little_is_lost(resumed, reached)
        else:
            time.sleep(rng.random() * pace)
            kill(resumed)
    finish(start(config_file, run_dir))
    assert_same_run(uninterrupted, run_dir, VALUES)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_says_so(config_file, uninterrupted, tmp_path, number):
    run_dir = tmp_path / "run"
    process = start(config_file, run_dir)
    wait_until(process, run_dir, 40)
    process.send_signal(number)
    output = finish(process, status=42)
    assert sentence_with(output, "saved", "same command")
    assert "resuming at step" in finish(start(config_file, run_dir))
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_a_second_process_in_the_same_directory_is_refused(config_file, tmp_path):
    run_dir = tmp_path / "run"
    first = start(config_file, run_dir)
    wait_until(first, run_dir, 1)
    assert "in use" in finish(start(config_file, run_dir), status=1)
    kill(first)


def test_the_paper_scale_compiles_from_shapes(tmp_path):
    shown = subprocess.run(
        [sys.executable, "-m", "npi_jax.cli", "plan", "--config", "weber2021"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "71,817,802" in shown
    assert "tokens per step" in shown
