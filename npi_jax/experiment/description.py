"""The description of a run in its manifest, and checks that a resumed run agrees with it."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import jax
import numpy as np
from rich.console import Console

from npi_jax.config.schema import Config, model_kind
from npi_jax.preparation.prepare import Prepared
from npi_jax.results.directory import Run
from npi_jax.results.folder import RunError
from npi_jax.scoring import ScoreSpec
from npi_jax.training.devices.processes import differing_processes, is_first_process
from npi_jax.training.loop import Trainer

PACKAGES: Final = ("npi-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "polars", "tokenizers")
"""Packages whose versions the manifest records."""


def describe(config: Config, prepared: Prepared, trainer: Trainer) -> dict[str, Any]:
    """Return the description that the manifest stores, of a run whose training is set up."""
    ensemble = trainer.runner.ensemble
    params = jax.eval_shape(ensemble.model.init, jax.random.key(0))
    return {
        "name": config.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "devices": _describe_devices(config, trainer),
        "model": {
            "kind": model_kind(config.model),
            "parameters": int(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))),
            "members": ensemble.size,
        },
        "rows": "stream" if trainer.streamed else "device",
        "data": prepared.facts,
        "perplexity": {"unigram": prepared.facts["unigram_perplexity"]},
        **({} if trainer.task_gradients is None else {"gradients": trainer.task_gradients.description()}),
        "score_specs": {name: scorer.spec.to_dict() for name, scorer in trainer.scorers.items()},
        "suites": _describe_suites(prepared, trainer),
    }


def _describe_devices(config: Config, trainer: Trainer) -> dict[str, Any]:
    ensemble = trainer.runner.ensemble
    mesh = ensemble.mesh
    device = mesh.devices.flat[0]
    gpu = device.platform in ("gpu", "cuda", "rocm")
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": mesh.size,
        "ens": mesh.shape["ens"],
        "data": mesh.shape["data"],
        "processes": jax.process_count(),
        "fsdp": config.mesh.fsdp,
        "mapping": config.mesh.mapping,
        # Only on GPUs can the order of summation vary.
        **({"deterministic": "xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "")} if gpu else {}),
        "accumulate": config.train.accumulate,
        "remat": config.train.remat,
        "members_per_device": ensemble.padded_size // mesh.shape["ens"],
    }


def _describe_suites(prepared: Prepared, trainer: Trainer) -> dict[str, Any]:
    return {
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
    }


def warn_of_changes(run: Run, description: Mapping[str, Any], console: Console) -> None:
    """Print and record a warning if a run is resumed with other devices or versions of packages."""
    for field in ("devices", "versions"):
        before = run.manifest.get(field, description[field])
        changes = [
            f"{name} {before.get(name)} -> {value}"
            for name, value in description[field].items()
            if before.get(name) != value
        ]
        if changes:
            listed = ", ".join(changes)
            note = f"continued with other {field} ({listed}): results agree with those before only up to rounding"
            run.update_manifest(notes=[*run.manifest.get("notes", []), note])
            console.print(f"warning: {note}", highlight=False, markup=False)


def check_same_in_all_processes(prepared: Prepared) -> None:
    """Refuse to train if processes have different text, pairs or vocabularies.

    Raises:
        RunError: naming the digest that differs, and a process in which it does.
    """
    for name, value in prepared.facts.items():
        if name.endswith("sha256") and (others := differing_processes(str(value))):
            raise RunError(f"{name} of process {others[0]} differs from that of process 0: give all the same files")


def check_same_data(run: Run, prepared: Prepared) -> None:
    """Refuse to resume a run with other text, pairs or vocabulary.

    Raises:
        RunError: naming the digest that differs.
    """
    before = run.manifest.get("data", {})
    for name in (name for name in prepared.facts if name.endswith("sha256")):
        if name in before and before[name] != prepared.facts[name]:
            raise RunError(
                f"{run.path} began with other data: {name} was {before[name][:12]}..., "
                f"is {str(prepared.facts[name])[:12]}...; restore the files or choose another run_dir"
            )


def check_same_spec(run: Run, suite: str, spec: ScoreSpec) -> None:
    """Refuse to resume a run with other scoring conventions.

    Raises:
        RunError: naming the suite and the conventions that differ.
    """
    stored = run.manifest.get("score_specs", {}).get(suite)
    if stored is not None and (differ := ScoreSpec.from_dict(stored).differences(spec, "there", "now")):
        raise RunError(
            f"{run.path} began with other scoring conventions: score.suites.{suite}.spec: {'; '.join(differ)}. Run "
            "with the old values to continue it, or choose another run_dir"
        )


def add_seconds(run: Run, seconds: Mapping[str, float]) -> None:
    """Add to the seconds in the manifest, which are sums over all starts of the run."""
    if not is_first_process():
        return
    before = run.manifest.get("seconds", {})
    run.update_manifest(seconds=before | {name: before.get(name, 0.0) + value for name, value in seconds.items()})
