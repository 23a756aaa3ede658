"""Figures of alignment: pairs of tasks at the last step, and the mean over pairs through training."""

import math
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from npi_jax.report.data.selection import left_out, mean_alignment, ordered, pair_alignment, parameter_groups
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.figures.picture import (
    COMPACT,
    WIDE,
    Picture,
    filling,
    heat_axis,
    heat_cells,
    legend,
    lines,
    panel_title,
    settle,
    step_axis,
)
from npi_jax.report.figures.style import MUTED, Stroke, cut, drawing, strokes
from npi_jax.report.format import count, key_of, pretty, short
from npi_jax.results.names import ENVIRONMENTS, LM
from npi_jax.results.tables_alignment import Alignment, AlignmentMean

HEAT_MAPS: Final = "alignment_pairs"
# The figure shows at most this many variants; the interactive heat map and the CSV file have all.
_PANELS: Final = 6
THIN: Final = "Thin: more than half of the pairs (times seeds) are lost in noise, and the mean is one over the rest."
_BAND: Final = (
    "Bands: 95% intervals over seeds and micro-batches (none with 2 to 4 seeds); they may run out of a panel."
)
_DRAWN: Final = {"corrected": "typical", "low": "low", "high": "high"}
_CORRECTED: Final = (
    "Noise-corrected cosine of the tasks' gradients (1: they require the same change of the weights; 0: unrelated "
    "changes)"
)


def alignment_pictures(tables: ReportTables) -> list[Picture]:
    """Draw the heat map of the last step and the trajectories; empty without gradients."""
    found = [
        heat_maps_picture(tables),
        trajectories_picture(tables, ENVIRONMENTS),
        trajectories_picture(tables, LM),
    ]
    return [picture for picture in found if picture is not None]


def heat_maps_picture(tables: ReportTables) -> Picture | None:
    """Draw heat maps of pairs of tasks at the last step, one for each variant; the CSV has all steps and groups."""
    pairs = pair_alignment(tables)
    if pairs is None:
        return None
    group = parameter_groups(pairs)[0]
    last = int(pairs[Alignment.step].max())  # type: ignore[arg-type]
    tasks = ordered([*pairs[Alignment.task_i], *pairs[Alignment.task_j]])
    labels = [label for label in tables.labels if label in set(pairs["label"])][:_PANELS]
    here = pairs.filter((pl.col(Alignment.step) == last) & (pl.col(Alignment.group) == group))
    here = here.with_columns(share=pl.col("n_reliable") / pl.col("n_seeds"))
    of_label = {label: here.filter(pl.col("label") == label) for label in labels}
    figure = _heat_maps(
        {label: matrix(rows, tasks) for label, rows in of_label.items()},
        {label: matrix(rows, tasks, "share") for label, rows in of_label.items()},
        tasks,
    )
    left_out = len(set(pairs["label"])) - len(labels)
    others = f" The first {_PANELS} variants; {left_out} more are in the CSV file." if left_out else ""
    return Picture(
        name=HEAT_MAPS,
        title=f"Alignment of every pair of tasks, {pretty(group)} weights, step {last:,}",
        caption=(
            f"{_CORRECTED}, mean over the seeds in which it is reliable. The diagonal compares a task with itself from "
            "disjoint sentences and should be about 1. Hatched: noise hides it in every seed; framed: in some seeds; "
            f"pale: in more than half. LM: the gradient of ordinary text. {key_of(tasks)}.{others}"
        ),
        alt=f"Heat maps of alignment, {len(tasks)} by {len(tasks)} tasks, for {count(len(labels), 'variant')}.",
        wide=figure,
        data=pairs,
        section="alignment",
    )


def trajectories_picture(tables: ReportTables, statistic: str) -> Picture | None:
    """Draw the mean alignment by step: one panel for each group of weights, one line for each variant."""
    frame = mean_alignment(tables, statistic)
    if frame is None:
        return None
    of_lm = statistic == LM
    table = with_share_left_out(tables, frame, statistic)
    name = "alignment_lm" if of_lm else "alignment_environments"
    what = "Mean over environments of their alignment with ordinary text" if of_lm else "Mean over pairs"
    dotted = " Thin dotted line: the first variant without the correction for noise." if not of_lm else ""
    return Picture(
        name=name,
        title="Alignment of environments with ordinary text"
        if of_lm
        else "Alignment between environments while learning",
        caption=f"{what} by training step, a panel for each group of weights. {_CORRECTED}. {_BAND} {THIN}{dotted}",
        alt=(
            f"Line charts of the mean alignment by step, {count(len(tables.labels), 'line')} in each of "
            f"{len(parameter_groups(frame))} panels."
        ),
        wide=_trajectories(tables, table, name, naive=not of_lm),
        data=table.drop(AlignmentMean.statistic),
        section="alignment",
    )


def with_share_left_out(tables: ReportTables, frame: pl.DataFrame, statistic: str) -> pl.DataFrame:
    """Add ``share_left_out`` to rows of `mean_alignment`: the share of pairs (over seeds) hidden by noise."""
    counted = left_out(tables, statistic)
    if counted is None:
        return frame.with_columns(share_left_out=pl.lit(0.0))
    share = (pl.col(AlignmentMean.n_unreliable) / pl.col("n_total")).alias("share_left_out")
    by = ["label", "group", "step"]
    return frame.join(counted.select(*by, share), on=by, how="left", maintain_order="left")


def firm(frame: pl.DataFrame) -> pl.DataFrame:
    """Add columns typical, low and high for drawing; they are null if the mean is over a minority of pairs."""
    few = (pl.col("share_left_out") > 0.5).fill_null(value=False)
    return frame.with_columns(pl.when(few).then(None).otherwise(column).alias(new) for column, new in _DRAWN.items())


def matrix(rows: pl.DataFrame, tasks: list[str], column: str = "corrected") -> Float[np.ndarray, "tasks tasks"]:
    """Return a symmetric matrix from rows of pairs; NaN where there is no reliable value."""
    found = np.full((len(tasks), len(tasks)), math.nan)
    for one, other, value in rows.select(Alignment.task_i, Alignment.task_j, column).iter_rows():
        if value is not None:
            i, j = tasks.index(one), tasks.index(other)
            found[i, j] = found[j, i] = value
    return found


def _heat_maps(
    values: dict[str, Float[np.ndarray, "tasks tasks"]],
    seeds: dict[str, Float[np.ndarray, "tasks tasks"]],
    tasks: list[str],
) -> Figure:
    columns = min(2, len(values))
    rows = math.ceil(len(values) / columns)
    names = [short(task) for task in tasks]
    with drawing(HEAT_MAPS):
        figure = Figure(figsize=(WIDE if columns > 1 else COMPACT, 0.3 + 3.3 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, (label, cells) in zip(axes, values.items(), strict=False):
            heat_axis(axis, names, names)
            heat_cells(axis, cells, limit=1.0, seeds=seeds[label], size=6.6)
            axis.set_title(cut(label, 36), pad=8)
        for axis in axes[len(values) :]:
            axis.set_axis_off()
        settle(figure)
    return figure


def _trajectories(tables: ReportTables, frame: pl.DataFrame, name: str, *, naive: bool) -> Figure:
    groups = parameter_groups(frame)
    columns = min(2, len(groups))
    rows = math.ceil(len(groups) / columns)
    table = firm(frame)
    looks = strokes(tables)
    with drawing(name, size=8.0):
        figure = Figure(figsize=(COMPACT, 0.8 + 1.4 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        drawn: dict[str, Stroke] = {}
        with filling(axes):
            for axis, group in zip(axes, groups, strict=False):
                part = table.filter(pl.col(AlignmentMean.group) == group)
                axis.axhline(0.0, color=MUTED, linewidth=1, linestyle=":")
                if naive:
                    first = part.filter(pl.col("label") == tables.labels[0])
                    axis.plot(
                        first[AlignmentMean.step],
                        first[AlignmentMean.naive],
                        color=MUTED,
                        lw=0.9,
                        ls=(0, (1, 1.5)),
                        label="_naive",
                    )
                for label, stroke in looks.items():
                    all_of_it = part.filter(pl.col("label") == label)
                    thin(axis, all_of_it, stroke.color)
                drawn |= lines(axis, part, tables, None)
                panel_title(axis, pretty(group))
        for axis in axes[len(groups) :]:
            axis.set_axis_off()
        for axis in axes[max(0, len(groups) - columns) : len(groups)]:
            axis.tick_params(labelbottom=True)
        step_axis(axes[0], int(frame[AlignmentMean.step].max()))  # type: ignore[arg-type]
        axes[0].set_ylim(*limits(frame[AlignmentMean.corrected]))
        figure.supxlabel("training step", fontsize="medium")
        figure.supylabel("mean alignment", fontsize="medium")
        legend(figure, drawn, COMPACT)
        settle(figure)
    return figure


def thin(axis: Axes, rows: pl.DataFrame, color: str) -> None:
    """Draw a thin line through all points, including those that `firm` excludes from the thick line."""
    axis.plot(
        rows[AlignmentMean.step],
        rows[AlignmentMean.corrected],
        color=color,
        lw=0.5,
        marker=".",
        ms=2.5,
        mew=0,
        label="_thin",
    )


def limits(values: pl.Series, *, least: tuple[float, float] = (-0.1, 0.5)) -> tuple[float, float]:
    """Return limits of an axis that includes all finite values and the range ``least``, with a margin."""
    known = values.drop_nulls()
    known = known.filter(known.is_finite())
    low = min([least[0], *known.to_list()])
    high = max([least[1], *known.to_list()])
    return low - 0.04 * (high - low), high + 0.04 * (high - low)
