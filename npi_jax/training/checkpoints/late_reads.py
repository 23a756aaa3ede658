"""Reads of a checkpoint that end after one of them has failed, and the tracebacks that they would print."""

import sys
from collections.abc import Callable

_CLOSED = "Event loop is closed"


def hush_late_reads() -> None:
    """Suppress the tracebacks of reads that end after Orbax has raised an error; others are shown as before.

    If one file cannot be read, Orbax closes its event loop while TensorStore is still reading other files. Each of
    these reads would then print a traceback, some of them after the command has printed its error.
    """
    if not isinstance(sys.unraisablehook, _Hush):
        sys.unraisablehook = _Hush(sys.unraisablehook)


class _Hush:
    def __init__(self, shown: Callable[["sys.UnraisableHookArgs"], object]):
        self._shown = shown

    def __call__(self, unraisable: "sys.UnraisableHookArgs", /) -> None:
        error = unraisable.exc_value
        if unraisable.object is not None or not isinstance(error, RuntimeError) or str(error) != _CLOSED:
            self._shown(unraisable)
