"""Errors that the user can fix. The command line prints them as one line; other errors are bugs."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """An error that the user can fix; the message states the error, its place, and a remedy or valid values."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean WORD?)`` with the closest valid word; "" if none is close."""
    # Case is ignored, so that BLiMP is close to blimp.
    names = {name.lower(): name for name in valid}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f" (did you mean {names[close[0]]}?)" if close else ""
