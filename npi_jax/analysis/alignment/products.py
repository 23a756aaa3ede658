"""Dot products of the gradients of micro-batches: unbiased products of tasks, their cosines, and resamples.

Micro-batch k of task t is row ``t * K + k``. Every function maps over leading axes, such as members and parameter
groups. Micro-batches with different numbers share no sentence, so the product of two of them has no common noise.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped

Blocks = Float[np.ndarray, "*lead tasks tasks batches batches"]
"""Products by task, task, micro-batch and micro-batch."""


def cross_products(
    gram: Float[np.ndarray, "*lead vectors vectors"], n_batches: int
) -> Float[np.ndarray, "*lead tasks tasks"]:
    """Return C_ij: the mean dot product of micro-batches with different numbers, an unbiased estimate of <g_i, g_j>.

    Raises:
        ValueError: if there are fewer than 2 micro-batches, or the shape does not fit them.
    """
    check_sizes(gram.shape[-1], n_batches)
    return weigh(as_blocks(gram, n_batches), cross(np.ones((1, n_batches))))[..., 0, :, :]


def cosines(products: Float[np.ndarray, "*lead tasks tasks"]) -> Float[np.ndarray, "*lead tasks tasks"]:
    """Return products divided by the square roots of their diagonals; NaN if a diagonal entry is not positive."""
    norm = np.sqrt(positive(diagonal(products)))
    return products / (norm[..., :, None] * norm[..., None, :])


def sign_conflict(
    gram: Float[np.ndarray, "*lead vectors vectors"],
    gram_abs: Float[np.ndarray, "*lead vectors vectors"],
    n_batches: int,
) -> Float[np.ndarray, "*lead tasks tasks"]:
    """Return the share of coordinates, weighted by |g_i||g_j|, in which two tasks' gradients have opposite signs.

    It is (1 - C_ij / C^abs_ij) / 2, from micro-batches with different numbers. Noise moves it toward 1/2. The diagonal
    compares a task with itself, and thus shows the effect of noise alone: it is the reference for other entries.
    """
    check_sizes(gram.shape[-1], n_batches)
    return (1 - cross_products(gram, n_batches) / positive(cross_products(gram_abs, n_batches))) / 2


def bootstrap_counts(n_batches: int, draws: int, seed: int = 0) -> Int[np.ndarray, "draws batches"]:
    """Return the number of times that each bootstrap draw of K micro-batches contains each of them.

    Draws with fewer than 2 distinct micro-batches have no cross product and are replaced by new draws.

    Raises:
        ValueError: if there are fewer than 2 micro-batches.
    """
    check_sizes(n_batches, n_batches)
    random = np.random.default_rng(seed)
    counts = np.zeros((0, n_batches), np.int64)
    while len(counts) < draws:
        more = random.multinomial(n_batches, np.full(n_batches, 1 / n_batches), size=draws)
        counts = np.concatenate([counts, more[(more > 0).sum(axis=1) > 1]])
    return counts[:draws]


def check_sizes(n_vectors: int, n_batches: int) -> None:
    """Raise an error for fewer than two micro-batches, or if their number does not divide the number of vectors.

    Raises:
        ValueError: naming the sizes.
    """
    if n_batches < 2:
        raise ValueError(
            f"{n_batches} micro-batch(es) of each task; cross products need at least 2, and standard errors 3"
        )
    if n_vectors % n_batches:
        raise ValueError(f"gram has {n_vectors} rows, which {n_batches} micro-batches do not divide")


def as_blocks(gram: Float[np.ndarray, "*lead vectors vectors"], n_batches: int) -> Blocks:
    """Return products by task and micro-batch as float64; numbers that are not finite become NaN."""
    n_tasks = gram.shape[-1] // n_batches
    finite = np.where(np.isfinite(gram), gram, np.nan).astype(np.float64)
    return np.moveaxis(finite.reshape(*gram.shape[:-2], n_tasks, n_batches, n_tasks, n_batches), -3, -2)


def cross(counts: Shaped[np.ndarray, "draws batches"]) -> Float[np.ndarray, "draws batches batches"]:
    """Return weights of products of distinct micro-batches, drawn ``counts`` times; each draw's weights sum to 1."""
    weights = counts[:, :, None] * counts[:, None, :] * (1.0 - np.eye(counts.shape[1]))
    return weights / weights.sum(axis=(1, 2), keepdims=True)


def weigh(
    of: Blocks, weights: Float[np.ndarray, "draws batches batches"]
) -> Float[np.ndarray, "*lead draws tasks tasks"]:
    """Return weighted means of products over micro-batches, for every pair of tasks."""
    flat = of.reshape(*of.shape[:-2], -1) @ weights.reshape(len(weights), -1).T
    return np.moveaxis(flat, -1, -3)


def diagonal(products: Float[np.ndarray, "*lead n n"]) -> Float[np.ndarray, "*lead n"]:
    """Return the diagonal of the last two axes."""
    return np.diagonal(products, axis1=-2, axis2=-1)


def positive(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Replace values that are not above 0 by NaN."""
    return np.where(values > 0, values, np.nan)


def mean_of_known(values: Float[np.ndarray, "*lead n"]) -> Float[np.ndarray, "*lead"]:
    """Return the mean along the last axis, ignoring NaN; NaN if all values are NaN."""
    known = ~np.isnan(values)
    n = known.sum(axis=-1)
    return np.asarray(np.where(known, values, 0.0).sum(axis=-1) / np.where(n, n, np.nan))
