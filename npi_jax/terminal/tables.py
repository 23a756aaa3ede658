"""Tables for the terminal in which no number is ever cut, however narrow it is."""

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
"""Cells that a column of words keeps, if it has so many: below that it is no longer read as words."""
PIPED: Final = 130
"""Columns of a file or a pipe, where COLUMNS does not say another number."""
_GAPS: Final = (3, 2, 1)


def output_width(*, terminal: bool, environment: Mapping[str, str] = os.environ) -> int | None:
    """Columns to print for: None where the terminal knows, else COLUMNS, else `PIPED`."""
    if terminal:
        return None
    columns = environment.get("COLUMNS", "")
    # A log file has no width of its own; the tables need more than the 80 columns that would be assumed.
    return max(int(columns), 20) if columns.isascii() and columns.isdigit() and int(columns) else PIPED


@dataclass
class TextTable:
    """A table of texts, to be printed with ``console.print``.

    Columns of words are aligned left and folded where room is short; the others hold numbers, are aligned right and
    never folded. What does not fit is printed in blocks of columns, each with the first column beside it; where not
    even one column fits beside that, row by row with a line for each number.

    Attributes:
        title: above the table; may be empty.
        heads: one a column; a table without heads has empty ones.
        words: the columns of words.
    """

    title: str
    heads: Sequence[str]
    words: Collection[int] = (0,)
    _rows: list[tuple[list[str], str]] = field(default_factory=list)

    def add_row(self, *cells: str, style: str = "") -> None:
        """Add a row, one text a column.

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
        yield from self._turned(width) if blocks is None else (line for block in blocks for line in self._drawn(*block))

    def _blocks(self, width: int) -> list[tuple[list[int], list[int], int]] | None:
        """Columns, their widths and the gap of each block; None if one column does not fit beside the first."""
        every = list(range(len(self.heads)))
        if found := self._fit(every, width):
            return [found]
        blocks, taken = [], [0]
        for column in every[1:]:
            if len(taken) > 1 and not self._fit([*taken, column], width):
                blocks.append(taken)
                taken = [0]
            taken = [*taken, column]
        fitted = [self._fit(block, width) for block in [*blocks, taken]]
        return None if None in fitted else [found for found in fitted if found]

    def _fit(self, columns: list[int], width: int) -> tuple[list[int], list[int], int] | None:
        """Widths with which the columns fit side by side: first as they are, then with heads and words folded."""
        whole, folded, least = ([self._width(column, how) for column in columns] for how in ("whole", "heads", "least"))
        for widths in (whole, folded):
            for gap in _GAPS:
                if sum(widths) + _frame(len(columns), gap) <= width:
                    return columns, widths, gap
        room = width - _frame(len(columns), 1)
        if sum(least) > room:
            return None
        return columns, _shrunk(folded, least, room), 1

    def _width(self, column: int, how: str) -> int:
        """Cells of a column with heads whole, with heads folded, or with all folded as far as can be."""
        head = self.heads[column]
        cells = [cells[column] for cells, _ in self._rows]
        content = max(map(cell_len, cells), default=0)
        if how == "whole":
            return max(content, cell_len(head))
        if how == "least" and column in self.words:
            numbers = max(map(longest_number, [head, *cells]), default=1)
            return max(numbers, min(NAME, max(content, longest_word(head))))
        # A head of one long word may be folded within it, but not into single letters.
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
                room = " " * (width - cell_len(part))
                parts.append(part + room if column in self.words else room + part)
            yield _line(" " * (gap - 1) + (" " * gap).join(parts).rstrip(), style)

    def _turned(self, width: int) -> Iterator[Text]:
        """Row by row: its name, then a line for every other cell."""
        for cells, style in self._rows:
            for line in fold(f"{self.heads[0]} {cells[0]}".strip(), width):
                yield _line(line, style or "bold")
            for head, cell in zip(self.heads[1:], cells[1:], strict=True):
                first, *more = fold(f"{head}: {cell}" if head else cell, width - 2)
                yield _line(f"  {first}", style)
                yield from (_line(f"    {line}", style) for part in more for line in fold(part, width - 4))
        yield _line("", "")


def _frame(n_columns: int, gap: int) -> int:
    """Cells of gaps and margins."""
    return gap * (n_columns - 1) + 2 * (gap - 1)


def _shrunk(widths: list[int], least: list[int], room: int) -> list[int]:
    """Widths that fill the room: the widest column that can still give something gives it."""
    widths = list(widths)
    while sum(widths) > room:
        spare = [width - low for width, low in zip(widths, least, strict=True)]
        widest = max((place for place, left in enumerate(spare) if left > 0), key=lambda place: widths[place])
        widths[widest] -= 1
    return widths


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ignore", end="\n")
