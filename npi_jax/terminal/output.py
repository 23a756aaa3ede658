"""Standard output that may go away: a reader that ended, a terminal that was closed, a log on a full disk."""

import io
import os
import sys
from collections.abc import Callable
from typing import Any

STANDARD = (0, 1, 2)
"""Descriptors of standard input, output and error."""


class Output(io.TextIOBase):
    """Writes to a stream until that fails once, and to nothing after it.

    Args:
        stream: of text, such as `sys.stdout`; None where it was closed before the process began.
        lost: called once, with the reason, when the stream fails; in whatever thread was writing.
    """

    def __init__(self, stream: Any, lost: Callable[[str], None]):
        super().__init__()
        self._stream, self._lost = stream, lost
        self.loss = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's encoding."""
        return (self._stream and getattr(self._stream, "encoding", None)) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What the stream does with characters that it cannot write; `input` asks for it."""
        return (self._stream and getattr(self._stream, "errors", None)) or "strict"

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        if self._stream is None:
            raise io.UnsupportedOperation("there is no stream")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write text."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Send what was written."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def _lose(self, error: OSError | ValueError) -> None:
        stream, self._stream = self._stream, None
        self.loss = getattr(error, "strerror", None) or str(error)
        if stream is not None:
            _discard(stream)
        self._lost(f"standard output is gone ({self.loss})")


def _discard(stream: Any) -> None:
    """Let what a stream still holds go nowhere; Python would try again to write it at its end, and complain."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        # A stream in memory, or closed: nothing is tried again.
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def complain(line: str) -> None:
    """Write a line to standard error, if anybody can still read it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        if sys.stderr is not None:
            _discard(sys.stderr)


def hold_standard_streams() -> None:
    """Open standard streams that were closed before the process began, on nothing.

    The next file that is opened would get the number of one, and a library that logs to that number would write into
    the file.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)
