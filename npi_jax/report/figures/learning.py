"""Figures of learning (curves, losses, final accuracies) and the list of all the report's figures."""

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from npi_jax.report.data.bands import band
from npi_jax.report.data.tables import Cell, ReportTables, of_cell
from npi_jax.report.figures.alignment import alignment_pictures
from npi_jax.report.figures.diagnostic import diagnostic_pictures
from npi_jax.report.figures.picture import (
    BAND_NOTE,
    HEAT,
    NARROW,
    WIDE,
    Picture,
    file_name,
    filling,
    heat_axis,
    ink_on,
    legend,
    lines,
    panel_title,
    settle,
    step_axis,
)
from npi_jax.report.figures.style import FAINT, INK, MANY, MUTED, Stroke, cut, drawing, panel_name, strokes
from npi_jax.report.figures.transfer import transfer_pictures
from npi_jax.report.format import count, pretty
from npi_jax.results.names import MEAN_OVER_TASKS
from npi_jax.results.tables_learning import Acquisition, Curves, FinalResults
from npi_jax.results.tables_training import Metrics

Value = Literal["accuracy", "delta"]

_ROLE_NOTE: Final = (
    " Colors say what a variant does to the NPIs of the panel's environment; the table of corpus variants "
    "has the counts."
)
_MARK_NOTE: Final = " A dot marks the step from which on a variant's accuracy stays up (the table below has them)."


def pictures(tables: ReportTables) -> list[Picture]:
    """Draw all figures for which the run has tables, in the report's order."""
    found = []
    main = tables.main_cells()
    for cell in tables.cells():
        found.append(curves_picture(tables, cell, "accuracy"))
        if cell in main:
            found.append(heat_picture(tables, cell))
            found.append(curves_picture(tables, cell, "delta"))
    found.append(perplexity_picture(tables))
    return [*found, *alignment_pictures(tables), *transfer_pictures(tables), *diagnostic_pictures(tables)]


def curves_picture(tables: ReportTables, cell: Cell, value: Value) -> Picture:
    """Draw a panel for each task: accuracy or delta by step, one line for each variant."""
    suite, kind, region = cell
    name = file_name("curves", suite, kind, region, value)
    what = "accuracy" if value == "accuracy" else "delta, log p(good) − log p(bad)"
    what = what[0].upper() + what[1:]
    unit = "Dotted line: chance." if value == "accuracy" else "In nats; dotted line: no preference."
    acquired = _acquired(tables, cell) if value == "accuracy" else None
    frame = of_cell(tables.curves, cell)
    names = [*tables.tasks(cell), MEAN_OVER_TASKS]
    parts = {task: band(frame.filter(pl.col(Curves.task) == task), value) for task in names}
    if acquired is not None:
        parts = {task: _with_acquired(part, acquired, task) for task, part in parts.items()}

    def draw(columns: int, width: float, salt: str) -> Figure:
        return _grid(tables, parts, value, columns=columns, width=width, salt=salt)

    wide, narrow = draw(3, WIDE, name), draw(2, NARROW, f"{name}_narrow")
    data = pl.concat([part.select(pl.lit(task).alias(Curves.task), pl.all()) for task, part in parts.items()])
    return Picture(
        name=name,
        title=f"{'Accuracy' if value == 'accuracy' else 'Delta'} while learning: {pretty(suite)}, {kind} pairs",
        caption=(
            f"{what}, by training step, from the probability of {tables.scored(cell)}. {unit} {BAND_NOTE}"
            f"{_MARK_NOTE if acquired is not None else ''}{_ROLE_NOTE if len(tables.labels) > MANY else ''}"
        ),
        alt=_curves_alt(tables, cell, value),
        wide=wide,
        data=data,
        narrow=narrow,
    )


def heat_picture(tables: ReportTables, cell: Cell) -> Picture:
    """Draw accuracy after the last step, variant by task, with numbers in the cells."""
    suite, kind, region = cell
    name = file_name("final", suite, kind, region)
    tasks = [*tables.tasks(cell), MEAN_OVER_TASKS]
    table = of_cell(tables.final, cell).pivot(FinalResults.task, index="label", values="accuracy")
    order = pl.DataFrame({"label": list(tables.labels)}).join(table, on="label", how="left", maintain_order="left")
    values = order.select(pl.col(tasks).cast(pl.Float64).fill_null(math.nan)).to_numpy()
    rows, columns = [cut(label, 30) for label in tables.labels], [panel_name(task) for task in tasks]
    wide = _heat_map(values, rows, columns, width=WIDE, salt=name)
    narrow = None
    if len(rows) <= 6:
        narrow = _heat_map(values.T, columns, rows, width=NARROW, salt=f"{name}_narrow")
    return Picture(
        name=name,
        title=f"Final accuracy: {pretty(suite)}, {kind} pairs",
        caption=(
            f"Percent of pairs in which the acceptable sentence was preferred after {tables.last_step:,} steps, "
            "median over seeds. White is chance (50), blue above it, orange below it."
        ),
        alt=(
            f"Heat map of final accuracy, {len(rows)} variants by {len(tasks) - 1} tasks and their mean; the "
            "same numbers with intervals are in the table of final results."
        ),
        wide=wide,
        data=of_cell(tables.final, cell).select(
            "label",
            FinalResults.task,
            FinalResults.accuracy,
            FinalResults.low,
            FinalResults.high,
            FinalResults.n_seeds,
            FinalResults.n_items,
        ),
        narrow=narrow,
    )


def perplexity_picture(tables: ReportTables) -> Picture:
    """Draw validation perplexity by step, with the unigram model's if the manifest has it."""
    unigram = tables.manifest.get("perplexity", {}).get("unigram")
    table = band(tables.metrics.with_columns(pl.col(Metrics.valid_loss).exp().alias("perplexity")), "perplexity")
    wide = _perplexity(tables, table, unigram, width=WIDE, salt="perplexity")
    narrow = _perplexity(tables, table, unigram, width=NARROW, salt="perplexity_narrow")
    dotted = " Dotted line: a unigram model." if unigram else ""
    return Picture(
        name="perplexity",
        title="Validation perplexity",
        caption=f"Perplexity on held-out text by training step, both axes logarithmic.{dotted} {BAND_NOTE}",
        alt=(
            "Line chart of validation perplexity by training step, one line for each of "
            f"{count(len(tables.labels), 'variant')}."
        ),
        wide=wide,
        data=table,
        narrow=narrow,
    )


def _acquired(tables: ReportTables, cell: Cell) -> pl.DataFrame:
    return of_cell(tables.acquisition, cell).select("label", Acquisition.task, Acquisition.acquired)


def _with_acquired(part: pl.DataFrame, acquired: pl.DataFrame, task: str) -> pl.DataFrame:
    """Add a column ``acquired``: true at the step at which the label acquired the task."""
    # A task above the threshold before training was not acquired.
    steps = acquired.filter((pl.col(Acquisition.task) == task) & (pl.col(Acquisition.acquired) > 0)).select(
        "label", pl.col(Acquisition.acquired).alias("_step")
    )
    joined = part.join(steps, on="label", how="left", maintain_order="left")
    here = (pl.col("step") == pl.col("_step")).fill_null(value=False)
    return joined.with_columns(here.alias(Acquisition.acquired)).drop("_step")


def _grid(
    tables: ReportTables, parts: dict[str, pl.DataFrame], value: Value, *, columns: int, width: float, salt: str
) -> Figure:
    tasks = [task for task in parts if task != MEAN_OVER_TASKS]
    columns = min(columns, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    if len(tasks) % columns:
        tasks = [*tasks, MEAN_OVER_TASKS]
    with drawing(salt, size=8.5 if width == WIDE else 7.5):
        figure = Figure(figsize=(width, 0.9 + rows * (1.65 if width == WIDE else 1.35)), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        drawn: dict[str, Stroke] = {}
        with filling(axes):
            for task, axis in zip(tasks, axes, strict=False):
                drawn |= lines(axis, parts[task], tables, task)
                if "acquired" in parts[task].columns:
                    _mark(axis, parts[task].filter("acquired"), strokes(tables, task))
                axis.axhline(0.5 if value == "accuracy" else 0.0, color=MUTED, linewidth=1, linestyle=":")
                panel_title(axis, panel_name(task))
        for axis in axes[len(tasks) :]:
            axis.set_axis_off()
        for axis in axes[max(0, len(tasks) - columns) : len(tasks)]:
            axis.tick_params(labelbottom=True)
        step_axis(axes[0], tables.last_step)
        if value == "accuracy":
            axes[0].set_ylim(-0.02, 1.04)
            axes[0].set_yticks([0, 0.5, 1])
            axes[0].yaxis.set_major_formatter(PercentFormatter(1))
        figure.supxlabel("training step", fontsize="medium", color=INK)
        figure.supylabel("accuracy" if value == "accuracy" else "delta (nats)", fontsize="medium", color=INK)
        legend(figure, drawn, width)
        settle(figure)
    return figure


def _mark(axis: Axes, rows: pl.DataFrame, drawn: dict[str, Stroke]) -> None:
    for row in rows.to_dicts():
        stroke = drawn[row["label"]]
        if stroke.color != FAINT:
            axis.plot(
                row["step"], row["typical"], "o", ms=3.2, color=stroke.color, mec="none", zorder=4, label="_acquired"
            )


def _heat_map(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, width: float, salt: str) -> Figure:
    size = 8.5 if width == WIDE else 8.0
    with drawing(salt, size=size):
        figure = Figure(figsize=(width, 1.3 + 0.32 * len(rows)), layout="constrained")
        axis = figure.subplots()
        axis.imshow(values, cmap=HEAT, vmin=0, vmax=1, aspect="auto")
        heat_axis(axis, rows, columns)
        for (y, x), value in np.ndenumerate(values):
            text, color = ("–", INK) if math.isnan(value) else (f"{100 * value:.0f}", ink_on(value))
            axis.text(x, y, text, ha="center", va="center", color=color)
        settle(figure)
    return figure


def _perplexity(tables: ReportTables, table: pl.DataFrame, unigram: float | None, *, width: float, salt: str) -> Figure:
    with drawing(salt, size=8.5 if width == WIDE else 7.5):
        figure = Figure(figsize=(width, 3.4 if width == WIDE else 3.2), layout="constrained")
        axis = figure.subplots()
        drawn = lines(axis, table, tables, None)
        if unigram:
            axis.axhline(unigram, color=MUTED, linewidth=1, linestyle=":")
            axis.annotate(
                "unigram",
                (1, unigram),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color=INK,
            )
        step_axis(axis, int(table["step"].max() or 1))  # type: ignore[arg-type]
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(_plain))
        axis.set_xlabel("training step")
        axis.set_ylabel("perplexity")
        legend(figure, drawn, width)
        settle(figure)
    return figure


def _plain(value: float, _: int | None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _curves_alt(tables: ReportTables, cell: Cell, value: Value) -> str:
    mean = of_cell(tables.final, cell).filter(pl.col(Curves.task) == MEAN_OVER_TASKS)
    number = "{:.0%}" if value == "accuracy" else "{:.2f}"
    shown = [f"{row['label']} {number.format(row[value])}" for row in mean.to_dicts() if row[value] is not None]
    return (
        f"Line charts of {value} by training step, one panel for each of {len(tables.tasks(cell))} tasks. "
        f"At the end, mean over tasks: {', '.join(shown[:8])}{', and others' if len(shown) > 8 else ''}."
    )
