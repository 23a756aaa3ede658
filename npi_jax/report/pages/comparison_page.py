"""A page that compares two runs: curves, results with differences, alignment and transfer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from npi_jax.errors import UserError
from npi_jax.files.writing import check_output, write_text
from npi_jax.report.data.selection import SIGNIFICANT, mean_alignment, transfer_matrix
from npi_jax.report.data.tables import Cell, ReportedRun, ReportTables, load_tables, of_cell
from npi_jax.report.figures.comparison import comparison_pictures
from npi_jax.report.figures.picture import save_figures
from npi_jax.report.figures.svg import colors
from npi_jax.report.format import known_number, pretty, short_number
from npi_jax.report.pages.run_page import inlined, page_part, page_templates
from npi_jax.report.prose import findings, sentences
from npi_jax.report.prose.plain_table import PlainTable
from npi_jax.results.folder import refuse_own
from npi_jax.results.names import ENVIRONMENTS, MEAN_OVER_TASKS
from npi_jax.results.tables_alignment import AlignmentMean
from npi_jax.results.tables_learning import FinalResults
from npi_jax.results.tables_transfer import Transfer
from npi_jax.terminal.visible import visible

_NO_TEST: Final = ", not tested: a run with 2 to 4 seeds has no interval"
_NONE_IN_COMMON: Final = "no variant has the same name in both; the first variant of each is compared"


@dataclass(frozen=True)
class Sides:
    """Two comparable runs.

    Attributes:
        names: names of the runs on the page, which always differ.
        tables: tables of the runs.
        cells: each suite, kind and region in which both runs were scored.
        labels: pairs of labels to compare, one of each run: those of the same variant, else the first of each run.
    """

    names: tuple[str, str]
    tables: tuple[ReportTables, ReportTables]
    cells: list[Cell]
    labels: list[tuple[str, str]]


def write_comparison(run_a: ReportedRun, run_b: ReportedRun, path: Path) -> Path:
    """Write one page on two runs, and its figures to ``STEM_figures`` beside it; returns the page's path.

    Raises:
        UserError: if a run was not analyzed, they share no suite, or a suite was scored under two conventions.
    """
    figures = path.with_name(f"{path.stem}_figures")
    check_output(path)
    check_output(figures, folder=True)
    refuse_own(path)
    sides = comparable(load_tables(run_a), load_tables(run_b))
    found = comparison_pictures(sides.names, sides.tables, sides.cells, sides.labels)
    save_figures(found, figures)
    text = (
        page_templates()
        .get_template("compare.html")
        .render(
            style=page_part("style.css"),
            data_light=colors(dark=False),
            data_dark=colors(dark=True),
            names=sides.names,
            opening=_opening(sides),
            runs=[(name, *_about(tables)) for name, tables in zip(sides.names, sides.tables, strict=True)],
            pictures=[inlined(picture, figures) for picture in found],
            results=[table for cell in sides.cells for table in difference_tables(sides, cell)],
            facts=[_differing(sides)],
        )
    )
    write_text(path, text)
    return path


def comparable(a: ReportTables, b: ReportTables) -> Sides:
    """Name two runs and collect the cells and labels that they share.

    Raises:
        UserError: as in `write_comparison`.
    """
    cells = [cell for cell in a.cells() if cell in b.cells()]
    if not cells:
        suites = [", ".join(sorted({cell[0] for cell in tables.cells()})) for tables in (a, b)]
        raise UserError(
            f"nothing to compare: {a.path} was scored on {suites[0]}, {b.path} on {suites[1]}; score both on one suite"
        )
    specs = [tables.manifest.get("score_specs", {}) for tables in (a, b)]
    for suite in sorted({cell[0] for cell in cells}):
        if suite in specs[0] and suite in specs[1]:
            _same_spec(suite, specs[0][suite], specs[1][suite], a.path, b.path)
    shared = [(label, label) for label in a.labels if label in b.labels]
    return Sides(_names(a, b), (a, b), cells, shared or [(a.labels[0], b.labels[0])])


def difference_tables(sides: Sides, cell: Cell) -> list[PlainTable]:
    """List final accuracies and their difference, for the mean over tasks and every shared task."""
    a, b = (
        {(row["label"], row[FinalResults.task]): row for row in of_cell(tables.final, cell).to_dicts()}
        for tables in sides.tables
    )
    shared = [task for task in sides.tables[0].tasks(cell) if task in sides.tables[1].tasks(cell)]
    heads = [*sides.names, "difference", "95% interval"]
    title = f"{pretty(cell[0])}, {cell[1]} pairs: accuracy in percent"
    same_tasks = set(shared) == set(sides.tables[0].tasks(cell)) == set(sides.tables[1].tasks(cell))
    note = (
        "Difference: the second run's minus the first's, in points. Its interval is made from the two intervals as for "
        "independent runs (Zou and Donner 2008); where both runs share seeds it is too wide rather than too narrow."
    )
    if not same_tasks:
        note += " The runs do not have the same tasks: their means over tasks are over different ones."

    def rows(tasks: Sequence[str]) -> list[list[str]]:
        found = []
        for one, other in sides.labels:
            for task in tasks:
                left, right = a.get((one, task)), b.get((other, task))
                if left is not None and right is not None:
                    name = one if one == other else f"{one} / {other}"
                    found.append(
                        [name if task == MEAN_OVER_TASKS else f"{name}: {pretty(task)}", *_beside(left, right)]
                    )
        return found

    mean = PlainTable(f"{title}, mean over tasks", ["variant", *heads], rows([MEAN_OVER_TASKS]), note)
    every = PlainTable(f"{title}, every task", ["variant and task", *heads], rows(shared))
    return [table for table in (mean, every) if table.rows]


def difference_interval(
    left: Mapping[str, Any], right: Mapping[str, Any], value: str = "accuracy"
) -> tuple[float, float, float]:
    """Return right minus left and its interval, computed from the intervals of both.

    The method recovers variances from the intervals (Zou and Donner 2008, Statistics in Medicine 27:1693). It assumes
    independent estimates. Both ends are NaN if a run has no interval, as with 2 to 4 seeds.
    """
    difference = right[value] - left[value]
    below = math.hypot(right[value] - right["low"], left["high"] - left[value])
    above = math.hypot(right["high"] - right[value], left[value] - left["low"])
    return difference, difference - below, difference + above


def _beside(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    both = [_percent(row) for row in (left, right)]
    if "–" in both:
        return [*both, "–", "–"]
    value, low, high = (100 * part for part in difference_interval(left, right))
    return [*both, _signed(value), "–" if math.isnan(low) else f"{_signed(low)} to {_signed(high)}"]


def _percent(row: Mapping[str, Any]) -> str:
    if row[FinalResults.accuracy] is None or math.isnan(row[FinalResults.accuracy]):
        return "–"
    if math.isnan(row[FinalResults.low]):
        return f"{100 * row[FinalResults.accuracy]:.1f}"
    return (
        f"{100 * row[FinalResults.accuracy]:.1f} ({100 * row[FinalResults.low]:.1f}–{100 * row[FinalResults.high]:.1f})"
    )


def _verdict(low: float, high: float) -> str:
    return "not significantly different from 0" if low <= 0 <= high else "significantly different from 0"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _same_spec(suite: str, a: Mapping[str, Any], b: Mapping[str, Any], path_a: Path, path_b: Path) -> None:
    # Ignore the name of the conventions, because two names can stand for the same ones.
    names = [name for name in sorted(a.keys() | b.keys()) if name != "name" and a.get(name) != b.get(name)]
    if names:
        differences = "; ".join(f"{name} is {a.get(name)!r} in {path_a}, {b.get(name)!r} in {path_b}" for name in names)
        raise UserError(
            f"suite {suite} was scored under different conventions, which cannot be compared: {differences}"
        )


def _names(a: ReportTables, b: ReportTables) -> tuple[str, str]:
    """Return different names for the runs: those in their manifests, else those of their folders, else numbered."""
    folders = visible(a.path.name), visible(b.path.name)
    for one, other in (
        (str(a.manifest.get("name", folders[0])), str(b.manifest.get("name", folders[1]))),
        folders,
    ):
        if one != other:
            return one, other
    return f"{folders[0]} (1)", f"{folders[1]} (2)"


def _opening(sides: Sides) -> list[str]:
    texts = []
    if sides.labels[0][0] != sides.labels[0][1]:
        texts.append(f"The runs {sides.names[0]} and {sides.names[1]}: {_NONE_IN_COMMON}.")
    cell = sides.cells[0]
    rows = [
        of_cell(tables.final, cell)
        .filter((pl.col(FinalResults.task) == MEAN_OVER_TASKS) & (pl.col("label") == label))
        .to_dicts()
        for tables, label in zip(sides.tables, sides.labels[0], strict=True)
    ]
    if all(found and _percent(found[0]) != "–" for found in rows):
        value, low, high = (100 * part for part in difference_interval(rows[0][0], rows[1][0]))
        found = f"(95% interval {_signed(low)} to {_signed(high)}), {_verdict(low, high)}"
        texts.append(
            f"On {pretty(cell[0])} ({cell[1]} pairs), {sides.labels[0][0]} reached {_percent(rows[0][0])}% in "
            f"{sides.names[0]} and {_percent(rows[1][0])}% in {sides.names[1]}: a difference of {_signed(value)} "
            f"points{_NO_TEST if math.isnan(low) else f' {found}'}."
        )
    steps = [tables.last_step for tables in sides.tables]
    if steps[0] != steps[1]:
        texts.append(
            f"The runs end at different steps, {steps[0]:,} and {steps[1]:,}, which contributes to all differences."
        )
    return [*texts, *_alignments(sides), *_transfers(sides)]


def _alignments(sides: Sides) -> list[str]:
    """State the mean alignments at the last steps, and their difference."""
    found = []
    for tables, label in zip(sides.tables, sides.labels[0], strict=True):
        frame = mean_alignment(tables, ENVIRONMENTS)
        if frame is None:
            return []
        group, rows = findings.last_rows(tables, frame)
        found += [(group, row) for row in rows if row["label"] == label and known_number(row[AlignmentMean.corrected])]
    if len(found) < 2:
        return []
    said = [
        f"{findings.with_interval(row)} in {name} ({pretty(group)} weights, {tables.called(row[AlignmentMean.step])})"
        for name, tables, (group, row) in zip(sides.names, sides.tables, found, strict=True)
    ]
    text = f"Mean noise-corrected alignment between environments: {said[0]}, {said[1]}"
    if not all(known_number(row[AlignmentMean.low]) for _, row in found):
        return [f"{text}."]
    value, low, high = difference_interval(found[0][1], found[1][1], "corrected")
    return [
        f"{text}; a difference of {short_number(value)} (95% interval {short_number(low)} to {short_number(high)}), "
        f"{_verdict(low, high)}."
    ]


def _transfers(sides: Sides) -> list[str]:
    """State the number of significant effects between environments in each run."""
    parts = []
    for name, tables in zip(sides.names, sides.tables, strict=True):
        found = transfer_matrix(tables)
        if found is None:
            return []
        between = found.between()
        significant = between.filter(pl.col(Transfer.p_adjusted) < SIGNIFICANT).height
        parts.append(f"{significant} of {len(between)} in {name}")
    return [f"Significant effects of one environment on another: {parts[0]}, {parts[1]}."]


def _about(tables: ReportTables) -> tuple[str, list[str]]:
    return sentences.what_ran(tables), sentences.warnings(tables)


def _differing(sides: Sides) -> PlainTable:
    """List the fields in which the configurations differ."""
    flat = [_flat(tables.config) for tables in sides.tables]
    names = [name for name in sorted(flat[0].keys() | flat[1].keys()) if flat[0].get(name) != flat[1].get(name)]
    rows = [[name, *(str(values.get(name, "–")) for values in flat)] for name in names if name != "run_dir"]
    return PlainTable("Differences between the configurations", ["field", *sides.names], rows, words={1, 2})


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
