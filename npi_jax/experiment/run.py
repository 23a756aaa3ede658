"""The stages of ``npi-jax run``. Each is a function of this module; `run_experiment` calls them in this order:

check_and_open_inputs   open text, vocabulary and suites; refuse faulty ones
open_session            claim the run directory
prepare_data            annotate and tokenize text, build variants, encode suites
count_ngrams            score 5-gram models, the baseline
set_up_training         place rows and models on the devices
train                   train, score and save checkpoints
analyze_and_report      make tables, then the report
"""

import dataclasses
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import jax
from rich.console import Console

from npi_jax.analysis.ngrams import ngram_table
from npi_jax.analysis.tables import write_tables
from npi_jax.config.schema import Config
from npi_jax.errors import UserError
from npi_jax.experiment.claim import Say, claim_run
from npi_jax.experiment.description import (
    add_seconds,
    check_same_data,
    check_same_in_all_processes,
    check_same_spec,
    describe,
    warn_of_changes,
)
from npi_jax.experiment.directory import claim_for_all, run_directory
from npi_jax.experiment.mending import mend
from npi_jax.experiment.preflight import check_devices, check_inputs
from npi_jax.experiment.prepared_files import needs_ngrams, store_prepared
from npi_jax.experiment.reporting import write_and_print_report
from npi_jax.experiment.variant_tables import print_examples, print_variants
from npi_jax.preparation.inputs import Inputs
from npi_jax.preparation.prepare import Prepared, prepare
from npi_jax.results.directory import Run
from npi_jax.results.folder import NGRAM
from npi_jax.results.table_files import write_declared
from npi_jax.results.tables_preparation import Ngram
from npi_jax.training.arrangement import arrange
from npi_jax.training.devices.processes import broadcast_from_first, fail_together, is_first_process
from npi_jax.training.loop import Trainer
from npi_jax.training.monitor.display import Display
from npi_jax.training.monitor.sinks import check_sinks
from npi_jax.training.monitor.stopping import Interrupted, Stopped, StopRequest
from npi_jax.training.setup import make_trainer, open_rows


@dataclass(frozen=True)
class Session:
    """A run that is open for writing, with the objects that its stages share.

    Attributes:
        run: the run directory.
        config: the experiment.
        console: receives results.
        display: shows progress.
        stop: requests to stop; it receives requests only after it was entered as a context manager.
    """

    run: Run
    config: Config
    console: Console
    display: Display
    stop: StopRequest


def run_experiment(
    config: Config,
    console: Console,
    *,
    analyze: bool = True,
    profile: range = range(0),
    stop: StopRequest | None = None,
) -> Run:
    """Prepare, train or resume, analyze and report an experiment.

    Args:
        config: the experiment.
        console: receives results.
        analyze: make tables and report after training.
        profile: steps to trace, see `make_trainer`.
        stop: a `StopRequest` that was entered as a context manager; None to make one.

    Raises:
        RunError: if the run directory is in use, or belongs to another experiment.
        Stopped: after SIGTERM, SIGHUP or ctrl-C; the same command resumes the run.
    """
    started = time.monotonic()
    check_monitoring(config, profile)
    with ExitStack() as entered:
        stop = listen_to_signals(stop, entered)
        inputs = check_and_open_inputs(config, stop)
        session = open_session(config, console, stop, entered)
        try:
            trained = prepare_and_train(session, inputs, profile)
            if analyze:
                analyze_and_report(session, trained=trained)
        except (Interrupted, Exception) as error:
            if _comes_of_stopping(error, stop):
                raise _record_stop(session, error) from error
            raise
        finally:
            add_seconds(session.run, {"total": time.monotonic() - started})
        return session.run


def prepare_and_train(session: Session, inputs: Inputs, profile: range) -> bool:
    """Carry out the stages up to the end of training; return whether any step was trained."""
    prepared = prepare_data(session, inputs)
    count_ngrams(session, prepared)
    trainer = set_up_training(session, prepared, profile)
    train(session, trainer)
    # A run that had reached its last step before trains no tokens.
    return trainer.pace.tokens_per_second > 0


def check_monitoring(config: Config, profile: range) -> None:
    """Refuse sinks that are not installed, and a profile of steps beyond the end."""
    check_sinks(config.monitor.sinks)
    if profile.stop > config.train.steps:
        raise UserError(f"--profile {profile.start}:{profile.stop}: training has {config.train.steps} steps")


def listen_to_signals(stop: StopRequest | None, entered: ExitStack) -> StopRequest:
    """Listen to signals that ask to stop; several processes stop only after all have agreed when."""
    stop = entered.enter_context(StopRequest()) if stop is None else stop
    # Polars installs a handler of ctrl-C when it is imported, and JAX one of SIGTERM when processes connect; the TPU
    # library ignores SIGHUP. Handlers installed now replace theirs.
    stop.listen()
    if jax.process_count() > 1:
        stop.multi_process = True
        # If only one process stopped, the others would wait for it.
        entered.enter_context(stop.deferred())
    return stop


def check_and_open_inputs(config: Config, stop: StopRequest) -> Inputs:
    """Open the inputs, and refuse faulty inputs or devices before anything is written."""
    with fail_together("open its inputs"), stop.interruptible():
        inputs = check_inputs(config)
        check_devices(config)
    return inputs


def open_session(config: Config, console: Console, stop: StopRequest, entered: ExitStack) -> Session:
    """Claim the run directory, and show progress; both end when `entered` is closed."""
    run = entered.enter_context(claim_for_all(run_directory(config), config, line_printer(console)))
    console.print(
        f"{config.name}: {len(config.members)} members -> {run.path}", highlight=False, markup=False, soft_wrap=True
    )
    variants = [member.variant for member in config.members]
    display = entered.enter_context(Display(console, config.train.steps, variants))
    return Session(run, config, console, display, stop)


def prepare_data(session: Session, inputs: Inputs) -> Prepared:
    """Prepare text, variants and suites, print the changes of each variant, and store tables in the run directory."""
    started = time.monotonic()
    run, config, display = session.run, session.config, session.display
    display.stage("preparing")
    with fail_together("prepare its data"), session.stop.interruptible():
        prepared = prepare(config, display.say, display.track, inputs)
    check_same_in_all_processes(prepared)
    with fail_together("use the data"):
        check_same_data(run, prepared)
        if is_first_process():
            store_prepared(run, prepared, line_printer(session.console))
    print_variants(prepared, session.console)
    add_seconds(run, {"prepare": time.monotonic() - started})
    return prepared


def count_ngrams(session: Session, prepared: Prepared) -> None:
    """Score a 5-gram model of each variant's text as a baseline, unless the run has the table of its scores."""
    run, config, display = session.run, session.config, session.display
    with fail_together("make the 5-gram baseline"), session.stop.interruptible():
        if not (config.score.ngram and is_first_process() and needs_ngrams(run, display.say)):
            return
        display.stage("counting 5-grams")
        started = time.monotonic()
        write_declared(run.path / NGRAM, ngram_table(prepared, config), Ngram)
        run.note_written(run.path / NGRAM)
        seconds = time.monotonic() - started
        session.console.print(
            f"baseline: 5-gram models of {len(prepared.variants)} variants, {seconds:.0f} s", highlight=False
        )


def set_up_training(session: Session, prepared: Prepared, profile: range) -> Trainer:
    """Place data and models on the devices, compare the run with its manifest, and complete the manifest."""
    run, display = session.run, session.display
    display.stage("setting training up")
    rows = open_rows(session.config, prepared)
    config = choose_arrangement(session)
    with fail_together("set training up"), session.stop.interruptible(exchanging=True):
        trainer = make_trainer(run, config, prepared, display, session.stop, profile=profile, rows=rows)
        for name, scorer in trainer.scorers.items():
            check_same_spec(run, name, scorer.spec)
            for note in scorer.notes():
                display.say(f"suite {name}: {note}")
        if is_first_process():
            description = describe(config, prepared, trainer)
            warn_of_changes(run, description, session.console)
            run.update_manifest(**(description | run.manifest))
    return trainer


def choose_arrangement(session: Session) -> Config:
    """Return the configuration with `mesh.mapping` and `train.steps_per_call` as the first process chose them.

    The manifest stores the choice, so that a resumed run makes the same one.
    """
    run = session.run
    with fail_together("choose how members are run"):
        chosen = arrange(session.config, run.manifest.get("arrangement"))
        if is_first_process():
            run.update_manifest(arrangement=dataclasses.asdict(chosen))
    mappings: tuple[Literal["map", "vmap"], ...] = ("map", "vmap")
    mapping = mappings[broadcast_from_first(mappings.index(chosen.mapping))]
    chosen = dataclasses.replace(chosen, mapping=mapping, steps_per_call=broadcast_from_first(chosen.steps_per_call))
    if chosen.source not in ("config", "default"):
        line_printer(session.console)(f"members: {mapping}, {chosen.steps_per_call} steps a call ({chosen.source})")
    return chosen.applied(session.config)


def train(session: Session, trainer: Trainer) -> None:
    """Train the remaining steps, and record the time that this took, even if training is stopped."""
    try:
        trainer.train()
    finally:
        if trainer.pace.tokens_per_second and is_first_process():
            add_seconds(session.run, vars(trainer.pace.seconds))
            session.run.update_manifest(tokens_per_second=trainer.pace.tokens_per_second)


def analyze_and_report(session: Session, *, trained: bool) -> None:
    """Make the tables of the analysis and then the report; only the first process does this."""
    with fail_together("analyze the run"), session.stop.interruptible():
        if is_first_process():
            analyze_run(session)
            if not trained:
                session.console.print("nothing was left to train", highlight=False)
            write_and_print_report(session.run, session.console, session.display)


def analyze_run(session: Session) -> None:
    """Make the tables of the analysis."""
    started = time.monotonic()
    session.display.stage("analyzing")
    write_tables(session.run)
    add_seconds(session.run, {"analyze": time.monotonic() - started})


def prepare_experiment(config: Config, console: Console) -> None:
    """Carry out ``npi-jax prepare``: the stages up to prepared data; print examples of each variant's changes."""
    path, inputs = run_directory(config), check_inputs(config)
    with (
        claim_run(path, config.to_dict(), line_printer(console)) as run,
        Display(console) as display,
    ):
        mend(run, display.say)
        prepared = prepare_data(Session(run, config, console, display, StopRequest()), inputs)
        if config.mesh.rows == "stream":
            prepared.records()
        print_examples(prepared, console)


def line_printer(console: Console) -> Say:
    """Return a function that prints a line without markup or highlights."""
    return lambda line: console.print(line, highlight=False, markup=False)


def _comes_of_stopping(error: BaseException, stop: StopRequest) -> bool:
    """Return whether a request to stop caused an error; an interrupted library may raise any type of error."""
    return isinstance(error, (Interrupted, Stopped)) or stop.interrupted


def _record_stop(session: Session, error: BaseException) -> Stopped:
    """Return the error that ends a stopped run, and record its message, which no terminal may show."""
    stopped = error if isinstance(error, Stopped) else _stopped_between_states(session)
    if is_first_process():
        session.run.update_manifest(stopped=str(stopped))
    return stopped


def _stopped_between_states(session: Session) -> Stopped:
    """Return the error of a run that was stopped while it had no state in memory."""
    folder, stop = session.run.path / "checkpoints", session.stop
    steps = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()]
    reached = max(steps, default=0)
    if reached == session.config.train.steps:
        saved = "the state is saved, and the same command makes what is missing of tables and report"
    elif reached:
        saved = f"the state of step {reached} is saved, and the same command goes on from there"
    else:
        saved = "nothing was trained yet, and the same command begins it"
    reason = stop.reason or "another process was asked to"
    return Stopped(f"stopped while {session.display.doing or 'beginning'} ({reason}); {saved}", stop.status)
