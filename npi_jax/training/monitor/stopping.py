"""Stopping on request: a signal, or an output that is gone, ends a run so that the same command goes on with it.

While there is a state in memory the request is only noted, and training ends after its current call, with the state
saved. At any other time nothing would be lost, since every file is whole or absent: work ends at once.
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
"""Exit status of a run that was asked to stop: schedulers restart it with the same command, and nothing is lost."""

LOST_OUTPUT = 43
"""Exit status of a run that stopped in the same way because its terminal or log is gone."""

AGAIN = 0.05
"""Seconds after which `Interrupted` is raised again where it was dropped."""

_REASONS = {
    signal.SIGTERM: ("SIGTERM", EXIT_CODE),
    signal.SIGINT: ("ctrl-C", EXIT_CODE),
    signal.SIGHUP: ("SIGHUP: the terminal is gone", LOST_OUTPUT),
}


class Interrupted(KeyboardInterrupt):
    """Work was asked to end at once; as ctrl-C is, so that no library takes it for an error of its own."""


class Stopped(Exception):
    """A run was asked to stop, and the same command goes on with it.

    Args:
        message: what was saved, and what the same command does.
        status: the exit status that says so.
    """

    def __init__(self, message: str, status: int = EXIT_CODE):
        super().__init__(message)
        self.status = status


class StopRequest:
    """While entered, SIGTERM, SIGHUP and ctrl-C ask for an end; a second ctrl-C interrupts whatever goes on.

    A signal that is ignored, as SIGHUP is under nohup, stays so. Enter it in the main thread.

    Args:
        grace: seconds after which the process ends where `Interrupted` did not end it, as while a library compiles;
            None to leave that to whoever called.

    Attributes:
        requested: whether an end was asked for.
        interrupted: whether `Interrupted` was raised.
        reason: by what an end was asked for; "" where it was not.
        status: the exit status that says so.
        several: other processes train together with this one, which has to agree with them on where to end.
    """

    def __init__(self, grace: float | None = None) -> None:
        self.requested = self.interrupted = False
        self.reason, self.status = "", EXIT_CODE
        self.multi_process = False
        self._grace = grace
        self._held = 0
        self._asked: tuple[str, int] | None = None
        self._before: dict[int, Any] = {}
        self._inside = False
        self._late: LateEnd | None = None
        self._hook: Any = None
        self._again: threading.Timer | None = None

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A request is only noted in here; whoever works looks at `requested`."""
        before, self._held = self._held, self._held + 1
        try:
            yield
        finally:
            self._held = before

    @contextmanager
    def interruptible(self, *, exchanging: bool = False) -> Iterator[None]:
        """A request ends what is done in here, although it is only noted around it.

        Args:
            exchanging: the processes of a run exchange something in here, so that none may leave alone.

        Raises:
            Interrupted: at a request, or if there was one before.
        """
        if exchanging and self.multi_process:
            yield
            return
        before, self._held = self._held, 0
        try:
            self.check()
            yield
        finally:
            self._held = before

    def check(self) -> None:
        """Act on a request that was only noted.

        Raises:
            Interrupted: if there was one.
        """
        if self.reason:
            self.interrupted = True
            raise Interrupted(self.reason)

    def listen(self) -> None:
        """Take signals, again where a library has put its own handler in the place of this one."""
        for number in _REASONS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before = signal.signal(number, self._handle)
                self._before.setdefault(number, before)

    def ask(self, reason: str, status: int) -> None:
        """Ask for an end, from any thread, for a reason that is no signal's."""
        if not self.requested and self._before:
            self._asked = reason, status
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._again is not None:
            self._again = None
            if not self._held:
                self.check()
        elif self.requested:
            if number == signal.SIGINT:
                signal.default_int_handler(number, frame)
        else:
            self.requested = True
            self.reason, self.status = self._asked or _REASONS[signal.Signals(number)]
            if not self._held:
                self.check()

    def _unraisable(self, unraisable: Any) -> None:
        """Raise `Interrupted` again that Python dropped, since it came in a callback of the garbage collector."""
        if not isinstance(unraisable.exc_value, Interrupted):
            self._hook(unraisable)
            return
        main = threading.main_thread().ident or 0
        # Later, since in here it would be dropped again.
        self._again = threading.Timer(AGAIN, signal.pthread_kill, (main, signal.SIGTERM))
        self._again.daemon = True
        self._again.start()

    def _overdue(self, number: int) -> tuple[str, int] | None:
        """Return what to say and the exit status where a signal should have ended the process; None where not."""
        if self.multi_process or (not self.interrupted and (self.requested or self._held)):
            # It waits for the other processes, or for a state to be saved.
            return None
        status = self.status if self.requested else _REASONS[signal.Signals(number)][1]
        if self._inside:
            return "npi-jax: stopped; nothing is half-written, and the same command goes on\n", status
        # A caller that goes on, such as a notebook, is left alone.
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
