"""Faults of files and processes, real ones: full and read-only disks, damaged files, hanging workers, wrong clocks."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from facts import sentence_with
from run_processes import (
    ROOT,
    assert_same_run,
    finish,
    kill,
    last_logged_step,
    start,
    start_together,
    wait_until,
    write_config,
)
from tiny import tiny_values

pytestmark = pytest.mark.drill

EVERY = 20
VALUES = tiny_values(
    train={"steps": 200, "batch_size": 32, "row_length": 32, "steps_per_call": 5, "dropout": 0.1},
    model={"kind": "lstm", "embedding": 96, "hidden": 96, "layers": 1},
    score__every=EVERY,
    checkpoints={"every": EVERY, "keep": 3},
)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    return write_config(tmp_path_factory.mktemp("config"), VALUES)


@pytest.fixture(scope="module")
def uninterrupted(config_file, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    finish(start(config_file, run_dir))
    return run_dir


@pytest.fixture(scope="module")
def stopped(config_file, tmp_path_factory) -> Path:
    """A run that was asked to stop after its third checkpoint."""
    run_dir = tmp_path_factory.mktemp("stopped") / "run"
    process = start(config_file, run_dir)
    wait_until(process, run_dir, 3 * EVERY)
    process.terminate()
    finish(process, status=42)
    return run_dir


@pytest.fixture
def run_dir(stopped, tmp_path) -> Path:
    """A copy of the stopped run."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of its own, of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def error_line(output: str) -> str:
    """The error that a run ended with; Orbax's storage library may have complaints of its own before and after."""
    (line,) = (line for line in output.splitlines() if line.startswith("npi-jax: "))
    return line


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


# What is written first when room is short: text, checkpoints (4 MB here), tables.
@pytest.mark.parametrize("size", ["300k", "2m", "6m", "12m"])
def test_a_full_disk_ends_the_run_which_goes_on_when_there_is_room(config_file, uninterrupted, small_disk, size):
    remount(small_disk, f"size={size}")
    run_dir = small_disk / "run"
    error = error_line(finish(start(config_file, run_dir), status=1))
    assert str(small_disk) in error
    assert "No space left" in error or "RESOURCE_EXHAUSTED" in error
    remount(small_disk, "size=100m")
    finish(start(config_file, run_dir))
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_a_full_cache_is_an_error_and_leaves_nothing_that_is_taken_for_whole(
    config_file, uninterrupted, small_disk, tmp_path
):
    remount(small_disk, "size=200k")
    environ = {"NPI_JAX_CACHE": str(small_disk / "cache")}
    output = finish(start(config_file, tmp_path / "run", environ=environ), status=1)
    assert "No space left" in output
    assert "Traceback" not in output
    remount(small_disk, "size=100m")
    finish(start(config_file, tmp_path / "run", environ=environ))
    assert_same_run(uninterrupted, tmp_path / "run", VALUES)


def test_a_read_only_disk_is_refused_and_the_run_goes_on_when_it_can_be_written(
    config_file, uninterrupted, stopped, small_disk
):
    remount(small_disk, "size=100m")
    run_dir = Path(shutil.copytree(stopped, small_disk / "run"))
    remount(small_disk, "ro")
    error = error_line(finish(start(config_file, run_dir), status=1))
    assert "Read-only file system" in error
    assert str(run_dir) in error
    remount(small_disk, "rw")
    finish(start(config_file, run_dir))
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_a_run_directory_that_is_removed_is_not_made_anew(config_file, tmp_path):
    run_dir = tmp_path / "run"
    process = start(config_file, run_dir)
    wait_until(process, run_dir, 2 * EVERY)
    run_dir.rename(tmp_path / "elsewhere")
    # It is gone, or what was being read or written at that moment is.
    assert str(run_dir) in error_line(finish(process, status=1))
    assert not (run_dir / "config.json").exists()


def flip(file: Path, seed: int) -> None:
    content = bytearray(file.read_bytes())
    content[random.Random(seed).randrange(len(content))] ^= 0x10
    file.write_bytes(content)


def biggest(folder: Path) -> Path:
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("damage", [flip, lambda file, _: file.write_bytes(file.read_bytes()[:1000])])
def test_instead_of_a_damaged_checkpoint_the_one_before_is_used(config_file, uninterrupted, run_dir, damage):
    steps = sorted(int(path.name) for path in (run_dir / "checkpoints").iterdir() if path.name.isdigit())
    damage(biggest(run_dir / "checkpoints" / str(steps[-1])), 1)
    output = finish(start(config_file, run_dir))
    assert f"checkpoints/{steps[-1]} " in output
    assert f"resuming at step {steps[-2]}" in output
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_where_all_checkpoints_are_damaged_nothing_is_begun_anew(config_file, run_dir):
    for folder in (run_dir / "checkpoints").iterdir():
        if folder.name.isdigit():
            biggest(folder).write_bytes(b"")
    output = finish(start(config_file, run_dir), status=1)
    assert sentence_with(output, "No checkpoint")
    assert "rename" in output


def test_a_damaged_table_is_named_and_written_anew(config_file, uninterrupted, run_dir):
    table = run_dir / "scores" / f"{3 * EVERY}.parquet"
    flip(table, 1)
    report = [sys.executable, "-m", "npi_jax.cli", "report", str(run_dir)]
    refused = subprocess.run(report, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert sentence_with(refused.stderr, str(table), "damaged")
    assert f"resuming at step {2 * EVERY}" in finish(start(config_file, run_dir))
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_a_damaged_cache_is_named_and_made_anew(config_file, tmp_path):
    environ = {"NPI_JAX_CACHE": str(tmp_path / "cache")}
    finish(start(config_file, tmp_path / "one", environ=environ, command="prepare"))
    tokens = max((tmp_path / "cache").rglob("tokens.bin"), key=lambda path: path.stat().st_size)
    content = tokens.read_bytes()
    flip(tokens, 1)
    output = finish(start(config_file, tmp_path / "two", environ=environ, command="prepare"))
    assert sentence_with(output, str(tokens), "checksum")
    assert "rebuilt" in output
    assert tokens.read_bytes() == content


def test_a_clock_that_was_set_back_changes_nothing(config_file, uninterrupted, run_dir, tmp_path):
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(
        "import time\nnow, now_ns = time.time, time.time_ns\n"
        "time.time = lambda: now() - 86_400\ntime.time_ns = lambda: now_ns() - 86_400 * 10**9\n"
    )
    environ = {"PYTHONPATH": str(tmp_path / "clock")}
    assert "resuming at step" in finish(start(config_file, run_dir, environ=environ))
    assert_same_run(uninterrupted, run_dir, VALUES)


def test_a_worker_that_hangs_is_seen_by_the_watchdog_of_the_other(config_file, tmp_path):
    run_dir = tmp_path / "run"
    first, second = start_together(config_file, [run_dir, run_dir], "--config.monitor.watchdog=15")
    wait_until(first, run_dir, EVERY)
    second.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    output = finish(first, status=1)
    assert time.monotonic() - began < 40
    assert "Timeout (0:00:15)!" in output
    # The stacks say where: in the training loop.
    assert "loop.py" in output
    second.send_signal(signal.SIGCONT)
    kill(second)
    assert last_logged_step(run_dir) >= EVERY


KILLS = int(os.environ.get("TEST_KILLS", "8"))
SAVES = """
import sys
import numpy as np, jax
from pathlib import Path
from npi_jax.config.schema import CheckpointConfig
from npi_jax.training.checkpoints.checkpoints import Checkpoints
from npi_jax.training.checkpoints.checksum import member_checksum
checkpoints = Checkpoints(Path(sys.argv[1]), CheckpointConfig(keep=3))
first = max(checkpoints.steps(), default=0) + 1
checksum = jax.jit(jax.vmap(member_checksum))
print("ready", flush=True)
for step in range(first, first + 1000):
    state = {"w": np.full((2, 500_000), step, np.float32)}
    checkpoints.save(step, state, np.asarray(checksum(state)))
"""


def test_killed_while_it_writes_checkpoints_every_one_that_is_seen_is_whole(tmp_path):
    import jax  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    from npi_jax.config.schema import CheckpointConfig  # noqa: PLC0415
    from npi_jax.training.checkpoints.checkpoints import Checkpoints  # noqa: PLC0415
    from npi_jax.training.checkpoints.checksum import member_checksum  # noqa: PLC0415

    latest = seen = 0
    for kill_number in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVES, str(tmp_path / "c")], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # Moments spread evenly over a second, in which several checkpoints are written.
        time.sleep(0.2 + (kill_number + 0.5) / KILLS)
        kill(process)
        checkpoints = Checkpoints(tmp_path / "c", CheckpointConfig(keep=3), read_only=True)
        steps = checkpoints.steps()
        for step in steps:
            state = checkpoints.restore(step, {"w": np.zeros((2, 500_000), np.float32)})
            assert (state["w"] == step).all()
            checkpoints.verify(step, np.asarray(jax.vmap(member_checksum)(state)))
            seen += 1
        # What was whole once is never lost to a later kill.
        assert max(steps, default=0) >= latest
        latest = max(steps, default=0)
        checkpoints.close()
    assert seen > KILLS
