"""Figures of transfer: the effect of removing one environment's data on the others, and its link to alignment."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from npi_jax.report.data.selection import linked_pairs, main_rows, ordered, primary_link, transfer_matrix
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.figures.alignment import limits
from npi_jax.report.figures.picture import COMPACT, Picture, filling, heat_axis, heat_cells, panel_title, settle
from npi_jax.report.figures.style import DASHES, FAINT, INK, MUTED, PALETTE, drawing, panel_name
from npi_jax.report.format import key_of, pretty, short, short_number
from npi_jax.results.names import (
    BOTH_CENTERED,
    MEAN_OVER_TRAINING,
    REMOVED_ALL,
    THINNED,
    THINNED_ITEMS,
    THINNED_SENTENCES,
)
from npi_jax.results.tables_amplification import Amplification
from npi_jax.results.tables_link import Link, LinkPairs

# The scatter plot names at most this many pairs; the CSV file and the table name all.
_NAMED: Final = 6
# Size of a name, as a share of the axes.
_NAME_WIDTH: Final = 0.26
_NAME_HEIGHT: Final = 0.025


def transfer_pictures(tables: ReportTables) -> list[Picture]:
    """Draw the matrix of effects, alignment against effect, and accuracy by share of the data, if available."""
    found = [matrix_picture(tables), scatter_picture(tables), amplification_picture(tables)]
    return [picture for picture in found if picture is not None]


def matrix_picture(tables: ReportTables) -> Picture | None:
    """Draw effects on delta, removed environment by task, with significant effects marked."""
    found = transfer_matrix(tables)
    if found is None:
        return None
    n_significant = int(found.significant().sum())
    against = {
        "control": "removing the same number of other sentences at random",
        "full": f"the variant {tables.labels[0]}",
    }[found.against]
    return Picture(
        name="transfer",
        title="Effect of removing one environment's NPIs on every environment",
        caption=(
            f"Effect on delta (nats), compared with {against}. Rows: removed environment; columns: tested environment. "
            "Orange: harmful; blue: helpful. Bold with a star: significantly different from 0 (p < .05, adjusted for "
            "the number of cells by step-down Šidák). Hatched: unknown."
            + (
                f" Row “all”: all NPIs removed, compared with {tables.labels[0]}."
                if REMOVED_ALL in found.removed
                else ""
            )
            + f" {key_of(found.tasks)}."
        ),
        alt=(
            f"Heat map of effects on delta, {len(found.removed)} removals by {len(found.tasks)} tasks; {n_significant} "
            "cells differ significantly from 0."
        ),
        wide=matrix_figure(found.values("effect"), found.significant(), found.removed, found.tasks, salt="transfer"),
        data=found.rows,
        section="transfer",
    )


def matrix_figure(
    values: Float[np.ndarray, "removed tasks"],
    significant: Bool[np.ndarray, "removed tasks"],
    removed: Sequence[str],
    tasks: Sequence[str],
    *,
    salt: str,
    limit: float | None = None,
) -> Figure:
    """Draw the matrix as a heat map; ``limit`` (nats) is the end of the color scale, by default the largest effect."""
    finite = np.abs(values[np.isfinite(values)])
    limit = limit or float(finite.max(initial=0.0)) or 1.0
    with drawing(salt, size=8.0):
        figure = Figure(figsize=(COMPACT, 1.1 + 0.3 * len(removed)), layout="constrained")
        axis = figure.subplots()
        heat_axis(axis, [panel_name(name) for name in removed], [short(name) for name in tasks])
        heat_cells(axis, values, limit=limit, marked=significant, size=6.8 if len(tasks) <= 10 else 5.5, digits=1)
        axis.set_ylabel("removed NPIs")
        axis.set_title("effect on", loc="center", weight="normal")
        settle(figure)
    return figure


def scatter_picture(tables: ReportTables) -> Picture | None:
    """Draw alignment in the first variant against transfer, one point for each ordered pair of environments."""
    frame = linked_pairs(tables)
    if frame is None:
        return None
    points = frame.filter(pl.col(LinkPairs.alignment).is_finite() & pl.col(LinkPairs.effect).is_finite())
    if not len(points):
        return None
    row = primary_link(tables)
    correlation = ""
    if row is not None and math.isfinite(float(row["statistic"] or math.nan)):  # type: ignore[arg-type]
        of = " without additive effects of single tasks" if row.get(Link.centered) == BOTH_CENTERED else ""
        correlation = f" Spearman's correlation{of} {short_number(float(row['statistic']))}."  # type: ignore[arg-type]
    group = pretty(", ".join(points[LinkPairs.group].unique().sort()))
    return Picture(
        name="alignment_against_transfer",
        title="Does alignment predict transfer?",
        caption=(
            f"Each point is an ordered pair: alignment of the two environments in the variant {tables.labels[0]} "
            f"({group} weights, {_when(points)}) against the effect of removing one's NPIs on the other's delta "
            f"(nats), with its 95% interval. Some of the outermost points are named (removed → tested).{correlation}"
        ),
        alt=f"Scatter plot of {len(points)} pairs of environments, alignment against effect.",
        wide=_scatter(points),
        data=frame,
        section="transfer",
    )


def _when(points: pl.DataFrame) -> str:
    """Return the checkpoint of the alignment in words; tables without the column have means over training."""
    steps = points[LinkPairs.step].unique().to_list() if LinkPairs.step in points.columns else [MEAN_OVER_TRAINING]
    return "mean over seeds and steps" if steps == [MEAN_OVER_TRAINING] else f"mean over seeds at step {steps[0]:,}"


def _scatter(points: pl.DataFrame) -> Figure:
    x, y = points[LinkPairs.alignment].to_numpy(), points[LinkPairs.effect].to_numpy()
    arms = np.stack([y - points[LinkPairs.low].to_numpy(), points[LinkPairs.high].to_numpy() - y])
    arms = np.where(np.isfinite(arms), np.maximum(arms, 0.0), 0.0)
    with drawing("alignment_against_transfer", size=8.0):
        figure = Figure(figsize=(COMPACT, 3.9), layout="constrained")
        axis = figure.subplots()
        axis.axhline(0.0, color=MUTED, linewidth=1, linestyle=":")
        axis.errorbar(x, y, yerr=arms, fmt="none", ecolor=FAINT, elinewidth=0.6, zorder=1)
        axis.plot(x, y, "o", ms=4, color=PALETTE[1], mec="none", zorder=2, label="_pairs")
        axis.set_xlim(*limits(points[LinkPairs.alignment], least=(x.min(), x.max())))
        for place in _free(axis, x, y, _outermost(x, y)):
            row = points.row(int(place), named=True)
            text = f"{short(row[LinkPairs.removed])}→{short(row[LinkPairs.task])}"
            left = _names_left(x, int(place))
            axis.annotate(
                text, (x[place], y[place]), xytext=(-5 if left else 5, 0), textcoords="offset points", color=INK,
                fontsize=6.2, ha="right" if left else "left", va="center",
            )  # fmt: skip
        axis.set_xlabel("alignment")
        axis.set_ylabel("effect on delta (nats)")
        settle(figure)
    return figure


def _outermost(x: Float[np.ndarray, " pairs"], y: Float[np.ndarray, " pairs"]) -> np.ndarray:
    """Return indices of the pairs, sorted by distance from the center in standard deviations, farthest first."""

    def scaled(values: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
        return (values - values.mean()) / (values.std() or 1.0)

    return np.argsort(-(scaled(x) ** 2 + scaled(y) ** 2), kind="stable")


def _names_left(x: Float[np.ndarray, " pairs"], place: int) -> bool:
    """Return True for a point in the right half of the plot: its name is placed on its left."""
    return bool(x[place] > (x.min() + x.max()) / 2)


def _free(axis: Axes, x: Float[np.ndarray, " pairs"], y: Float[np.ndarray, " pairs"], places: np.ndarray) -> list[int]:
    """Select at most `_NAMED` points from ``places``, such that no name covers another point or name."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    across, down = (x - left) / (right - left), (y - bottom) / (top - bottom)
    chosen: list[int] = []
    boxes: list[tuple[float, float]] = []
    for place in places.tolist():
        start = across[place] - _NAME_WIDTH if _names_left(x, place) else across[place]
        inside = (across > start) & (across < start + _NAME_WIDTH) & (np.abs(down - down[place]) < _NAME_HEIGHT)
        inside[place] = False
        taken = any(abs(a - start) < _NAME_WIDTH and abs(b - down[place]) < 2 * _NAME_HEIGHT for a, b in boxes)
        if not inside.any() and not taken and len(chosen) < _NAMED:
            chosen.append(place)
            boxes.append((start, down[place]))
    return chosen


_FEWEST_SHARES: Final = 3
"""Minimum number of shares in at least one curve; fewer are points, which the table of gains shows."""


def amplification_picture(tables: ReportTables) -> Picture | None:
    """Draw accuracy by the kept share of one environment's data, with other environments' data kept or removed."""
    frame = main_rows(tables, "amplification")
    # A curve needs intermediate shares; effects and gains are in tables.
    if frame is None or not frame[Amplification.share].is_between(0, 1, closed="none").any():
        return None
    if Amplification.thinned not in frame.columns:  # old tables
        frame = frame.with_columns(pl.lit(THINNED_ITEMS).alias(Amplification.thinned))
    curves = frame.group_by(Amplification.environment, Amplification.thinned, Amplification.others)
    if int(curves.agg(pl.col(Amplification.share).n_unique())[Amplification.share].max()) < _FEWEST_SHARES:  # type: ignore[arg-type]
        return None
    inner = frame.filter(pl.col(Amplification.share).is_between(0, 1, closed="none"))
    present = set(inner.select(Amplification.environment, Amplification.thinned).iter_rows())
    names = ordered(inner[Amplification.environment])
    panels = [(name, thinned) for name in names for thinned in THINNED if (name, thinned) in present]
    return Picture(
        name="amplification",
        title="Accuracy by the share of an environment's data",
        caption=(
            "Accuracy in an environment after training on a share of its sentences with NPIs, or of all its sentences "
            "where the title has “(all)”, with the other environments' NPIs kept (line) or removed (dashes). The gap "
            "is the contribution of the other environments. Bands: 95% intervals; variants with 2 to 4 seeds have none."
        ),
        alt=f"Line charts of accuracy by share of the data for {len(names)} environments.",
        wide=_amplification(frame, panels),
        data=frame,
        section="data",
    )


def _amplification(frame: pl.DataFrame, panels: Sequence[tuple[str, str]]) -> Figure:
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    looks = {"kept": (INK, DASHES[0]), "removed": (PALETTE[0], DASHES[1])}
    with drawing("amplification", size=8.0):
        figure = Figure(figsize=(COMPACT, 0.7 + 1.5 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        with filling(axes):
            for axis, (name, thinned) in zip(axes, panels, strict=False):
                for others, (color, dash) in looks.items():
                    part = frame.filter(
                        (pl.col(Amplification.environment) == name)
                        & (pl.col(Amplification.thinned) == thinned)
                        & (pl.col(Amplification.others) == others)
                    ).sort(Amplification.share)
                    axis.plot(
                        part[Amplification.share],
                        part[Amplification.accuracy],
                        color=color,
                        ls=dash,
                        marker="o",
                        ms=3,
                        label=others,
                    )
                    axis.fill_between(
                        part[Amplification.share],
                        part[Amplification.low],
                        part[Amplification.high],
                        color=color,
                        alpha=0.16,
                        linewidth=0,
                    )
                axis.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
                panel_title(axis, panel_name(name) + (" (all)" if thinned == THINNED_SENTENCES else ""))
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis in axes[max(0, len(panels) - columns) : len(panels)]:
            axis.tick_params(labelbottom=True)
        axes[0].set_ylim(-0.02, 1.04)
        axes[0].yaxis.set_major_formatter(PercentFormatter(1))
        shares = sorted(frame[Amplification.share].unique())
        least = next(share for share in shares if share > 0)
        if least < 0.1:  # on a linear axis, 1, 3, 10 and 30 % would overlap
            axes[0].set_xscale("symlog", linthresh=least)
            axes[0].set_xlim(-0.15 * least, 1.25)
            axes[0].xaxis.set_major_locator(FixedLocator(shares))
            axes[0].xaxis.set_minor_locator(NullLocator())
        axes[0].xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        figure.supxlabel("share of its data", fontsize="medium")
        figure.supylabel("accuracy", fontsize="medium")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, [f"others {label}" for label in labels], loc="outside upper center", ncols=2)
        settle(figure)
    return figure
