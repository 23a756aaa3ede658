"""Recording of a checkpoint: writing the tables of a step, one file for each table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Integer

from npi_jax.config.schema import Member
from npi_jax.errors import UserError
from npi_jax.results.columns import Table
from npi_jax.results.directory import Run, RunError
from npi_jax.results.table_files import write_declared
from npi_jax.results.tables_training import Members, Metrics, Scores
from npi_jax.scoring import Scorer
from npi_jax.training.divergence import cannot_recover, has_diverged
from npi_jax.training.member.step import Progress
from npi_jax.training.monitor.sinks import Sink
from npi_jax.training.tables import ScoreTables, members_table, metrics_table, summary
from npi_jax.training.task_gradients import TaskGradients


class AllDivergedError(UserError):
    """Every member of the ensemble diverged, and none can recover."""


@dataclass(frozen=True)
class Evaluation:
    """Results of all members at a checkpoint, on the host and without padding members.

    Attributes:
        progress: training losses and skipped updates; None at step 0.
        valid_loss: validation losses, nats per token.
        scores: log-probabilities of each suite (`Scorer.apply`).
        gradients: comparisons of task gradients; empty if the run compares none.
    """

    progress: Progress | None
    valid_loss: Float[np.ndarray, " members"]
    scores: Mapping[str, Mapping[str, Float[np.ndarray, "members ..."]]]
    gradients: dict[str, Float[np.ndarray, "members ..."]]


class Recorder:
    """Writes the tables of each checkpoint to the run directory.

    Args:
        run: the run directory.
        members: the members of the ensemble.
        scorers: scorers of the suites, by name.
        task_gradients: comparisons of task gradients; None to compare nothing.
        schedule: the steps at which members are scored.
        vocab_size: entries of the vocabulary.

    Attributes:
        folders: folders that receive a file at every step of the schedule.
    """

    def __init__(
        self,
        run: Run,
        members: Sequence[Member],
        scorers: Mapping[str, Scorer],
        task_gradients: TaskGradients | None,
        schedule: Sequence[int],
        vocab_size: int,
    ):
        self._run, self._members, self._task_gradients = run, members, task_gradients
        self._schedule, self._vocab_size = schedule, vocab_size
        self._score_tables = ScoreTables(scorers, len(members))
        self.folders = ("metrics", "scores") if task_gradients is None else ("metrics", "scores", "gradients")

    def write(self, step: int, evaluation: Evaluation, sinks: Sequence[Sink], pace: Mapping[str, float]) -> None:
        """Write the tables of a step, and write its summary to the sinks.

        Args:
            step: the step of the checkpoint.
            evaluation: contents of the tables.
            sinks: sinks for the means of losses and scores.
            pace: further values for the sinks (`Pace.values`).

        Raises:
            RunError: if the run directory no longer exists.
            AllDivergedError: if every member diverged and none can recover; the tables are written before.
        """
        self._check_directory()
        scores = self._score_tables.table(step, evaluation.scores)
        metrics = metrics_table(step, evaluation.progress, evaluation.valid_loss)
        self._write_table(Scores, scores, step)
        self._write_table(Metrics, metrics, step)
        if self._task_gradients is not None:
            path = self._run.path / f"gradients/{step}.npz"
            self._task_gradients.write(path, evaluation.gradients, step=step)
            self._run.note_written(path)
        values = summary(self._members, metrics, scores)
        for sink in sinks:
            sink.write(step, {**pace, **values})
        self._write_members(step, metrics[Metrics.skipped_updates].to_numpy(), evaluation.valid_loss)

    def _check_directory(self) -> None:
        """Refuse a run directory that no longer exists; writing would recreate it with only a part of the run."""
        if not (self._run.path / "config.json").exists():
            raise RunError(f"{self._run.path} is gone: it was removed or unmounted while the run went on")

    def _write_table(self, table: type[Table], frame: pl.DataFrame, step: int) -> None:
        path = self._run.path / table.file_of(step)
        write_declared(path, frame, table)
        self._run.note_written(path)

    def _write_members(
        self, step: int, skipped: Integer[np.ndarray, " members"], valid_loss: Float[np.ndarray, " members"]
    ) -> None:
        """Write the status of each member; raise `AllDivergedError` if none can recover."""
        earlier = [scored for scored in self._schedule if scored < step]
        before = self._run.metrics(earlier[-1])[Metrics.skipped_updates].to_numpy() if earlier else skipped
        diverged = has_diverged(skipped, before, valid_loss, self._vocab_size)
        self._write_table(Members, members_table(self._members, skipped, diverged), step)
        if cannot_recover(skipped, before, valid_loss).all():
            since = f"between steps {earlier[-1]} and {step}" if earlier else f"at step {step}"
            raise AllDivergedError(
                f"all {len(diverged)} members diverged {since}; lower train.learning_rate or set train.clip"
            )
