"""Suppression of tracebacks from reads of a checkpoint that end after another read has failed."""

import sys
from collections.abc import Callable

_CLOSED = "Event loop is closed"


def hush_late_reads() -> None:
    """Suppress the tracebacks of reads that end after Orbax has raised an error; other tracebacks are still printed.

    If one file cannot be read, Orbax closes its event loop while TensorStore is still reading other files. Each of
    these reads would then print a traceback, in some cases after the command has printed its error.
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
