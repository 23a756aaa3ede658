"""Tables for the terminal: every number of the input is in the output, whole, at every width."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

import npi_jax
from npi_jax.terminal.folding import fold, longest_number
from npi_jax.terminal.tables import TextTable, output_width
from npi_jax.terminal.visible import visible

WIDTHS = (40, 47, 60, 72, 80, 100, 130, 200)
NUMBER = re.compile(r"\d[\d,.]*\d|\d")
WORDS = ("full", "without(conditional)", "downsample(only & any, 0.125)+inject(ever, 1200)", "a b c", "条件", "[bold]x")


def printed(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def random_table(random, columns, rows):
    """Numbers of all kinds and sizes; the first column and some others hold words."""
    words = {0, *random.choice(columns, size=columns // 6, replace=False).tolist()}
    heads = [f"{'head ' * int(random.integers(3))}{number + 500:,}" for number in range(columns)]
    table = TextTable("a title of 12,345 words " * int(random.integers(1, 4)), heads, words=words)
    inputs = [heads]
    for _ in range(rows):
        cells = [
            f"{random.choice(WORDS)} {random.integers(10**6)}" if number in words else _number(random)
            for number in range(columns)
        ]
        table.add_row(*cells)
        inputs.append(cells)
    return table, inputs


def _number(random):
    value = float(10 ** random.uniform(-3, 9))
    return [f"{value:,.0f}", f"{value:.1f}", f"-{value:.3g}", f"{value:.1f} [{value / 2:,.1f}, {2 * value:,.1f}]", "–"][
        int(random.integers(5))
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_is_split_at_any_width(width):
    random = np.random.default_rng(width)
    for _ in range(12):
        table, inputs = random_table(random, int(random.integers(2, 16)), int(random.integers(1, 5)))
        text = printed(table, width)
        shown = NUMBER.findall(text)
        for number in (number for row in inputs for cell in row for number in NUMBER.findall(cell)):
            assert number in shown, (number, text)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "…" not in text


def test_a_wide_table_is_printed_in_blocks_with_the_first_column_in_each():
    table = TextTable("licensors left", ["variant", *(f"H{n}" for n in range(9))])
    table.add_row("full", *(f"{1000 + n:,}" for n in range(9)))
    table.add_row("no_npi", *("946",) * 9)
    lines = [line for line in printed(table, 40).splitlines() if line.strip()]
    assert lines[0] == "licensors left"
    assert sum(line.split()[0] == "variant" for line in lines) == 2
    assert [line.split() for line in lines if line.split()[0] == "full"] == [
        ["full", *(f"{1000 + n:,}" for n in range(5))],
        ["full", *(f"{1000 + n:,}" for n in range(5, 9))],
    ]


def test_a_wide_terminal_shows_one_table_with_gaps():
    table = TextTable("t", ["name", "count"])
    table.add_row("a", "12")
    assert printed(table, 80).splitlines() == ["t", "", "  name   count", " ──────────────", "  a         12", ""]


def test_rows_with_too_wide_cells_are_printed_cell_by_cell():
    table = TextTable("t", ["variant", "accuracy"])
    table.add_row("without(conditional)", "81.5 % of pairs [78.1, 84.4], 120 pairs")
    lines = printed(table, 40).splitlines()
    assert lines[2] == "variant without(conditional)"
    assert " ".join(part.strip() for part in lines[3:5]) == "accuracy: 81.5 % of pairs [78.1, 84.4], 120 pairs"


def test_markup_and_controls_are_shown_and_do_nothing():
    table = TextTable("[red]t[/]", ["name", "n"])
    table.add_row("[bold]a[/bold]\x1b[31m\tb\n", "1")
    text = printed(table, 60)
    assert "[red]t[/]" in text
    assert "[bold]a[/bold]␛[31m␉b␊" in text
    assert visible("a\x85\u202eb") == "a\\u0085\\u202eb"
    assert visible("quantifier ≥ 条件") == "quantifier ≥ 条件"


def test_text_is_folded_at_spaces_then_at_marks_and_never_within_a_number():
    assert fold("some of the words", 8) == ["some of", "the", "words"]
    assert fold("without(conditional)", 12) == ["without(", "conditional)"]
    assert fold("abcdefgh", 3) == ["abc", "def", "gh"]
    assert fold("x1,234,567y", 4) == ["x", "1,234,567", "y"]
    assert fold("条件条件", 4) == ["条件", "条件"]
    assert fold("", 4) == [""]
    assert longest_number("from -1,234.5 to 7") == len("-1,234.5")


def test_the_number_of_cells_is_checked():
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        TextTable("", ["a", "b"]).add_row("x")


@pytest.mark.parametrize(
    ("terminal", "columns", "width"),
    [(True, "80", None), (False, "", 130), (False, "72", 72), (False, "0", 130), (False, "x", 130), (False, "3", 20)],
)
def test_a_pipe_has_the_width_of_the_variable_columns(terminal, columns, width):
    assert output_width(terminal=terminal, environment={"COLUMNS": columns}) == width
    assert output_width(terminal=False, environment={}) == 130


def test_all_tables_of_the_terminal_are_text_tables():
    """A table of another kind would cut numbers where there is no room for them."""
    package = Path(npi_jax.__file__).parent
    others = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"rich\.table|rich import .*[Tt]able", path.read_text())
    ]
    assert others == []
