"""Alignment of a whole checkpoint in one number for each variant, with an interval over seeds and micro-batches."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from npi_jax.analysis import statistics
from npi_jax.analysis.alignment import Alignment, bootstrap_cosines, bootstrap_counts
from npi_jax.analysis.curves import GROUP
from npi_jax.analysis.grams import LM, Grams

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
    "interval_over": pl.String,
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
    medians over reliable pairs, ``naive`` and ``sign_conflict`` over all; then the mean over members that have not
    diverged and have a value. The interval is `statistics.seed_interval` over seeds, with micro-batches resampled (the
    same draws for all members; the median is over the pairs that are reliable as measured); of the same-task check,
    which has no resample, over seeds alone. It is NaN where a draw leaves a member without any value.

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
            kept = found.reliable[member][..., None, first, second]
            by_member[member] = _median(np.where(kept, drawn[..., first, second], np.nan))
    rows: list[dict[str, object]] = []
    parts = [(dict(zip(GROUP, key, strict=True)), kept) for key, kept in _variants(members)]
    for statistic, (first, second) in entries.items():
        pairs = {
            "corrected": found.corrected,
            "adam": adam.corrected,
            "naive": found.naive,
            "sign_conflict": conflict,
        }
        values = {name: _median(value[..., first, second]) for name, value in pairs.items()}
        reliable = found.reliable[..., first, second]
        by_draw = medians[statistic][..., which.ravel()] if statistic in medians else None
        left_out = (~reliable).sum(axis=-1)
        for constant, kept in parts:
            for number, group in enumerate(grams.groups):
                own = {name: value[kept, number] for name, value in values.items()}
                draws = None if by_draw is None else by_draw[kept, number]
                rows.append(
                    constant
                    | {"step": step, "group": group, "statistic": statistic}
                    | _interval(own.pop("corrected"), draws, n_batches)
                    | {name: _mean(value) for name, value in own.items()}
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


def _interval(values: np.ndarray, draws: np.ndarray | None, n_batches: int) -> dict[str, object]:
    has = ~np.isnan(values)
    nothing = {"corrected": np.nan, "low": np.nan, "high": np.nan, "n_seeds": int(has.sum()), "interval_over": ""}
    if not has.any():
        return nothing
    values = values[has]
    if draws is None and len(values) < 2:
        return nothing | {"corrected": float(values[0])}
    by_draw = np.tile(values[:, None], _DRAWS) if draws is None else draws[has]
    if np.isnan(by_draw).any():
        return nothing | {"corrected": float(values.mean())}
    interval = statistics.seed_interval(values, by_draw, n_items=n_batches)
    return {
        "corrected": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "n_seeds": interval.n_seeds,
        "interval_over": SEEDS if draws is None else _OVER[interval.interval_over],
    }


def _mean(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN if nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan


def _median(values: np.ndarray) -> np.ndarray:
    """Median along the last axis of what is not NaN; NaN if nothing is left. (`np.nanmedian` takes rows in turn.)"""
    ordered = np.sort(values, axis=-1)
    n = (~np.isnan(values)).sum(axis=-1)
    low, high = (np.maximum(n - 1, 0) // 2)[..., None], (n // 2)[..., None]
    high = np.minimum(high, values.shape[-1] - 1)
    middle = (np.take_along_axis(ordered, low, axis=-1) + np.take_along_axis(ordered, high, axis=-1)) / 2
    return np.where(n > 0, middle[..., 0], np.nan)
