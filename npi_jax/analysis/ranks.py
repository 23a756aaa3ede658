"""Ranks and Spearman's correlation; `scipy.stats` has both, but takes more than a second to import."""

import numpy as np
from jaxtyping import Float


def ranks(values: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows n"]:
    """Return ranks within each row, from 1 on; equal values get their mean rank. Values must not be NaN."""
    n = values.shape[1]
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    edge = np.ones((len(values), n + 1), dtype=bool)
    edge[:, 1:-1] = ordered[:, 1:] != ordered[:, :-1]
    place = np.arange(n)
    first = np.maximum.accumulate(np.where(edge[:, :-1], place, 0), axis=1)
    last = np.minimum.accumulate(np.where(edge[:, 1:], place, n)[:, ::-1], axis=1)[:, ::-1]
    found = np.empty(values.shape)
    np.put_along_axis(found, order, (first + last) / 2 + 1, axis=1)
    return found


def spearman(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> float:
    """Return Spearman's rank correlation of two sets of values without NaN; each must have two different values."""
    return float(np.corrcoef(ranks(np.stack([one, other])))[0, 1])
