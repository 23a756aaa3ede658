"""What a checkpoint leaves behind in tables: losses and scores of every member."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from npi_jax.config import Member
from npi_jax.scoring import Scorer, Scores
from npi_jax.suites.encode import EncodedSuite
from npi_jax.training.step import Progress


def metrics_table(step: int, progress: Progress | None, valid_loss: np.ndarray) -> pl.DataFrame:
    """Losses at a checkpoint, nats a token; `progress` (None at step 0) and `valid_loss` hold all members."""
    n_members = len(valid_loss)
    train_loss: list[float | None] = [None] * n_members
    skipped = np.zeros(n_members, np.int32)
    if progress is not None:
        train_loss = (np.asarray(progress.loss_sum, np.float64) / np.asarray(progress.loss_steps)).tolist()
        skipped = np.asarray(progress.skipped_updates)
    return pl.DataFrame(
        {
            "member": np.arange(n_members, dtype=np.int32),
            "step": np.full(n_members, step, np.int32),
            "train_loss": pl.Series(train_loss, dtype=pl.Float64),
            "valid_loss": valid_loss.astype(np.float64),
            "skipped_updates": pl.Series(skipped, dtype=pl.Int32),
        }
    )


class ScoreTables:
    """Turns scores into long tables; the columns that do not change are made once.

    Args:
        suites: the encoded suites by name.
        scorers: their scorers.
        n_members: size of the ensemble.
    """

    def __init__(self, suites: Mapping[str, EncodedSuite], scorers: Mapping[str, Scorer], n_members: int):
        self._n_members = n_members
        self._fixed = {name: self._frame(name, suites[name], scorers[name]) for name in suites}

    def _frame(self, name: str, encoded: EncodedSuite, scorer: Scorer) -> pl.DataFrame:
        items = encoded.suite.items
        columns = {
            field: pl.Series([getattr(item, field) for item in items], dtype=pl.String)
            for field in ("paradigm", "task", "kind", "item")
        }
        one = pl.DataFrame({"suite": pl.Series([name] * len(items), dtype=pl.String), **columns})
        regions = [
            one.with_columns(
                pl.lit(region).alias("region"),
                pl.Series("n_good", counts[:, 0], dtype=pl.Int32),
                pl.Series("n_bad", counts[:, 1], dtype=pl.Int32),
            )
            for region, counts in (("critical", scorer.n_critical), ("sentence", scorer.n_sentence))
        ]
        both = pl.concat(regions)
        return pl.concat([both.with_columns(pl.lit(m, pl.Int32).alias("member")) for m in range(self._n_members)])

    def table(self, step: int, scores: Mapping[str, Scores]) -> pl.DataFrame:
        """Scores [members, pairs, 2] of every suite at a step, as one row for each member, item and region."""
        frames = [self._filled(step, self._fixed[name], values) for name, values in scores.items()]
        return pl.concat(frames)

    def _filled(self, step: int, fixed: pl.DataFrame, scores: Scores) -> pl.DataFrame:
        # [members, regions, pairs, 2], in the order of the fixed columns
        values = np.stack([scores.critical, scores.sentence], axis=1).astype(np.float64).reshape(-1, 2)
        return fixed.with_columns(
            pl.lit(step, pl.Int32).alias("step"),
            pl.Series("good", values[:, 0]),
            pl.Series("bad", values[:, 1]),
            pl.Series("delta", values[:, 0] - values[:, 1]),
        )


def members_table(members: Sequence[Member], skipped: np.ndarray, diverged: np.ndarray) -> pl.DataFrame:
    """One row a member, with how it fared."""
    frame = pl.DataFrame([vars(member) for member in members])
    return frame.with_columns(
        pl.Series("status", np.where(diverged, "diverged", "ok")),
        pl.Series("skipped_updates", skipped, dtype=pl.Int32),
    ).select(pl.int_range(pl.len(), dtype=pl.Int32).alias("member"), pl.all())
