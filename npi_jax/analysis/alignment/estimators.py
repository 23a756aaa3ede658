"""Noise-corrected estimates of the agreement between the gradients of tasks.

All estimates come from dot products (Gram matrices) of the gradients of micro-batches (`products`). Micro-batches with
different numbers share no noise. The mean of their products, C_ij = mean over k != l of <g_ik, g_jl>, estimates the
product of the true gradients without bias. These *cross products* are the basis of the corrected estimates.
docs/concepts/alignment.md explains every number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped
from scipy import special

from npi_jax.analysis.alignment.jackknife import leave_one_out, standard_error
from npi_jax.analysis.alignment.products import (
    Blocks,
    as_blocks,
    check_sizes,
    cosines,
    cross,
    diagonal,
    positive,
    weigh,
)

ERRORS_ABOVE_ZERO: Final = 2.0
"""A squared norm is significantly above 0 if it is more than this many standard errors above it."""

OK, NOT_FINITE, NO_ERROR, NOT_POSITIVE, ODD, HALF_NOT_POSITIVE, BEYOND = range(7)
"""States of a value: `OK`, or why it is missing (`Alignment.reasons`)."""

REASONS: Final = {
    OK: "",
    NOT_FINITE: "not finite, or lost in rounding",
    NO_ERROR: "two micro-batches give no standard error",
    ODD: "the same-task check needs an even number of micro-batches, 4 or more",
    BEYOND: "the estimate is beyond 1 or -1, which no cosine is",
}

# Up to this number of micro-batches, all ways to halve them are used (462 for 12); beyond it, a random sample.
_MOST_LISTED: Final = 12
_SAMPLED_SPLITS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Agreement of every pair of T tasks; see `align`.

    Attributes:
        products: C_ij, cross products.
        ratio: C_ij / sqrt(C_ii C_jj); on the diagonal, the same-task check. It can exceed 1 in absolute value. Means
            over pairs or seeds use it. NaN if a norm is not significantly above 0.
        corrected: ``ratio`` if it is between -1 and 1; on the diagonal, the same-task check. NaN if ``state`` is not
            `OK`.
        se: standard error of ``corrected`` (jackknife over micro-batches); NaN on the diagonal.
        naive: cosine of the mean gradients, noise included.
        state: for each pair `OK`, or why ``corrected`` is NaN.
        norm, norm_low, norm_high: norm of each task's gradient, sqrt(C_ii), with a 95 % interval. If ``task_state`` is
            not `OK`, the norm is NaN, but the interval still shows how large it may be.
        noise_scale: B = tr(Sigma) / |g|^2, the number of items at which noise and gradient are equally large. Sigma
            is the covariance of the gradients of single items (McCandlish et al. 2018, An empirical model of
            large-batch training, arXiv 1812.06162). NaN if the norm is NaN.
        reliability: C_ii / |mean gradient|^2, with equal weights for all micro-batches. It is the share of the mean
            gradient's squared length that is not noise. NaN if C_ii is not above 0.
        task_state: for each task `OK`, or why its norm is NaN.
    """

    products: Float[np.ndarray, "*lead tasks tasks"]
    ratio: Float[np.ndarray, "*lead tasks tasks"]
    corrected: Float[np.ndarray, "*lead tasks tasks"]
    se: Float[np.ndarray, "*lead tasks tasks"]
    naive: Float[np.ndarray, "*lead tasks tasks"]
    state: Int[np.ndarray, "*lead tasks tasks"]
    norm: Float[np.ndarray, "*lead tasks"]
    norm_low: Float[np.ndarray, "*lead tasks"]
    norm_high: Float[np.ndarray, "*lead tasks"]
    noise_scale: Float[np.ndarray, "*lead tasks"]
    reliability: Float[np.ndarray, "*lead tasks"]
    task_state: Int[np.ndarray, "*lead tasks"]

    @property
    def reliable(self) -> Bool[np.ndarray, "*lead tasks tasks"]:
        """Pairs whose ``corrected`` is a number."""
        return self.state == OK

    @property
    def measured(self) -> Bool[np.ndarray, "*lead tasks tasks"]:
        """Pairs whose ``ratio`` is a number: both norms are significantly above 0."""
        return (self.state == OK) | (self.state == BEYOND)

    def reasons(self, tasks: Sequence[str]) -> Shaped[np.ndarray, "*lead tasks tasks"]:
        """Return why ``corrected`` is NaN, as text; "" if it is not."""
        n_tasks = len(tasks)
        book = np.full((len(REASONS) + 2, 4, n_tasks, n_tasks), "", dtype=object)
        for state, text in REASONS.items():
            book[state] = text
        for i, first in enumerate(tasks):
            book[HALF_NOT_POSITIVE, :, i] = f"half of the micro-batches leave no norm of {first}"
            for j, second in enumerate(tasks):
                one = f"norm of {first} is not told from 0"
                both = one if i == j else f"norms of {first} and {second} are not told from 0"
                book[NOT_POSITIVE, :, i, j] = ["", f"norm of {second} is not told from 0", one, both]
        bad = (self.task_state == NOT_POSITIVE).astype(np.int64)
        index = np.arange(n_tasks)
        return book[self.state, 2 * bad[..., :, None] + bad[..., None, :], index[:, None], index]

    def task_reasons(self, tasks: Sequence[str]) -> Shaped[np.ndarray, "*lead tasks"]:
        """Return why ``norm`` is NaN, as text; "" if it is not."""
        book = np.full((len(REASONS) + 2, len(tasks)), "", dtype=object)
        for state, text in REASONS.items():
            book[state] = text
        book[NOT_POSITIVE] = [f"norm of {task} is not told from 0" for task in tasks]
        return book[self.task_state, np.arange(len(tasks))]


def align(gram: Float[np.ndarray, "*lead vectors vectors"], n_items: Integer[np.ndarray, "tasks batches"]) -> Alignment:
    """Estimate the agreement of the gradients of every pair of tasks, their norms and their noise.

    A pair has a corrected cosine if both squared norms C_ii are significantly positive: more than `ERRORS_ABOVE_ZERO`
    jackknife standard errors above 0. Nothing is clipped. An estimate beyond 1 is not a cosine: ``ratio`` keeps it, and
    ``corrected`` is NaN.

    Under pure noise with K = 4, 2 to 3 % of tasks pass this rule; with more micro-batches, fewer do. If there is only
    noise, the jackknife overstates the standard error of a mean of products (by sqrt(3) with K = 4). This outweighs its
    low number of degrees of freedom, K - 1, so the threshold is 2 and not the t quantile.

    Args:
        gram: dot products of micro-batches. Results that depend on a product that is not finite are NaN.
        n_items: items in each micro-batch of each task.

    Raises:
        ValueError: if there are fewer than 2 micro-batches, or the shapes disagree.
    """
    n_tasks, n_batches = _sizes(gram, n_items)
    blocks = as_blocks(gram, n_batches)
    products = weigh(blocks, cross(np.ones((1, n_batches))))[..., 0, :, :]
    replicates = leave_one_out(blocks)
    squared, squared_se = diagonal(products), standard_error(diagonal(replicates), axis=-2)
    task_state = _task_state(squared, squared_se)
    ratio, state = _ratio(blocks, products, task_state)
    fine = task_state == OK
    se = standard_error(cosines(replicates), axis=-3)
    se = np.where(np.isfinite(ratio) & ~np.eye(n_tasks, dtype=bool), se, np.nan)
    weights = n_items / n_items.sum(axis=1, keepdims=True)
    mean = np.einsum("...ijkl,ik,jl->...ij", blocks, weights, weights)
    width = special.stdtrit(max(n_batches - 1, 1), 0.975) * squared_se
    return Alignment(
        products=products,
        ratio=ratio,
        corrected=np.where(state == OK, ratio, np.nan),
        se=se,
        naive=cosines(mean),
        state=state,
        norm=np.sqrt(np.where(fine, squared, np.nan)),
        # A norm is never negative: if the interval of its square reaches below 0, that of the norm starts at 0.
        norm_low=np.sqrt(np.maximum(squared - width, 0)),
        norm_high=np.sqrt(np.where(squared + width >= 0, squared + width, np.nan)),
        noise_scale=np.where(fine, _noise_scale(blocks, squared, n_items), np.nan),
        # Equal weights keep this share at most 1: C_ii cannot exceed the squared length of an unweighted mean.
        reliability=positive(squared) / positive(diagonal(blocks.mean(axis=(-2, -1)))),
        task_state=task_state,
    )


def _sizes(
    gram: Float[np.ndarray, "*lead vectors vectors"], n_items: Integer[np.ndarray, "tasks batches"]
) -> tuple[int, int]:
    n_tasks, n_batches = n_items.shape
    check_sizes(gram.shape[-1], n_batches)
    if gram.shape[-1] != n_items.size:
        raise ValueError(
            f"gram has {gram.shape[-1]} rows, but n_items says {n_tasks} tasks times {n_batches} micro-batches"
        )
    return n_tasks, n_batches


def _task_state(
    squared: Float[np.ndarray, "*lead tasks"], se: Float[np.ndarray, "*lead tasks"]
) -> Int[np.ndarray, "*lead tasks"]:
    """Return whether each squared norm is significantly above 0, or why that is unknown."""
    state = np.where(squared > ERRORS_ABOVE_ZERO * se, OK, NOT_POSITIVE)
    state = np.where(np.isnan(se), NO_ERROR, state)
    return np.where(np.isnan(squared), NOT_FINITE, state)


def _ratio(
    blocks: Blocks, products: Float[np.ndarray, "*lead tasks tasks"], task_state: Int[np.ndarray, "*lead tasks"]
) -> tuple[Float[np.ndarray, "*lead tasks tasks"], Int[np.ndarray, "*lead tasks tasks"]]:
    """Return ``ratio`` and ``state`` of `Alignment`: corrected cosines, with the same-task check on the diagonal."""
    n_tasks, n_batches = blocks.shape[-3], blocks.shape[-1]
    state = np.maximum(task_state[..., :, None], task_state[..., None, :])
    # States are numbered by precedence, except that NOT_FINITE overrides all others.
    lost = (task_state == NOT_FINITE)[..., :, None] | (task_state == NOT_FINITE)[..., None, :] | np.isnan(products)
    state = np.where(lost, NOT_FINITE, state)
    values = cosines(products)
    diagonal = np.arange(n_tasks)
    own = _same_task(blocks)
    values[..., diagonal, diagonal] = own
    missing = HALF_NOT_POSITIVE if len(_splits(n_batches)) else ODD
    fine = state[..., diagonal, diagonal] == OK
    state[..., diagonal, diagonal] = np.where(fine & np.isnan(own), missing, state[..., diagonal, diagonal])
    values = np.where(state == OK, values, np.nan)
    # The same-task check is not a cosine of two directions: it is above 1 as often as below.
    beyond = (np.abs(values) > 1) & ~np.eye(n_tasks, dtype=bool)
    return values, np.where(beyond, BEYOND, state)


def _splits(n_batches: int) -> Float[np.ndarray, "splits batches"]:
    """Return masks of half of the micro-batches, always including micro-batch 0; no mask if K is odd or below 4."""
    half = n_batches // 2
    if n_batches % 2 or n_batches < 4:
        return np.zeros((0, n_batches))
    if n_batches > _MOST_LISTED:
        random = np.random.default_rng(0)
        rest = [random.permutation(n_batches - 1)[: half - 1] + 1 for _ in range(_SAMPLED_SPLITS)]
    else:
        rest = [np.array(others) for others in combinations(range(1, n_batches), half - 1)]
    inside = np.zeros((len(rest), n_batches))
    inside[:, 0] = 1
    inside[np.arange(len(rest))[:, None], np.stack(rest)] = 1
    return inside


def _same_task(blocks: Blocks) -> Float[np.ndarray, "*lead tasks"]:
    """Return the corrected cosine of each task with itself, from two halves A and B that share no micro-batch.

    The norms come from cross products within A and within B, the numerator from products of A with B. The result is
    the mean over all ways to split; with K > 12, over a fixed sample of 200. It is about 1 if micro-batches are samples
    of one population. It is NaN if K is odd or below 4, or if a half has no positive squared norm.
    """
    own = np.moveaxis(np.diagonal(blocks, axis1=-4, axis2=-3), -1, -3)
    n_batches = own.shape[-1]
    inside = _splits(n_batches)
    if not len(inside):
        return np.full(own.shape[:-2], np.nan)
    across = inside[:, :, None] * (1 - inside[:, None, :])
    across /= across.sum(axis=(1, 2), keepdims=True)
    flat = own.reshape(*own.shape[:-2], -1)
    over, first, second = (
        flat @ weights.reshape(len(inside), -1).T for weights in (across, cross(inside), cross(1 - inside))
    )
    return (over / np.sqrt(positive(first) * positive(second))).mean(axis=-1)


def _noise_scale(
    blocks: Blocks, squared: Float[np.ndarray, "*lead tasks"], n_items: Integer[np.ndarray, "tasks batches"]
) -> Float[np.ndarray, "*lead tasks"]:
    """Return tr(Sigma) / |g|^2, from E |g_k|^2 = |g|^2 + tr(Sigma) / n_k summed over micro-batches k."""
    own = np.moveaxis(np.diagonal(blocks, axis1=-4, axis2=-3), -1, -3)
    lengths = np.diagonal(own, axis1=-2, axis2=-1).sum(axis=-1)
    trace = (lengths - n_items.shape[1] * squared) / (1 / n_items).sum(axis=1)
    return trace / positive(squared)
