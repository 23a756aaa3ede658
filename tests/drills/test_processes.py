"""Real processes: killed, asked to stop, started twice; and the package as others install it."""

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from tiny import tiny_values

from npi_jax.config import make_config
from npi_jax.models import make_model
from npi_jax.training.checkpoints import Checkpoints
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.mesh import make_mesh

pytestmark = pytest.mark.drill

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
EVERY = 40
VALUES = tiny_values(
    train={"steps": 480, "batch_size": 32, "row_length": 32, "steps_per_call": 5, "dropout": 0.1},
    score__every=EVERY,
    gradients__enabled=True,
    checkpoints={"every": EVERY},
    model={"kind": "lstm", "embedding": 96, "hidden": 96, "layers": 2},
)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "drill.py"
    path.write_text(CONFIG.format(values=VALUES))
    return path


def start(config_file: Path, run_dir: Path, **options) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "npi_jax.cli", "run", "--config", str(config_file)]
    return subprocess.Popen(
        [*command, f"--config.run_dir={run_dir}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=run_dir.parent,
        **options,
    )


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


@pytest.fixture(scope="module")
def uninterrupted(config_file, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    finish(start(config_file, run_dir))
    return run_dir


def parameters(run_dir: Path) -> dict[str, bytes]:
    """The last checkpoint's arrays, as bytes."""
    config = make_config(VALUES)
    vocabulary = len((run_dir / "tokenizer" / "vocab.txt").read_text().splitlines())
    model = make_model(config.model, vocabulary)
    ensemble = Ensemble(config, model, 0, make_mesh(0, 1, n_members=len(config.members)))
    checkpoints = Checkpoints(run_dir / "checkpoints", config.checkpoints)
    state = checkpoints.restore(config.train.steps, ensemble.state_shapes)
    checkpoints.verify(config.train.steps, ensemble.checksums(state))
    checkpoints.close()
    return {
        jax.tree_util.keystr(path): leaf.tobytes() for path, leaf in jax.tree.leaves_with_path(ensemble.fetch(state))
    }


def assert_same_run(first: Path, second: Path) -> None:
    """Every table, every dot product of gradients and every parameter equal, bit for bit."""
    names = {file.relative_to(first) for kind in ("parquet", "npz") for file in first.rglob(f"*.{kind}")}
    assert names == {file.relative_to(second) for kind in ("parquet", "npz") for file in second.rglob(f"*.{kind}")}
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert parameters(first) == parameters(second)
    leftovers = list(second.rglob("*tmp*"))
    assert not leftovers


def last_logged_step(run_dir: Path) -> int:
    log = run_dir / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return int(lines[-1].split('"step": ')[1].split(",")[0]) if lines else 0


def seconds_between_checkpoints(run_dir: Path) -> float:
    times = [json.loads(line)["time"] for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(times[-6:]))


def kill_and_assert_little_is_lost(process: subprocess.Popen[str], reached: int) -> None:
    """Kill a process as soon as it says from where it goes on: at most one checkpoint interval back."""
    assert process.stdout is not None
    said = next((line for line in process.stdout if line.startswith("resuming at step")), "")
    kill(process)
    assert said, "it began anew"
    assert int(said.split()[-1]) >= reached - EVERY


def test_killed_ten_times_and_resumed_it_ends_the_same(config_file, uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    rng = random.Random(0)
    pace = seconds_between_checkpoints(uninterrupted)
    for _ in range(5):
        process = start(config_file, run_dir)
        before = last_logged_step(run_dir)
        # Somewhere between the next checkpoints, wherever that is: in a call, a score, a write.
        target = before + rng.choice([0, 8])
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
    assert_same_run(uninterrupted, run_dir)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_says_so(config_file, uninterrupted, tmp_path, number):
    run_dir = tmp_path / "run"
    process = start(config_file, run_dir)
    while process.poll() is None and last_logged_step(run_dir) < 40:
        time.sleep(0.05)
    process.send_signal(number)
    output = finish(process, status=42)
    assert "the state is saved, and the same command goes on from there" in output
    assert "resuming at step" in finish(start(config_file, run_dir))
    assert_same_run(uninterrupted, run_dir)


def test_a_second_process_in_the_same_directory_is_refused(config_file, tmp_path):
    run_dir = tmp_path / "run"
    first = start(config_file, run_dir)
    while first.poll() is None and last_logged_step(run_dir) < 1:
        time.sleep(0.05)
    assert "is in use by another process" in finish(start(config_file, run_dir), status=1)
    kill(first)


def test_the_wheel_carries_the_presets(tmp_path):
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    shown = subprocess.run(
        [sys.executable, "-c", "import npi_jax, npi_jax.cli; print(npi_jax.__file__); npi_jax.cli.main(['presets'])"],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(target) in shown
    for name in ("quickstart", "english", "weber2021"):
        assert name in shown


def test_the_paper_scale_compiles_from_shapes(tmp_path):
    shown = subprocess.run(
        [sys.executable, "-m", "npi_jax.cli", "plan", "--config", "weber2021"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "71,817,802" in shown
    assert "tokens per step, all members" in shown
