"""Alignment of each variant at a checkpoint, the median over seeds, with an interval over seeds and micro-batches."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from npi_jax.analysis.alignment.estimators import Alignment
from npi_jax.analysis.alignment.grams import Grams
from npi_jax.analysis.alignment.jackknife import leave_one_out, resampled
from npi_jax.analysis.alignment.products import as_blocks, bootstrap_counts, cosines, mean_of_known
from npi_jax.analysis.alignment.seeds import DRAWS, SeedInterval, variants
from npi_jax.analysis.bounds import COSINE, FREE, Bounds
from npi_jax.analysis.typical import median
from npi_jax.results.columns import Column, Row
from npi_jax.results.names import ENVIRONMENTS, LM, SAME_TASK
from npi_jax.results.tables_alignment import AlignmentMean

Matrices = Float[np.ndarray, "members groups tasks tasks"]
Pairs = tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]
"""Row and column indices of the entries of a matrix."""


def mean_table(
    step: int, grams: Grams, members: pl.DataFrame, found: Alignment, adam: Alignment, conflict: Matrices
) -> pl.DataFrame:
    """Return the rows of `AlignmentMean` of a checkpoint.

    Each member has three statistics, which are means:

    - "environments": over pairs of tasks other than ordinary text,
    - "lm": over the alignment of each task with ordinary text,
    - "same task": over the same-task checks.

    ``corrected`` and ``adam`` are means of `Alignment.ratio` over pairs whose norms are significantly above 0.
    Estimates beyond 1 are included, because leaving them out would bias the mean downward. ``naive`` and
    ``sign_conflict`` are means over all pairs. The table has medians of these numbers over members that have not
    diverged and have a value: those of the typical seed.

    The interval is `statistics.seed_interval` over seeds, within [-1, 1], with micro-batches resampled (`resampled`).
    The draws are the same for all members, and every draw uses the same pairs. The same-task check has no bounds and no
    resampling: its interval is over seeds alone. With 2 to 4 seeds there is no interval, for the reason in ``reason``.

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
    n_batches = grams.n_items.shape[1]
    replicates = cosines(leave_one_out(as_blocks(grams.gram, n_batches)))
    rows: list[Row] = []
    for name, pairs in statistics_of(grams.tasks).items():
        measured = _Measured.of(name, pairs, values, found, replicates)
        for constant, kept in variants(members):
            for number, group in enumerate(grams.groups):
                place: Row = {AlignmentMean.step: step, AlignmentMean.group: group, AlignmentMean.statistic: name}
                rows.append(constant | place | measured.row(kept, number, n_batches))
    return pl.DataFrame(rows, schema=AlignmentMean.schema())


def mean_cosines(found: Alignment, tasks: tuple[str, ...]) -> Float[np.ndarray, "members groups"]:
    """Return each member's mean of corrected cosines over pairs of environments; NaN without any such pair."""
    pairs = statistics_of(tasks).get(ENVIRONMENTS)
    return np.full(found.ratio.shape[:-2], np.nan) if pairs is None else mean_of_known(found.ratio[..., *pairs])


def statistics_of(tasks: tuple[str, ...]) -> dict[str, Pairs]:
    """Return the matrix entries over which each statistic is a mean; ordinary text, if present, is the last task."""
    n_tasks = len(tasks) - (LM in tasks)
    index = np.arange(n_tasks)
    found = {ENVIRONMENTS: np.triu_indices(n_tasks, 1), SAME_TASK: (index, index)}
    if LM in tasks:
        found[LM] = (index, np.full(n_tasks, tasks.index(LM)))
    return {name: entries for name, entries in found.items() if len(entries[0])}


@dataclass(frozen=True)
class _Measured:
    """One statistic of every member and group.

    Attributes:
        means: means over pairs of each column.
        draws: means over pairs of ``corrected`` with micro-batches resampled; None for the same-task check.
        n_pairs: number of pairs, including those left out of the means.
        left_out: number of pairs with a norm that is not significantly above 0.
        bounds: range of the statistic.
    """

    means: Mapping[Column, Float[np.ndarray, "members groups"]]
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
        replicates: Float[np.ndarray, "members groups batches tasks tasks"],
    ) -> "_Measured":
        """Take the means over pairs; ``replicates`` are corrected cosines without one micro-batch each."""
        means = {name: mean_of_known(value[..., *pairs]) for name, value in values.items()}
        measured = found.measured[..., *pairs]
        n_pairs, lost = measured.shape[-1], (~measured).sum(axis=-1)
        if statistic == SAME_TASK:
            return cls(means, None, n_pairs, lost, FREE)
        left_out = mean_of_known(np.where(measured[..., None, :], replicates[..., *pairs], np.nan))
        counts = bootstrap_counts(left_out.shape[-1], DRAWS)
        return cls(means, resampled(means[AlignmentMean.corrected], left_out, counts), n_pairs, lost, COSINE)

    def row(self, kept: Int[np.ndarray, " kept"], group: int, n_batches: int) -> Row:
        """Return a row of the table: medians over the members ``kept`` for the parameter group at index ``group``."""
        own = {name: value[kept, group] for name, value in self.means.items()}
        known = ~np.isnan(own[AlignmentMean.corrected])
        draws = None if self.draws is None else self.draws[kept, group][known]
        interval = _interval(own[AlignmentMean.corrected][known], draws, n_batches, self.bounds)
        return {
            **{name: _typical(value, self.bounds) for name, value in own.items()},
            AlignmentMean.low: interval.low,
            AlignmentMean.high: interval.high,
            AlignmentMean.n_seeds: int(known.sum()),
            AlignmentMean.n_pairs: self.n_pairs,
            AlignmentMean.n_unreliable: int(self.left_out[kept, group].sum()),
            AlignmentMean.interval_over: interval.interval_over,
            AlignmentMean.reason: interval.reason,
        }


def _interval(
    values: Float[np.ndarray, " members"],
    draws: Float[np.ndarray, "members draws"] | None,
    n_batches: int,
    bounds: Bounds,
) -> SeedInterval:
    """Return the interval of a median over members, or why there is none."""
    if not len(values):
        return SeedInterval.missing("no pair can be distinguished from noise in any seed")
    typical = median(values)
    if not bounds.hold(typical):
        why = f"the estimate is {typical:.3f}, which no cosine is: noise is larger than what it is short of 1"
        return SeedInterval.missing(why)
    return SeedInterval.of(values, draws, n_batches, bounds)


def _typical(values: Float[np.ndarray, " members"], bounds: Bounds) -> float:
    """Return the median, ignoring NaN; NaN if all values are NaN or if the median is not within the bounds."""
    values = values[~np.isnan(values)]
    typical = median(values) if len(values) else np.nan
    return typical if bounds.hold(typical) else np.nan
