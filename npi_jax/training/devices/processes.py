"""Processes that train together: which of them writes, and how they agree.

All run the same program. The first alone writes to the run directory; what it cannot do, or any other cannot,
all must learn of, since one that ended while the others wait for it in an exchange would leave them waiting.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from npi_jax.errors import UserError
from npi_jax.training.devices.mesh import any_process
from npi_jax.training.monitor.stopping import Interrupted, StopRequest


class OtherProcessError(UserError):
    """Another of the processes that train together failed; its own output says why."""


def is_first_process() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


@contextmanager
def fail_together(what: str) -> Iterator[None]:
    """Run the body in every process; where it fails in one, or one is asked to stop, all raise.

    Args:
        what: what is being done, for the message of those that did not fail themselves.

    Raises:
        OtherProcessError: if it was another process that failed, with its number.
        Interrupted: if none failed, and one was asked to stop.
    """
    failure: Exception | Interrupted | None = None
    try:
        yield
    except (Exception, Interrupted) as error:
        failure = error
    if jax.process_count() > 1:
        asked, failed = isinstance(failure, Interrupted), isinstance(failure, Exception)
        every = multihost_utils.process_allgather(np.array([failed, asked]))
        if failure is None and every[:, 0].any():
            number = int(np.argmax(every[:, 0]))
            raise OtherProcessError(f"process {number} could not {what}; its own output says why")
        if failure is None and every[:, 1].any():
            raise Interrupted(f"process {int(np.argmax(every[:, 1]))} was asked to stop")
    if failure is not None:
        raise failure


def broadcast_from_first(value: int) -> int:
    """The value that the first process has."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def differing_processes(digest: str) -> list[int]:
    """The processes whose digest (hexadecimal) is not that of the first."""
    if jax.process_count() == 1:
        return []
    own = np.frombuffer(bytes.fromhex(digest), np.uint8)
    every = multihost_utils.process_allgather(own)
    return np.flatnonzero((every != every[0]).any(axis=1)).tolist()


class AgreedStop:
    """Whether training is to stop, with the same answer in all processes at the same call.

    One process is enough to ask. What processes say is exchanged behind the calls already begun and read a call
    later, so that nothing waits for it; a single process stops at once.
    """

    def __init__(self, stop: StopRequest, mesh: Mesh):
        self._stop, self._mesh = stop, mesh
        self._late: jax.Array | np.bool_ = np.bool_(False)

    def __call__(self) -> bool:
        """The answer before the next call of the training step."""
        flag = any_process(self._stop.requested, self._mesh)
        if jax.process_count() == 1:
            return bool(flag)
        late, self._late = self._late, flag
        return bool(late)
