"""Stopping on request. A signal or the loss of the output stops a run, and the same command continues it.

During training a request is deferred: training stops after the current call and saves its state. At any other time a
request ends the work immediately. No data is lost then, since every file is complete or absent.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from npi_jax.training.monitor.late_end import LateEnd

EXIT_CODE = 42
"""Exit status of a run that was asked to stop; schedulers may restart it with the same command."""

LOST_OUTPUT = 43
"""Exit status of a run that stopped because it lost its terminal or log; the same command continues it."""

RAISE_AGAIN_SECONDS = 0.05
"""Delay after which `Interrupted` is raised again if Python dropped it."""

_REASONS = {
    signal.SIGTERM: ("SIGTERM", EXIT_CODE),
    signal.SIGINT: ("ctrl-C", EXIT_CODE),
    signal.SIGHUP: ("SIGHUP: the terminal is gone", LOST_OUTPUT),
}


class Interrupted(KeyboardInterrupt):
    """A request to stop interrupted the work. As a KeyboardInterrupt it is not handled as an error by libraries."""


class Stopped(Exception):
    """A run stopped on request, and the same command continues it.

    Args:
        message: statement of the saved state, and of the effect of repeating the command.
        status: the exit status of the process.
    """

    def __init__(self, message: str, status: int = EXIT_CODE):
        super().__init__(message)
        self.status = status


class StopRequest:
    """Context manager within which SIGTERM, SIGHUP and ctrl-C request a stop; a second ctrl-C interrupts the process.

    An ignored signal, such as SIGHUP under nohup, stays ignored. Enter the context in the main thread.

    Args:
        grace: seconds after a signal until a process that should have stopped is ended. Python cannot raise
            `Interrupted` while a library is compiling. With None the caller must end the process.

    Attributes:
        requested: True if a stop was requested.
        interrupted: True if `Interrupted` was raised.
        reason: the signal or another reason of the request; "" without a request.
        status: the exit status for this reason.
        multi_process: True if several processes train jointly and must agree on the time to stop.
    """

    def __init__(self, grace: float | None = None) -> None:
        self.requested = self.interrupted = False
        self.reason, self.status = "", EXIT_CODE
        self.multi_process = False
        self._grace = grace
        self._deferring = 0
        self._asked: tuple[str, int] | None = None
        self._before: dict[int, Any] = {}
        self._inside = False
        self._late: LateEnd | None = None
        self._hook: Any = None
        self._again: threading.Timer | None = None

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer requests during the body, which must check `requested`."""
        before, self._deferring = self._deferring, self._deferring + 1
        try:
            yield
        finally:
            self._deferring = before

    @contextmanager
    def interruptible(self, *, exchanging: bool = False) -> Iterator[None]:
        """Let requests interrupt the body, even within `deferred`.

        Args:
            exchanging: True if several processes exchange data in the body, so that none may leave it alone. With
                several processes requests are then deferred.

        Raises:
            Interrupted: if a stop is requested in the body, or was requested before.
        """
        if exchanging and self.multi_process:
            yield
            return
        before, self._deferring = self._deferring, 0
        try:
            self.check()
            yield
        finally:
            self._deferring = before

    def check(self) -> None:
        """Interrupt the work if there is a deferred request.

        Raises:
            Interrupted: if there is a request.
        """
        if self.reason:
            self.interrupted = True
            raise Interrupted(self.reason)

    def listen(self) -> None:
        """Install the handlers of the signals; call it again if a library may have replaced them."""
        for number in _REASONS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before = signal.signal(number, self._handle)
                self._before.setdefault(number, before)

    def ask(self, reason: str, status: int) -> None:
        """Request a stop for a reason other than a signal; may be called in any thread."""
        if not self.requested and self._before:
            self._asked = reason, status
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._again is not None:
            self._again = None
            if not self._deferring:
                self.check()
        elif self.requested:
            if number == signal.SIGINT:
                signal.default_int_handler(number, frame)
        else:
            self.requested = True
            self.reason, self.status = self._asked or _REASONS[signal.Signals(number)]
            if not self._deferring:
                self.check()

    def _unraisable(self, unraisable: Any) -> None:
        """Raise `Interrupted` again if Python dropped it, because a callback of the garbage collector raised it."""
        if not isinstance(unraisable.exc_value, Interrupted):
            self._hook(unraisable)
            return
        main = threading.main_thread().ident or 0
        # Raise it after a delay, since Python would drop it here again.
        self._again = threading.Timer(RAISE_AGAIN_SECONDS, signal.pthread_kill, (main, signal.SIGTERM))
        self._again.daemon = True
        self._again.start()

    def _overdue(self, number: int) -> tuple[str, int] | None:
        """Return a message and the exit status if a signal should already have ended the process, else None."""
        if self.multi_process or (not self.interrupted and (self.requested or self._deferring)):
            # The process still waits for other processes, or until a state is saved.
            return None
        status = self.status if self.requested else _REASONS[signal.Signals(number)][1]
        if self._inside:
            return "npi-jax: stopped; nothing is half-written, and the same command goes on\n", status
        # The caller may continue after an interruption, as a notebook does.
        return None if threading.main_thread().is_alive() else ("", status)

    def __enter__(self) -> "StopRequest":
        self.listen()
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        if self._grace is not None:
            self._late = LateEnd(self._grace, self._overdue)
        self._inside = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside = False
        sys.unraisablehook = self._hook
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._late is not None:
            self._late.close()
