"""A real Slurm cluster of one node: a job is stopped in the middle, goes back into the queue, and ends the same."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from run_processes import ROOT, assert_same_run, last_logged_step, write_config
from tiny import tiny_values

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(shutil.which("slurmctld") is None, reason="slurm-wlm is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a cluster"),
]

VALUES = tiny_values(
    train={"steps": 400, "batch_size": 32, "row_length": 32, "steps_per_call": 5, "dropout": 0.1},
    model={"kind": "lstm", "embedding": 64, "hidden": 64, "layers": 1},
    score__every=20,
    checkpoints={"every": 20},
)
SETTINGS = """
ClusterName=drill
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
MinJobAge=300
NodeName={host} CPUs=2 RealMemory=4000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def until(happened, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of a cluster's user."""
    # One cluster a machine: workers of the tests take turns.
    with FileLock(Path(tempfile.gettempdir()) / "npi_jax_slurm.lock"):
        yield from cluster_in(tmp_path_factory.mktemp("slurm"))


def cluster_in(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster whose files are in a folder, yield the environment of its user, and end it."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    settings = folder / "slurm.conf"
    settings.write_text(SETTINGS.format(host=socket.gethostname(), folder=folder))
    environ = {**os.environ, "SLURM_CONF": str(settings), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    munge = Path("/run/munge")
    munge.mkdir(exist_ok=True)
    shutil.chown(munge, "munge", "munge")
    subprocess.run(["runuser", "-u", "munge", "--", "munged", "--force"], check=True)
    daemons = ("slurmctld", "slurmd")
    for daemon in daemons:
        subprocess.run([daemon], env=environ, check=True)
    try:
        until(lambda: "idle" in shown(environ, "sinfo", "--noheader", "--format=%T"))
        yield environ
    finally:
        subprocess.run(["scancel", "--user=root"], env=environ, check=False)
        for pid in [*(folder / f"{daemon}.pid" for daemon in daemons), munge / "munged.pid"]:
            if pid.exists():
                subprocess.run(["kill", pid.read_text().strip()], check=False)


def shown(environ: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


def submit(environ: dict[str, str], folder: Path, *arguments: str) -> str:
    """Submit the script with two tasks; the number of the job."""
    command = ("sbatch", "--parsable", "--ntasks-per-node=2", f"--output={folder}/job.log")
    return shown(environ, *command, f"--chdir={folder}", str(ROOT / "launch" / "slurm.sbatch"), *arguments).strip()


def state(environ: dict[str, str], job: str) -> str:
    text = shown(environ, "scontrol", "show", "job", job)
    return text.split("JobState=")[1].split()[0]


def test_a_job_of_two_tasks_is_stopped_goes_back_into_the_queue_and_ends_the_same(cluster, tmp_path):
    config_file = write_config(tmp_path, VALUES)
    folders = {}
    for name in ("whole", "stopped"):
        folder = folders[name] = tmp_path / name
        folder.mkdir()
        job = submit(cluster, folder, "train", "--config", str(config_file), "--config.run_dir=run")
        log = folder / "job.log"
        if name == "stopped":
            until(lambda folder=folder: last_logged_step(folder / "run") >= 60)
            # As when its time is nearly up: the tasks are told, the script goes on.
            shown(cluster, "scancel", "--signal=TERM", job)
            until(lambda log=log: "requeueing" in log.read_text())
            # Slurm holds what comes back for a while, lest it come back at once for ever.
            until(lambda job=job: state(cluster, job) == "PENDING")
            shown(cluster, "scontrol", "update", f"JobId={job}", "StartTime=now")
            until(lambda log=log: "resuming at step" in log.read_text(), 240)
        until(lambda job=job: state(cluster, job) not in ("PENDING", "RUNNING", "COMPLETING"), 240)
        assert state(cluster, job) == "COMPLETED", log.read_text()
        for number in (0, 1):
            assert f"process {number} of 2" in log.read_text()
    assert_same_run(folders["whole"] / "run", folders["stopped"] / "run", VALUES)


def test_a_job_array_runs_a_line_each(cluster, tmp_path):
    config_file = write_config(tmp_path, VALUES)
    lines = [f"prepare --config {config_file} --config.run_dir=run{number}" for number in (0, 1)]
    (tmp_path / "experiments.txt").write_text("\n".join(lines) + "\n")
    command = ("sbatch", "--parsable", "--array=0-1%1", f"--output={tmp_path}/job-%a.log", f"--chdir={tmp_path}")
    script = str(ROOT / "launch" / "slurm.sbatch")
    shown(cluster, *command, script, "--list", "experiments.txt")
    until(lambda: all((tmp_path / f"run{number}" / "corpus.parquet").exists() for number in (0, 1)))
    until(lambda: not shown(cluster, "squeue", "--noheader"))
    logs = [(tmp_path / f"job-{number}.log").read_text() for number in (0, 1)]
    assert all("what each variant changes" in log for log in logs)
