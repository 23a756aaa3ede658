"""Errors that the user can fix: the command line prints one line. Anything else is a bug and keeps its traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something wrong with what the user gave; the message says what, where, and what to do."""


def first_line(error: BaseException) -> str:
    """The beginning of what an error says, for the messages of ours; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean WORD?)`` with the valid word that is closest; nothing where none is close."""
    # Lower case decides, so that BLiMP finds blimp.
    names = {name.lower(): name for name in valid}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f" (did you mean {names[close[0]]}?)" if close else ""
