"""Stopping on request: SIGTERM and ctrl-C end a run after its current call, with its state saved."""

import signal
from types import FrameType, TracebackType
from typing import Any

EXIT_CODE = 42
"""Exit status of a run that was asked to stop and has saved: schedulers restart it with the same command."""


class Stopped(Exception):
    """Training was asked to stop and has saved its state."""

    def __init__(self, step: int):
        super().__init__(f"stopped at step {step}; the state is saved, and the same command goes on from there")
        self.step = step


class StopRequest:
    """While entered, SIGTERM and the first ctrl-C only set `requested`; a second ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        self.requested = True

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
