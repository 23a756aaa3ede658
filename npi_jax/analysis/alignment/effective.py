"""Effective number of tasks: the number of orthogonal gradients that would be as diverse as those of the tasks.

Let rho_ij be the true cosine of tasks i and j, and lambda the eigenvalues of the T x T matrix of these cosines. Then

    N = (sum lambda)^2 / sum lambda^2 = T^2 / (T + sum over i != j of rho_ij^2) = T / (1 + (T - 1) m),

where m is the mean of rho_ij^2 over pairs. (The first form is the participation ratio; its logarithm is the Renyi
entropy of order 2 of lambda / T.) N is T if all tasks are orthogonal. It is 1 if all have the same or the opposite
direction. The square of an estimated cosine is too large, because it contains the variance of the estimate. Therefore
the numerator comes from products of four distinct micro-batches. docs/concepts/alignment.md has the simulations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from npi_jax.analysis.alignment.estimators import NOT_FINITE, NOT_POSITIVE, OK, Alignment
from npi_jax.analysis.alignment.jackknife import leave_one_out, resampled
from npi_jax.analysis.alignment.products import Blocks, as_blocks, bootstrap_counts, cosines, mean_of_known, positive
from npi_jax.analysis.alignment.seeds import DRAWS, SeedInterval, variants
from npi_jax.analysis.bounds import FREE
from npi_jax.analysis.typical import median
from npi_jax.results.columns import Row
from npi_jax.results.tables_alignment import EffectiveTasks

MIN_BATCHES: Final = 4
"""Micro-batches that the unbiased square of a product needs."""

FEW_BATCHES, FEW_PAIRS = 101, 102
"""States of `EffectiveNumber` beside `OK`, `NOT_FINITE` and `NOT_POSITIVE`."""

REASONS: Final = {
    OK: "",
    NOT_FINITE: "no gradient is finite in this metric",
    FEW_BATCHES: f"fewer than {MIN_BATCHES} micro-batches (gradients.micro_batches)",
    FEW_PAIRS: "noise hides more than half of the pairs; compare more items (gradients.limit)",
    NOT_POSITIVE: "noise makes the estimate of T / N negative or 0",
}

DIVERGED: Final = "all members diverged"
"""Reason for the missing number of a variant without members."""


@dataclass(frozen=True, kw_only=True)
class EffectiveNumber:
    """Effective number of tasks; see `effective_number`.

    Attributes:
        number: N; noise can move it above T or below 1, and nothing is clipped. NaN if ``state`` is not `OK`.
        log_replicates: log(N) without one micro-batch, to first order.
        n_pairs: number of pairs of tasks.
        n_unreliable: pairs that are left out, because a norm is not significantly above 0.
        state: `OK`, or a key of `REASONS`.
    """

    number: Float[np.ndarray, "*lead"]
    log_replicates: Float[np.ndarray, "*lead batches"]
    n_pairs: int
    n_unreliable: Int[np.ndarray, "*lead"]
    state: Int[np.ndarray, "*lead"]


def effective_number(
    gram: Float[np.ndarray, "*lead vectors vectors"], found: Alignment, n_tasks: int
) -> EffectiveNumber:
    """Estimate the effective number of the first ``n_tasks`` tasks.

    The mean of squared cosines over the measured pairs stands in for that over all pairs. If fewer than half of the
    pairs are measured, there is no number.

    Args:
        gram: dot products of micro-batches.
        found: estimates from the same products.
        n_tasks: number of tasks, at least 2.

    Raises:
        ValueError: if there are fewer than 2 tasks.
    """
    if n_tasks < 2:
        raise ValueError(f"the effective number of {n_tasks} task(s) is not defined; compare at least 2")
    n_batches = gram.shape[-1] // found.products.shape[-1]
    blocks = as_blocks(gram[..., : n_tasks * n_batches, : n_tasks * n_batches], n_batches)
    pairs = (..., *np.triu_indices(n_tasks, 1))
    measured = found.measured[pairs]
    square = mean_of_known(np.where(measured, squared_cosines(blocks)[pairs], np.nan))
    left_out = mean_of_known(np.where(measured[..., None, :], cosines(leave_one_out(blocks))[pairs] ** 2, np.nan))
    inverse = np.asarray(1 + (n_tasks - 1) * square)
    state = _state(inverse, measured, found.state[pairs], n_batches)
    inverse = np.where(state == OK, inverse, np.nan)
    change = (n_tasks - 1) * (left_out - left_out.mean(axis=-1, keepdims=True)) / inverse[..., None]
    return EffectiveNumber(
        number=np.asarray(n_tasks / inverse),
        log_replicates=np.log(n_tasks / inverse)[..., None] - change,
        n_pairs=measured.shape[-1],
        n_unreliable=np.asarray((~measured).sum(axis=-1)),
        state=state,
    )


def squared_cosines(blocks: Blocks) -> Float[np.ndarray, "*lead tasks tasks"]:
    """Return estimates of squared cosines; NaN if a squared norm is not positive or K is below `MIN_BATCHES`.

    The numerator is `squared_products`, the denominator C_ii C_jj. Estimates can be negative.
    """
    n_batches = blocks.shape[-1]
    if n_batches < MIN_BATCHES:
        return np.full(blocks.shape[:-2], np.nan)
    own = np.moveaxis(np.diagonal(blocks, axis1=-4, axis2=-3), -1, -3)
    squared = own.sum(axis=(-1, -2)) - np.trace(own, axis1=-2, axis2=-1)
    squared = positive(squared / (n_batches * (n_batches - 1)))
    return squared_products(blocks) / (squared[..., :, None] * squared[..., None, :])


def squared_products(blocks: Blocks) -> Float[np.ndarray, "*lead tasks tasks"]:
    """Return the mean of <g_ik, g_jl> <g_im, g_jn> over distinct k, l, m, n, unbiased for <g_i, g_j>^2.

    With M the K x K products without its diagonal, and r and c its sums over rows and columns, the sum over distinct
    indices is (sum M)^2 - sum (r + c)^2 + sum M^2 + sum M M^T (elementwise), by inclusion and exclusion of terms in
    which indices are equal.
    """
    n = blocks.shape[-1]
    apart = blocks * (1 - np.eye(n))
    ends = apart.sum(axis=-1) + apart.sum(axis=-2)
    both = (apart * (apart + np.swapaxes(apart, -1, -2))).sum(axis=(-1, -2))
    total = apart.sum(axis=(-1, -2)) ** 2 - (ends**2).sum(axis=-1) + both
    return np.asarray(total / (n * (n - 1) * (n - 2) * (n - 3)))


def _state(
    inverse: Float[np.ndarray, "*lead"],
    measured: Bool[np.ndarray, "*lead pairs"],
    of_pairs: Int[np.ndarray, "*lead pairs"],
    n_batches: int,
) -> Int[np.ndarray, "*lead"]:
    """Return `OK` where there is a number, else the reason's key."""
    state = np.where(inverse > 0, OK, NOT_POSITIVE)
    state = np.where(2 * measured.sum(axis=-1) < measured.shape[-1], FEW_PAIRS, state)
    state = np.where((of_pairs == NOT_FINITE).all(axis=-1), NOT_FINITE, state)
    return np.full(state.shape, FEW_BATCHES) if n_batches < MIN_BATCHES else state


def effective_table(
    step: int, groups: Sequence[str], members: pl.DataFrame, found: Mapping[str, EffectiveNumber], n_tasks: int
) -> pl.DataFrame:
    """Return the rows of `EffectiveTasks` of a checkpoint.

    Numbers are medians over seeds: those of the typical seed. Intervals are `statistics.seed_interval` of log(N), which
    varies about equally for any N, with micro-batches resampled; the ends are then exponentiated.

    Args:
        step: step of the checkpoint.
        groups: names of the parameter groups.
        members: the table `Members`, sorted by member.
        found: numbers [members, groups] by metric.
        n_tasks: number of tasks.
    """
    rows: list[Row] = []
    for metric, its in found.items():
        counts = bootstrap_counts(its.log_replicates.shape[-1], DRAWS)
        draws = resampled(np.log(its.number), its.log_replicates, counts)
        for constant, kept in variants(members):
            for number, group in enumerate(groups):
                place: Row = {EffectiveTasks.step: step, EffectiveTasks.group: group, EffectiveTasks.metric: metric}
                place[EffectiveTasks.n_tasks] = n_tasks
                rows.append(constant | place | _row(its, draws, kept, number))
    return pl.DataFrame(rows, schema=EffectiveTasks.schema())


def _row(
    its: EffectiveNumber, draws: Float[np.ndarray, "members groups draws"], kept: Int[np.ndarray, " kept"], group: int
) -> Row:
    """Return the columns of the median over the members ``kept``."""
    known = kept[its.state[kept, group] == OK]
    logs = np.log(its.number[known, group])
    if len(known):
        interval = SeedInterval.of(logs, draws[known, group], its.log_replicates.shape[-1], FREE)
    else:
        interval = SeedInterval.missing(_why(its.state[kept, group]))
    return {
        EffectiveTasks.effective: float(np.exp(median(logs))) if len(known) else np.nan,
        EffectiveTasks.low: float(np.exp(interval.low)),
        EffectiveTasks.high: float(np.exp(interval.high)),
        EffectiveTasks.n_seeds: len(known),
        EffectiveTasks.n_pairs: its.n_pairs,
        EffectiveTasks.n_unreliable: int(its.n_unreliable[kept, group].sum()),
        EffectiveTasks.interval_over: interval.interval_over,
        EffectiveTasks.reason: interval.reason,
    }


def _why(state: Int[np.ndarray, " members"]) -> str:
    """Return why no member of a variant has a number."""
    return "; ".join(REASONS[code] for code in np.unique(state).tolist()) or DIVERGED
