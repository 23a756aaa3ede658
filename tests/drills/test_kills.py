"""A run ended at random moments of the whole command, and at every stage: bitwise the run that was not disturbed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import run_processes as runs
from facts import sentence_with
from run_processes import assert_resumes, assert_same_run, finish, write_config
from tiny import tiny_values

from npi_jax.cli import main as cli
from npi_jax.experiment import jax_setup
from npi_jax.files import writing as files
from npi_jax.results.directory import open_run
from npi_jax.training.monitor.display import Display

pytestmark = pytest.mark.drill
start = partial(runs.start, command="run")

KILLS = int(os.environ.get("TEST_KILLS", "6"))
"""Moments; 100 take about half an hour."""
EACH = 3
"""Times that one run is killed, at most, before it may end."""

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
STOPPED = {signal.SIGTERM: 42, signal.SIGINT: 42, signal.SIGHUP: 43}

VALUES = tiny_values(
    train={"steps": 60, "batch_size": 16, "row_length": 32, "steps_per_call": 5, "dropout": 0.1},
    model={"kind": "lstm", "embedding": 48, "hidden": 48, "layers": 1},
    score__every=20,
    checkpoints={"every": 20},
    seeds=(0,),
)


def own_cache(folder: Path) -> dict[str, str]:
    """Text is prepared anew; compiled programs are kept, and written while runs are killed."""
    return {"NPI_JAX_CACHE": str(folder / "cache"), "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled")}


class Output:
    """What a process has written so far, by the second; the first is when it was started."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process
        self.began = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            self.lines += ((time.monotonic() - self.began, line) for line in stdout)

    def text(self) -> str:
        """All that it wrote, when it has ended."""
        self._process.wait(runs.SECONDS)
        self._thread.join()
        return "".join(line for _, line in self.lines)

    def wait_for(self, stage: str) -> None:
        """Wait for a line that begins so, or for the end."""
        while self._process.poll() is None and not any(line.startswith(stage) for _, line in self.lines):
            time.sleep(0.01)

    def stages(self) -> list[tuple[float, str]]:
        """When each stage of a run began: other lines may be missing where a run goes on."""
        return [(0.0, "")] + [(second, line.split()[0]) for second, line in self.lines if line.split(" ")[0] in STAGES]


STAGES = ("tiny:", "preparing", "counting", "setting", "compiling", "training", "step", "analyzing", "drawing")


def killed_within(process: subprocess.Popen[str], stage: str, seconds: float, number: signal.Signals) -> bool:
    """End a process some time after a stage began; returns whether there was anything left, and checks the end."""
    output = Output(process)
    output.wait_for(stage)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(number)
    text = output.text()
    if "report: " in text:
        return False
    if number != signal.SIGKILL and "members ->" in text:
        # Before that Python, which starts, has the word.
        assert process.returncode == STOPPED[number], text
        assert "same command" in text
        assert "Traceback" not in text
    return True


def test_killed_at_random_moments_of_the_whole_command_it_ends_the_same(tmp_path):
    config_file = write_config(tmp_path, VALUES)
    (whole := tmp_path / "whole").mkdir()
    output = Output(start(config_file, whole / "run", environ=own_cache(whole)))
    assert "report: " in output.text()
    length, stages = output.lines[-1][0], output.stages()
    rng = random.Random(int(os.environ.get("TEST_KILLS_SEED", "0")))
    # Spread evenly over the command, from the start of Python to the report; in any order.
    moments = [(part + rng.random()) / KILLS * length for part in range(KILLS)]
    rng.shuffle(moments)
    killed = trial = 0
    while killed < KILLS:
        (folder := tmp_path / f"trial{trial}").mkdir()
        trial += 1
        assert trial <= 4 * KILLS, "most runs end before they are killed"
        for _ in range(min(EACH, KILLS - killed)):
            # A moment of the undisturbed run; from the beginning of its stage, since machines are not always as fast.
            number, moment = SIGNALS[killed % len(SIGNALS)], moments[killed]
            since, stage = max(found for found in stages if found[0] <= moment)
            process = start(config_file, folder / "run", environ=own_cache(folder))
            if not killed_within(process, stage, moment - since, number):
                # It ended before, on a machine that is faster now: earlier next time.
                moments[killed] *= 0.9
                break
            killed += 1
            print(f"{killed}: {number.name}, {stage} {moment - since:.1f} s: {process.returncode}", flush=True)
        finish(start(config_file, folder / "run", environ=own_cache(folder)))
        assert_same_run(whole / "run", folder / "run", VALUES)


# What is being done, or the file that is about to be written, when the signal comes; and what the run then says.
# In this order, each invocation being stopped where the one before has not come to.
STOPS = [
    ("preparing", "nothing was trained"),
    ("counting 5-grams", "nothing was trained"),
    ("setting training up", "nothing was trained"),
    ("compiling", "nothing was trained"),
    ("compiling 1 of 4 programs", "nothing was trained"),
    ("scoring", "no state"),
    ("members.parquet", "no state"),
    ("training", "no state"),
    ("1.parquet", "stopped at step 1"),
    ("training from step 1", "stopped at step 1"),
    ("2.parquet", "saved"),
    ("analyzing", "saved"),
    ("final.parquet", "saved"),
    ("drawing the report", "saved"),
    ("index.html", "saved"),
]
LONGER = {"train": {**VALUES["train"], "steps": 400}, "score": {**VALUES["score"], "every": 20}}
SHORT = tiny_values(train__steps=2, score__every=1, checkpoints__every=1, seeds=(0,))


def test_stopped_at_every_stage_it_goes_on_and_ends_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NPI_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cli, "GRACE", 600.0)
    # Devices and compile cache of the tests: what was compiled once is read.
    monkeypatch.setattr(jax_setup, "set_up_jax", lambda processes_here: None)
    config_file = str(write_config(tmp_path, SHORT))

    def run(name: str) -> tuple[int, str]:
        status = cli.main(["run", "--config", config_file, f"--config.run_dir={tmp_path / name}"])
        return status, capsys.readouterr().out.replace("\n", " ")

    assert run("whole")[0] == 0
    awaited: list[str] = []

    def come(what: str) -> None:
        if awaited and awaited[0] == what:
            awaited.clear()
            os.kill(os.getpid(), signal.SIGTERM)

    def before(do: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(*arguments: Any) -> Any:
            come(str(getattr(arguments[-1], "name", arguments[-1])))
            return do(*arguments)

        return stopped

    for owner, name in ((Display, "stage"), (Display, "detail"), (files, "atomic_path")):
        monkeypatch.setattr(owner, name, before(getattr(owner, name)))
    for what, said in STOPS:
        awaited.append(what)
        status, output = run("stopped")
        assert not awaited, f"it never came to {what}"
        assert status == 42, output
        assert sentence_with(output, said), what
        assert "same command" in output, what
    assert run("stopped")[0] == 0
    assert_same_run(tmp_path / "whole", tmp_path / "stopped", SHORT)


def begun(config_file: Path, run_dir: Path, *before: str) -> subprocess.Popen[str]:
    """A run that is in training, with pipes of its own for output and errors."""
    command = [*before, sys.executable, "-m", "npi_jax.cli", "run", "--config", str(config_file)]
    words = [*command, f"--config.run_dir={run_dir}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    runs.wait_until(process, run_dir, 20)
    return process


@pytest.mark.parametrize("both", [False, True])
def test_a_reader_that_goes_away_costs_nothing(tmp_path, both):
    config_file, run_dir = write_config(tmp_path, {**VALUES, **LONGER}), tmp_path / "run"
    process = begun(config_file, run_dir)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = "" if both else process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=runs.SECONDS) == 43
    assert "Traceback" not in error
    stopped = open_run(run_dir).manifest["stopped"]
    assert sentence_with(stopped, "standard output", "Broken pipe", "same command")
    assert both or stopped in error
    # All that was reached is there.
    assert_resumes(start(config_file, run_dir))


def test_the_end_of_the_terminal_costs_nothing_and_under_nohup_it_is_no_end(tmp_path):
    config_file, run_dir = write_config(tmp_path, {**VALUES, **LONGER}), tmp_path / "run"
    process = begun(config_file, run_dir, "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert "same command" in process.communicate(timeout=runs.SECONDS)[0]
    assert process.returncode == 42


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_log_on_a_full_disk_is_named(tmp_path):
    words = [sys.executable, "-m", "npi_jax.cli", "run", "--config", str(write_config(tmp_path, SHORT))]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 43
    (line,) = done.stderr.splitlines()
    assert sentence_with(line, "standard output", "No space left on device", "same command")
