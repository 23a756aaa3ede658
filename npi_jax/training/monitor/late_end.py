"""End of a process whose main thread does not react to a signal, because it executes library code."""

import os
import signal
import threading
from collections.abc import Callable

POLL_SECONDS = 0.1


class LateEnd:
    """Checks, some seconds after a signal to stop, whether the process should have ended; if so, ends it.

    Python runs signal handlers in the main thread, between two steps of the interpreter. While that thread compiles or
    waits for another process, no handler runs. The exit of a process may also wait for its other threads.

    Args:
        seconds: time from the signal to the check.
        overdue: function that takes the signal, and returns None if the process may continue. Otherwise it returns a
            message for standard error, and the exit status.
    """

    def __init__(self, seconds: float, overdue: Callable[[int], tuple[str, int] | None]):
        self._seconds, self._overdue = seconds, overdue
        self._closed = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="late end", daemon=True).start()

    def close(self) -> None:
        """Ignore further signals; the check after an earlier signal still takes place."""
        signal.set_wakeup_fd(self._before)
        self._closed = True
        os.close(self._writer)

    def _watch(self) -> None:
        wanted = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT}
        while received := os.read(self._reader, 1):
            if received[0] not in wanted:
                continue
            threading.Event().wait(self._seconds)
            self._end_if_overdue(received[0])
        os.close(self._reader)

    def _end_if_overdue(self, number: int) -> None:
        while True:
            if late := self._overdue(number):
                message, status = late
                _write(message)
                os._exit(status)
            if not self._closed:
                return
            threading.Event().wait(POLL_SECONDS)


def _write(text: str) -> None:
    """Write directly to standard error, because the main thread may hold the locks of Python's streams."""
    try:
        os.write(2, text.encode())
    except OSError:
        # Standard error is closed, so nobody can read the message.
        return
