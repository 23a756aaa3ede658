"""The end of a process that a signal has not ended, since its main thread is in the code of a library."""

import os
import signal
import threading
from collections.abc import Callable

POLL = 0.1


class LateEnd:
    """Looks some seconds after every signal whether the process should be gone, until it is closed.

    Python runs handlers of signals in the main thread, between two steps of the interpreter: while that thread
    compiles, or waits for another process, nothing happens. A process that ends may also wait for its other threads.

    Args:
        seconds: from the signal.
        overdue: is given the signal; returns what to write to standard error and the exit status where the process
            should have ended, and None where it should not.
    """

    def __init__(self, seconds: float, overdue: Callable[[int], tuple[str, int] | None]):
        self._seconds, self._overdue = seconds, overdue
        self._closed = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="late end", daemon=True).start()

    def close(self) -> None:
        """Look at no further signals; one that came counts on."""
        signal.set_wakeup_fd(self._before)
        self._closed = True
        os.close(self._writer)

    def _watch(self) -> None:
        wanted = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT}
        while came := os.read(self._reader, 1):
            if came[0] not in wanted:
                continue
            threading.Event().wait(self._seconds)
            self._end_if_overdue(came[0])
        os.close(self._reader)

    def _end_if_overdue(self, number: int) -> None:
        while True:
            if late := self._overdue(number):
                said, status = late
                _write(said)
                os._exit(status)
            if not self._closed:
                return
            threading.Event().wait(POLL)


def _write(text: str) -> None:
    """Write to standard error as it is: the main thread may hold the locks of Python's own streams."""
    try:
        os.write(2, text.encode())
    except OSError:
        # Nobody reads it.
        return
