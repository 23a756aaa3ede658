"""The training loop: training calls, checkpoints, and stopping on request."""

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np

from npi_jax.config.schema import Config
from npi_jax.results.directory import Run
from npi_jax.scoring import Scorer
from npi_jax.training.checkpoints.checkpoints import Checkpoints, set_aside
from npi_jax.training.devices.processes import AgreedStop, fail_together, is_first_process
from npi_jax.training.feed import Call
from npi_jax.training.member.step import MemberState, Progress
from npi_jax.training.monitor.display import Display
from npi_jax.training.monitor.pace import Pace
from npi_jax.training.monitor.profiler import Profiler
from npi_jax.training.monitor.sinks import Sink, open_sinks
from npi_jax.training.monitor.stopping import Stopped, StopRequest
from npi_jax.training.monitor.watchdog import Watchdog
from npi_jax.training.recording import Evaluation, Recorder
from npi_jax.training.resuming import resume
from npi_jax.training.runner import Runner
from npi_jax.training.task_gradients import TaskGradients


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains an experiment in a run directory, from its latest checkpoint to the last step.

    `npi_jax.training.setup.make_trainer` makes it.

    Attributes:
        run: the claimed run directory.
        config: the experiment.
        runner: the programs and their data.
        scorers: scorers of the suites, by name.
        task_gradients: comparisons of task gradients; None to compare nothing.
        recorder: writer of the tables of checkpoints.
        schedule: the steps at which members are scored.
        pace: counter of tokens and seconds.
        display: display of the progress.
        stop: requests to stop.
        profile: steps to trace with XLA. All training calls with these steps are traced to the folder ``profile``.
        streamed: True if training rows are read from disk.
    """

    run: Run
    config: Config
    runner: Runner
    scorers: dict[str, Scorer]
    task_gradients: TaskGradients | None
    recorder: Recorder
    schedule: Sequence[int]
    pace: Pace
    display: Display
    stop: StopRequest
    profile: range
    streamed: bool

    def train(self) -> None:
        """Train to the last step.

        Raises:
            Stopped: if `stop` was requested; the members' states are saved, if there are any.
            Interrupted: if `stop` was requested while a checkpoint was read or programs were compiled.
            AllDivergedError: if every member diverged and none can recover.
        """
        folder = self.run.path / "checkpoints"
        with fail_together("look at the checkpoints"):
            for line in set_aside(folder) if is_first_process() else ():
                self.display.say(line)
        checkpoints = Checkpoints(folder, self.config.checkpoints)
        # Defer a request to stop, so that a checkpoint that is being saved becomes complete.
        with self.stop.deferred(), closing(checkpoints):
            with self.stop.interruptible(exchanging=True):
                runner, step, state = self._start(checkpoints)
            if step == self.config.train.steps:
                return
            with (
                self._opened_sinks() as sinks,
                Watchdog(self.config.monitor.watchdog) as watchdog,
                Profiler(self.run.path / "profile", self.profile) as profiler,
            ):
                _Loop(self, runner, checkpoints, sinks, watchdog, profiler).run(step, state)

    def _start(self, checkpoints: Checkpoints) -> tuple[Runner, int, MemberState]:
        """Resume from the latest checkpoint, and compile the programs unless training is complete."""
        step, state = resume(self.runner, self.run, checkpoints, self.schedule, self.recorder.folders, self.display.say)
        if self.profile and step > self.profile.start:
            self.display.say(f"steps before {step} are not traced: they were trained earlier")
        if step == self.config.train.steps:
            return self.runner, step, state
        started = time.monotonic()
        self.display.stage("compiling")
        runner = self.runner.compiled(lambda done, of: self.display.detail(f"compiling {done} of {of} programs"))
        self.pace.seconds.compile += time.monotonic() - started
        return runner, step, state

    @contextmanager
    def _opened_sinks(self) -> Iterator[list[Sink]]:
        """Open the sinks; only process 0 has any."""
        sinks: list[Sink] = []
        with fail_together("open the sinks"):
            monitor = self.config.monitor
            if is_first_process():
                sinks = open_sinks(self.run.path, monitor.sinks, monitor.project, self.config.to_dict())
        try:
            yield sinks
        finally:
            for sink in sinks:
                sink.close()


@dataclass(frozen=True)
class _Late:
    """Result of the latest training call; it is read after the next call has started, so that no device idles."""

    step: int
    progress: Progress


class _Loop:
    """Training calls between checkpoints, with the open files and processes that they need."""

    def __init__(
        self,
        trainer: Trainer,
        runner: Runner,
        checkpoints: Checkpoints,
        sinks: Sequence[Sink],
        watchdog: Watchdog,
        profiler: Profiler,
    ):
        self._trainer, self._runner, self._checkpoints = trainer, runner, checkpoints
        self._sinks, self._watchdog, self._profiler = sinks, watchdog, profiler
        self._stop_agreed = AgreedStop(trainer.stop, runner.ensemble.mesh)
        self._display, self._pace = trainer.display, trainer.pace
        self._steps_per_call = trainer.config.train.steps_per_call

    def run(self, step: int, state: MemberState) -> None:
        """Train from step `step` to the last step."""
        if step == 0:
            self._record(0, state, None)
        targets = [scheduled for scheduled in self._trainer.schedule if scheduled > step]
        self._display.stage(f"training from step {step}" if step else "training")
        self._runner.data.feed.expect(self._calls([step, *targets]))
        restart = step in self._trainer.schedule
        for target in targets:
            self._pace.start(step)
            state, progress = self._train(step, target, state, restart=restart)
            step, restart = target, True
            self._record(step, state, progress)
            self._watchdog.beat()
            self._save(step, state)
            self._watchdog.beat()

    def _calls(self, ends: Sequence[int]) -> list[Call]:
        """Return the training calls between the ends; no call continues beyond a checkpoint."""
        most = self._steps_per_call
        return [
            (first, min(most, end - first))
            for start, end in itertools.pairwise(ends)
            for first in range(start, end, most)
        ]

    def _train(self, step: int, target: int, state: MemberState, *, restart: bool) -> tuple[MemberState, Progress]:
        """Train from step `step` to the next checkpoint."""
        late: _Late | None = None
        for first, n_steps in self._calls([step, target]):
            if self._stop_agreed():
                self._stop(first, state, late)
            self._profiler.before(first, n_steps, state)
            state, progress = self._runner.train(state, first, n_steps, restart=restart and first == step)
            self._watchdog.beat()
            if late is not None:
                self._show(late)
            late = _Late(first + n_steps, progress)
        assert late is not None
        self._show(late)
        self._pace.pause()
        return state, late.progress

    def _stop(self, step: int, state: MemberState, late: _Late | None) -> None:
        """Save the members' states and raise `Stopped`."""
        stop = self._trainer.stop
        reason = stop.reason or "another process was asked to"
        if step == 0:
            raise Stopped(
                f"stopped before step 1 ({reason}): there is no state to save, and the same command begins it",
                stop.status,
            )
        self._display.say("stopping: saving the state")
        if late is not None:
            self._show(late)
            self._pace.pause()
        checksums = self._runner.checksums(state)
        with fail_together("save the state"):
            self._checkpoints.save(step, state, checksums)
            self._checkpoints.wait()
        raise Stopped(
            f"stopped at step {step} ({reason}); the state is saved, and the same command goes on from there",
            stop.status,
        )

    def _show(self, late: _Late) -> None:
        progress = self._runner.ensemble.fetch(late.progress)
        rate = self._pace.reach(late.step)
        self._display.update(late.step, np.asarray(progress.loss_sum / progress.loss_steps), rate)

    def _record(self, step: int, state: MemberState, progress: Progress | None) -> None:
        """Evaluate all members and write the tables of the checkpoint."""
        fetch, seconds = self._runner.ensemble.fetch, self._pace.seconds
        started = time.monotonic()
        self._display.detail("scoring")
        # Queue both results on the devices before the first is read.
        valid_loss, scores = fetch((self._runner.valid_loss(state), self._runner.score(state)))
        scored = time.monotonic()
        self._watchdog.beat()
        if self._trainer.task_gradients is not None:
            self._display.detail("comparing gradients")
        end = step == self._trainer.config.train.steps
        gradients = fetch(self._runner.gradients(state, end=end))
        compared = time.monotonic()
        self._watchdog.beat()
        evaluation = Evaluation(progress and fetch(progress), valid_loss, scores, gradients)
        with fail_together(f"write the tables of step {step}"):
            if is_first_process():
                self._trainer.recorder.write(step, evaluation, self._sinks, self._pace.values())
        seconds.gradients += compared - scored
        seconds.score += time.monotonic() - started - (compared - scored)

    def _save(self, step: int, state: MemberState) -> None:
        """Start to write a checkpoint, if one is due at this step."""
        config = self._trainer.config
        started = time.monotonic()
        self._display.detail("saving")
        if step % (config.checkpoints.every or config.score.every) == 0 or step == config.train.steps:
            checksums = self._runner.checksums(state)
            with fail_together(f"save the checkpoint of step {step}"):
                self._checkpoints.save(step, state, checksums)
        self._pace.seconds.save += time.monotonic() - started
        self._display.detail("training")
