"""Agreement and failure of several processes that train together.

All processes run the same program, and process 0 alone writes to the run directory. An error in one process must end
all processes: otherwise the others would wait for it in the next exchange.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Bool

from npi_jax.errors import UserError
from npi_jax.training.devices.mesh import any_process
from npi_jax.training.monitor.stopping import Interrupted, StopRequest


class OtherProcessError(UserError):
    """Another process failed; the reason is in the output of that process."""


def is_first_process() -> bool:
    """Return whether this is process 0, which writes to the run directory."""
    return jax.process_index() == 0


@contextmanager
def fail_together(what: str) -> Iterator[None]:
    """Run the body, which all processes must enter; if it fails or is interrupted in one process, raise in all.

    Args:
        what: name of the work for the message of the other processes, such as "save the state".

    Raises:
        OtherProcessError: naming the other process in which the body failed.
        Interrupted: if the body failed in no process, and another process was asked to stop.
    """
    failure: Exception | Interrupted | None = None
    try:
        yield
    except (Exception, Interrupted) as error:
        failure = error
    if jax.process_count() > 1:
        interrupted, failed = isinstance(failure, Interrupted), isinstance(failure, Exception)
        outcomes = multihost_utils.process_allgather(np.array([failed, interrupted]))
        if failure is None and outcomes[:, 0].any():
            number = int(np.argmax(outcomes[:, 0]))
            raise OtherProcessError(f"process {number} could not {what}; its own output says why")
        if failure is None and outcomes[:, 1].any():
            raise Interrupted(f"process {int(np.argmax(outcomes[:, 1]))} was asked to stop")
    if failure is not None:
        raise failure


def broadcast_from_first(value: int) -> int:
    """Return the value of process 0 in all processes."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def differing_processes(digest: str) -> list[int]:
    """Return the processes whose digest (hexadecimal) differs from that of process 0."""
    if jax.process_count() == 1:
        return []
    digests = multihost_utils.process_allgather(np.frombuffer(bytes.fromhex(digest), np.uint8))
    return np.flatnonzero((digests != digests[0]).any(axis=1)).tolist()


class AgreedStop:
    """Decides before each training call whether to stop; all processes decide alike.

    If one process is asked to stop, all processes stop. Several processes exchange their requests on the devices, after
    the calls that are queued there. The result is read one call later, so that no process waits for it. A single
    process stops before its next call.

    Args:
        stop: requests to this process.
        mesh: the devices of all processes.
    """

    def __init__(self, stop: StopRequest, mesh: Mesh):
        self._stop, self._mesh = stop, mesh
        self._late: Bool[Array, ""] | np.bool_ = np.bool_(False)

    def __call__(self) -> bool:
        """Return whether to stop before the next training call."""
        flag = any_process(self._stop.requested, self._mesh)
        if jax.process_count() == 1:
            return bool(flag)
        late, self._late = self._late, flag
        return bool(late)
