"""Figures on the quality of measurements: noise, same-task check, lookahead, strata, subspaces."""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from npi_jax.report.data.selection import left_out, mean_alignment, parameter_groups, usable_estimate
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.figures.alignment import limits
from npi_jax.report.figures.picture import COMPACT, Picture, filling, panel_title, settle, step_axis
from npi_jax.report.figures.style import DASHES, FAINT, INK, MUTED, PALETTE, cut, drawing
from npi_jax.report.format import pretty
from npi_jax.results.names import ENVIRONMENTS, SAME_TASK
from npi_jax.results.tables_alignment import AlignmentMean, AlignmentNpi, Lookahead, Overlap

_MARKS: Final = ("o", "s", "^", "D", "v", "P")
_STRATA: Final = {
    "all": "all NPIs",
    "same": "same NPI in both environments",
    "different": "different NPIs",
}
# The figures show at most this many variants; the CSV files have all.
_ROWS: Final = 16

Look = tuple[str, str]
"""Color and marker."""


def diagnostic_pictures(tables: ReportTables) -> list[Picture]:
    """Draw all figures on the quality of gradients for which the run has data."""
    found = [checks_picture(tables), strata_picture(tables), overlap_picture(tables), lookahead_picture(tables)]
    return [picture for picture in found if picture is not None]


def checks_table(tables: ReportTables) -> pl.DataFrame | None:
    """Return the checks of the gradients, averaged over variants, by statistic, group and step.

    The result is None without gradients. Its columns are statistic, group, step and these:

    - unreliable: share of pairs of environments, over all seeds, that are excluded; null for other statistics.
    - corrected, sign_conflict: mean over variants.
    """
    frame, counted = tables.table("alignment_mean"), left_out(tables)
    if frame is None or counted is None:
        return None
    share = (pl.col(AlignmentMean.n_unreliable).sum() / pl.col("n_total").sum()).alias("unreliable")
    shares = (
        counted.group_by(AlignmentMean.group, AlignmentMean.step, maintain_order=True)
        .agg(share)
        .with_columns(statistic=pl.lit(ENVIRONMENTS))
    )
    by = ["statistic", "group", "step"]
    means = (
        frame.with_columns(pl.col(AlignmentMean.corrected, AlignmentMean.sign_conflict).fill_nan(None))
        .group_by(by, maintain_order=True)
        .agg(pl.col(AlignmentMean.corrected).mean(), pl.col(AlignmentMean.sign_conflict).mean())
    )
    return (
        means.join(shares, on=by, how="left", maintain_order="left")
        .select(*by, "unreliable", AlignmentMean.corrected, AlignmentMean.sign_conflict)
        .sort(by)
    )


def checks_picture(tables: ReportTables) -> Picture | None:
    """Draw the share of unreliable pairs, same-task check, sign conflict and its reference by step and group."""
    found = checks_table(tables)
    environments = mean_alignment(tables, ENVIRONMENTS)
    if found is None or environments is None:
        return None
    groups = parameter_groups(environments)
    colors = {name: (INK, *PALETTE)[place % 7] for place, name in enumerate(groups)}
    panels = (
        (ENVIRONMENTS, "unreliable", "pairs hidden by noise"),
        (SAME_TASK, "corrected", "same task, should be 1"),
        (ENVIRONMENTS, "sign_conflict", "sign conflict"),
        (SAME_TASK, "sign_conflict", "sign conflict, same task"),
    )
    with drawing("gradient_checks", size=8.0):
        figure = Figure(figsize=(COMPACT, 4.1), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True).ravel()
        with filling(axes):
            for axis, (statistic, value, title) in zip(axes, panels, strict=True):
                part = found.filter(pl.col(AlignmentMean.statistic) == statistic)
                for place, group in enumerate(groups):
                    line = part.filter(pl.col(AlignmentMean.group) == group)
                    axis.plot(line[AlignmentMean.step], line[value], color=colors[group], ls=DASHES[place % 3], lw=1.4)
                panel_title(axis, title)
                axis.tick_params(labelbottom=True)
                if value != "corrected":
                    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes[0].set_ylim(-0.02, 1.04)
        same_task = found.filter(pl.col(AlignmentMean.statistic) == SAME_TASK)[AlignmentMean.corrected]
        axes[1].set_ylim(*limits(same_task, least=(0.5, 1.1)))
        axes[1].axhline(1.0, color=MUTED, linewidth=1, linestyle=":")
        low = [axis.get_ylim()[0] for axis in axes[2:]]
        high = [axis.get_ylim()[1] for axis in axes[2:]]
        for axis in axes[2:]:
            axis.set_ylim(min(low), max(high))
        step_axis(axes[0], int(found[AlignmentMean.step].max()))  # type: ignore[arg-type]
        figure.supxlabel("training step", fontsize="medium")
        handles = [Line2D([], [], color=colors[name], ls=DASHES[i % 3], lw=1.8) for i, name in enumerate(groups)]
        figure.legend(handles, [pretty(name) for name in groups], loc="outside upper center", ncols=4, handlelength=2.2)
        settle(figure)
    return Picture(
        name="gradient_checks",
        title="Do the gradients rise above noise?",
        caption=(
            "By training step and group of weights, mean over variants. Share of pairs (times seeds) excluded because "
            "noise hides their alignment. Alignment of a task with itself, from disjoint sentences. Share of "
            "coordinates, weighted by size, in which two gradients have opposite signs, beside the share for a task "
            "with itself, which is due to noise alone."
        ),
        alt="Line charts by training step: unreliable pairs, same-task alignment, sign conflict and its reference.",
        wide=figure,
        data=found,
        section="diagnostics",
    )


def strata_picture(tables: ReportTables) -> Picture | None:
    """Draw the alignment of pairs of environments for items with the same NPI and with different NPIs."""
    frame = tables.table("alignment_npi")
    if frame is None:
        return None
    group = parameter_groups(frame)[0]
    estimate, usable = usable_estimate(frame)
    median = estimate.filter(usable).median()
    data = (
        frame.filter(pl.col(AlignmentNpi.task_i) != pl.col(AlignmentNpi.task_j))
        .group_by("label", AlignmentNpi.group, AlignmentNpi.npis, AlignmentNpi.seed, maintain_order=True)
        .agg(
            pl.when(median.abs() <= 1).then(median).alias(AlignmentNpi.corrected),
            pl.len().alias("n_pairs"),
            (~usable).sum().alias("n_unreliable"),
        )
        .sort("label", AlignmentNpi.group, AlignmentNpi.npis, AlignmentNpi.seed)
    )
    here = data.filter((pl.col(AlignmentNpi.group) == group) & pl.col(AlignmentNpi.npis).is_in(list(_STRATA)))
    looks = dict(zip(_STRATA, zip((INK, PALETTE[0], PALETTE[1]), _MARKS, strict=False), strict=True))
    rows = [(row["label"], row[AlignmentNpi.npis], row[AlignmentNpi.corrected]) for row in here.to_dicts()]
    counted = here.group_by("label", AlignmentNpi.npis, maintain_order=True).agg(
        pl.col("n_pairs", "n_unreliable").sum()
    )
    counts = {
        (row["label"], row[AlignmentNpi.npis]): (row["n_pairs"] - row["n_unreliable"], row["n_pairs"])
        for row in counted.to_dicts()
    }
    return Picture(
        name="alignment_npi",
        title="Is it the words? Alignment with the same NPI and with different ones",
        caption=(
            f"Median over the pairs of environments that rise above noise at the last step, {pretty(group)} weights. "
            "Faint: single seeds; full: their mean, hollow if it is from fewer than half of the pairs. On the right: "
            "number of included pairs of all pairs times seeds; the three medians include different pairs. If "
            "alignment concerned the word alone (raise p(ever)), it would vanish between different NPIs."
        ),
        alt="Dot plot of alignment by variant, for all, same and different NPIs.",
        wide=_dots(tables, rows, looks, _STRATA, "median alignment", "alignment_npi", counts),
        data=data,
        section="diagnostics",
    )


def overlap_picture(tables: ReportTables) -> Picture | None:
    """Draw the overlap of the subspaces of two tasks' item gradients, with the ceiling set by noise."""
    frame = tables.table("overlap")
    if frame is None:
        return None
    group = parameter_groups(frame)[0]
    by = ["label", "group", "k", "seed"]
    data = frame.group_by(by, maintain_order=True).agg(
        pl.col(Overlap.overlap, Overlap.ceiling).fill_nan(None).median(), pl.len().alias("n_pairs")
    )
    data = data.sort(by)
    k = int(data[Overlap.k].max())  # type: ignore[arg-type]
    here = data.filter((pl.col(Overlap.group) == group) & (pl.col(Overlap.k) == k)).to_dicts()
    names = {"overlap": "two environments", "ceiling": "ceiling: one environment's halves"}
    looks = {"overlap": (PALETTE[1], "o"), "ceiling": (INK, "|")}
    rows = [(row["label"], name, row[name]) for name in names for row in here]
    return Picture(
        name="subspace_overlap",
        title="Do environments change the weights in the same directions?",
        caption=(
            f"Overlap of the {k} main directions of two environments' item gradients at the last step, {pretty(group)} "
            "weights (1: the same subspace), median over pairs. The ceiling is the overlap between two halves of one "
            "environment. Faint: single seeds, full: their mean."
        ),
        alt="Dot plot of subspace overlap by variant, with its ceiling.",
        wide=_dots(tables, rows, looks, names, "overlap", "subspace_overlap"),
        data=data,
        section="diagnostics",
    )


def lookahead_picture(tables: ReportTables) -> Picture | None:
    """Draw changes of a task's objective after a step along another task's gradient, against their predictions."""
    frame = tables.table("lookahead")
    if frame is None:
        return None
    points = frame.filter(pl.col(Lookahead.change).is_finite() & pl.col(Lookahead.first_order).is_finite())
    with drawing("lookahead", size=8.0):
        figure = Figure(figsize=(COMPACT, 3.7), layout="constrained")
        axis = figure.subplots()
        same = pl.col(Lookahead.task_i) == pl.col(Lookahead.task_j)
        for part, color, mark, label in (
            (points.filter(~same), PALETTE[1], "o", "another task"),
            (points.filter(same), PALETTE[0], "^", "the same task"),
        ):
            axis.plot(
                part[Lookahead.first_order],
                part[Lookahead.change],
                mark,
                ms=3,
                color=color,
                mec="none",
                alpha=0.5,
                label=label,
            )
        axis.axline((0, 0), slope=1, color=MUTED, linewidth=1, linestyle=":")
        axis.set_xlabel("first order: step times dot product (nats)")
        axis.set_ylabel("change of the other task (nats)")
        figure.legend(loc="outside upper center", ncols=2)
        settle(figure)
    return Picture(
        name="lookahead",
        title="Does a step along one task's gradient have the predicted effect?",
        caption=(
            "Change of a task's objective after a small step along another task's gradient, measured on other items, "
            "against the first-order prediction. Dotted line: both are equal. All members, last step."
        ),
        alt=f"Scatter plot of {len(points)} pairs, change against first-order prediction.",
        wide=figure,
        data=frame,
        section="diagnostics",
    )


def _dots(
    tables: ReportTables,
    rows: Sequence[tuple[str, str, float | None]],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
    xlabel: str,
    salt: str,
    counts: Mapping[tuple[str, str], tuple[int, int]] | None = None,
) -> Figure:
    """Draw a dot plot with one line for each variant; ``rows`` has label, kind of dot and value of each seed.

    ``counts`` has the numbers of included and of all values, by label and kind. They are printed beside the dot, which
    is hollow if fewer than half of the values are included.
    """
    present = {label for label, _, _ in rows}
    labels = [label for label in tables.labels if label in present][:_ROWS]
    with drawing(salt, size=8.0):
        figure = Figure(figsize=(COMPACT, 1.1 + 0.34 * len(labels)), layout="constrained")
        axis = figure.subplots()
        for place, label in enumerate(labels):
            for shift, kind in enumerate(looks):
                found = [x for name, which, x in rows if (name, which) == (label, kind) and x is not None]
                y = place + 0.24 * (shift - (len(looks) - 1) / 2)
                kept, of_all = (counts or {}).get((label, kind), (1, 1))
                _dot(axis, found, y, looks[kind], hollow=2 * kept < of_all)
                if counts is not None:
                    note = f"{kept} of {of_all}"
                    axis.text(1.02, y, note, transform=axis.get_yaxis_transform(), va="center", size=5.6, color=INK)
        axis.axvline(0.0, color=MUTED, linewidth=1, linestyle=":")
        axis.set_yticks(range(len(labels)), [cut(label, 26) for label in labels])
        axis.set_ylim(len(labels) - 0.4, -0.6)
        axis.set_xlabel(xlabel)
        handles = [Line2D([], [], color=color, marker=mark, ls="none", ms=5, mew=1.5) for color, mark in looks.values()]
        figure.legend(handles, [names[kind] for kind in looks], loc="outside upper center", ncols=2)
        settle(figure)
    return figure


def _dot(axis: Axes, found: Sequence[float], y: float, look: Look, *, hollow: bool) -> None:
    if not found:
        return
    color, mark = look
    axis.plot(found, [y] * len(found), mark, ms=2.8, color=FAINT, zorder=2)
    face = "none" if hollow else color
    axis.plot(sum(found) / len(found), y, mark, ms=5, mew=1.2, color=color, mfc=face, zorder=3)
