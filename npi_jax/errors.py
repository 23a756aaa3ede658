"""Errors that the user can fix, which the command line prints as one line; all other errors are bugs."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """An error in the user's input; the message says what is wrong, where, and what to do."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or else its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean WORD?)`` with the closest valid word; "" if none is close."""
    # Case is ignored, so that BLiMP matches blimp.
    names = {name.lower(): name for name in valid}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f" (did you mean {names[close[0]]}?)" if close else ""
