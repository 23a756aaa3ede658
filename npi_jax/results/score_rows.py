"""Scores of several models as one long table, for training and evaluation."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from npi_jax.results.tables_training import Scores as Columns
from npi_jax.scoring import Scorer, Scores, fixed_columns


class ScoreRows:
    """Convert log-probabilities of several models to rows; columns that do not depend on the models are made once.

    Args:
        scorer: the scorer that computes the log-probabilities.
        models: for each model, the columns that identify it, as in ``{"member": 0}``.
    """

    def __init__(self, scorer: Scorer, models: Sequence[Mapping[str, object]]):
        self._scorer = scorer
        one = pl.DataFrame({name: pl.Series(values.tolist()) for name, values in fixed_columns(scorer.suite).items()})
        # Minimal pairs have two token counts, other groups of sentences have one.
        counts = [name for name in (Columns.n_good, Columns.n_bad, "n") if name in one.columns]
        one = one.with_columns(pl.col(counts).cast(pl.Int32))
        self._present = pl.col(counts[0]) >= 0
        self._fixed = pl.concat(
            [one.with_columns(pl.lit(value).alias(name) for name, value in model.items()) for model in models]
        )

    def table(self, log_probs: Mapping[str, Float[np.ndarray, "models sentences"]], **same: object) -> pl.DataFrame:
        """Return one row for each model, region and pair (or sentence) that has the region.

        Args:
            log_probs: log-probabilities by region, from `Scorer.apply`, with one row per model.
            same: additional columns, each with one value for all rows.
        """
        values = Scores(log_probs, self._scorer.suite).value_columns()
        filled = self._fixed.with_columns(
            *(pl.lit(value).alias(name) for name, value in same.items()),
            *(pl.Series(name, array) for name, array in values.items()),
        )
        return filled.filter(self._present)
