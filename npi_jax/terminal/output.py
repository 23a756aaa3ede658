"""Standard output that may fail: the reader of a pipe ends, the terminal is closed, or the disk of a log is full."""

import io
import os
import sys
from collections.abc import Callable
from typing import Any

STANDARD = (0, 1, 2)
"""File descriptors of standard input, output and error."""


class Output(io.TextIOBase):
    """Text stream that discards all text after the first failed write.

    Args:
        stream: text stream, such as `sys.stdout`; None if it was closed before the process began.
        lost: function that is called once, with the reason, when a write fails; it runs in the thread that wrote.

    Attributes:
        loss: reason of the failure; "" before a failure.
    """

    def __init__(self, stream: Any, lost: Callable[[str], None]):
        super().__init__()
        self._stream, self._lost = stream, lost
        self.loss = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the stream."""
        return (self._stream and getattr(self._stream, "encoding", None)) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Error handler of the stream's encoding; Python's `input` reads it."""
        return (self._stream and getattr(self._stream, "errors", None)) or "strict"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
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
        """Flush the stream."""
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
        self._lost(f"standard output can no longer be written ({self.loss})")


def _discard(stream: Any) -> None:
    """Redirect a stream's descriptor to the null device, because Python would write its buffer again at exit."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        # The stream is in memory or closed, so Python does not write it at exit.
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def complain(line: str) -> None:
    """Write a line to standard error, or do nothing if it is closed."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        if sys.stderr is not None:
            _discard(sys.stderr)


def hold_standard_streams() -> None:
    """Open the null device for each standard stream that was closed before the process began.

    Otherwise the next file that is opened would get the stream's descriptor, and output to the stream would be written
    into this file.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            # The operating system assigns the lowest free descriptor, which is `number`.
            os.open(os.devnull, os.O_RDWR)
