"""Alignment of each variant at a checkpoint, the median over seeds, with an interval over seeds and micro-batches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from npi_jax.analysis import statistics
from npi_jax.analysis.alignment.estimators import Alignment
from npi_jax.analysis.alignment.grams import Grams
from npi_jax.analysis.alignment.products import bootstrap_cosines, bootstrap_counts
from npi_jax.analysis.bounds import COSINE, FREE, Bounds
from npi_jax.results.columns import Column, Row
from npi_jax.results.names import (
    ENVIRONMENTS,
    ITEMS,
    LM,
    MICRO_BATCHES,
    NO_INTERVAL,
    OK,
    SAME_TASK,
    SEEDS,
    SEEDS_AND_ITEMS,
    SEEDS_AND_MICRO_BATCHES,
    TOO_FEW,
)
from npi_jax.results.tables_alignment import AlignmentMean
from npi_jax.results.tables_training import GROUP, Members

_DRAWS: Final = 1000
_OVER: Final = {SEEDS_AND_ITEMS: SEEDS_AND_MICRO_BATCHES, ITEMS: MICRO_BATCHES}

Matrices = Float[np.ndarray, "members groups tasks tasks"]
Pairs = tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]
"""Row and column indices of the entries of a matrix."""


def mean_table(
    step: int, grams: Grams, members: pl.DataFrame, found: Alignment, adam: Alignment, conflict: Matrices
) -> pl.DataFrame:
    """Return the rows of `AlignmentMean` of a checkpoint.

    Each member has three statistics, which are medians:

    - "environments": over pairs of tasks other than ordinary text,
    - "lm": over the alignment of each task with ordinary text,
    - "same task": over the same-task checks.

    ``corrected`` and ``adam`` are medians of `Alignment.ratio` over pairs whose norms are significantly above 0.
    Estimates beyond 1 are included, because leaving them out would bias the median downward. ``naive`` and
    ``sign_conflict`` are medians over all pairs. The table has medians of these medians over members that have not
    diverged and have a value: those of the typical seed.

    The interval is `statistics.seed_interval` over seeds, within [-1, 1], with micro-batches resampled. The draws are
    the same for all members, and every draw uses the same pairs. The same-task check has no bounds and no resampling:
    its interval is over seeds alone. With 2 to 4 seeds there is no interval, for the reason in ``reason``.

    Args:
        step: step of the checkpoint.
        grams: products at the checkpoint.
        members: the table `Members`, sorted by member.
        found, adam: estimates from the plain and from the preconditioned products.
        conflict: sign conflict of each pair.
    """
    values = {
        AlignmentMean.corrected: found.ratio,
        AlignmentMean.adam: adam.ratio,
        AlignmentMean.naive: found.naive,
        AlignmentMean.sign_conflict: conflict,
    }
    entries = _statistics(grams.tasks)
    draws = _drawn_medians(grams, found, {name: entries[name] for name in entries if name != SAME_TASK})
    rows: list[Row] = []
    for name, pairs in entries.items():
        measured = _Measured.of(name, pairs, values, found, draws.get(name))
        for constant, kept in _variants(members):
            for number, group in enumerate(grams.groups):
                place: Row = {AlignmentMean.step: step, AlignmentMean.group: group, AlignmentMean.statistic: name}
                rows.append(constant | place | measured.row(kept, number, grams.n_items.shape[1]))
    return pl.DataFrame(rows, schema=AlignmentMean.schema())


@dataclass(frozen=True)
class _Measured:
    """One statistic of every member and group.

    Attributes:
        medians: medians of each column.
        draws: medians of ``corrected`` with micro-batches resampled; None for the same-task check.
        n_pairs: number of pairs, including those left out of the medians.
        left_out: number of pairs with a norm that is not significantly above 0.
        bounds: range of the statistic.
    """

    medians: Mapping[Column, Float[np.ndarray, "members groups"]]
    draws: Float[np.ndarray, "members groups draws"] | None
    n_pairs: int
    left_out: Int[np.ndarray, "members groups"]
    bounds: Bounds

    @classmethod
    def of(
        cls,
        statistic: str,
        pairs: Pairs,
        values: Mapping[Column, Matrices],
        found: Alignment,
        draws: Float[np.ndarray, "members groups draws"] | None,
    ) -> "_Measured":
        """Take the medians over pairs."""
        first, second = pairs
        medians = {name: _median(value[..., first, second]) for name, value in values.items()}
        left_out = (~found.measured[..., first, second]).sum(axis=-1)
        return cls(medians, draws, len(first), left_out, FREE if statistic == SAME_TASK else COSINE)

    def row(self, kept: Int[np.ndarray, " kept"], group: int, n_batches: int) -> Row:
        """Return a row of the table: medians over the members ``kept`` for the parameter group at index ``group``."""
        own = {name: value[kept, group] for name, value in self.medians.items()}
        draws = None if self.draws is None else self.draws[kept, group]
        return {
            **{name: _typical(value, self.bounds) for name, value in own.items()},
            **_interval(own[AlignmentMean.corrected], draws, n_batches, self.bounds),
            AlignmentMean.n_pairs: self.n_pairs,
            AlignmentMean.n_unreliable: int(self.left_out[kept, group].sum()),
        }


def _drawn_medians(
    grams: Grams, found: Alignment, entries: Mapping[str, Pairs]
) -> dict[str, Float[np.ndarray, "members groups draws"]]:
    """Return the medians of corrected cosines, with micro-batches resampled, by statistic."""
    counts, which = np.unique(bootstrap_counts(grams.n_items.shape[1], _DRAWS), axis=0, return_inverse=True)
    # There are few micro-batches, so draws repeat: compute each distinct draw once. Go through members one by one,
    # because all draws of all pairs would not fit into memory with many tasks.
    medians = {name: np.empty((*grams.gram.shape[:2], len(counts))) for name in entries}
    for member, gram in enumerate(grams.gram):
        drawn = bootstrap_cosines(gram, counts)
        for name, (first, second) in entries.items():
            kept = found.measured[member][..., None, first, second]
            medians[name][member] = _median(np.where(kept, drawn[..., first, second], np.nan))
    return {name: values[..., which.ravel()] for name, values in medians.items()}


def _statistics(tasks: tuple[str, ...]) -> dict[str, Pairs]:
    """Return the matrix entries over which each statistic is a median; ordinary text, if present, is the last task."""
    n_tasks = len(tasks) - (LM in tasks)
    index = np.arange(n_tasks)
    found = {ENVIRONMENTS: np.triu_indices(n_tasks, 1), SAME_TASK: (index, index)}
    if LM in tasks:
        found[LM] = (index, np.full(n_tasks, tasks.index(LM)))
    return {name: entries for name, entries in found.items() if len(entries[0])}


def _variants(members: pl.DataFrame) -> Iterator[tuple[Row, Int[np.ndarray, " kept"]]]:
    """Yield each variant's values of the columns `GROUP`, and the indices of its members that have not diverged."""
    place = "place"
    for key, frame in members.with_row_index(place).group_by(GROUP, maintain_order=True):
        kept = frame.filter(pl.col(Members.status) == OK)[place].to_numpy().astype(np.int64)
        yield dict(zip(GROUP, key, strict=True)), kept


def _interval(
    values: Float[np.ndarray, " members"],
    draws: Float[np.ndarray, "members draws"] | None,
    n_batches: int,
    bounds: Bounds,
) -> Row:
    """Return the columns of the interval of a median over members; NaN with a reason if there is none."""
    values, draws = values[has := ~np.isnan(values)], None if draws is None else draws[has]
    row: Row = {AlignmentMean.n_seeds: len(values), AlignmentMean.reason: _no_interval(values, draws, bounds)}
    if row[AlignmentMean.reason]:
        missing: Row = {AlignmentMean.low: np.nan, AlignmentMean.high: np.nan}
        return row | missing | {AlignmentMean.interval_over: NO_INTERVAL}
    by_draw = np.tile(values[:, None], _DRAWS) if draws is None else draws
    interval = statistics.seed_interval(values, by_draw, n_items=n_batches, bounds=bounds)
    ends: Row = {AlignmentMean.low: interval.low, AlignmentMean.high: interval.high}
    if interval.reason:
        return row | ends | {AlignmentMean.interval_over: TOO_FEW, AlignmentMean.reason: interval.reason}
    over = SEEDS if draws is None else _OVER[interval.interval_over]
    return row | ends | {AlignmentMean.interval_over: over}


def _no_interval(
    values: Float[np.ndarray, " members"], draws: Float[np.ndarray, "members draws"] | None, bounds: Bounds
) -> str:
    """Return why a variant has no value or no interval; "" if its interval can be computed."""
    if not len(values):
        return "no pair can be distinguished from noise in any seed"
    typical = float(np.median(values))
    if not bounds.hold(typical):
        return f"the estimate is {typical:.3f}, which no cosine is: noise is larger than what it is short of 1"
    if draws is None and len(values) < 2:
        return "one seed"
    if draws is not None and np.isnan(draws).any():
        return "some draws of micro-batches leave a seed without any value"
    return ""


def _typical(values: Float[np.ndarray, " members"], bounds: Bounds) -> float:
    """Return the median, ignoring NaN; NaN if all values are NaN or if the median is not within the bounds."""
    values = values[~np.isnan(values)]
    return float(np.median(values)) if len(values) and bounds.hold(float(np.median(values))) else np.nan


def _median(values: Float[np.ndarray, "*lead pairs"]) -> Float[np.ndarray, "*lead"]:
    """Return the median along the last axis, ignoring NaN; NaN if all values are NaN.

    `np.nanmedian` is slow, because it handles rows one by one.
    """
    ordered = np.sort(values, axis=-1)
    n = (~np.isnan(values)).sum(axis=-1)
    low, high = (np.maximum(n - 1, 0) // 2)[..., None], (n // 2)[..., None]
    high = np.minimum(high, values.shape[-1] - 1)
    middle = (np.take_along_axis(ordered, low, axis=-1) + np.take_along_axis(ordered, high, axis=-1)) / 2
    return np.where(n > 0, middle[..., 0], np.nan)
