"""One experiment from configuration to report: what ``npi-jax run`` does, as functions."""

import importlib.metadata
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from npi_jax.analysis.curves import write_tables
from npi_jax.config import Config, model_kind
from npi_jax.files import write_table
from npi_jax.prepare import Prepared, prepare
from npi_jax.report import print_report, write_report
from npi_jax.run import Run, RunError, claim_run
from npi_jax.training.display import Display
from npi_jax.training.loop import Trainer
from npi_jax.training.mesh import use_all_cpu_devices
from npi_jax.training.stopping import StopRequest

PACKAGES = ("npi-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "polars", "tokenizers")


def run_directory(config: Config) -> Path:
    """Where the experiment is written."""
    return Path(config.run_dir or f"runs/{config.name}")


def set_up_jax() -> None:
    """One CPU device a core, and compiled programs kept in the user's own cache directory between runs."""
    use_all_cpu_devices()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = base / "npi_jax" / "compiled"
        # A compiled program is code: nobody else may put one there.
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def run_experiment(config: Config, console: Console, *, analyze: bool = True) -> Run:
    """Prepare, train (or go on training), analyze and report.

    Raises:
        RunError: if the run directory is in use or belongs to something else.
        Stopped: after SIGTERM or ctrl-C, with the state saved.
    """
    started = time.monotonic()
    with claim_run(run_directory(config), config.to_dict()) as run:
        console.print(f"{config.name}: {len(config.members)} members -> {run.path}", highlight=False)
        with StopRequest() as stop:
            _train(run, config, console, stop)
        if analyze:
            _report(run, console, started)
        return run


def prepare_experiment(config: Config, console: Console) -> None:
    """Build the corpus and its variants, print what each variant changes, and keep the table with the run."""
    with claim_run(run_directory(config), config.to_dict()) as run:
        prepared = prepare(config, lambda line: console.print(line, highlight=False, markup=False))
        write_table(run.path / "corpus.parquet", prepared.table)
        print_variants(prepared, console)


def report_run(run: Run, console: Console) -> None:
    """Make tables and report of a run anew."""
    write_tables(run)
    _write_and_print(run, console)


def print_variants(prepared: Prepared, console: Console) -> None:
    """The table of what each variant changed."""
    table = Table(title="what each variant changes in the training corpus", title_justify="left")
    for name, justify in (("variant", "left"), ("sentences", "right"), ("tokens", "right"), ("removed", "right")):
        table.add_column(name, justify=justify, no_wrap=name == "variant")  # type: ignore[arg-type]
    table.add_column("unmatched", justify="right")
    table.add_column("NPIs left", justify="right")
    for variant in prepared.variants:
        table.add_row(
            str(variant.intervention),
            f"{variant.sentences:,}",
            f"{variant.tokens:,}",
            f"{variant.removed:,}",
            f"{variant.unmatched:,}",
            f"{int(variant.npis.sum()):,}",
        )
    console.print(table)


def _train(run: Run, config: Config, console: Console, stop: StopRequest) -> None:
    started = time.monotonic()
    prepared = prepare(config, lambda line: console.print(line, highlight=False, markup=False))
    _check_data(run, prepared)
    write_table(run.path / "corpus.parquet", prepared.table)
    prepared.tokenizer.save(run.path / "tokenizer")
    print_variants(prepared, console)
    seconds = {"prepare": time.monotonic() - started}
    variants = [member.variant for member in config.members]
    with Display(console, config.train.steps, variants) as display:
        trainer = Trainer(run, config, prepared, display, stop)
        run.update_manifest(**_describe(config, prepared, trainer))
        try:
            trainer.train()
        finally:
            _add_seconds(run, {**seconds, **vars(trainer.seconds)}, trainer.tokens_per_second)


def _check_data(run: Run, prepared: Prepared) -> None:
    """Refuse to go on with text that differs from what the run began with."""
    before = run.manifest.get("data", {})
    for name in ("corpus_sha256", "valid_sha256"):
        if name in before and before[name] != prepared.facts[name]:
            raise RunError(
                f"{run.path} was trained on other text: {name} was {before[name][:12]}..., "
                f"is {str(prepared.facts[name])[:12]}...; restore the files or choose another run_dir"
            )


def _describe(config: Config, prepared: Prepared, trainer: Trainer) -> dict[str, object]:
    mesh = trainer.ensemble.mesh
    params = jax.eval_shape(trainer.ensemble.model.init, jax.random.key(0))
    return {
        "name": config.name,
        "started": trainer.run.manifest.get("started") or datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "devices": {
            "platform": mesh.devices.flat[0].platform,
            "kind": mesh.devices.flat[0].device_kind,
            "count": mesh.size,
            "ens": mesh.shape["ens"],
            "data": mesh.shape["data"],
            "members_per_device": trainer.ensemble.places // mesh.shape["ens"],
        },
        "model": {
            "kind": model_kind(config.model),
            "parameters": int(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))),
            "members": trainer.ensemble.size,
        },
        "data": prepared.facts,
        "perplexity": {"unigram": prepared.facts["unigram_perplexity"]},
        "score_specs": {name: suite.spec.to_dict() for name, suite in config.score.suites.items()},
        "suites": {
            name: {
                "items": len(encoded.suite),
                "unknown_items": encoded.unknown_items,
                "unknown_critical": encoded.unknown_critical,
                "utilization": trainer.scorers[name].packed.utilization,
            }
            for name, encoded in prepared.suites.items()
        },
    }


def _add_seconds(run: Run, seconds: dict[str, float], tokens_per_second: float) -> None:
    """Seconds add up over the times the run was continued."""
    before = run.manifest.get("seconds", {})
    total = before | {name: before.get(name, 0.0) + value for name, value in seconds.items()}
    rate = tokens_per_second or run.manifest.get("tokens_per_second", 0.0)
    run.update_manifest(seconds=total, tokens_per_second=rate)


def _report(run: Run, console: Console, started: float) -> None:
    before = time.monotonic()
    write_tables(run)
    # The report shows where the time went, so it is the one thing whose own time the manifest learns too late.
    _add_seconds(run, {"analyze": time.monotonic() - before, "total": time.monotonic() - started}, 0.0)
    _write_and_print(run, console)


def _write_and_print(run: Run, console: Console) -> None:
    page = write_report(run)
    print_report(run, console)
    console.print(f"report: {page}", highlight=False, markup=False)
