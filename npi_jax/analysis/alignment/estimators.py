"""How far the gradients of tasks agree, with the noise of their estimates taken out.

Everything here is computed from dot products (Gram matrices) of the gradients of micro-batches, micro-batch k of task t
in row ``t * K + k``; leading axes, such as members and parameter groups, are mapped over. Micro-batches of different
numbers share no sentence, so the product of two of them has no common noise, and the mean of such *cross products*,
C_ij = mean over k != l of <g_ik, g_jl>, estimates the product of the true gradients without bias.
docs/concepts/alignment.md says in words what each number means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from scipy import special

from npi_jax.analysis.alignment.grams import ALL, LM, Grams, load_grams

__all__ = [
    "ALL",
    "LM",
    "Alignment",
    "Grams",
    "align",
    "bootstrap_cosines",
    "bootstrap_counts",
    "cosines",
    "cross_products",
    "load_grams",
    "sign_conflict",
]

ERRORS_ABOVE_ZERO: Final = 2.0
"""A squared norm is told from 0 if it is more than this many standard errors above it."""

OK, NOT_FINITE, NO_ERROR, NOT_POSITIVE, ODD, HALF_NOT_POSITIVE, BEYOND = range(7)
"""Why a value is missing: see `Alignment.reasons`."""

# Up to so many micro-batches all ways to halve them (462) are taken, beyond a sample.
_MOST_LISTED: Final = 12
_SAMPLED_SPLITS: Final = 200


@dataclass(frozen=True)
class Alignment:
    """Agreement of every pair of T tasks; see `align`.

    Attributes:
        products: C_ij, cross products.
        ratio: C_ij / sqrt(C_ii C_jj), and on the diagonal the same-task check; NaN where a norm is not above 0. An
            estimate without bias, which may be beyond 1: what means are made from.
        corrected: ``ratio`` where it is a cosine, between -1 and 1, and the same-task check; NaN where ``state`` is not
            `OK`.
        se: standard error of ``corrected`` (jackknife over micro-batches); NaN on the diagonal.
        naive: cosine of the mean gradients, noise and all.
        state: of each pair, `OK` or why ``corrected`` is NaN.
        norm, norm_low, norm_high: norm of each task's gradient, sqrt(C_ii), with a 95 % interval; the norm is NaN
            where ``task_state`` is not `OK`, while the interval then still says how large it may be.
        noise_scale: B = tr(Sigma) / |g|^2, the number of items at which noise and gradient are equally large, with
            Sigma the covariance of the gradients of single items (McCandlish et al. 2018, An empirical model of
            large-batch training, arXiv 1812.06162); NaN where the norm is.
        reliability: C_ii / |mean gradient|^2, micro-batches weighted alike: what share of the squared length of the
            mean gradient is not noise; NaN where C_ii is negative, which is no share.
        task_state: of each task, `OK` or why its norm is NaN.
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
        """Where ``corrected`` is a number."""
        return self.state == OK

    @property
    def measured(self) -> Bool[np.ndarray, "*lead tasks tasks"]:
        """Where ``ratio`` is a number: both norms are above 0."""
        return (self.state == OK) | (self.state == BEYOND)

    def reasons(self, tasks: Sequence[str]) -> np.ndarray:
        """Why ``corrected`` is NaN, as text: "" where it is not. Shape [*lead, T, T]."""
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

    def task_reasons(self, tasks: Sequence[str]) -> np.ndarray:
        """Why ``norm`` is NaN, as text: "" where it is not. Shape [*lead, T]."""
        book = np.full((len(REASONS) + 2, len(tasks)), "", dtype=object)
        for state, text in REASONS.items():
            book[state] = text
        book[NOT_POSITIVE] = [f"norm of {task} is not told from 0" for task in tasks]
        return book[self.task_state, np.arange(len(tasks))]


REASONS: Final = {
    OK: "",
    NOT_FINITE: "not finite, or lost in rounding",
    NO_ERROR: "two micro-batches give no standard error",
    ODD: "the same-task check needs an even number of micro-batches, 4 or more",
    BEYOND: "the estimate is beyond 1 or -1, which no cosine is",
}


def align(gram: Float[np.ndarray, "*lead vectors vectors"], n_items: Integer[np.ndarray, "tasks batches"]) -> Alignment:
    """Agreement of the gradients of every pair of tasks, norms and noise, from dot products of micro-batches.

    A pair's corrected cosine is given where both squared norms C_ii are reliably positive: more than
    `ERRORS_ABOVE_ZERO` jackknife standard errors above 0. Nothing is clipped: what comes out beyond 1 is no cosine, and
    missing as one; ``ratio`` has it.

    Under pure noise with K = 4 the rule lets 2 to 3 % of tasks pass, fewer with more micro-batches: the jackknife
    overstates the standard error of a mean of products when there is nothing but noise (by sqrt(3) with K = 4), which
    outweighs that it has K - 1 degrees of freedom only. So 2 stands, and not the t quantile.

    Args:
        gram: dot products; what is not finite makes the values that rest on it NaN.
        n_items: items in each micro-batch of each task.

    Raises:
        ValueError: if there are fewer than 2 micro-batches, or the shapes disagree.
    """
    n_tasks, n_batches = _sizes(gram, n_items)
    blocks = _blocks(gram, n_batches)
    products = _weigh(blocks, _cross(np.ones((1, n_batches))))[..., 0, :, :]
    replicates = _replicates(blocks, n_batches)
    squared, squared_se = _diagonal(products), _jackknife_se(_diagonal(replicates), axis=-2)
    task_state = _task_state(squared, squared_se)
    ratio, state = _ratio(blocks, products, task_state)
    fine = task_state == OK
    se = _jackknife_se(cosines(replicates), axis=-3)
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
        # A norm is never negative: where the interval of its square reaches below 0 it begins at 0.
        norm_low=np.sqrt(np.maximum(squared - width, 0)),
        norm_high=np.sqrt(np.where(squared + width >= 0, squared + width, np.nan)),
        noise_scale=np.where(fine, _noise_scale(blocks, squared, n_items), np.nan),
        # Of equal weights C_ii is never more than the squared length of the mean.
        reliability=_positive(squared) / _positive(_diagonal(blocks.mean(axis=(-2, -1)))),
        task_state=task_state,
    )


def cross_products(
    gram: Float[np.ndarray, "*lead vectors vectors"], n_batches: int
) -> Float[np.ndarray, "*lead tasks tasks"]:
    """C_ij: the mean dot product of micro-batches of different numbers, an unbiased estimate of <g_i, g_j>.

    Raises:
        ValueError: if there are fewer than 2 micro-batches, or the shape does not fit them.
    """
    _check(gram.shape[-1], n_batches)
    return _weigh(_blocks(gram, n_batches), _cross(np.ones((1, n_batches))))[..., 0, :, :]


def cosines(products: Float[np.ndarray, "*lead tasks tasks"]) -> Float[np.ndarray, "*lead tasks tasks"]:
    """Products divided by the square roots of their diagonals; NaN where a diagonal entry is not positive."""
    norm = np.sqrt(_positive(_diagonal(products)))
    return products / (norm[..., :, None] * norm[..., None, :])


def sign_conflict(
    gram: Float[np.ndarray, "*lead vectors vectors"],
    gram_abs: Float[np.ndarray, "*lead vectors vectors"],
    n_batches: int,
) -> Float[np.ndarray, "*lead tasks tasks"]:
    """Share of coordinates, weighted by |g_i||g_j|, in which two tasks' gradients have opposite signs.

    (1 - C_ij / C^abs_ij) / 2 over products of micro-batches of different numbers. Noise draws it to 1/2; the diagonal,
    one task against itself, shows how far and is what the others are compared with.
    """
    _check(gram.shape[-1], n_batches)
    return (1 - cross_products(gram, n_batches) / _positive(cross_products(gram_abs, n_batches))) / 2


def bootstrap_counts(n_batches: int, draws: int, seed: int = 0) -> Int[np.ndarray, "draws batches"]:
    """How often each micro-batch is taken in each draw of K with replacement.

    Draws with fewer than 2 distinct micro-batches have no cross product and are drawn again.

    Raises:
        ValueError: if there are fewer than 2 micro-batches.
    """
    _check(n_batches, n_batches)
    random = np.random.default_rng(seed)
    counts = np.zeros((0, n_batches), np.int64)
    while len(counts) < draws:
        more = random.multinomial(n_batches, np.full(n_batches, 1 / n_batches), size=draws)
        counts = np.concatenate([counts, more[(more > 0).sum(axis=1) > 1]])
    return counts[:draws]


def bootstrap_cosines(
    gram: Float[np.ndarray, "*lead vectors vectors"], counts: Integer[np.ndarray, "draws batches"]
) -> Float[np.ndarray, "*lead draws tasks tasks"]:
    """Corrected cosines of resampled micro-batches: products of k and l != k weighted by ``counts[k] * counts[l]``.

    The diagonal is 1 by construction. NaN where the draw leaves no positive squared norm.
    """
    n_batches = counts.shape[1]
    _check(gram.shape[-1], n_batches)
    return cosines(_weigh(_blocks(gram, n_batches), _cross(counts)))


def _sizes(gram: np.ndarray, n_items: np.ndarray) -> tuple[int, int]:
    n_tasks, n_batches = n_items.shape
    _check(gram.shape[-1], n_batches)
    if gram.shape[-1] != n_items.size:
        raise ValueError(
            f"gram has {gram.shape[-1]} rows, but n_items says {n_tasks} tasks times {n_batches} micro-batches"
        )
    return n_tasks, n_batches


def _check(n_vectors: int, n_batches: int) -> None:
    if n_batches < 2:
        raise ValueError(
            f"{n_batches} micro-batch(es) of each task; cross products need at least 2, and standard errors 3"
        )
    if n_vectors % n_batches:
        raise ValueError(f"gram has {n_vectors} rows, which {n_batches} micro-batches do not divide")


def _blocks(gram: np.ndarray, n_batches: int) -> np.ndarray:
    """[*lead, T, T, K, K], float64; what is not finite becomes NaN."""
    n_tasks = gram.shape[-1] // n_batches
    finite = np.where(np.isfinite(gram), gram, np.nan).astype(np.float64)
    return np.moveaxis(finite.reshape(*gram.shape[:-2], n_tasks, n_batches, n_tasks, n_batches), -3, -2)


def _cross(counts: np.ndarray) -> np.ndarray:
    """Weights [draws, K, K] of the products of micro-batches taken ``counts`` [draws, K] times; they add up to 1."""
    weights = counts[:, :, None] * counts[:, None, :] * (1.0 - np.eye(counts.shape[1]))
    return weights / weights.sum(axis=(1, 2), keepdims=True)


def _weigh(blocks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means of blocks [*lead, T, T, K, K]: [*lead, draws, T, T]."""
    flat = blocks.reshape(*blocks.shape[:-2], -1) @ weights.reshape(len(weights), -1).T
    return np.moveaxis(flat, -1, -3)


def _replicates(blocks: np.ndarray, n_batches: int) -> np.ndarray:
    """Cross products with each micro-batch left out in turn, [*lead, K, T, T]; NaN if that leaves only one."""
    if n_batches < 3:
        return np.full((*blocks.shape[:-4], n_batches, *blocks.shape[-4:-2]), np.nan)
    return _weigh(blocks, _cross(1.0 - np.eye(n_batches)))


def _jackknife_se(replicates: np.ndarray, axis: int) -> np.ndarray:
    """Standard error from replicates in each of which one of the K things along ``axis`` was left out."""
    n = replicates.shape[axis]
    apart = replicates - replicates.mean(axis=axis, keepdims=True)
    return np.sqrt((n - 1) / n * (apart**2).sum(axis=axis))


def _task_state(squared: np.ndarray, se: np.ndarray) -> np.ndarray:
    state = np.where(squared > ERRORS_ABOVE_ZERO * se, OK, NOT_POSITIVE)
    state = np.where(np.isnan(se), NO_ERROR, state)
    return np.where(np.isnan(squared), NOT_FINITE, state)


def _ratio(blocks: np.ndarray, products: np.ndarray, task_state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corrected cosines, beyond 1 or not, with the same-task check on their diagonal; and why some are none."""
    n_tasks, n_batches = blocks.shape[-3], blocks.shape[-1]
    state = np.maximum(task_state[..., :, None], task_state[..., None, :])
    # The worse of two states is not the greater number where one is not finite.
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
    # The same-task check is no cosine of two directions, and is above 1 as often as below.
    beyond = (np.abs(values) > 1) & ~np.eye(n_tasks, dtype=bool)
    return values, np.where(beyond, BEYOND, state)


def _splits(n_batches: int) -> np.ndarray:
    """Halves [splits, K] of 0 and 1, micro-batch 0 in all of them; none if K is odd or below 4."""
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


def _same_task(blocks: np.ndarray) -> np.ndarray:
    """The corrected cosine of each task with itself, from two halves that share no micro-batch.

    Of the halves A and B the norms come from cross products within A and within B, the numerator from products of A
    with B; the mean over the ways to split (with K > 12 over a fixed sample of 200). About 1 if micro-batches are
    samples of one population. NaN if K is odd or below 4, or if a half leaves no positive squared norm.
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
        flat @ weights.reshape(len(inside), -1).T for weights in (across, _cross(inside), _cross(1 - inside))
    )
    return (over / np.sqrt(_positive(first) * _positive(second))).mean(axis=-1)


def _noise_scale(blocks: np.ndarray, squared: np.ndarray, n_items: np.ndarray) -> np.ndarray:
    """E |g_k|^2 = |g|^2 + tr(Sigma) / n_k, summed over micro-batches k and solved for tr(Sigma)."""
    own = np.moveaxis(np.diagonal(blocks, axis1=-4, axis2=-3), -1, -3)
    lengths = np.diagonal(own, axis1=-2, axis2=-1).sum(axis=-1)
    trace = (lengths - n_items.shape[1] * squared) / (1 / n_items).sum(axis=1)
    return trace / _positive(squared)


def _diagonal(products: np.ndarray) -> np.ndarray:
    return np.diagonal(products, axis1=-2, axis2=-1)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)
