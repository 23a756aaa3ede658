"""Alignment of a whole checkpoint in one number for each variant, with an interval over seeds and micro-batches."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from npi_jax.analysis import statistics
from npi_jax.analysis.alignment.estimators import Alignment, bootstrap_cosines, bootstrap_counts
from npi_jax.analysis.alignment.grams import LM, Grams
from npi_jax.analysis.bounds import COSINE, FREE, Bounds
from npi_jax.analysis.curves import GROUP

ENVIRONMENTS: Final = "environments"
SAME_TASK: Final = "same task"
SEEDS: Final = "seeds"
"""``interval_over`` where only seeds were resampled."""

MEAN_SCHEMA: Final[dict[str, type[pl.DataType]]] = {
    "variant": pl.String,
    **dict.fromkeys(GROUP[1:], pl.Float64),
    "step": pl.Int64,
    **dict.fromkeys(("group", "statistic"), pl.String),
    **dict.fromkeys(("corrected", "low", "high", "adam", "naive", "sign_conflict"), pl.Float64),
    **dict.fromkeys(("n_seeds", "n_pairs", "n_unreliable"), pl.Int64),
    **dict.fromkeys(("interval_over", "reason"), pl.String),
}

_DRAWS: Final = 1000
_OVER: Final = {
    statistics.SEEDS_AND_ITEMS: "seeds and micro-batches",
    statistics.ITEMS: "micro-batches",
}


def mean_table(
    step: int, grams: Grams, members: pl.DataFrame, found: Alignment, adam: Alignment, conflict: np.ndarray
) -> pl.DataFrame:
    """One row a variant (and its hyper-parameters), group of parameters and statistic.

    The statistic of a member is a median: over pairs of tasks without ordinary text ("environments"), over the tasks'
    alignment with ordinary text ("lm"), or over the same-task checks ("same task"). ``corrected`` and ``adam`` are
    medians over the pairs whose norms are significantly above 0, of the estimates as they are (`Alignment.ratio`: to
    leave out those beyond 1 would pull the rest down); ``naive`` and ``sign_conflict`` over all; then the mean over
    members that have not diverged and have a value. The interval is `statistics.seed_interval` over seeds within [-1,
    1], with micro-batches resampled (the same draws for all members and the same pairs); of the same-task check,
    which has no resample and no bounds, over seeds alone. ``reason`` says why there is no interval, or no value.

    Args:
        step: of the checkpoint.
        grams: its products.
        members: sorted by member.
        found, adam: what `alignment.align` says of the plain and of the preconditioned products.
        conflict: [members, groups, T, T].
    """
    n_batches = grams.n_items.shape[1]
    counts, which = np.unique(bootstrap_counts(n_batches, _DRAWS), axis=0, return_inverse=True)
    entries = _statistics(grams.tasks)
    # Micro-batches are few, and so are the different draws: medians of each are taken once, a member at a time, since
    # all draws of all pairs of many tasks would not fit into memory.
    medians = {name: np.empty((*grams.gram.shape[:2], len(counts))) for name in entries if name != SAME_TASK}
    for member, gram in enumerate(grams.gram):
        drawn = bootstrap_cosines(gram, counts)
        for name, by_member in medians.items():
            first, second = entries[name]
            kept = found.measured[member][..., None, first, second]
            by_member[member] = _median(np.where(kept, drawn[..., first, second], np.nan))
    rows: list[dict[str, object]] = []
    parts = [(dict(zip(GROUP, key, strict=True)), kept) for key, kept in _variants(members)]
    for statistic, (first, second) in entries.items():
        pairs = {
            "corrected": found.ratio,
            "adam": adam.ratio,
            "naive": found.naive,
            "sign_conflict": conflict,
        }
        values = {name: _median(value[..., first, second]) for name, value in pairs.items()}
        bounds = FREE if statistic == SAME_TASK else COSINE
        by_draw = medians[statistic][..., which.ravel()] if statistic in medians else None
        left_out = (~found.measured[..., first, second]).sum(axis=-1)
        for constant, kept in parts:
            for number, group in enumerate(grams.groups):
                own = {name: value[kept, number] for name, value in values.items()}
                draws = None if by_draw is None else by_draw[kept, number]
                rows.append(
                    constant
                    | {"step": step, "group": group, "statistic": statistic}
                    | _interval(own.pop("corrected"), draws, n_batches, bounds)
                    | {name: _mean(value, bounds) for name, value in own.items()}
                    | {"n_pairs": len(first), "n_unreliable": int(left_out[kept, number].sum())}
                )
    return pl.DataFrame(rows, schema=MEAN_SCHEMA)


def _statistics(tasks: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which entries of the matrix each statistic is a median of; ordinary text is the last task if it is one."""
    n_tasks = len(tasks) - (LM in tasks)
    index = np.arange(n_tasks)
    found = {ENVIRONMENTS: np.triu_indices(n_tasks, 1), SAME_TASK: (index, index)}
    if LM in tasks:
        found[LM] = (index, np.full(n_tasks, tasks.index(LM)))
    return {name: entries for name, entries in found.items() if len(entries[0])}


def _variants(members: pl.DataFrame) -> Iterator[tuple[tuple[object, ...], np.ndarray]]:
    """What the members of each row of the table share, and where those that have not diverged are."""
    numbered = members.with_row_index("place")
    for key, frame in numbered.group_by(GROUP, maintain_order=True):
        yield key, frame.filter(pl.col("status") == "ok")["place"].to_numpy().astype(np.int64)


def _interval(values: np.ndarray, draws: np.ndarray | None, n_batches: int, bounds: Bounds) -> dict[str, object]:
    values, draws = values[has := ~np.isnan(values)], None if draws is None else draws[has]
    mean = _mean(values, bounds)
    nothing = {"corrected": mean, "low": np.nan, "high": np.nan, "n_seeds": len(values), "interval_over": ""}
    if reason := _no_interval(values, draws, bounds):
        return nothing | {"reason": reason}
    by_draw = np.tile(values[:, None], _DRAWS) if draws is None else draws
    interval = statistics.seed_interval(values, by_draw, n_items=n_batches, bounds=bounds)
    over = SEEDS if draws is None else _OVER[interval.interval_over]
    return nothing | {"low": interval.low, "high": interval.high, "interval_over": over, "reason": ""}


def _no_interval(values: np.ndarray, draws: np.ndarray | None, bounds: Bounds) -> str:
    """Why the mean of a variant has no interval; empty if it has one."""
    if not len(values):
        return "no pair can be distinguished from noise in any seed"
    if not bounds.hold(float(values.mean())):
        return f"the estimate is {values.mean():.3f}, which no cosine is: noise is larger than what it is short of 1"
    if draws is None and len(values) < 2:
        return "one seed"
    if draws is not None and np.isnan(draws).any():
        return "some draws of micro-batches leave a seed without any value"
    return ""


def _mean(values: np.ndarray, bounds: Bounds) -> float:
    """The mean of what is not NaN; NaN if nothing is left, or if it is not within the bounds."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) and bounds.hold(float(values.mean())) else np.nan


def _median(values: np.ndarray) -> np.ndarray:
    """Median along the last axis of what is not NaN; NaN if nothing is left. (`np.nanmedian` takes rows in turn.)"""
    ordered = np.sort(values, axis=-1)
    n = (~np.isnan(values)).sum(axis=-1)
    low, high = (np.maximum(n - 1, 0) // 2)[..., None], (n // 2)[..., None]
    high = np.minimum(high, values.shape[-1] - 1)
    middle = (np.take_along_axis(ordered, low, axis=-1) + np.take_along_axis(ordered, high, axis=-1)) / 2
    return np.where(n > 0, middle[..., 0], np.nan)
