"""Folding of text into lines of a given width; numbers are not split."""

import re
from typing import Final

from rich.cells import cell_len

_NUMBER: Final = re.compile(r"[-+−]?\d+(?:[.,:]?\d+)*")
_AFTER: Final = frozenset("_,()[]{}+/&:;|=-–")


def fold(text: str, width: int) -> list[str]:
    """Fold text into lines of at most `width` cells.

    A line ends at a space; if there is none, after punctuation; else anywhere but in a number. Since numbers are not
    split, the line of a number that is longer than the width is too long.
    """
    lines: list[str] = []
    rest = text
    while cell_len(rest) > width:
        end = _break(rest, width)
        if end >= len(rest):
            break
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, rest]


def longest_number(text: str) -> int:
    """Return the cells of the longest number in a text, which is the smallest width to which the text can be folded."""
    return max((cell_len(number[0]) for number in _NUMBER.finditer(text)), default=1)


def longest_word(text: str) -> int:
    """Return the cells of the longest word."""
    return max((cell_len(part) for part in text.split()), default=0)


def _break(text: str, width: int) -> int:
    """Return the index at which the first line ends."""
    inside = {index for number in _NUMBER.finditer(text) for index in range(number.start() + 1, number.end())}
    fit = _fitting(text, width)
    allowed = [index for index in range(1, fit + 1) if index not in inside]
    # A line can also end before a space that no longer fits, because spaces at its end are removed.
    spaces = [index for index in allowed if text[index : index + 1].isspace() or text[index - 1].isspace()]
    marks = [index for index in allowed if text[index - 1] in _AFTER]
    for ends in (spaces, marks, allowed):
        if ends and text[: ends[-1]].strip():
            return ends[-1]
    return next((index for index in range(fit + 1, len(text)) if index not in inside), len(text))


def _fitting(text: str, width: int) -> int:
    """Return the number of characters that fit into the width, but at least 1."""
    cells = 0
    for index, letter in enumerate(text):
        cells += cell_len(letter)
        if cells > width:
            return max(index, 1)
    return len(text)
