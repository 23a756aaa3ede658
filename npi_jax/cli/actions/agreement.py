"""Agreement between the annotator's word patterns and dependency parses."""

from collections import Counter
from collections.abc import Sequence

import polars as pl
from rich.console import Console

from npi_jax.terminal.tables import TextTable

NO_ITEM_FOUND = "not found"
"""Label of an item that the word patterns recognize and the parses do not."""


def print_agreement(frame: pl.DataFrame, labels: Sequence[str], console: Console) -> None:
    """Print a confusion table, the share of items with equal labels, and Cohen's kappa.

    Args:
        frame: one row for each item, with the columns environment and parse_environment.
        labels: all labels, in the order of the table.
        console: the terminal.
    """
    pairs = Counter(frame.select("environment", "parse_environment").iter_rows())
    used = [label for label in (*labels, NO_ITEM_FOUND) if any(label in pair for pair in pairs)]
    table = TextTable("word patterns (rows) and parses (columns)", ["", *used])
    for label in used:
        table.add_row(label, *(f"{pairs[label, other]:,}" if pairs[label, other] else "" for other in used))
    console.print(table)
    share, kappa = agreement(pairs)
    shown = "not defined" if kappa is None else f"{kappa:.3f}"
    console.print(f"the same label: {share:.3f} of {len(frame):,} items; Cohen's kappa {shown}", highlight=False)


def agreement(pairs: Counter[tuple[str, str]]) -> tuple[float, float | None]:
    """Return the share of pairs with equal labels, and Cohen's kappa (1960); None if chance agreement is 1."""
    total = pairs.total()
    if not total:
        return float("nan"), None
    equal = sum(count for (one, other), count in pairs.items() if one == other) / total
    rows: Counter[str] = Counter()
    columns: Counter[str] = Counter()
    for (one, other), count in pairs.items():
        rows[one] += count
        columns[other] += count
    chance = sum(rows[label] * columns[label] for label in rows) / total**2
    return equal, None if chance == 1 else (equal - chance) / (1 - chance)
