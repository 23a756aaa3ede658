"""The final results in the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from npi_jax.analysis.curves import MEAN_OVER_TASKS
from npi_jax.analysis.statistics import LEVEL
from npi_jax.report import findings, sentences
from npi_jax.report.detail_tables import PlainTable, published
from npi_jax.report.selection import mean_alignment
from npi_jax.report.style import legend_name
from npi_jax.report.tables import SHORT, Cell, ReportedRun, ReportTables, load_tables, of_cell, pretty
from npi_jax.report.verdict import verdict

WIDTH: Final = 100


def print_report(run: ReportedRun, console: Console) -> None:
    """Print final accuracies, a table for every suite and kind of pair, then alignment, transfer and warnings."""
    tables = load_tables(run)
    for cell in tables.cells():
        console.print(results_table(tables, cell))
    beside = published(tables)
    if beside is not None:
        console.print(plain_table(beside))
        console.print(Text(beside.note), soft_wrap=False)
    for line in gradient_lines(tables):
        console.print(Text(line), soft_wrap=False)
    for text in sentences.warnings(tables):
        console.print(Text(f"Warning: {text}"), soft_wrap=False)


def results_table(tables: ReportTables, cell: Cell) -> Table:
    """One row a variant, at most 100 columns wide: the mean with its interval, then the tasks.

    Tasks that are not the nine environments have no short names; their lowest and highest are shown instead.
    """
    suite, kind, _ = cell
    title = f"{pretty(suite)}, {kind} pairs: accuracy (%) after {tables.last_step:,} steps"
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, padding=0, title_justify="left")
    tasks = tables.tasks(cell)
    short = all(task in SHORT for task in tasks)
    table.add_column("variant", max_width=22, overflow="ellipsis", no_wrap=True)
    table.add_column(f"mean [{LEVEL:.0%}]", justify="right", min_width=18, no_wrap=True)
    width = 5 if short else 26
    for head in [SHORT[task] for task in tasks] if short else ["lowest task", "highest task"]:
        table.add_column(head, justify="right", min_width=5, max_width=width, overflow="ellipsis", no_wrap=True)
    by_place = {(row["label"], row["task"]): row for row in of_cell(tables.final, cell).to_dicts()}
    for label in tables.labels:
        rows = [by_place[label, task] for task in tasks if (label, task) in by_place]
        mean = by_place.get((label, MEAN_OVER_TASKS))
        if mean is not None:
            cells = [_percent(row) for row in rows] if short else _ends(rows)
            table.add_row(Text(label), Text(_mean(mean)), *(Text(text) for text in cells))
    return table


def plain_table(found: PlainTable) -> Table:
    """A table of the report for the terminal."""
    table = Table(title=Text(found.title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    for number, head in enumerate(found.heads):
        table.add_column(head, justify="left" if not number or number in found.words else "right")
    for row in found.rows:
        table.add_row(*map(Text, row))
    return table


def gradient_lines(tables: ReportTables) -> list[str]:
    """Median alignment with its interval, a line a variant, and what was found of transfer; empty without either."""
    frame = mean_alignment(tables, "environments")
    lines = []
    if frame is not None:
        group, rows = findings.last_rows(tables, frame)
        when = tables.called(max(row["step"] for row in rows))
        lines.append(f"Alignment between environments at {when}, {pretty(group)} weights:")
        lines += [f"  {legend_name(row['label'])}: {_alignment(row)}" for row in rows]
    if tables.table("transfer") is not None:
        text = " ".join(findings.transfer(tables)[:2])
        lines.append(text if text.startswith("Transfer") else f"Transfer: {text}")
    found = verdict(tables)
    return [*lines, f"Found: {found}"] if found else lines


def _alignment(row: Mapping[str, Any]) -> str:
    value = row["corrected"]
    if value is None or math.isnan(value):
        return "cannot be told from noise"
    return findings.with_interval(row)


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['accuracy']:.1f}" if _known(row) else "–"


def _mean(row: Mapping[str, Any]) -> str:
    if not _known(row):
        return "–"
    return f"{_percent(row)} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def _ends(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    known = sorted((row for row in rows if _known(row)), key=lambda row: row["accuracy"])
    if not known:
        return ["–", "–"]
    return [f"{_percent(row)} {pretty(row['task'])}" for row in (known[0], known[-1])]


def _known(row: Mapping[str, Any]) -> bool:
    return row["accuracy"] is not None and not math.isnan(row["accuracy"])
