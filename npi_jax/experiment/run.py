"""One experiment from configuration to report: what ``npi-jax run`` does, as functions."""

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console

from npi_jax.analysis.ngrams import ngram_table
from npi_jax.analysis.tables import write_tables
from npi_jax.config.schema import Config, model_kind
from npi_jax.errors import UserError
from npi_jax.experiment.claim import Say, claim_run
from npi_jax.experiment.environment import seconds
from npi_jax.experiment.mending import mend, mend_if_free
from npi_jax.experiment.preflight import check_devices, check_inputs
from npi_jax.experiment.variant_tables import print_examples, print_variants
from npi_jax.files.checksums import damaged, note
from npi_jax.files.writing import atomic_path, write_table
from npi_jax.preparation.inputs import Inputs
from npi_jax.preparation.prepare import Prepared, prepare
from npi_jax.report import print_report, write_comparison, write_report
from npi_jax.results.directory import Run, RunError
from npi_jax.results.folder import NGRAM, TABLES, TOKENIZER, check_links
from npi_jax.scoring import ScoreSpec
from npi_jax.terminal.output import complain
from npi_jax.training.arrangement import arrange
from npi_jax.training.devices.backend import make_gpu_sums_deterministic, use_all_cpu_devices
from npi_jax.training.devices.chips import expect_no_chips
from npi_jax.training.devices.compile_cache import verify_compile_cache
from npi_jax.training.devices.processes import (
    broadcast_from_first,
    differing_processes,
    fail_together,
    is_first_process,
)
from npi_jax.training.devices.startup import has_tpu_chips
from npi_jax.training.loop import Trainer, open_rows
from npi_jax.training.monitor.display import Display
from npi_jax.training.monitor.sinks import check_sinks
from npi_jax.training.monitor.stopping import Interrupted, Stopped, StopRequest

SHARED_SECONDS = 60.0
"""How long a file system may take to show one machine what another wrote; NPI_SHARED_TIMEOUT changes it."""

PACKAGES = ("npi-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "polars", "tokenizers")


def run_directory(config: Config) -> Path:
    """Where the experiment is written."""
    return Path(config.run_dir or f"runs/{config.name}")


def set_up_jax(processes_here: int = 1) -> None:
    """One CPU device a core, and compiled programs kept in the user's own cache directory between runs.

    Args:
        processes_here: how many processes share this machine's cores.
    """
    if not has_tpu_chips():
        expect_no_chips()
    use_all_cpu_devices(processes_here)
    make_gpu_sums_deterministic()
    verify_compile_cache(complain)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = base / "npi_jax" / "compiled"
        try:
            # A compiled program is code: nobody else may put one there.
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            about = cache.stat()
            if about.st_mode & 0o022 or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
                raise PermissionError(f"others can write to {cache}, and what lies there is executed; chmod 700 it")
        except OSError as error:
            complain(f"npi-jax: programs will be compiled again each time: {error}")
            return
        jax.config.update("jax_compilation_cache_dir", str(cache))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def run_experiment(
    config: Config,
    console: Console,
    *,
    analyze: bool = True,
    profile: range = range(0),
    stop: StopRequest | None = None,
) -> Run:
    """Prepare, train (or go on training), analyze and report.

    Args:
        config: the experiment.
        console: where to report.
        analyze: whether tables and report are made.
        profile: steps to trace, see `Trainer`.
        stop: entered; None to listen to signals here.

    Raises:
        RunError: if the run directory is in use or belongs to something else.
        Stopped: after SIGTERM, SIGHUP or ctrl-C: the same command goes on.
    """
    started = time.monotonic()
    check_sinks(config.monitor.sinks)
    if profile.stop > config.train.steps:
        raise UserError(f"--profile {profile.start}:{profile.stop}: training has {config.train.steps} steps")
    path = run_directory(config)
    with ExitStack() as entered:
        stop = entered.enter_context(StopRequest()) if stop is None else stop
        # Polars takes ctrl-C for itself when it is imported, and ends whatever it computes; JAX takes SIGTERM when
        # processes meet.
        stop.listen()
        if jax.process_count() > 1:
            stop.multi_process = True
            # Nobody leaves alone: the others would wait.
            entered.enter_context(stop.deferred())
        with fail_together("open its inputs"), stop.interruptible():
            inputs = check_inputs(config)
            check_devices(config)
        run = entered.enter_context(claim_together(path, config, _teller(console)))
        console.print(
            f"{config.name}: {len(config.members)} members -> {run.path}", highlight=False, markup=False, soft_wrap=True
        )
        variants = [member.variant for member in config.members]
        display = entered.enter_context(Display(console, config.train.steps, variants))
        try:
            trained = _train(run, config, inputs, console, display, stop, profile)
            if analyze:
                with fail_together("analyze the run"), stop.interruptible():
                    if is_first_process():
                        _analyze(run, console, display, trained=trained)
        except (Interrupted, Exception) as error:
            if not _is_end(error, stop):
                raise
            stopped = error if isinstance(error, Stopped) else _stopped(run, config, display, stop)
            if is_first_process():
                # Where the output is gone this is all that says why.
                run.update_manifest(stopped=str(stopped))
            raise stopped from error
        finally:
            _add_seconds(run, {"total": time.monotonic() - started})
        return run


def _is_end(error: BaseException, stop: StopRequest) -> bool:
    """Whether an error comes of a request to stop: libraries that are interrupted may raise something else."""
    return isinstance(error, (Interrupted, Stopped)) or stop.interrupted


def _stopped(run: Run, config: Config, display: Display, stop: StopRequest) -> Stopped:
    """The end of a run that was asked to stop where there was no state in memory."""
    steps = [int(path.name) for path in (run.path / "checkpoints").glob("[0-9]*") if path.name.isdigit()]
    reached = max(steps, default=0)
    if reached == config.train.steps:
        stands = "the state is saved, and the same command makes what is missing of tables and report"
    elif reached:
        stands = f"the state of step {reached} is saved, and the same command goes on from there"
    else:
        stands = "nothing was trained yet, and the same command begins it"
    reason = stop.reason or "another process was asked to"
    return Stopped(f"stopped while {display.doing or 'beginning'} ({reason}); {stands}", stop.status)


def _analyze(run: Run, console: Console, display: Display, *, trained: bool) -> None:
    before = time.monotonic()
    display.stage("analyzing")
    write_tables(run)
    _add_seconds(run, {"analyze": time.monotonic() - before})
    if not trained:
        console.print("nothing was left to train", highlight=False)
    _write_and_print(run, console, display)


@contextmanager
def claim_together(path: Path, config: Config, say: Say) -> Iterator[Run]:
    """`claim_run` by the first process, for all.

    Raises:
        RunError: as `claim_run`, or if a process does not see what the first wrote.
    """
    with ExitStack() as claimed:
        with fail_together(f"open {path}"):
            run = claimed.enter_context(claim_run(path, config.to_dict(), say)) if is_first_process() else Run(path)
            if is_first_process():
                mend(run, say)
        with fail_together(f"see {path}"):
            _wait_for(path / "config.json")
        yield run


def _wait_for(path: Path) -> None:
    """Give a shared file system some time to show a file that another machine wrote."""
    until = time.monotonic() + seconds(os.environ, "NPI_SHARED_TIMEOUT", SHARED_SECONDS)
    while not path.exists():
        if time.monotonic() > until:
            raise RunError(
                f"{path} was written by process 0 and is not seen by process {jax.process_index()} on "
                f"{platform.node()}: run_dir must be on a file system that all processes share"
            )
        time.sleep(0.5)


def prepare_experiment(config: Config, console: Console) -> None:
    """Build the corpus and its variants, print what each variant changes, and keep the table with the run."""
    path, inputs = run_directory(config), check_inputs(config)
    with (
        claim_run(path, config.to_dict(), _teller(console)) as run,
        Display(console) as display,
    ):
        mend(run, display.say)
        prepared = _prepare(run, config, inputs, console, display)
        if config.mesh.rows == "stream":
            prepared.records()
        print_examples(prepared, console)


def report_run(run: Run, console: Console) -> None:
    """Make tables and report of a run anew, and what of it is damaged or lost and can be mended.

    Raises:
        UserError: naming what is damaged or lost and cannot be.
    """
    check_links(run.path)
    with Display(console) as display:
        mend_if_free(run, display.say)
        display.stage("analyzing")
        write_tables(run)
        _write_and_print(run, console, display)


def compare_runs(one: Run, other: Run, path: Path | None, console: Console) -> None:
    """Write a page that shows two analyzed runs side by side, by default in the first one's report folder.

    Raises:
        UserError: if there is nothing that can be compared.
    """
    if path is None:
        check_links(one.path)
    other_name = other.path.resolve().name
    page = write_comparison(one, other, path or one.path / "report" / f"against_{other_name}.html")
    console.print(f"comparison: {page}", highlight=False, markup=False, soft_wrap=True)


def _teller(console: Console) -> Say:
    """A function that prints a line as it is."""
    return lambda line: console.print(line, highlight=False, markup=False)


def _prepare(
    run: Run, config: Config, inputs: Inputs, console: Console, display: Display, stop: StopRequest | None = None
) -> Prepared:
    started = time.monotonic()
    display.stage("preparing")
    with fail_together("prepare its data"), stop.interruptible() if stop else nullcontext():
        prepared = prepare(config, display.say, display.track, inputs)
    _check_alike(prepared)
    with fail_together("use the data"):
        _check_data(run, prepared)
        if is_first_process():
            _keep_prepared(run, prepared, _teller(console))
    print_variants(prepared, console)
    _add_seconds(run, {"prepare": time.monotonic() - started})
    return prepared


def _keep_prepared(run: Run, prepared: Prepared, say: Say) -> None:
    """Write what was prepared and is worth keeping with the run; what of it is damaged is thereby mended."""
    mended = [path for path in damaged(run.path) if path.relative_to(run.path).as_posix() in (*TABLES, *TOKENIZER)]
    write_table(run.path / "corpus.parquet", prepared.table)
    prepared.tokenizer.save(run.path / "tokenizer")
    write_table(run.path / "environments.parquet", prepared.environments)
    for name in ("slots", "examples"):
        with atomic_path(run.path / f"{name}.parquet") as copy:
            shutil.copyfile(prepared.folder / f"{name}.parquet", copy)
    kept = [run.path / name for name in (*TABLES, *TOKENIZER) if name != NGRAM]
    note(run.path, [path for path in kept if path.exists()])
    for path in mended:
        if path.name != NGRAM:
            say(f"{path} was damaged or lost, and is rebuilt")


def _needs_ngrams(run: Run, say: Say) -> bool:
    """Whether the 5-gram baseline is not there yet, or not any more."""
    path = run.path / NGRAM
    if path in damaged(run.path):
        say(f"{path} was damaged or lost, and is rebuilt")
        return True
    return not path.exists()


def _check_alike(prepared: Prepared) -> None:
    """Refuse to train where hosts read different text, pairs or vocabularies."""
    for name, value in prepared.facts.items():
        if name.endswith("sha256") and (others := differing_processes(str(value))):
            raise RunError(f"{name} of process {others[0]} differs from that of process 0: give all the same files")


def _train(
    run: Run, config: Config, inputs: Inputs, console: Console, display: Display, stop: StopRequest, profile: range
) -> bool:
    """Train what is left to train; returns whether there was anything."""
    prepared = _prepare(run, config, inputs, console, display, stop)
    with fail_together("make the 5-gram baseline"), stop.interruptible():
        if config.score.ngram and is_first_process() and _needs_ngrams(run, display.say):
            display.stage("counting 5-grams")
            _write_ngrams(run, config, prepared, console)
    display.stage("setting training up")
    rows = open_rows(config, prepared)
    config = _arranged(run, config, console)
    with fail_together("set training up"), stop.interruptible(exchanging=True):
        trainer = Trainer(run, config, prepared, display, stop, profile, rows)
        for name, scorer in trainer.scorers.items():
            _check_spec(run, name, scorer.spec)
            for note in scorer.notes():
                display.say(f"suite {name}: {note}")
        if is_first_process():
            description = _describe(config, prepared, trainer)
            _warn_of_changes(run, description, console)
            run.update_manifest(**(description | run.manifest))
    try:
        trainer.train()
    finally:
        if trainer.tokens_per_second and is_first_process():
            _add_seconds(run, vars(trainer.seconds))
            run.update_manifest(tokens_per_second=trainer.tokens_per_second)
    return trainer.tokens_per_second > 0


def _arranged(run: Run, config: Config, console: Console) -> Config:
    """The configuration with what it leaves open as the first process would have it; kept with the run."""
    with fail_together("choose how members are run"):
        chosen = arrange(config, run.manifest.get("arrangement"))
        if is_first_process():
            run.update_manifest(arrangement=dataclasses.asdict(chosen))
    mappings: tuple[Literal["map", "vmap"], ...] = ("map", "vmap")
    mapping = mappings[broadcast_from_first(mappings.index(chosen.mapping))]
    chosen = dataclasses.replace(chosen, mapping=mapping, steps_per_call=broadcast_from_first(chosen.steps_per_call))
    if chosen.source not in ("config", "default"):
        console.print(
            f"members: {mapping}, {chosen.steps_per_call} steps a call ({chosen.source})", highlight=False, markup=False
        )
    return chosen.applied(config)


def _write_ngrams(run: Run, config: Config, prepared: Prepared, console: Console) -> None:
    started = time.monotonic()
    write_table(run.path / NGRAM, ngram_table(prepared, config))
    run.note_written(run.path / NGRAM)
    seconds = time.monotonic() - started
    console.print(f"baseline: 5-gram models of {len(prepared.variants)} variants, {seconds:.0f} s", highlight=False)


def _warn_of_changes(run: Run, description: dict[str, Any], console: Console) -> None:
    """Say so, and keep it, where a run goes on with other devices or versions than it began with."""
    for field in ("devices", "versions"):
        before = run.manifest.get(field, description[field])
        changes = [
            f"{name} {before.get(name)} -> {value}"
            for name, value in description[field].items()
            if before.get(name) != value
        ]
        if changes:
            note = f"continued with other {field} ({', '.join(changes)}): equal to the start only numerically"
            run.update_manifest(notes=[*run.manifest.get("notes", []), note])
            console.print(f"warning: {note}", highlight=False, markup=False)


def _check_data(run: Run, prepared: Prepared) -> None:
    """Refuse to go on with text, pairs or a vocabulary that differ from what the run began with."""
    before = run.manifest.get("data", {})
    for name in (name for name in prepared.facts if name.endswith("sha256")):
        if name in before and before[name] != prepared.facts[name]:
            raise RunError(
                f"{run.path} began with other data: {name} was {before[name][:12]}..., "
                f"is {str(prepared.facts[name])[:12]}...; restore the files or choose another run_dir"
            )


def _check_spec(run: Run, name: str, spec: ScoreSpec) -> None:
    """Refuse to go on with scores of another convention than the run began with."""
    stored = run.manifest.get("score_specs", {}).get(name)
    if stored is not None and (differ := ScoreSpec.from_dict(stored).differences(spec, "there", "now")):
        raise RunError(
            f"{run.path} began with another convention: score.suites.{name}.spec: {'; '.join(differ)}. Run with the "
            "old values to continue it, or choose another run_dir"
        )


def _describe(config: Config, prepared: Prepared, trainer: Trainer) -> dict[str, Any]:
    mesh = trainer.ensemble.mesh
    gpu = mesh.devices.flat[0].platform in ("gpu", "cuda", "rocm")
    params = jax.eval_shape(trainer.ensemble.model.init, jax.random.key(0))
    return {
        "name": config.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "devices": {
            "platform": mesh.devices.flat[0].platform,
            "kind": mesh.devices.flat[0].device_kind,
            "count": mesh.size,
            "ens": mesh.shape["ens"],
            "data": mesh.shape["data"],
            "processes": jax.process_count(),
            "fsdp": config.mesh.fsdp,
            "mapping": config.mesh.mapping,
            # Of other devices there is nothing to say.
            **({"deterministic": "xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "")} if gpu else {}),
            "accumulate": config.train.accumulate,
            "remat": config.train.remat,
            "members_per_device": trainer.ensemble.padded_size // mesh.shape["ens"],
        },
        "model": {
            "kind": model_kind(config.model),
            "parameters": int(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))),
            "members": trainer.ensemble.size,
        },
        "rows": "stream" if trainer.ensemble.streamed else "device",
        "data": prepared.facts,
        "perplexity": {"unigram": prepared.facts["unigram_perplexity"]},
        **({} if trainer.gradients is None else {"gradients": trainer.gradients.description()}),
        "score_specs": {name: scorer.spec.to_dict() for name, scorer in trainer.scorers.items()},
        "suites": {
            name: {
                "items": len(encoded.suite),
                "unknown_items": encoded.unknown_items,
                "unknown_critical": encoded.unknown_critical,
                "split_regions": encoded.split_regions,
                "region": trainer.scorers[name].covered,
                "unequal_regions": trainer.scorers[name].unequal_regions,
                "utilization": trainer.scorers[name].packed.utilization,
            }
            for name, encoded in prepared.suites.items()
        },
    }


def _add_seconds(run: Run, seconds: dict[str, float]) -> None:
    """Seconds add up over the times the run was continued."""
    if not is_first_process():
        return
    before = run.manifest.get("seconds", {})
    run.update_manifest(seconds=before | {name: before.get(name, 0.0) + value for name, value in seconds.items()})


def _write_and_print(run: Run, console: Console, display: Display) -> None:
    display.stage("drawing the report")
    page = write_report(run)
    print_report(run, console)
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)
