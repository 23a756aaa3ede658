"""Reads of a checkpoint that end after one of them has failed."""

import sys
from collections.abc import Callable

_CLOSED = "Event loop is closed"


def hush_late_reads() -> None:
    """Let reads that end after Orbax has given up say nothing; all else that Python cannot raise is shown as before.

    Where one file cannot be read, Orbax closes its event loop before TensorStore has read the others, and each of these
    then prints a traceback, some when the command has already said what is wrong.
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
