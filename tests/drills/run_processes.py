"""Runs in processes of their own, for the drills: started, stopped, killed, compared."""

import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from npi_jax.config.build import make_config
from npi_jax.config.schema import Config
from npi_jax.models import make_model
from npi_jax.training.checkpoints.checkpoints import Checkpoints
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.programs import checksum_program

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
SECONDS = 300


def write_config(folder: Path, values: dict[str, Any]) -> Path:
    """A config file of these values."""
    path = folder / "drill.py"
    path.write_text(CONFIG.format(values=values))
    return path


def start(
    config_file: Path, run_dir: Path, *overrides: str, environ: dict[str, str] | None = None, command: str = "train"
) -> subprocess.Popen[str]:
    """Start a run; its output is piped."""
    words = [sys.executable, "-m", "npi_jax.cli", command, "--config", str(config_file), f"--config.run_dir={run_dir}"]
    # The TPU library ignores SIGHUP once the tests have used a device, and processes inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    return subprocess.Popen(
        [*words, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=run_dir.parent,
        env={**os.environ, **(environ or {})},
    )


def start_together(
    config_file: Path, run_dirs: Sequence[Path], *overrides: str, environ: dict[str, str] | None = None
) -> list[subprocess.Popen[str]]:
    """Start a run of several processes, each with its run directory (normally the same)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"NPI_COORDINATOR": f"127.0.0.1:{port}", "NPI_NUM_PROCESSES": str(len(run_dirs))}
    return [
        start(config_file, run_dir, *overrides, environ={**(environ or {}), **own, "NPI_PROCESS_ID": str(number)})
        for number, run_dir in enumerate(run_dirs)
    ]


def kill(process: subprocess.Popen[str]) -> None:
    """End a process as a power cut would."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def assert_resumes(process: subprocess.Popen[str]) -> int:
    """Kill a run as soon as it says from which step it goes on; return that step."""
    assert process.stdout is not None
    said = next((line for line in process.stdout if line.startswith("resuming at step")), "")
    kill(process)
    assert said, "it began anew"
    return int(said.split()[-1])


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait for a process; its output."""
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise AssertionError(f"still running after {SECONDS} s: {output}") from None
    assert process.returncode == status, output
    return output


def wait_until(process: subprocess.Popen[str], run_dir: Path, step: int) -> None:
    """Wait until a run has recorded a step."""
    while process.poll() is None and last_logged_step(run_dir) < step:
        time.sleep(0.02)
    assert process.poll() is None, "it ended too early: give it more steps"


def last_logged_step(run_dir: Path) -> int:
    """The last step in the run's log; 0 without one."""
    log = run_dir / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return int(lines[-1].split('"step": ')[1].split(",")[0]) if lines else 0


def seconds_between_checkpoints(run_dir: Path) -> float:
    """The median over the last few."""
    times = [json.loads(line)["time"] for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(times[-6:]))


def ensemble_of(config: Config, run_dir: Path) -> Ensemble:
    """The ensemble whose states the run's checkpoints hold."""
    vocabulary = len((run_dir / "tokenizer" / "vocab.txt").read_text().splitlines())
    mesh = make_mesh(1, 1, n_members=len(config.members))
    return Ensemble(config, make_model(config.model, vocabulary), mesh)


def parameters(run_dir: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The last checkpoint's arrays by name, verified."""
    config = make_config(values)
    ensemble = ensemble_of(config, run_dir)
    checkpoints = Checkpoints(run_dir / "checkpoints", config.checkpoints, read_only=True)
    step = checkpoints.steps()[-1]
    state = checkpoints.restore(step, ensemble.state_shapes)
    checkpoints.verify(step, ensemble.fetch(checksum_program(ensemble).function(state)))
    checkpoints.close()
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(ensemble.fetch(state))}


def assert_same_run(first: Path, second: Path, values: dict[str, Any]) -> None:
    """Every table, every dot product of gradients and every parameter equal, bit for bit."""
    names = {file.relative_to(first) for kind in ("parquet", "npz") for file in first.rglob(f"*.{kind}")}
    assert names == {file.relative_to(second) for kind in ("parquet", "npz") for file in second.rglob(f"*.{kind}")}
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    ours, theirs = parameters(first, values), parameters(second, values)
    assert {name: leaf.tobytes() for name, leaf in ours.items()} == {
        name: leaf.tobytes() for name, leaf in theirs.items()
    }
    leftovers = list(second.rglob("*tmp*"))
    assert not leftovers
