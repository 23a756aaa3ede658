"""Rank correlations of matrices of pairs of tasks, tested by relabeling the tasks.

Pairs of tasks are not independent, because every task is in many pairs. Correlations are therefore tested by
relabeling tasks (QAP: Hubert & Schultz 1976; Krackhardt 1988; the Mantel test). A relabeling applies one permutation to
the rows and columns of the predictor's matrix. It preserves the dependence within each matrix that is due to single
tasks, and breaks only the association of the two matrices. Pairs are directed (removed, task), also if only some tasks
were removed.
"""

import itertools
import math
from typing import Final

import numpy as np
from jaxtyping import Float, Int

PERMUTATIONS: Final = 4999
_ENUMERATED: Final = 5000


def relabelings(n_tasks: int, permutations: int = PERMUTATIONS, *, seed: int = 0) -> Int[np.ndarray, "labels tasks"]:
    """Return permutations of the tasks, the identity first: all if there are at most 5000, else a random sample."""
    if math.factorial(n_tasks) <= _ENUMERATED:
        orders = list(itertools.permutations(range(n_tasks)))
        return np.array(orders, dtype=np.int64).reshape(len(orders), n_tasks)
    random = np.random.default_rng(seed)
    drawn = random.permuted(np.tile(np.arange(n_tasks), (permutations, 1)), axis=1)
    return np.concatenate([np.arange(n_tasks)[None], drawn])


def qap_correlations(
    predictor: Float[np.ndarray, "tasks tasks"],
    effects: Float[np.ndarray, "tasks tasks"],
    labels: Int[np.ndarray, "labels tasks"],
) -> Float[np.ndarray, " labels"]:
    """Return Spearman's correlation of predictor and effects over off-diagonal pairs, for each relabeling.

    Pairs without an effect (NaN) are excluded. A missing predictor moves with the relabeling, and the pair to which it
    moves is excluded from that correlation. The correlation is NaN if the predictor or the effects do not vary.
    """
    rows, columns = np.nonzero(np.isfinite(effects) & ~np.eye(len(effects), dtype=bool))
    codes = _codes(predictor)[labels[:, rows], labels[:, columns]]
    there = codes >= 0
    outcome = np.where(there, _codes(effects)[rows, columns], -1)
    if there.all():
        outcome = outcome[:1]
    return correlation(_ranks(codes), _ranks(outcome))


def p_value(correlations: Float[np.ndarray, " labels"]) -> float:
    """Return the share of correlations at least as far from 0 as the first, which is the correlation in the data."""
    size = np.nan_to_num(np.abs(correlations), nan=0.0)
    return float((size >= size[0] - 1e-12).mean())


def _codes(values: Float[np.ndarray, "rows columns"]) -> Int[np.ndarray, "rows columns"]:
    """Return the rank of each number among the distinct numbers, from 0; -1 for NaN and on the diagonal."""
    off = ~np.eye(len(values), dtype=bool) & np.isfinite(values)
    codes = np.full(values.shape, -1)
    codes[off] = np.unique(values[off], return_inverse=True)[1]
    return codes


def _ranks(codes: Int[np.ndarray, "labels pairs"]) -> Float[np.ndarray, "labels pairs"]:
    """Return ranks within each row by counting codes, which are few; ties get their mean rank, the code -1 gets NaN."""
    n_codes = int(codes.max(initial=-1)) + 2
    places = codes + 1 + n_codes * np.arange(len(codes))[:, None]
    counts = np.bincount(places.ravel(), minlength=n_codes * len(codes)).reshape(-1, n_codes)
    counts[:, 0] = 0
    ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
    ranks[:, 0] = np.nan
    return ranks.ravel()[places]


def correlation(
    one: Float[np.ndarray, "labels pairs"], other: Float[np.ndarray, "#labels pairs"]
) -> Float[np.ndarray, " labels"]:
    """Return the correlation of two matrices in each row; NaN in both is left out, and the result without variation."""
    x, y = _deviations(one), _deviations(other)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    products = (x * y).sum(axis=1)
    return np.divide(products, scale, out=np.full(len(x), np.nan), where=scale > 1e-12)


def _deviations(ranks: Float[np.ndarray, "labels pairs"]) -> Float[np.ndarray, "labels pairs"]:
    """Return deviations from the mean of each row; 0 for NaN."""
    there = np.isfinite(ranks)
    mean = np.where(there, ranks, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(there, ranks - mean[:, None], 0.0)
