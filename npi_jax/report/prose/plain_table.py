"""Tables whose cells are text, and functions that format cells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from npi_jax.analysis.statistics import LEVEL
from npi_jax.report.format import p_value, short_number

INTERVAL: Final = f"{LEVEL:.0%} interval"


@dataclass(frozen=True)
class PlainTable:
    """A table whose cells are text.

    Attributes:
        title, note: title and explanation for the reader; the note can be empty.
        heads: head of each column.
        rows: cells of each row; the first is the name of the row.
        words: indices of columns with words instead of numbers, except the first column.
    """

    title: str
    heads: list[str]
    rows: list[list[str]]
    note: str = ""
    words: set[int] = field(default_factory=set)


def interval_ends(row: dict[str, Any], names: Sequence[str] = ("low", "high")) -> str:
    """Format the ends of an interval; a dash if one is missing."""
    low, high = (row[name] for name in names)
    return f"{number_cell(low)} to {number_cell(high)}" if _known(low) and _known(high) else "–"


def number_cell(value: Any, digits: int = 2) -> str:
    """Format a number; a dash if it is missing."""
    if not _known(value):
        return "–"
    return f"{value:,.0f}" if digits == 0 else short_number(value, digits)


def p_cell(value: Any) -> str:
    """Format a p-value without the letter p; a dash if it is missing."""
    return p_value(value).removeprefix("p ").removeprefix("= ") if _known(value) else "–"


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(value)
