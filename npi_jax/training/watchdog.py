"""A watchdog: a process that hangs says where, and ends, so that whatever started it can start it again."""

import faulthandler
from types import TracebackType

STDERR = 2


class Watchdog:
    """While entered, ends the process with exit status 1 if `beat` is not called for some time.

    Before that it writes the stacks of all threads to standard error. It counts in a thread of its own outside of
    Python's interpreter, by a clock that nobody sets, and so also sees a process that waits in a library's code.

    Args:
        seconds: the time; 0 for no watchdog.
    """

    def __init__(self, seconds: int):
        self._seconds = seconds

    def beat(self) -> None:
        """Say that the process is alive: the time begins anew."""
        if self._seconds:
            # By its number, which stays the process's own where somebody put another object in its place.
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=STDERR)

    def __enter__(self) -> "Watchdog":
        self.beat()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
