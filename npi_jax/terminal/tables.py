"""Tables for the terminal, in which numbers are not cut even if the terminal is narrow."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from npi_jax.terminal.folding import fold, longest_number, longest_word
from npi_jax.terminal.visible import visible

NAME: Final = 12
"""Smallest width to which a column of words is folded, in cells; narrower columns would split many words."""
PIPED: Final = 130
"""Width of output to a file or pipe, in cells, if the environment variable COLUMNS is not set."""
_GAPS: Final = (3, 2, 1)


def output_width(*, terminal: bool, environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the width of output in cells: None for a terminal, which knows its width; otherwise COLUMNS or `PIPED`."""
    if terminal:
        return None
    columns = environment.get("COLUMNS", "")
    # A log file has no width. Rich would assume 80 columns, which is too narrow for the tables of this project.
    return max(int(columns), 20) if columns.isascii() and columns.isdigit() and int(columns) else PIPED


@dataclass
class TextTable:
    """A table of texts, to be printed with ``console.print``.

    Columns of words are aligned left, and folded if the terminal is too narrow. The other columns contain numbers; they
    are aligned right and not folded. If the columns do not fit side by side, the table is printed in blocks of
    columns, each with the first column. If a column does not even fit next to the first, each cell is printed on a
    line.

    Attributes:
        title: title above the table; "" for none.
        heads: head of each column; all "" for a table without heads.
        words: indices of the columns of words.
    """

    title: str
    heads: Sequence[str]
    words: Collection[int] = (0,)
    _rows: list[tuple[list[str], str]] = field(default_factory=list)

    def add_row(self, *cells: str, style: str = "") -> None:
        """Add a row with one text for each column.

        Raises:
            ValueError: if there are more or fewer cells than columns.
        """
        if len(cells) != len(self.heads):
            raise ValueError(f"{len(cells)} cells for {len(self.heads)} columns")
        self._rows.append(([visible(cell) for cell in cells], style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = options.max_width
        if self.title:
            for line in fold(visible(self.title), width):
                yield _line(line, "italic")
        yield _line("", "")
        blocks = self._blocks(width)
        if blocks is None:
            yield from self._listed(width)
        else:
            yield from (line for block in blocks for line in self._drawn(*block))

    def _blocks(self, width: int) -> list[tuple[list[int], list[int], int]] | None:
        """Return blocks of columns, with the columns, widths and gap of each; None if a column is too wide."""
        columns = list(range(len(self.heads)))
        if fitted := self._fit(columns, width):
            return [fitted]
        groups, group = [], [0]
        for column in columns[1:]:
            if len(group) > 1 and not self._fit([*group, column], width):
                groups.append(group)
                group = [0]
            group = [*group, column]
        blocks = [self._fit(group, width) for group in [*groups, group]]
        return None if None in blocks else [block for block in blocks if block]

    def _fit(self, columns: list[int], width: int) -> tuple[list[int], list[int], int] | None:
        """Return widths with which the columns fit side by side; None if there are none.

        If needed, heads are folded, and then words.
        """
        full, folded, least = ([self._width(column, how) for column in columns] for how in ("full", "heads", "least"))
        for widths in (full, folded):
            for gap in _GAPS:
                if sum(widths) + _frame(len(columns), gap) <= width:
                    return columns, widths, gap
        available = width - _frame(len(columns), 1)
        if sum(least) > available:
            return None
        return columns, _shrunk(folded, least, available), 1

    def _width(self, column: int, how: str) -> int:
        """Return a column's width: not folded (``full``), with a folded head (``heads``), or smallest (``least``)."""
        head = self.heads[column]
        cells = [cells[column] for cells, _ in self._rows]
        content = max(map(cell_len, cells), default=0)
        if how == "full":
            return max(content, cell_len(head))
        if how == "least" and column in self.words:
            numbers = max(map(longest_number, [head, *cells]), default=1)
            return max(numbers, min(NAME, max(content, longest_word(head))))
        # A long word in a head may be split, but not into single letters.
        return max(content, longest_number(head), min(longest_word(head), content + 6 if how == "least" else 99))

    def _drawn(self, columns: list[int], widths: list[int], gap: int) -> Iterator[Text]:
        margin = gap - 1
        if any(self.heads):
            yield from self._row([self.heads[column] for column in columns], columns, widths, gap, "bold")
            rule = sum(widths) + gap * (len(widths) - 1) + 2 * min(margin, 1)
            yield _line(" " * (margin - min(margin, 1)) + "─" * rule, "")
        for cells, style in self._rows:
            yield from self._row([cells[column] for column in columns], columns, widths, gap, style)
        yield _line("", "")

    def _row(self, cells: list[str], columns: list[int], widths: list[int], gap: int, style: str) -> Iterator[Text]:
        folded = [fold(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for number in range(max(map(len, folded))):
            parts = []
            for column, lines, width in zip(columns, folded, widths, strict=True):
                part = lines[number] if number < len(lines) else ""
                padding = " " * (width - cell_len(part))
                parts.append(part + padding if column in self.words else padding + part)
            yield _line(" " * (gap - 1) + (" " * gap).join(parts).rstrip(), style)

    def _listed(self, width: int) -> Iterator[Text]:
        """Print each row as a line with its first cell, and a line for each other cell."""
        for cells, style in self._rows:
            for line in fold(f"{self.heads[0]} {cells[0]}".strip(), width):
                yield _line(line, style or "bold")
            for head, cell in zip(self.heads[1:], cells[1:], strict=True):
                first, *more = fold(f"{head}: {cell}" if head else cell, width - 2)
                yield _line(f"  {first}", style)
                yield from (_line(f"    {line}", style) for part in more for line in fold(part, width - 4))
        yield _line("", "")


def _frame(n_columns: int, gap: int) -> int:
    """Return the width of gaps and margins together, in cells."""
    return gap * (n_columns - 1) + 2 * (gap - 1)


def _shrunk(widths: list[int], least: list[int], available: int) -> list[int]:
    """Reduce widths until they fit: always that of the widest column that can still be reduced."""
    widths = list(widths)
    while sum(widths) > available:
        spare = [width - low for width, low in zip(widths, least, strict=True)]
        widest = max((column for column, cells in enumerate(spare) if cells > 0), key=lambda column: widths[column])
        widths[widest] -= 1
    return widths


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ignore", end="\n")
