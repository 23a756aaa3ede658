"""Final results in the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from npi_jax.analysis.statistics import LEVEL
from npi_jax.report.data.selection import mean_alignment
from npi_jax.report.data.tables import Cell, ReportedRun, ReportTables, load_tables, of_cell
from npi_jax.report.format import SHORT, count, pretty
from npi_jax.report.prose import findings, sentences
from npi_jax.report.prose.plain_table import PlainTable
from npi_jax.report.prose.transfer_tables import published
from npi_jax.report.prose.verdict import verdict
from npi_jax.results.names import ENVIRONMENTS, MEAN_OVER_TASKS
from npi_jax.results.tables_alignment import AlignmentMean
from npi_jax.results.tables_learning import FinalResults
from npi_jax.terminal.folding import fold
from npi_jax.terminal.tables import TextTable
from npi_jax.terminal.visible import visible

_ENDS: Final = ("lowest task", "highest task")


def print_report(run: ReportedRun, console: Console) -> None:
    """Print a table of final accuracies for every suite and kind, then alignment, transfer and warnings."""
    tables = load_tables(run)
    for cell in tables.cells():
        console.print(results_table(tables, cell))
    beside = published(tables)
    if beside is not None:
        console.print(plain_table(beside))
        print_text(beside.note, console)
    for line in gradient_lines(tables):
        print_text(line, console)
    for text in sentences.warnings(tables):
        print_text(f"Warning: {text}", console)


def print_text(text: str, console: Console) -> None:
    """Print a paragraph; lines break between words, never within a number."""
    for line in fold(visible(text), console.width):
        console.print(Text(line), soft_wrap=True)


def results_table(tables: ReportTables, cell: Cell) -> TextTable:
    """Return a table with a row for each variant: the mean with its interval, then the tasks.

    Only the nine environments have short names. If there are other tasks, only the lowest and the highest are shown.
    """
    suite, kind, _ = cell
    tasks = tables.tasks(cell)
    short = all(task in SHORT for task in tasks)
    heads = ["variant", f"mean [{LEVEL:.0%}]", *([SHORT[task] for task in tasks] if short else _ENDS)]
    title = f"{pretty(suite)}, {kind} pairs, {tables.scored(cell)}: accuracy (%) after {tables.last_step:,} steps"
    table = TextTable(title, heads, words={0} if short else {0, 2, 3})
    by_place = {(row["label"], row[FinalResults.task]): row for row in of_cell(tables.final, cell).to_dicts()}
    for label in tables.labels:
        rows = [by_place.get((label, task)) for task in tasks]
        mean = by_place.get((label, MEAN_OVER_TASKS))
        if mean is not None:
            table.add_row(label, _mean(mean), *(map(_percent, rows) if short else _ends(rows)))
    return table


def plain_table(found: PlainTable) -> TextTable:
    """Convert a table of the report to a table for the terminal."""
    table = TextTable(found.title, found.heads, words={0, *found.words})
    for row in found.rows:
        table.add_row(*row)
    return table


def gradient_lines(tables: ReportTables) -> list[str]:
    """Return lines on mean alignment by variant and on transfer; empty without either."""
    frame = mean_alignment(tables, ENVIRONMENTS)
    lines = []
    if frame is not None:
        group, rows = findings.last_rows(tables, frame)
        when = tables.called(max(row[AlignmentMean.step] for row in rows))
        lines.append(f"Alignment between environments at {when}, {pretty(group)} weights:")
        lines += [f"  {row['label']}: {_alignment(row)}" for row in rows]
    if tables.table("transfer") is not None:
        text = " ".join(findings.transfer(tables)[:2])
        lines.append(text if text.startswith("Transfer") else f"Transfer: {text}")
    claims = [f"  [{claim.badge}] {claim.text}" for claim in verdict(tables)]
    return [*lines, "Result:", *claims] if claims else lines


def _alignment(row: Mapping[str, Any]) -> str:
    value = row[AlignmentMean.corrected]
    if value is None or math.isnan(value):
        return f"unknown: {findings.why_not(row)}"
    return findings.with_interval(row)


def _percent(row: Mapping[str, Any] | None) -> str:
    return f"{100 * row[FinalResults.accuracy]:.1f}" if row is not None and _known(row) else "–"


def _mean(row: Mapping[str, Any]) -> str:
    if not _known(row):
        return "–"
    if math.isnan(row[FinalResults.low]):
        return f"{_percent(row)} [{count(row[FinalResults.n_seeds], 'seed')}: no interval]"
    return f"{_percent(row)} [{100 * row[FinalResults.low]:.1f}, {100 * row[FinalResults.high]:.1f}]"


def _ends(rows: Sequence[Mapping[str, Any] | None]) -> list[str]:
    known = sorted((row for row in rows if row is not None and _known(row)), key=lambda row: row[FinalResults.accuracy])
    if not known:
        return ["–", "–"]
    return [f"{_percent(row)} {pretty(row[FinalResults.task])}" for row in (known[0], known[-1])]


def _known(row: Mapping[str, Any]) -> bool:
    return row[FinalResults.accuracy] is not None and not math.isnan(row[FinalResults.accuracy])
