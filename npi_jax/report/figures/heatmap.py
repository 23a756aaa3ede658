"""Compact data of the page's interactive heat map."""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import polars as pl

from npi_jax.report.data.selection import ordered, pair_alignment, parameter_groups
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.figures.picture import DIVERGING, PALE
from npi_jax.report.format import key_of, pretty, short
from npi_jax.results.tables_alignment import Alignment

# Maximum number of values, about two megabytes. Larger runs are shown at fewer steps.
_MOST: Final = 400_000
# Values times this are stored as integers, because cells show two decimals.
_SCALE: Final = 100


def heat_data(tables: ReportTables) -> dict[str, Any] | None:
    """Return the alignment of every pair of tasks by variant, group and step for heatmap.js; None without gradients.

    The dict has the entries variants, groups and these:

    - tasks: name and short name of each task.
    - key: explanation of the short names.
    - steps, all_steps: the steps included, and the number of steps in the run.
    - pale: factor by which colors fade if fewer than half of the seeds are reliable.
    - colors: color stops from -1 to 1.
    - pairs: [i, j], indices of two tasks.
    - seeds: number of seeds of each variant.
    - ``values[variant][group][step][pair]``: alignment times ``scale``; null if there is none.
    - ``few[variant][group][step]``: pair -> number of reliable seeds, if not all are reliable.
    - ``why[variant][group][step]``: pair -> index into ``reasons``, if seeds were excluded or there is no value.
    """
    frame = pair_alignment(tables)
    if frame is None:
        return None
    tasks = ordered([*frame[Alignment.task_i], *frame[Alignment.task_j]])
    groups = parameter_groups(frame)
    labels = [label for label in tables.labels if label in set(frame["label"])]
    places = [(i, j) for i in range(len(tasks)) for j in range(i, len(tasks))]
    steps = frame[Alignment.step].unique().sort().to_list()
    shown = thinned(steps, _MOST // max(1, len(labels) * len(groups) * len(places)))
    reasons = [reason for reason in frame[Alignment.reason].unique().sort() if reason]
    frame = frame.filter(pl.col(Alignment.step).is_in(shown))
    packed = _packed(frame, labels, groups, shown, tasks, places, reasons)
    seeds = dict(frame.group_by("label").agg(pl.col("n_seeds").max()).iter_rows())
    return {
        "tasks": [{"name": pretty(task), "short": short(task)} for task in tasks],
        "variants": labels,
        "groups": [pretty(group) for group in groups],
        "steps": shown,
        "all_steps": len(steps),
        "scale": _SCALE,
        "key": key_of(tasks),
        "pale": PALE,
        "colors": [[2 * place - 1, color] for place, color in DIVERGING],
        "reasons": reasons,
        "pairs": [list(pair) for pair in places],
        "seeds": [seeds[label] for label in labels],
        **packed,
    }


def thinned(steps: list[int], most: int) -> list[int]:
    """Select at most ``most`` (and at least two) evenly spaced steps, including the first and the last."""
    if len(steps) <= max(2, most):
        return steps
    chosen = np.unique(np.round(np.linspace(0, len(steps) - 1, max(2, most))).astype(int))
    return [steps[place] for place in chosen]


def _packed(
    frame: pl.DataFrame,
    labels: list[str],
    groups: list[str],
    steps: list[int],
    tasks: list[str],
    places: list[tuple[int, int]],
    reasons: list[str],
) -> dict[str, Any]:
    by_pair = {pair: number for number, pair in enumerate(places)}
    task, label, group, step, reason = (
        {name: number for number, name in enumerate(names)} for names in (tasks, labels, groups, steps, reasons)
    )

    def empty(make: Callable[[], Any]) -> list[list[list[Any]]]:
        return [[[make() for _ in steps] for _ in groups] for _ in labels]

    values = empty(lambda: [None] * len(places))
    few, why = empty(dict), empty(dict)
    columns = ("label", "group", "step", "task_i", "task_j", "corrected", "n_seeds", "n_reliable", "reason")
    for name, part, at, one, other, value, n_seeds, n_reliable, because in frame.select(columns).iter_rows():
        if part not in group:
            continue
        v, g, s = label[name], group[part], step[at]
        i, j = sorted((task[one], task[other]))
        pair = by_pair[i, j]
        if value is not None and math.isfinite(value):
            values[v][g][s][pair] = round(_SCALE * float(f"{value:.2f}"))
        if n_reliable < n_seeds:
            few[v][g][s][pair] = n_reliable
        if because and (n_reliable < n_seeds or value is None):
            why[v][g][s][pair] = reason[because]
    return {"values": values, "few": few, "why": why}
