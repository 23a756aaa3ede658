"""What a checkpoint leaves behind in tables: losses and scores of every member."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from npi_jax.config.schema import Member
from npi_jax.scoring import Scorer, Scores, fixed_columns
from npi_jax.training.member.step import Progress


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
        scorers: of each suite by name.
        n_members: size of the ensemble.
    """

    def __init__(self, scorers: Mapping[str, Scorer], n_members: int):
        self._n_members, self._scorers = n_members, scorers
        self._fixed = {name: self._frame(name, scorer) for name, scorer in scorers.items()}

    def _frame(self, name: str, scorer: Scorer) -> pl.DataFrame:
        columns = fixed_columns(scorer)
        one = pl.DataFrame({column: pl.Series(values.tolist()) for column, values in columns.items()})
        counts = [pl.col(column).cast(pl.Int32) for column in ("n_good", "n_bad")]
        one = one.with_columns(pl.lit(name).alias("suite"), *counts)
        return pl.concat([one.with_columns(pl.lit(m, pl.Int32).alias("member")) for m in range(self._n_members)])

    def table(self, step: int, log_probs: Mapping[str, Mapping[str, np.ndarray]]) -> pl.DataFrame:
        """What `Scorer.apply` gave for all members of every suite at a step: one row a member, region and item."""
        return pl.concat([self._filled(step, name, values) for name, values in log_probs.items()])

    def _filled(self, step: int, name: str, log_probs: Mapping[str, np.ndarray]) -> pl.DataFrame:
        values = Scores(log_probs, self._scorers[name]).value_columns()
        filled = self._fixed[name].with_columns(
            pl.lit(step, pl.Int32).alias("step"), *(pl.Series(column, array) for column, array in values.items())
        )
        return filled.filter(pl.col("n_good") >= 0)


def summary(members: Sequence[Member], metrics: pl.DataFrame, scores: pl.DataFrame) -> dict[str, float]:
    """A checkpoint in a few numbers, for whoever watches the run: of each variant (its mean) and of each member.

    Args:
        members: the ensemble's.
        metrics: from `metrics_table`.
        scores: from `ScoreTables.table`; counted are critical regions, or whole sentences in suites without.

    Returns:
        ``train_loss``, ``valid_loss`` (nats a token) and the ``accuracy`` of each suite, as ``valid_loss/VARIANT`` and
        ``member_N/valid_loss``.
    """
    names = pl.DataFrame({"member": range(len(members)), "variant": [m.variant for m in members]})
    names = names.with_columns(pl.col("member").cast(pl.Int32))
    critical = scores.filter((pl.col("region") == "critical") | ~(pl.col("region") == "critical").any().over("suite"))
    accuracy = critical.group_by("member", "suite", maintain_order=True).agg(
        pl.col("correct").mean().cast(pl.Float64).alias("value")
    )
    losses = metrics.unpivot(["train_loss", "valid_loss"], index="member", variable_name="name", value_name="value")
    rows = pl.concat(
        [
            losses.drop_nulls().select("member", "name", "value"),
            accuracy.select(
                "member", pl.format("accuracy/{}", "suite").alias("name"), pl.col("value").cast(pl.Float64)
            ),
        ]
    ).join(names, on="member", how="left", maintain_order="left")
    of_variants = rows.group_by("name", "variant", maintain_order=True).agg(pl.col("value").mean())
    found = {f"{name}/{variant}": value for name, variant, value in of_variants.iter_rows()}
    return found | {f"member_{m}/{name}": value for m, name, value, _ in rows.iter_rows()}


def members_table(members: Sequence[Member], skipped: np.ndarray, diverged: np.ndarray) -> pl.DataFrame:
    """One row a member, with how it fared."""
    frame = pl.DataFrame([vars(member) for member in members])
    return frame.with_columns(
        pl.Series("status", np.where(diverged, "diverged", "ok")),
        pl.Series("skipped_updates", skipped, dtype=pl.Int32),
    ).select(pl.int_range(pl.len(), dtype=pl.Int32).alias("member"), pl.all())
