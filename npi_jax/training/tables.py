"""Tables that training writes at a checkpoint: losses, scores and the status of every member."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Integer

from npi_jax.config.schema import Member
from npi_jax.results.names import ACCURACY, DIVERGED, OK
from npi_jax.results.rules import in_main_region
from npi_jax.results.score_rows import ScoreRows
from npi_jax.results.tables_training import Members, Metrics, Scores
from npi_jax.scoring import Scorer
from npi_jax.training.member.step import Progress


def metrics_table(step: int, progress: Progress | None, valid_loss: Float[np.ndarray, " members"]) -> pl.DataFrame:
    """Return the table `Metrics` of a checkpoint.

    Args:
        step: step of the checkpoint.
        progress: training loss and skipped updates of all members; None at step 0.
        valid_loss: validation loss of all members, nats per token.
    """
    n_members = len(valid_loss)
    train_loss: list[float | None] = [None] * n_members
    skipped = np.zeros(n_members, np.int32)
    if progress is not None:
        train_loss = (np.asarray(progress.loss_sum, np.float64) / np.asarray(progress.loss_steps)).tolist()
        skipped = np.asarray(progress.skipped_updates)
    return pl.DataFrame(
        {
            Metrics.member: np.arange(n_members, dtype=np.int32),
            Metrics.step: np.full(n_members, step, np.int32),
            Metrics.train_loss: pl.Series(train_loss, dtype=pl.Float64),
            Metrics.valid_loss: valid_loss.astype(np.float64),
            Metrics.skipped_updates: pl.Series(skipped, dtype=pl.Int32),
        }
    )


class ScoreTables:
    """Turns the scores of all members into tables.

    Args:
        scorers: scorers of the suites, by name.
        n_members: size of the ensemble.
    """

    def __init__(self, scorers: Mapping[str, Scorer], n_members: int):
        self._rows = {
            name: ScoreRows(scorer, [{Scores.suite: name, Scores.member: member} for member in range(n_members)])
            for name, scorer in scorers.items()
        }

    def table(
        self, step: int, log_probs: Mapping[str, Mapping[str, Float[np.ndarray, "members sentences"]]]
    ) -> pl.DataFrame:
        """Return the table `Scores` of a step from the results of `Scorer.apply` for every suite."""
        return pl.concat([self._rows[name].table(values, step=step) for name, values in log_probs.items()])


def summary(members: Sequence[Member], metrics: pl.DataFrame, scores: pl.DataFrame) -> dict[str, float]:
    """Summarize a checkpoint in a few numbers: means of each variant, and values of each member.

    Args:
        members: members of the ensemble.
        metrics: the result of `metrics_table`.
        scores: the result of `ScoreTables.table`; only the main region of each suite is used.

    Returns:
        ``train_loss``, ``valid_loss`` (nats per token) and the ``accuracy`` of each suite. Names are, for example,
        ``valid_loss/VARIANT`` and ``member_N/valid_loss``.
    """
    member, variant, name, value = str(Metrics.member), str(Metrics.variant), "name", "value"
    variants = pl.DataFrame({member: range(len(members)), variant: [its.variant for its in members]})
    by_suite = scores.filter(in_main_region(Scores.suite)).group_by(member, Scores.suite, maintain_order=True)
    accuracy = by_suite.agg(pl.col(Scores.correct).mean().cast(pl.Float64).alias(value))
    losses = metrics.unpivot(
        [Metrics.train_loss, Metrics.valid_loss], index=member, variable_name=name, value_name=value
    )
    named = pl.format(f"{ACCURACY}/{{}}", Scores.suite).alias(name)
    rows = pl.concat([losses.drop_nulls().select(member, name, value), accuracy.select(member, named, value)])
    rows = rows.join(variants.cast({member: pl.Int32}), on=member, how="left", maintain_order="left")
    of_variants = rows.group_by(name, variant, maintain_order=True).agg(pl.col(value).mean())
    found = {f"{what}/{its}": number for what, its, number in of_variants.iter_rows()}
    return found | {f"member_{its}/{what}": number for its, what, number, _ in rows.iter_rows()}


def members_table(
    members: Sequence[Member], skipped: Integer[np.ndarray, " members"], diverged: Bool[np.ndarray, " members"]
) -> pl.DataFrame:
    """Return the table `Members` with the status of each member."""
    frame = pl.DataFrame([vars(member) for member in members])
    return frame.with_columns(
        pl.Series(Members.status, np.where(diverged, DIVERGED, OK)),
        pl.Series(Members.skipped_updates, skipped, dtype=pl.Int32),
    ).select(pl.int_range(pl.len(), dtype=pl.Int32).alias(Members.member), pl.all())
