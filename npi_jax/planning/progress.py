"""Saying which programs are being compiled, while they are: the compiler takes seconds or minutes for each."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]


class Progress:
    """Names the programs that are being compiled, several at once, whenever one begins or ends."""

    def __init__(self, say: Say) -> None:
        """Prepare to give `say` a line at every change."""
        self._say = say
        self._lock = threading.Lock()
        self._running: list[str] = []

    @contextmanager
    def compiling(self, name: str) -> Iterator[None]:
        """Name a program while the body compiles it."""
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
    """Say nothing."""


QUIET = Progress(silent)
