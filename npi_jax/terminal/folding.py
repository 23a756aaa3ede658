"""Text broken into lines of a width, never within a number."""

import re
from typing import Final

from rich.cells import cell_len

_NUMBER: Final = re.compile(r"[-+−]?\d+(?:[.,:]?\d+)*")
_AFTER: Final = frozenset("_,()[]{}+/&:;|=-–")


def fold(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken after spaces, else after punctuation, else anywhere but within a number.

    A number that is longer than the width stays whole, on a line that is too long.
    """
    lines: list[str] = []
    rest = text
    while cell_len(rest) > width:
        place = _break(rest, width)
        if place >= len(rest):
            break
        lines.append(rest[:place].rstrip())
        rest = rest[place:].lstrip()
    return [*lines, rest]


def longest_number(text: str) -> int:
    """Cells of the longest number in a text, which are the least that it can be folded to."""
    return max((cell_len(found[0]) for found in _NUMBER.finditer(text)), default=1)


def longest_word(text: str) -> int:
    """Cells of the longest part without a space."""
    return max((cell_len(part) for part in text.split()), default=0)


def _break(text: str, width: int) -> int:
    """Where the first line ends."""
    inside = {place for found in _NUMBER.finditer(text) for place in range(found.start() + 1, found.end())}
    fit = _fitting(text, width)
    allowed = [place for place in range(1, fit + 1) if place not in inside]
    # A space at the very end of the line does not count.
    spaces = [place for place in allowed if text[place : place + 1].isspace() or text[place - 1].isspace()]
    marks = [place for place in allowed if text[place - 1] in _AFTER]
    for places in (spaces, marks, allowed):
        if places and text[: places[-1]].strip():
            return places[-1]
    return next((place for place in range(fit + 1, len(text)) if place not in inside), len(text))


def _fitting(text: str, width: int) -> int:
    """How many characters fit; at least one."""
    cells = 0
    for place, letter in enumerate(text):
        cells += cell_len(letter)
        if cells > width:
            return max(place, 1)
    return len(text)
