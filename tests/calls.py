"""The command line called in this process, for tests of what a user sees."""

import contextlib
import io
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from npi_jax.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: exit status, and what it printed."""

    status: int
    out: str
    error: str


class HangError(AssertionError):
    """A command took longer than it may."""


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise `HangError` in what takes longer; main thread only."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def call(*words: str, seconds: int = 10) -> Outcome:
    """Call ``npi-jax WORDS`` and return its outcome; an exception that leaves `main` is a traceback and fails."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), at_most(seconds):
        try:
            status = main(list(words))
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
    return Outcome(status, out.getvalue(), error.getvalue())


def assert_refused(outcome: Outcome) -> str:
    """Return the message of a command that refused what it was given in so many words."""
    shown = outcome.out + outcome.error
    assert outcome.status in (1, 2), shown
    assert "Traceback" not in shown, shown
    assert "bug in npi-jax" not in shown, shown
    lines = [line for line in outcome.error.splitlines() if line.startswith("npi-jax: ")]
    assert lines, shown
    return lines[-1]
