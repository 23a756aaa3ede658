"""Rank correlations of matrices of pairs from which additive effects of single tasks are removed.

A trait of single tasks, for example how well each is learned, can affect all alignments of a task and all effects on
it. Relabeling the tasks does not account for this: it tests whether the two matrices are independent, which they then
are not. If such traits add to a row or a column, they are absent from the residuals of a fit of row plus column. Both
matrices are fitted again after each relabeling, over the pairs that are then observed in both. The distribution of the
statistic therefore does not depend on any additive effects of tasks, also if pairs are missing or only some tasks were
removed. (Permuting residuals of one fit would not have this property; Dekker, Krackhardt & Snijders 2007 compare
such schemes.) The correlation is Spearman's, because a few extreme pairs dominate products of residuals.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from npi_jax.analysis.link.additive import residuals
from npi_jax.analysis.link.permutation import correlation, qap_correlations
from npi_jax.analysis.ranks import ranks

_DIGITS: Final = 9
"""Decimals of residuals relative to the range of the values; ties must not depend on rounding errors."""


class Recentered:
    """A matrix of pairs under all relabelings of the tasks, without additive effects of tasks."""

    def __init__(self, predictor: Float[np.ndarray, "tasks tasks"], labels: Int[np.ndarray, "labels tasks"]) -> None:
        """Store the matrix; ranks are computed once for all effects that are observed in the same pairs."""
        self._predictor, self._labels = predictor, labels
        self._relabeled = predictor[labels[:, :, None], labels[:, None, :]]
        self._ranks: dict[bytes, Float[np.ndarray, "labels pairs"]] = {}

    def correlations(self, effects: Float[np.ndarray, "tasks tasks"]) -> Float[np.ndarray, " labels"]:
        """Return Spearman's correlation of the residuals of predictor and effects, for each relabeling.

        Only off-diagonal pairs with both a relabeled predictor and an effect enter. The correlation is NaN if
        residuals do not vary.
        """
        observed, off = off_diagonal(effects), ~np.eye(len(effects), dtype=bool)
        if (observed & off_diagonal(self._predictor) == off).all():
            # Without missing pairs, relabeling the residuals gives the residuals of the relabeled matrix.
            return qap_correlations(centered(self._predictor), centered(effects), self._labels)
        there = np.isfinite(self._relabeled) & observed
        known = observed.tobytes()
        if known not in self._ranks:
            self._ranks[known] = _ranks(np.where(there, self._relabeled, np.nan), observed)
        if (there == there[:1]).all():
            there = there[:1]
        return correlation(self._ranks[known], _ranks(np.where(there, effects, np.nan), observed))


def centered(values: Float[np.ndarray, "tasks tasks"]) -> Float[np.ndarray, "tasks tasks"]:
    """Return the rounded residuals of row plus column, as shares of the values' range; NaN on the diagonal."""
    return _rounded(np.where(off_diagonal(values), values, np.nan)[None])[0]


def off_diagonal(values: Float[np.ndarray, "tasks tasks"]) -> Bool[np.ndarray, "tasks tasks"]:
    """Return True where a value is given and not on the diagonal."""
    return np.isfinite(values) & ~np.eye(len(values), dtype=bool)


def _rounded(values: Float[np.ndarray, "labels tasks tasks"]) -> Float[np.ndarray, "labels tasks tasks"]:
    known = values[np.isfinite(values)]
    scale = float(np.ptp(known)) if len(known) else 0.0
    rounded: Float[np.ndarray, "labels tasks tasks"] = np.round(residuals(values) / (scale or 1.0), _DIGITS)
    return rounded


def _ranks(
    values: Float[np.ndarray, "labels tasks tasks"], observed: Bool[np.ndarray, "tasks tasks"]
) -> Float[np.ndarray, "labels pairs"]:
    """Return ranks of residuals within each relabeling, in the pairs that may be observed; NaN for missing ones."""
    left = _rounded(values)[:, observed]
    there = np.isfinite(left)
    # Missing values are ranked last, so that they do not change the ranks of the others.
    return np.where(there, ranks(np.where(there, left, np.inf)), np.nan)
