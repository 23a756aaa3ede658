"""Starting: how many processes train together, which of them this is, and how they find one another.

JAX runs one process a host, or one a GPU, all with the same program. What starts them says so in the
environment:

- `NPI_COORDINATOR` (host:port of process 0), `NPI_NUM_PROCESSES` and `NPI_PROCESS_ID`: anything of one's own;
- Slurm: processes started by ``srun``, one a task;
- Open MPI: processes started by ``mpirun``;
- GKE (JobSet, XPK): the variables of a TPU slice's pods;
- a TPU VM: the metadata server of the machine; only JAX asks it.

`NPI_START_TIMEOUT` (seconds, 300 by default) is how long processes wait for one another.
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

How = Literal["alone", "NPI", "Slurm", "Open MPI", "GKE", "TPU VM"]
_OWN = ("NPI_COORDINATOR", "NPI_NUM_PROCESSES", "NPI_PROCESS_ID")
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
GOOGLE, NETWORK_CARD = "0x1ae0", "0x0042"
"""PCI numbers: of the vendor, and of its virtual network card."""

START_TIMEOUT = 300
HEARTBEAT_TIMEOUT = 60
"""Seconds after which a process that says nothing is taken for dead, and the others end."""


class StartError(UserError):
    """Processes that cannot train together as they were started; the message says what to do."""


@dataclass(frozen=True)
class Launch:
    """How this process was started.

    Attributes:
        how: what started it; ``alone`` for a single process.
        processes, process: how many there are, and the number of this one from 0; None where only JAX can ask.
        coordinator: host:port of process 0; None where JAX works it out.
        on_this_host: how many of the processes share this machine, as far as is known.
        local_devices: accelerators of this process by their numbers; None for JAX's own choice.
    """

    how: How = "alone"
    processes: int | None = 1
    process: int | None = 0
    coordinator: str | None = None
    on_this_host: int = 1
    local_devices: tuple[int, ...] | None = None


def detect_launch(environ: Mapping[str, str], *, is_tpu_vm: bool = False) -> Launch:
    """Read from the environment how this process was started.

    Args:
        environ: the environment's variables.
        is_tpu_vm: whether this machine has TPU chips of its own (`has_tpu_chips`).

    Raises:
        StartError: naming a variable that is missing, is no number or cannot be, or a Slurm job whose tasks were
            not started by ``srun``.
    """
    launch = _detected(environ, is_tpu_vm)
    if launch.processes is not None and launch.process is not None and launch.process >= launch.processes:
        raise StartError(
            f"{launch.how} says that this is process {launch.process} of {launch.processes}; they go from 0 to "
            f"{launch.processes - 1}"
        )
    return launch


def _detected(environ: Mapping[str, str], is_tpu_vm: bool) -> Launch:
    if given := [name for name in _OWN if environ.get(name)]:
        return _own(environ, given)
    # Before Slurm: mpirun within a Slurm job leaves that job's variables to its processes.
    if (size := _whole(environ, "OMPI_COMM_WORLD_SIZE", 1)) > 1:
        local = _whole(environ, "OMPI_COMM_WORLD_LOCAL_SIZE", 1, least=1)
        return Launch("Open MPI", size, _whole(environ, "OMPI_COMM_WORLD_RANK", 0), on_this_host=local)
    if "SLURM_JOB_ID" in environ and (slurm := _slurm(environ)):
        return slurm
    hosts = [host for host in environ.get("TPU_WORKER_HOSTNAMES", "").split(",") if host]
    slices = _whole(environ, "MEGASCALE_NUM_SLICES", 1)
    if len(hosts) * slices > 1:
        process = _whole(environ, "MEGASCALE_SLICE_ID", 0) * len(hosts) + _whole(environ, "TPU_WORKER_ID", 0)
        return Launch("GKE", len(hosts) * slices, process)
    if is_tpu_vm and not hosts and "TPU_SKIP_MDS_QUERY" not in environ:
        return Launch("TPU VM", None, None)
    return Launch()


def _own(environ: Mapping[str, str], given: list[str]) -> Launch:
    if missing := [name for name in _OWN if name not in given]:
        raise StartError(
            f"{', '.join(given)} set, but not {', '.join(missing)}: processes that train together need all of "
            f"{', '.join(_OWN)}; for a single process set none"
        )
    coordinator = environ["NPI_COORDINATOR"]
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port[:6]) < 1 << 16:
        raise StartError(f"NPI_COORDINATOR={coordinator!r}: give host and port of process 0, such as node1:29400")
    processes, process = _whole(environ, "NPI_NUM_PROCESSES", 1), _whole(environ, "NPI_PROCESS_ID", 0)
    if processes < 1:
        raise StartError(f"NPI_NUM_PROCESSES={processes}: at least 1")
    if process >= processes:
        raise StartError(
            f"NPI_PROCESS_ID={process}: with NPI_NUM_PROCESSES={processes} it goes from 0 to {processes - 1}"
        )
    if processes == 1:
        return Launch()
    here = processes if host in _LOCAL_HOSTS else _whole(environ, "NPI_LOCAL_PROCESSES", 1, least=1)
    return Launch("NPI", processes, process, coordinator, here)


def _slurm(environ: Mapping[str, str]) -> Launch | None:
    tasks = _whole(environ, "SLURM_NTASKS", 1, least=1)
    if tasks == 1:
        return None
    if missing := [name for name in _SLURM if name not in environ]:
        raise StartError(
            f"Slurm gave this job {tasks} tasks, but this process was not started by srun ({', '.join(missing)} not "
            "set): write `srun npi-jax ...`, or ask for one task (--ntasks=1)"
        )
    # "2(x3),1": nodes after one another; the step's own says it for this step, not for the whole job.
    per_node = environ.get("SLURM_STEP_TASKS_PER_NODE", environ.get("SLURM_TASKS_PER_NODE", "1"))
    first = re.match(r"[1-9]\d{0,8}(?=\(|,|$)", per_node)
    if first is None:
        raise StartError(f"SLURM_STEP_TASKS_PER_NODE={per_node!r}: tasks of each node are wanted, such as 4 or 2(x3),1")
    here = int(first[0])
    local = _whole(environ, "SLURM_LOCALID", 0)
    visible = [device for device in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    # JAX takes GPU number SLURM_LOCALID; where Slurm hides the others, the one that is left has number 0.
    only_own = (0,) if len(visible) == 1 and local > 0 and "JAX_LOCAL_DEVICE_IDS" not in environ else None
    return Launch("Slurm", tasks, _whole(environ, "SLURM_PROCID", 0), None, here, only_own)


def _whole(environ: Mapping[str, str], name: str, default: int, least: int = 0) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise StartError(f"{name}={text!r}: a whole number{f' from {least}' if least else ''} is wanted")
    return int(text)


def has_tpu_chips() -> bool:
    """Whether TPU chips are attached to this machine, as on a TPU VM."""
    if not any(Path("/dev").glob("accel[0-9]*")) and not any(Path("/dev/vfio").glob("[0-9]*")):
        return False
    # Other devices are passed through in the same way; Google's own are chips, and network cards.
    found = Path("/sys/bus/pci/devices").glob("*/vendor")
    google = (path.parent / "device" for path in found if path.read_text().strip() == GOOGLE)
    return any(path.read_text().strip() != NETWORK_CARD for path in google)


def detect_this_launch() -> Launch:
    """How this very process was started.

    Raises:
        StartError: as `detect_launch`.
    """
    return detect_launch(os.environ, is_tpu_vm=has_tpu_chips())


def join_processes(launch: Launch, say: Callable[[str], None]) -> None:
    """Meet the other processes, if there are any; before anything is computed with JAX.

    Args:
        launch: from `detect_this_launch`.
        say: gets a line before and after, in every process: which of them it is, and on which host.

    Raises:
        StartError: if JAX could not begin. Where another process does not come in time, this one ends with exit
            status 1 after saying where to look.
    """
    if launch.how == "alone":
        return
    seconds = _whole(os.environ, "NPI_START_TIMEOUT", START_TIMEOUT)
    here = socket.gethostname()
    name = "this process" if launch.process is None else f"process {launch.process} of {launch.processes}"
    at = f" at {launch.coordinator}" if launch.coordinator else ""
    say(f"{name} on {here} ({launch.how}): waiting up to {seconds} s for the others{at}")
    overdue = threading.Timer(seconds, _give_up, (f"{name} on {here}: {_remedy(launch, seconds)}",))
    overdue.daemon = True
    overdue.start()
    try:
        jax.distributed.initialize(
            coordinator_address=launch.coordinator,
            num_processes=launch.processes if launch.coordinator else None,
            process_id=launch.process if launch.coordinator else None,
            local_device_ids=launch.local_devices,
            # With everything given there is nothing to detect, and a look around may find something else.
            cluster_detection_method="deactivate" if launch.coordinator else None,
            # JAX ends a process whose time is up without a word that would help: that is done here, and earlier.
            initialization_timeout=seconds + 30,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    except Exception as error:
        # JAX reads more variables than were looked at here, and raises whatever comes of one that it cannot read.
        raise StartError(
            f"{name} on {here}: JAX could not begin: {first_line(error)}. Another way to say which process this is: "
            f"set {', '.join(_OWN)}"
        ) from error
    finally:
        overdue.cancel()
    say(f"process {jax.process_index()} of {jax.process_count()} on {here}: all are here")


def _give_up(message: str) -> None:
    """End the process from a thread; the main one waits in code that no exception reaches."""
    print(f"npi-jax: {message}", file=sys.stderr, flush=True)
    os._exit(1)


def _remedy(launch: Launch, seconds: int) -> str:
    """What to look at where processes did not find one another."""
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
