"""The training loop: calls, checkpoints, scores, resuming and stopping."""

import itertools
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl

from npi_jax.config.schema import Config
from npi_jax.corpus.variants.builder import RowPool
from npi_jax.corpus.variants.row_files import RowRecords
from npi_jax.errors import UserError
from npi_jax.files.writing import write_table
from npi_jax.models import make_model
from npi_jax.models.flops import train_flops
from npi_jax.preparation.prepare import Prepared
from npi_jax.results.directory import Run, RunError
from npi_jax.training.checkpoints.checkpoints import CheckpointError, Checkpoints, scheduled_steps, set_aside
from npi_jax.training.devices.chips import peak_flops
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.devices.processes import (
    AgreedStop,
    OtherProcessError,
    broadcast_from_first,
    fail_together,
    is_first_process,
)
from npi_jax.training.ensemble import Ensemble, check_custom_model, make_scorers
from npi_jax.training.feed import Call, is_streamed
from npi_jax.training.member.step import MemberState, Progress
from npi_jax.training.monitor.display import Display
from npi_jax.training.monitor.profiler import Profiler
from npi_jax.training.monitor.sinks import Sink, open_sinks
from npi_jax.training.monitor.stopping import Stopped, StopRequest
from npi_jax.training.monitor.watchdog import Watchdog
from npi_jax.training.tables import ScoreTables, has_diverged, members_table, metrics_table, summary
from npi_jax.training.task_gradients import make_task_gradients

_NONE = -1
"""No step: processes exchange numbers."""


class AllDivergedError(UserError):
    """Every member of the ensemble diverged."""


def _restart_advice(checkpoints: Path) -> str:
    return (
        f"Bring back what is lost from a copy; or rename {checkpoints}: the same command then trains from the "
        "beginning, and nothing is lost"
    )


@dataclass
class Seconds:
    """Where the time of this process went."""

    compile: float = 0.0
    train: float = 0.0
    score: float = 0.0
    gradients: float = 0.0
    save: float = 0.0


def open_rows(config: Config, prepared: Prepared) -> RowPool | RowRecords:
    """The rows of training: all of them, to be put on the devices, or where they lie on disk (`mesh.rows`).

    Raises:
        UserError: if they cannot be written to disk or read.
    """
    mesh, pool = make_mesh(config.mesh.ens, config.mesh.data, n_members=len(config.members)), prepared.pool
    # Of what a device has free, each process may see something else.
    if not broadcast_from_first(is_streamed(config, mesh, pool.tokens.nbytes + pool.used.nbytes)):
        return pool
    with fail_together("open the training rows"):
        return prepared.records()


@dataclass
class Trainer:
    """Trains an experiment in a run directory, from wherever it stands.

    Args:
        run: the claimed run directory.
        config: the experiment.
        prepared: its data.
        display: shows progress.
        stop: says when to save and end.
        profile: steps of which XLA's trace is written, as whole calls, to the run directory's ``profile`` folder.
        rows: from `open_rows`; None to open them.
    """

    run: Run
    config: Config
    prepared: Prepared
    display: Display
    stop: StopRequest
    profile: range = range(0)
    rows: RowPool | RowRecords | None = None
    seconds: Seconds = field(default_factory=Seconds)
    _tokens: int = 0
    _shown: int = 0
    _since: float = 0.0

    def __post_init__(self) -> None:
        config, prepared = self.config, self.prepared
        self.model = make_model(config.model, prepared.tokenizer.vocab_size, remat=config.train.remat)
        self.scorers = make_scorers(config, self.model, prepared.suites)
        check_custom_model(config, self.model, self.scorers)
        mesh = make_mesh(config.mesh.ens, config.mesh.data, n_members=len(config.members))
        rows = open_rows(config, prepared) if self.rows is None else self.rows
        streamed = isinstance(rows, RowRecords)
        self.ensemble = Ensemble(config, self.model, prepared.tokenizer.eos, mesh, streamed=streamed)
        self.gradients = make_task_gradients(
            config, self.model, prepared.gradient_suite, prepared.valid, prepared.tokenizer.eos
        )
        self.ensemble.load(prepared.variants, prepared.orders, rows, prepared.valid, self.scorers, self.gradients)
        self._mean_row = float(prepared.pool.used.mean())
        self._tables = ScoreTables(self.scorers, self.ensemble.size)
        every = config.score.every
        self.schedule = scheduled_steps(config.train.steps, every)
        self._save_every = config.checkpoints.every or every
        self._watchdog = Watchdog(config.monitor.watchdog)
        self._profiler = Profiler(self.run.path / "profile", self.profile)
        self._sinks: list[Sink] = []
        self._peak = peak_flops(mesh)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.ensemble.shapes.params))
        self._token_flops = train_flops(
            config.model, prepared.tokenizer.vocab_size, config.train.row_length, parameters=parameters
        )

    def train(self) -> None:
        """Train to the last step.

        Raises:
            Stopped: if `stop` was requested; the state is saved, if there is one.
            Interrupted: if `stop` was requested while programs were compiled.
            AllDivergedError: if every member diverged.
        """
        with fail_together("look at the checkpoints"):
            for moved in set_aside(self.run.path / "checkpoints") if is_first_process() else ():
                self.display.say(moved)
        checkpoints = Checkpoints(self.run.path / "checkpoints", self.config.checkpoints)
        # The end of a save is waited for, whatever is asked meanwhile.
        with self.stop.deferred(), closing(checkpoints):
            with self.stop.interruptible(exchanging=True):
                step, state = self._ready(checkpoints)
            if step == self.config.train.steps:
                return
            with self._opened_sinks(), self._watchdog, self._profiler:
                if step == 0:
                    self._record(0, state, None)
                self._loop(step, state, checkpoints)

    def _ready(self, checkpoints: Checkpoints) -> tuple[int, MemberState]:
        """The step and state to go on from, with all programs compiled if there is anything left to train."""
        step, state = self._resume(checkpoints)
        self._shown = step
        if self.profile and step > self.profile.start:
            self.display.say(f"of the steps to trace, those before {step} were trained before")
        if step < self.config.train.steps:
            started = time.monotonic()
            self.display.stage("compiling")
            self.ensemble.compile(state, lambda done, of: self.display.detail(f"compiling {done} of {of} programs"))
            self.seconds.compile += time.monotonic() - started
        return step, state

    @contextmanager
    def _opened_sinks(self) -> Iterator[None]:
        """The first process writes to the sinks."""
        with fail_together("open the sinks"):
            monitor = self.config.monitor
            if is_first_process():
                self._sinks = open_sinks(self.run.path, monitor.sinks, monitor.project, self.config.to_dict())
        try:
            yield
        finally:
            for sink in self._sinks:
                sink.close()

    def _resume(self, checkpoints: Checkpoints) -> tuple[int, MemberState]:
        """The latest checkpoint all of whose tables are there, or the beginning."""
        failure: UserError | None = None
        before: int | None = None
        while (step := self._last_whole_step(checkpoints, before)) is not None:
            try:
                with fail_together(f"read the checkpoint of step {step}"):
                    state = checkpoints.restore(step, self.ensemble.state_shapes)
                found = self.ensemble.checksums(state)
                with fail_together(f"verify the checkpoint of step {step}"):
                    checkpoints.verify(step, found)
            except (CheckpointError, OtherProcessError) as error:
                self.display.say(f"{error}; trying the one before")
                # In all processes, so that all rewrite it.
                checkpoints.damage(step, "is damaged")
                failure, before = error, step
            else:
                self.display.say(f"resuming at step {step}")
                return step, state
        if failure is not None:
            raise CheckpointError(
                f"{failure}. No checkpoint is left to go on from. {_restart_advice(checkpoints.directory)}"
            )
        return 0, self.ensemble.init()

    def _last_whole_step(self, checkpoints: Checkpoints, before: int | None) -> int | None:
        """The latest checkpoint (before a step, if given) all of whose tables are whole; None if there is none.

        Raises:
            RunError: if there are checkpoints, and none has all the tables before it.
        """
        folders = ("metrics", "scores") if self.gradients is None else ("metrics", "scores", "gradients")
        found = _NONE
        # File systems show new files to different machines at different times: one process looks.
        with fail_together("look for checkpoints"):
            if is_first_process():
                written = set.intersection(*(set(self.run.whole_steps(folder)) for folder in folders))
                steps = [step for step in checkpoints.steps() if before is None or step < before]
                missing = {step: [e for e in self.schedule if e <= step and e not in written] for step in steps}
                found = max((step for step in steps if not missing[step]), default=_NONE)
                if not steps and before is None and (aside := checkpoints.aside()):
                    raise CheckpointError(
                        f"{aside[0]} and all other checkpoints are damaged. {_restart_advice(checkpoints.directory)}"
                    )
                if steps and found == _NONE and before is None:
                    lost = missing[steps[0]]
                    raise RunError(
                        f"{self.run.path}: in {', '.join(folders)} tables are missing or damaged (of the steps "
                        f"{', '.join(map(str, lost))}), so that no checkpoint can be gone on from. "
                        + _restart_advice(checkpoints.directory)
                    )
        found = broadcast_from_first(found)
        return None if found == _NONE else found

    def _calls(self, step: int) -> list[Call]:
        """The calls from a step to the end: none runs over a checkpoint."""
        ends = [scheduled for scheduled in self.schedule if scheduled > step]
        most = self.config.train.steps_per_call
        return [
            (first, min(most, end - first))
            for start, end in itertools.pairwise([step, *ends])
            for first in range(start, end, most)
        ]

    def _loop(self, step: int, state: MemberState, checkpoints: Checkpoints) -> None:
        late: tuple[int, Progress] | None = None
        asked = AgreedStop(self.stop, self.ensemble.mesh)
        recorded = step in self.schedule
        self._since = time.monotonic()
        self.display.stage(f"training from step {step}" if step else "training")
        self.ensemble.feed.expect(self._calls(step))
        for target in (scheduled for scheduled in self.schedule if scheduled > step):
            while step < target:
                if asked():
                    self._stop(step, state, late, checkpoints)
                n_steps = min(self.config.train.steps_per_call, target - step)
                self._profiler.before(step, n_steps, state)
                state, progress = self.ensemble.train(state, step, n_steps, restart=recorded)
                self._watchdog.beat()
                recorded = False
                if late is not None:
                    self._show(*late)
                step += n_steps
                late = (step, progress)
            assert late is not None
            self._show(*late)
            self.seconds.train += time.monotonic() - self._since
            self._record(step, state, late[1])
            recorded, late = True, None
            self._watchdog.beat()
            self._save(step, state, checkpoints)
            self._watchdog.beat()
            self._since = time.monotonic()

    def _stop(self, step: int, state: MemberState, late: tuple[int, Progress] | None, checkpoints: Checkpoints) -> None:
        if step == 0:
            raise Stopped(
                f"stopped before step 1 ({self._reason()}): there is no state to save, and the same command begins it",
                self.stop.status,
            )
        self.display.say("stopping: saving the state")
        if late is not None:
            self._show(*late)
            self.seconds.train += time.monotonic() - self._since
        checksums = self.ensemble.checksums(state)
        with fail_together("save the state"):
            checkpoints.save(step, state, checksums)
            checkpoints.wait()
        raise Stopped(
            f"stopped at step {step} ({self._reason()}); the state is saved, and the same command goes on from there",
            self.stop.status,
        )

    def _reason(self) -> str:
        return self.stop.reason or "another process was asked to"

    def _save(self, step: int, state: MemberState, checkpoints: Checkpoints) -> None:
        started = time.monotonic()
        self.display.detail("saving")
        if step % self._save_every == 0 or step == self.config.train.steps:
            checksums = self.ensemble.checksums(state)
            with fail_together(f"save the checkpoint of step {step}"):
                checkpoints.save(step, state, checksums)
        self.seconds.save += time.monotonic() - started
        self.display.detail("training")

    @property
    def tokens_per_second(self) -> float:
        """Tokens trained on a second, summed over members; what this process did, without scoring."""
        return self._tokens / self.seconds.train if self.seconds.train else 0.0

    def _tokens_per_step(self) -> int:
        return round(self.config.train.batch_size * self._mean_row * self.ensemble.size)

    def _show(self, step: int, progress: Progress) -> None:
        progress = self.ensemble.fetch(progress)
        self._tokens += (step - self._shown) * self._tokens_per_step()
        self._shown = step
        elapsed = self.seconds.train + time.monotonic() - self._since
        self.display.update(step, np.asarray(progress.loss_sum / progress.loss_steps), self._tokens / elapsed)

    def _record(self, step: int, state: MemberState, progress: Progress | None) -> None:
        """Score all members and write the checkpoint's tables."""
        started = time.monotonic()
        self.display.detail("scoring")
        pending = self.ensemble.valid_loss(state), self.ensemble.score(state)
        valid_loss, scores = self.ensemble.fetch(pending)
        metrics = metrics_table(step, progress and self.ensemble.fetch(progress), valid_loss)
        scored = time.monotonic()
        self._watchdog.beat()
        if self.gradients is not None:
            self.display.detail("comparing gradients")
        gradients = self._compare_gradients(step, state)
        compared = time.monotonic()
        self._watchdog.beat()
        with fail_together(f"write the tables of step {step}"):
            if is_first_process():
                self._check_directory()
                self._write(step, scores, metrics, gradients, valid_loss)
        self.seconds.gradients += compared - scored
        self.seconds.score += time.monotonic() - started - (compared - scored)

    def _check_directory(self) -> None:
        """Refuse to write to a directory that is gone: it would be rebuilt, with a part of the run in it."""
        if not (self.run.path / "config.json").exists():
            raise RunError(f"{self.run.path} is gone: it was removed or unmounted while the run went on")

    def _write(
        self, step: int, scores: Any, metrics: pl.DataFrame, gradients: dict[str, np.ndarray], valid_loss: np.ndarray
    ) -> None:
        table = self._tables.table(step, scores)
        written = {self.run.path / f"scores/{step}.parquet": table, self.run.path / f"metrics/{step}.parquet": metrics}
        for path, frame in written.items():
            write_table(path, frame)
            self.run.note_written(path)
        if self.gradients is not None:
            path = self.run.path / f"gradients/{step}.npz"
            self.gradients.write(path, gradients, step=step)
            self.run.note_written(path)
        values = summary(self.ensemble.members, metrics, table)
        for sink in self._sinks:
            sink.write(step, {**self._pace(), **values})
        self._write_members(step, metrics["skipped_updates"].to_numpy(), valid_loss)

    def _compare_gradients(self, step: int, state: MemberState) -> dict[str, np.ndarray]:
        """The comparisons of the tasks' gradients of all members; empty if none are made."""
        end = step == self.config.train.steps
        found: dict[str, np.ndarray] = self.ensemble.fetch(self.ensemble.gradients(state, end=end))
        return found

    def _write_members(self, step: int, skipped: np.ndarray, valid_loss: np.ndarray) -> None:
        """Mark members whose latest updates were not finite, or that are far worse than guessing."""
        before = [earlier for earlier in self.schedule if earlier < step]
        last = self.run.metrics(before[-1])["skipped_updates"].to_numpy() if before else skipped
        diverged = has_diverged(skipped, last, valid_loss, self.prepared.tokenizer.vocab_size)
        path = self.run.path / "members.parquet"
        write_table(path, members_table(self.ensemble.members, skipped, diverged))
        self.run.note_written(path)
        # A loss that is merely large may come down again; what is not a number will not.
        if ((skipped > last) | ~np.isfinite(valid_loss)).all():
            since = f"between steps {before[-1]} and {step}" if before else f"at step {step}"
            raise AllDivergedError(
                f"all {len(diverged)} members diverged {since}; lower train.learning_rate or set train.clip"
            )

    def _pace(self) -> dict[str, float]:
        """How fast training is, and where this process's seconds went."""
        rate = self.tokens_per_second
        used = {} if self._peak is None else {"mfu": rate * self._token_flops / self._peak}
        seconds = {f"seconds/{kind}": value for kind, value in vars(self.seconds).items()}
        return {"tokens": float(self._tokens), "tokens_per_second": rate, **used, **seconds}
