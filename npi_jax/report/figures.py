"""The report's figures: learning curves, losses, and the table of results as a heat map."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from npi_jax.analysis.curves import MEAN_OVER_TASKS
from npi_jax.files import atomic_path
from npi_jax.report.style import FAINT, INK, MANY, MUTED, PALETTE, Stroke, drawing, legend_name, strokes
from npi_jax.report.tables import FEW_SEEDS, Cell, ReportTables, band, count, of_cell, pretty

Value = Literal["accuracy", "delta"]
WIDE: Final = 8.2
NARROW: Final = 4.0

# Chance is white: dark vermillion below, dark blue above.
_HEAT: Final = LinearSegmentedColormap.from_list(
    "chance", [(0, "#8a3c00"), (0.2, PALETTE[0]), (0.5, "#ffffff"), (0.8, PALETTE[1]), (1, "#00466e")]
)
_BAND_NOTE: Final = (
    "Lines: mean over seeds. Bands: 95% t interval over seeds, or lowest and highest seed where there are "
    f"{FEW_SEEDS} or fewer."
)

_ROLE_NOTE: Final = (
    " Colors say what a variant does to the NPIs of the panel's environment; the table of corpus variants "
    "has the counts."
)


@dataclass(frozen=True)
class Picture:
    """One figure, for wide pages and, where it has to be drawn differently, for phones.

    Attributes:
        name: stem of its files; `narrow` is saved as ``NAME_narrow``.
        title, caption: for the reader.
        alt: what the picture shows, for those who do not see it.
        wide, narrow: the figures.
    """

    name: str
    title: str
    caption: str
    alt: str
    wide: Figure
    narrow: Figure | None = None

    def figures(self) -> list[tuple[str, Figure]]:
        """File stem and figure, once or twice."""
        both = [(self.name, self.wide)]
        return both if self.narrow is None else [*both, (f"{self.name}_narrow", self.narrow)]


def pictures(tables: ReportTables) -> list[Picture]:
    """All figures of a run, in the report's order."""
    found = []
    main = tables.main_cells()
    for cell in tables.cells():
        found.append(curves_picture(tables, cell, "accuracy"))
        if cell in main:
            found.append(heat_picture(tables, cell))
            found.append(curves_picture(tables, cell, "delta"))
    return [*found, perplexity_picture(tables)]


def curves_picture(tables: ReportTables, cell: Cell, value: Value) -> Picture:
    """Small multiples of one task each: step against accuracy or delta, one line a variant."""
    suite, kind, region = cell
    name = file_name("curves", suite, kind, region, value)
    what = "accuracy" if value == "accuracy" else "delta, log p(good) − log p(bad)"
    what = what[0].upper() + what[1:]
    unit = "Dotted line: chance." if value == "accuracy" else "In nats; dotted line: no preference."
    where = "the NPI" if region == "critical" else f"the {pretty(region)}"

    def draw(columns: int, width: float, salt: str) -> Figure:
        return _grid(tables, cell, value, columns=columns, width=width, salt=salt)

    wide, narrow = draw(3, WIDE, name), draw(2, NARROW, f"{name}_narrow")
    return Picture(
        name,
        f"{'Accuracy' if value == 'accuracy' else 'Delta'} while learning: {pretty(suite)}, {kind} pairs",
        f"{what}, by training step, from the probability of {where}. {unit} {_BAND_NOTE}"
        f"{_ROLE_NOTE if len(tables.labels) > MANY else ''}",
        _curves_alt(tables, cell, value),
        wide,
        narrow,
    )


def heat_picture(tables: ReportTables, cell: Cell) -> Picture:
    """Accuracy after the last step, variant by task, numbers in the cells."""
    suite, kind, region = cell
    name = file_name("final", suite, kind, region)
    tasks = [*tables.tasks(cell), MEAN_OVER_TASKS]
    table = of_cell(tables.final, cell).pivot("task", index="label", values="accuracy")
    order = pl.DataFrame({"label": list(tables.labels)}).join(table, on="label", how="left")
    values = order.select(pl.col(tasks).cast(pl.Float64).fill_null(math.nan)).to_numpy()
    rows, columns = [legend_name(label) for label in tables.labels], [pretty(task) for task in tasks]
    wide = _heat_map(values, rows, columns, width=WIDE, salt=name)
    narrow = None
    if len(rows) <= 6:
        narrow = _heat_map(values.T, columns, rows, width=NARROW, salt=f"{name}_narrow")
    return Picture(
        name,
        f"Final accuracy: {pretty(suite)}, {kind} pairs",
        f"Percent of pairs in which the acceptable sentence was preferred after {tables.last_step:,} steps, "
        "mean over seeds. White is chance (50), blue above it, orange below it.",
        f"Heat map of final accuracy, {len(rows)} variants by {len(tasks) - 1} tasks and their mean; the "
        "same numbers with intervals are in the table of final results.",
        wide,
        narrow,
    )


def perplexity_picture(tables: ReportTables) -> Picture:
    """Validation perplexity by step, with the unigram model's where the manifest has it."""
    unigram = tables.manifest.get("perplexity", {}).get("unigram")
    wide = _perplexity(tables, unigram, width=WIDE, salt="perplexity")
    narrow = _perplexity(tables, unigram, width=NARROW, salt="perplexity_narrow")
    dotted = " Dotted line: a unigram model." if unigram else ""
    return Picture(
        "perplexity",
        "Validation perplexity",
        f"Perplexity on held-out text by training step, both axes logarithmic.{dotted} {_BAND_NOTE}",
        "Line chart of validation perplexity by training step, one line for each of "
        f"{count(len(tables.labels), 'variant')}.",
        wide,
        narrow,
    )


def save_figures(found: Sequence[Picture], folder: Path) -> list[Path]:
    """Write every picture as PNG and SVG; the same tables give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in found:
        for stem, figure in picture.figures():
            for ending, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                path = folder / f"{stem}.{ending}"
                with drawing(stem), atomic_path(path) as half:
                    figure.savefig(half, format=ending, dpi=160, metadata=metadata)
                written.append(path)
    return written


def file_name(*parts: str) -> str:
    """A file stem from names that may hold anything."""
    return "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", part).strip("-") or "x" for part in parts)


def _grid(tables: ReportTables, cell: Cell, value: Value, *, columns: int, width: float, salt: str) -> Figure:
    tasks = tables.tasks(cell)
    frame = of_cell(tables.curves, cell)
    columns = min(columns, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    if len(tasks) % columns:
        tasks = [*tasks, MEAN_OVER_TASKS]
    bounds = (0.0, 1.0) if value == "accuracy" else (None, None)
    with drawing(salt, size=8.5 if width == WIDE else 7.5):
        figure = Figure(figsize=(width, 0.9 + rows * (1.65 if width == WIDE else 1.35)), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        drawn: dict[str, Stroke] = {}
        for task, axis in zip(tasks, axes, strict=False):
            table = band(frame.filter(pl.col("task") == task), value, bounds=bounds)
            drawn |= _lines(axis, table, tables, task)
            axis.axhline(0.5 if value == "accuracy" else 0.0, color=MUTED, linewidth=1, linestyle=":")
            axis.set_title(pretty(task))
        for axis in axes[len(tasks) :]:
            axis.set_axis_off()
        for axis in axes[max(0, len(tasks) - columns) : len(tasks)]:
            axis.tick_params(labelbottom=True)
        _step_axis(axes[0], tables.last_step)
        if value == "accuracy":
            axes[0].set_ylim(-0.02, 1.04)
            axes[0].set_yticks([0, 0.5, 1])
            axes[0].yaxis.set_major_formatter(PercentFormatter(1))
        figure.supxlabel("training step", fontsize="medium", color=INK)
        figure.supylabel("accuracy" if value == "accuracy" else "delta (nats)", fontsize="medium", color=INK)
        _legend(figure, drawn, width)
        _settle(figure)
    return figure


def _lines(axis: Axes, table: pl.DataFrame, tables: ReportTables, task: str | None) -> dict[str, Stroke]:
    """Draw one line a label, the baseline last; returns the strokes used by what the legend calls them."""
    drawn: dict[str, Stroke] = {}
    for label, stroke in strokes(tables, task).items():
        line = table.filter(pl.col("label") == label)
        if not len(line):
            continue
        top = 3.0 if label == tables.labels[0] else 1.5 if stroke.color == FAINT else 2.0
        axis.plot(line["step"], line["mean"], color=stroke.color, ls=stroke.dash, lw=stroke.width, zorder=top)
        if stroke.band and line["n_seeds"].max() != 1:
            axis.fill_between(line["step"], line["low"], line["high"], color=stroke.color, alpha=0.16, linewidth=0)
        drawn.setdefault(stroke.legend, stroke)
    return drawn


def _step_axis(axis: Axes, last: int) -> None:
    """Step 0 has its place, and the early steps, where most is learned, have room."""
    axis.set_xscale("symlog", linthresh=1, linscale=0.4)
    exponents = range(max(1, math.ceil(math.log10(max(last, 1) + 1))))
    axis.set_xticks([0, *(10**n for n in exponents)])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
    axis.set_xlim(0, max(last, 1) * 1.1)


def _legend(figure: Figure, drawn: dict[str, Stroke], width: float) -> None:
    handles = [
        Line2D([], [], color=stroke.color, linestyle=stroke.dash, linewidth=stroke.width + 0.4)
        for stroke in drawn.values()
    ]
    names = [legend_name(name) for name in drawn]
    longest = max((len(name) for name in names), default=1)
    fit = max(1, int(width * 12 / (longest + 7)))
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=min(fit, len(names)),
        handlelength=2.6,
        columnspacing=1.4,
    )


def _heat_map(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, width: float, salt: str) -> Figure:
    size = 8.5 if width == WIDE else 8.0
    with drawing(salt, size=size):
        figure = Figure(figsize=(width, 1.3 + 0.32 * len(rows)), layout="constrained")
        axis = figure.subplots()
        axis.imshow(values, cmap=_HEAT, vmin=0, vmax=1, aspect="auto")
        axis.set_yticks(range(len(rows)), rows)
        axis.set_xticks(range(len(columns)), columns, rotation=35, ha="left", rotation_mode="anchor")
        axis.xaxis.tick_top()
        axis.tick_params(length=0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        axis.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
        axis.grid(which="minor", color="#fefefe", linewidth=1.5)
        axis.tick_params(which="minor", length=0)
        for (y, x), value in np.ndenumerate(values):
            text, color = ("–", INK) if math.isnan(value) else (f"{100 * value:.0f}", _on(value))
            axis.text(x, y, text, ha="center", va="center", color=color)
        _settle(figure)
    return figure


def _settle(figure: Figure) -> None:
    """Lay the figure out once, so that it is saved alike however often and in whatever format."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _on(value: float) -> str:
    """Black or white, whichever reads better on the heat map's color (relative luminance, WCAG 2)."""
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in _HEAT(value)[:3])
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#ffffff"


def _perplexity(tables: ReportTables, unigram: float | None, *, width: float, salt: str) -> Figure:
    table = band(tables.metrics.with_columns(pl.col("valid_loss").exp().alias("perplexity")), "perplexity")
    with drawing(salt, size=8.5 if width == WIDE else 7.5):
        figure = Figure(figsize=(width, 3.4 if width == WIDE else 3.2), layout="constrained")
        axis = figure.subplots()
        drawn = _lines(axis, table, tables, None)
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
        _step_axis(axis, int(table["step"].max() or 1))  # type: ignore[arg-type]
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(_plain))
        axis.set_xlabel("training step")
        axis.set_ylabel("perplexity")
        _legend(figure, drawn, width)
        _settle(figure)
    return figure


def _plain(value: float, _: int | None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _curves_alt(tables: ReportTables, cell: Cell, value: Value) -> str:
    mean = of_cell(tables.final, cell).filter(pl.col("task") == MEAN_OVER_TASKS)
    number = "{:.0%}" if value == "accuracy" else "{:.2f}"
    shown = [f"{row['label']} {number.format(row[value])}" for row in mean.to_dicts() if row[value] is not None]
    return (
        f"Line charts of {value} by training step, one panel for each of {len(tables.tasks(cell))} tasks. "
        f"At the end, mean over tasks: {', '.join(shown[:8])}{', and others' if len(shown) > 8 else ''}."
    )
