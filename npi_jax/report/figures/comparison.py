"""Figures that compare two runs, with one color for each variant and one line style or panel for each run."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from npi_jax.report.data.bands import band
from npi_jax.report.data.selection import TransferMatrix, mean_alignment, parameter_groups, transfer_matrix
from npi_jax.report.data.tables import Cell, ReportTables, of_cell
from npi_jax.report.figures.alignment import THIN, firm, limits, thin, with_share_left_out
from npi_jax.report.figures.picture import COMPACT, Picture, legend, settle, step_axis
from npi_jax.report.figures.style import DASHES, INK, MUTED, PALETTE, Stroke, cut, drawing
from npi_jax.report.figures.transfer import matrix_figure
from npi_jax.report.format import pretty
from npi_jax.results.names import ENVIRONMENTS, MEAN_OVER_TASKS
from npi_jax.results.tables_alignment import AlignmentMean
from npi_jax.results.tables_learning import Curves

# More variants than colors could not be distinguished, so at most this many are drawn.
_MOST: Final = 1 + len(PALETTE)

Names = tuple[str, str]
Both = tuple[ReportTables, ReportTables]
Labels = Sequence[tuple[str, str]]


def comparison_pictures(names: Names, tables: Both, cells: Sequence[Cell], labels: Labels) -> list[Picture]:
    """Draw learning curves of every shared cell, then alignment and transfer if both runs have them."""
    main = [cell for cell in cells if cell in tables[0].main_cells()] or list(cells[:1])
    found = [curves_picture(names, tables, cell, number, labels) for number, cell in enumerate(main)]
    aligned = [mean_alignment(part, ENVIRONMENTS) for part in tables]
    if aligned[0] is not None and aligned[1] is not None:
        found.append(alignment_picture(names, tables, (aligned[0], aligned[1]), labels))
    matrices = [transfer_matrix(part) for part in tables]
    if matrices[0] is not None and matrices[1] is not None:
        found += transfer_pictures(names, (matrices[0], matrices[1]))
    return found


def curves_picture(names: Names, tables: Both, cell: Cell, number: int, labels: Labels) -> Picture:
    """Draw the mean over tasks by step; the first run's lines are solid, the second's dashed."""
    name = f"compare_curves_{number + 1}"
    parts = []
    for side, (run, of_run) in enumerate(zip(names, tables, strict=True)):
        frame = of_cell(of_run.curves, cell).filter(pl.col(Curves.task) == MEAN_OVER_TASKS)
        frame = frame.filter(pl.col("label").is_in([pair[side] for pair in labels]))
        parts.append(band(frame, "accuracy").select(pl.lit(run).alias("run"), pl.all()))
    with drawing(name, size=8.0):
        figure = Figure(figsize=(COMPACT, 3.4), layout="constrained")
        axis = figure.subplots()
        axis.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
        drawn = {}
        for side, (run, part) in enumerate(zip(names, parts, strict=True)):
            for place, pair in enumerate(labels[:_MOST]):
                stroke = _stroke(place, f"{pair[side]}, {run}", DASHES[side])
                _line(axis, part.filter(pl.col("label") == pair[side]), stroke)
                drawn[stroke.legend] = stroke
        step_axis(axis, max(of_run.last_step for of_run in tables))
        axis.set_ylim(-0.02, 1.04)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.set_xlabel("training step")
        axis.set_ylabel("accuracy, mean over tasks")
        legend(figure, drawn, COMPACT)
        settle(figure)
    left_out = f" The first {_MOST} variants that both have." if len(labels) > _MOST else ""
    return Picture(
        name=name,
        title=f"Accuracy while learning: {pretty(cell[0])}, {cell[1]} pairs",
        caption=f"Mean over tasks. Solid: {names[0]}; dashed: {names[1]}. Bands over seeds.{left_out}",
        alt=f"Line chart of accuracy by training step for {min(len(labels), _MOST)} variants in two runs.",
        wide=figure,
        data=pl.concat(parts),
    )


def alignment_picture(names: Names, tables: Both, frames: tuple[pl.DataFrame, pl.DataFrame], labels: Labels) -> Picture:
    """Draw the mean alignment between environments by step, one panel for each run."""
    groups = [parameter_groups(frame)[0] for frame in frames]
    parts = [
        firm(with_share_left_out(of_run, frame.filter(pl.col(AlignmentMean.group) == group), ENVIRONMENTS))
        for of_run, frame, group in zip(tables, frames, groups, strict=True)
    ]
    with drawing("compare_alignment", size=8.0):
        figure = Figure(figsize=(COMPACT, 2.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        drawn = {}
        for side, (axis, part) in enumerate(zip(axes, parts, strict=True)):
            axis.axhline(0.0, color=MUTED, linewidth=1, linestyle=":")
            for place, pair in enumerate(labels[:_MOST]):
                stroke = _stroke(place, pair[side], DASHES[0])
                rows = part.filter(pl.col("label") == pair[side])
                thin(axis, rows, stroke.color)
                _line(axis, rows, stroke)
                drawn[stroke.legend] = stroke
            step_axis(axis, tables[side].last_step)
            axis.set_title(cut(names[side], 26))
        axes[0].set_ylim(*limits(pl.concat([part[AlignmentMean.corrected] for part in parts])))
        axes[0].set_ylabel("mean alignment")
        figure.supxlabel("training step", fontsize="medium")
        legend(figure, drawn, COMPACT)
        settle(figure)
    which = " and ".join(dict.fromkeys(pretty(group) for group in groups))
    data = [part.select(pl.lit(run).alias("run"), pl.all()) for run, part in zip(names, parts, strict=True)]
    return Picture(
        name="compare_alignment",
        title="Alignment between environments while learning",
        caption=(
            f"Mean over pairs of the noise-corrected alignment, {which} weights, median over seeds, with 95% intervals "
            f"(none with 2 to 4 seeds). {THIN}"
        ),
        alt="Two line charts of mean alignment by training step, one for each run.",
        wide=figure,
        data=pl.concat(data, how="diagonal"),
    )


def transfer_pictures(names: Names, found: tuple[TransferMatrix, TransferMatrix]) -> list[Picture]:
    """Draw the matrix of effects of each run on the same color scale."""
    values = [part.values("effect") for part in found]
    limit = max(float(np.abs(part[np.isfinite(part)]).max(initial=0.0)) for part in values) or 1.0
    pictures = []
    for number, (run, part, effects) in enumerate(zip(names, found, values, strict=True)):
        name = f"compare_transfer_{number + 1}"
        against = "a control" if part.against == "control" else "the first variant"
        pictures.append(
            Picture(
                name=name,
                title=f"Effect of removing an environment's NPIs: {run}",
                caption=(
                    f"Effect on delta (nats), compared with {against}. Orange: harmful. Star: significantly different "
                    "from 0 (adjusted by step-down Šidák). Both runs use the same colors."
                ),
                alt=f"Heat map of effects on delta in {run}.",
                wide=matrix_figure(effects, part.significant(), part.removed, part.tasks, salt=name, limit=limit),
                data=part.rows,
            )
        )
    return pictures


def _stroke(place: int, name: str, dash: object) -> Stroke:
    return Stroke((INK, *PALETTE)[place % _MOST], name, dash)  # type: ignore[arg-type]


def _line(axis: Axes, rows: pl.DataFrame, stroke: Stroke) -> None:
    axis.plot(rows["step"], rows["typical"], color=stroke.color, ls=stroke.dash, lw=stroke.width)
    axis.fill_between(rows["step"], rows["low"], rows["high"], color=stroke.color, alpha=0.12, linewidth=0)
