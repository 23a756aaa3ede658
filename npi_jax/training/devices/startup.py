"""Start of several processes: their number, the number of this process, and their connection.

JAX runs one process per host or per GPU, all with the same program. The launcher describes them in environment
variables:

- any launcher: `NPI_COORDINATOR` (host:port of process 0), `NPI_NUM_PROCESSES` and `NPI_PROCESS_ID`;
- Slurm: processes started by ``srun``, one per task;
- Open MPI: processes started by ``mpirun``;
- GKE (JobSet, XPK): variables in the pods of a TPU slice;
- TPU VM: no variables; JAX queries the metadata server of the machine.

`NPI_START_TIMEOUT` (300 seconds by default) limits the time that processes wait for one another.
"""

import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax

from npi_jax.errors import UserError, first_line

Launcher = Literal["alone", "NPI", "Slurm", "Open MPI", "GKE", "TPU VM"]
_NPI = ("NPI_COORDINATOR", "NPI_NUM_PROCESSES", "NPI_PROCESS_ID")
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
GOOGLE, NETWORK_CARD = "0x1ae0", "0x0042"
"""PCI numbers of the vendor, and of its virtual network card."""

START_TIMEOUT = 300
"""Default number of seconds that processes wait for one another."""

HEARTBEAT_TIMEOUT = 60
"""Seconds without a heartbeat after which a process counts as dead, and the other processes end."""


class StartError(UserError):
    """The start of processes does not allow joint training; the message says how to correct it."""


@dataclass(frozen=True)
class Launch:
    """The launcher of this process, and its number among all processes.

    Attributes:
        how: name of the launcher; ``alone`` for a single process.
        processes: number of processes; None if only JAX can determine it.
        process: number of this process, from 0; None if only JAX can determine it.
        coordinator: host:port of process 0; None if JAX determines it.
        on_this_host: number of processes on this machine; 1 if unknown.
        local_devices: numbers of the accelerators that this process uses; None to let JAX choose.
    """

    how: Launcher = "alone"
    processes: int | None = 1
    process: int | None = 0
    coordinator: str | None = None
    on_this_host: int = 1
    local_devices: tuple[int, ...] | None = None


def detect_launch(environ: Mapping[str, str], *, is_tpu_vm: bool = False) -> Launch:
    """Detect the launcher of this process from environment variables.

    Args:
        environ: the environment variables.
        is_tpu_vm: True if this machine has TPU chips (`has_tpu_chips`).

    Raises:
        StartError: naming a variable that is missing or invalid; or if the tasks of a Slurm job were not started by
            ``srun``.
    """
    launch = _detected(environ, is_tpu_vm)
    if launch.processes is not None and launch.process is not None and launch.process >= launch.processes:
        raise StartError(
            f"{launch.how} says that this is process {launch.process} of {launch.processes}; they go from 0 to "
            f"{launch.processes - 1}"
        )
    return launch


def _detected(environ: Mapping[str, str], is_tpu_vm: bool) -> Launch:
    if given := [name for name in _NPI if environ.get(name)]:
        return _npi(environ, given)
    # Check Open MPI before Slurm, because processes that mpirun starts in a Slurm job inherit the variables of the job.
    if (size := _whole_number(environ, "OMPI_COMM_WORLD_SIZE", 1)) > 1:
        local = _whole_number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE", 1, least=1)
        return Launch("Open MPI", size, _whole_number(environ, "OMPI_COMM_WORLD_RANK", 0), on_this_host=local)
    if "SLURM_JOB_ID" in environ and (slurm := _slurm(environ)):
        return slurm
    hosts = [host for host in environ.get("TPU_WORKER_HOSTNAMES", "").split(",") if host]
    slices = _whole_number(environ, "MEGASCALE_NUM_SLICES", 1)
    if len(hosts) * slices > 1:
        process = _whole_number(environ, "MEGASCALE_SLICE_ID", 0) * len(hosts) + _whole_number(
            environ, "TPU_WORKER_ID", 0
        )
        return Launch("GKE", len(hosts) * slices, process)
    if is_tpu_vm and not hosts and "TPU_SKIP_MDS_QUERY" not in environ:
        return Launch("TPU VM", None, None)
    return Launch()


def _npi(environ: Mapping[str, str], given: list[str]) -> Launch:
    if missing := [name for name in _NPI if name not in given]:
        raise StartError(
            f"{', '.join(given)} set, but not {', '.join(missing)}: processes that train together need all of "
            f"{', '.join(_NPI)}; for a single process set none"
        )
    coordinator = environ["NPI_COORDINATOR"]
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port[:6]) < 1 << 16:
        raise StartError(f"NPI_COORDINATOR={coordinator!r}: give host and port of process 0, such as node1:29400")
    processes, process = _whole_number(environ, "NPI_NUM_PROCESSES", 1), _whole_number(environ, "NPI_PROCESS_ID", 0)
    if processes < 1:
        raise StartError(f"NPI_NUM_PROCESSES={processes}: at least 1")
    if process >= processes:
        raise StartError(
            f"NPI_PROCESS_ID={process}: with NPI_NUM_PROCESSES={processes} it goes from 0 to {processes - 1}"
        )
    if processes == 1:
        return Launch()
    here = processes if host in _LOCAL_HOSTS else _whole_number(environ, "NPI_LOCAL_PROCESSES", 1, least=1)
    return Launch("NPI", processes, process, coordinator, here)


def _slurm(environ: Mapping[str, str]) -> Launch | None:
    tasks = _whole_number(environ, "SLURM_NTASKS", 1, least=1)
    if tasks == 1:
        return None
    if missing := [name for name in _SLURM if name not in environ]:
        raise StartError(
            f"Slurm gave this job {tasks} tasks, but this process was not started by srun ({', '.join(missing)} not "
            "set): write `srun npi-jax ...`, or ask for one task (--ntasks=1)"
        )
    # The value "2(x3),1" lists the nodes in order. Prefer the variable of the step to the variable of the job.
    per_node = environ.get("SLURM_STEP_TASKS_PER_NODE", environ.get("SLURM_TASKS_PER_NODE", "1"))
    first = re.match(r"[1-9]\d{0,8}(?=\(|,|$)", per_node)
    if first is None:
        raise StartError(f"SLURM_STEP_TASKS_PER_NODE={per_node!r} must list the tasks of each node, as 4 or 2(x3),1")
    here = int(first[0])
    local = _whole_number(environ, "SLURM_LOCALID", 0)
    visible = [device for device in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    # JAX uses GPU number SLURM_LOCALID. If Slurm hides all other GPUs, the visible one has number 0.
    visible_gpu = (0,) if len(visible) == 1 and local > 0 and "JAX_LOCAL_DEVICE_IDS" not in environ else None
    return Launch("Slurm", tasks, _whole_number(environ, "SLURM_PROCID", 0), None, here, visible_gpu)


def _whole_number(environ: Mapping[str, str], name: str, default: int, least: int = 0) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise StartError(f"{name}={text!r} must be a whole number{f' from {least}' if least else ''}")
    return int(text)


def has_tpu_chips() -> bool:
    """Return whether TPU chips are attached to this machine, as on a TPU VM."""
    if not any(Path("/dev").glob("accel[0-9]*")) and not any(Path("/dev/vfio").glob("[0-9]*")):
        return False
    # /dev/vfio may contain other devices. Google's devices are TPU chips and network cards.
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    google = (path.parent / "device" for path in vendors if path.read_text().strip() == GOOGLE)
    return any(path.read_text().strip() != NETWORK_CARD for path in google)


def detect_this_launch() -> Launch:
    """Detect the launcher of this process.

    Raises:
        StartError: as `detect_launch`.
    """
    return detect_launch(os.environ, is_tpu_vm=has_tpu_chips())


def join_processes(launch: Launch, say: Callable[[str], None]) -> None:
    """Connect to the other processes, if there are any; call before any computation.

    If another process does not connect in time, this process prints advice and ends with exit status 1.

    Args:
        launch: the result of `detect_this_launch`.
        say: gets a line before and after connecting, with the number of this process and its host.

    Raises:
        StartError: if JAX could not start.
    """
    if launch.how == "alone":
        return
    seconds = _whole_number(os.environ, "NPI_START_TIMEOUT", START_TIMEOUT)
    here = socket.gethostname()
    name = "this process" if launch.process is None else f"process {launch.process} of {launch.processes}"
    at = f" at {launch.coordinator}" if launch.coordinator else ""
    say(f"{name} on {here} ({launch.how}): waiting up to {seconds} s for the others{at}")
    overdue = threading.Timer(seconds, _give_up, (f"{name} on {here}: {_remedy(launch, seconds)}",))
    overdue.daemon = True
    overdue.start()
    try:
        _initialize_jax(launch, seconds)
    except Exception as error:
        # JAX reads further variables, and may raise any exception if it cannot parse one.
        raise StartError(
            f"{name} on {here}: JAX could not begin: {first_line(error)}. Another way to say which process this is: "
            f"set {', '.join(_NPI)}"
        ) from error
    finally:
        overdue.cancel()
    say(f"process {jax.process_index()} of {jax.process_count()} on {here}: all are here")


def _initialize_jax(launch: Launch, seconds: int) -> None:
    jax.distributed.initialize(
        coordinator_address=launch.coordinator,
        num_processes=launch.processes if launch.coordinator else None,
        process_id=launch.process if launch.coordinator else None,
        local_device_ids=launch.local_devices,
        # Everything is explicit, so cluster detection is disabled.
        cluster_detection_method="deactivate" if launch.coordinator else None,
        # After its timeout JAX ends the process without a helpful message, so `_give_up` must end it earlier.
        initialization_timeout=seconds + 30,
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
    )


def _give_up(message: str) -> None:
    """End the process from a thread, because no exception reaches the code in which the main thread waits."""
    print(f"npi-jax: {message}", file=sys.stderr, flush=True)
    os._exit(1)


def _remedy(launch: Launch, seconds: int) -> str:
    """Return advice for processes that did not connect."""
    where = {
        "NPI": "start the same command once for each NPI_PROCESS_ID from 0 to "
        f"{(launch.processes or 1) - 1}, with a port of NPI_COORDINATOR that all hosts reach and nothing else uses",
        "Slurm": "look at the output of every task (srun --label), and whether two steps of one job share a port "
        "(set JAX_COORDINATOR_PORT)",
        "Open MPI": "look at the output of every rank (mpirun --tag-output)",
        "GKE": "kubectl get pods shows which pod of the JobSet does not run; every worker runs the same command",
        "TPU VM": "start the command on all workers: gcloud compute tpus tpu-vm ssh NAME --worker=all --command=...",
        "alone": "",
    }[launch.how]
    return (
        f"the other processes did not come within {seconds} s. To do: {where}. NPI_START_TIMEOUT=SECONDS waits longer."
    )
