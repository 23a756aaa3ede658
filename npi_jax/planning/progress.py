"""Progress of compilation: names of the programs that are being compiled. Each program takes seconds or minutes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]


class Progress:
    """Reports whenever the compilation of a program starts or ends; several may run at once.

    Args:
        say: gets a line for each report.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._running: list[str] = []

    @contextmanager
    def compiling(self, name: str) -> Iterator[None]:
        """Report the start and the end of the body, which compiles program `name`."""
        began = time.monotonic()
        with self._lock:
            self._running.append(name)
            self._say(f"compiling {', '.join(self._running)}")
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(name)
                left = f"; compiling {', '.join(self._running)}" if self._running else ""
                self._say(f"{name} took {time.monotonic() - began:.0f} s{left}")


def silent(line: str) -> None:
    """Ignore a line."""


QUIET = Progress(silent)
"""Reports nothing."""
