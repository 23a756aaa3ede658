"""The arrangement: whether a device runs its members in turn or all at once, and the steps of a training call.

The configuration may leave the arrangement open. ``npi-jax bench`` measures the fastest and stores it in the user's
cache folder, in one file for each setting that affects speed (`choice_file`). A run stores its arrangement in its
manifest, because the arrangement changes the last digits of results.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from npi_jax.config.schema import Config
from npi_jax.corpus.storage.cache import cache_folder
from npi_jax.errors import UserError
from npi_jax.files.writing import read_json, write_json

STEPS_PER_CALL = 50
"""Default number of steps per training call."""


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """The arrangement of members on a device.

    Attributes:
        mapping: run members one after another (``map``) or all at once (``vmap``).
        steps_per_call: number of steps in a training call.
        source: origin of the arrangement: ``config``, ``default``, or the file of a benchmark.
    """

    mapping: Literal["map", "vmap"]
    steps_per_call: int
    source: str

    def applied(self, config: Config) -> Config:
        """Return the configuration with this arrangement."""
        mesh = dataclasses.replace(config.mesh, mapping=self.mapping)
        return dataclasses.replace(
            config, mesh=mesh, train=dataclasses.replace(config.train, steps_per_call=self.steps_per_call)
        )


def choice_file(config: Config) -> Path:
    """Return the file in which benchmarks store the arrangement for these devices, members, model, batch and mesh."""
    device = jax.devices()[0]
    key = {
        "device": device.device_kind,
        "devices": jax.device_count(),
        "model": dataclasses.asdict(config.model),
        "tokenizer": dataclasses.asdict(config.tokenizer),
        "members_per_device": -(-len(config.members) // max(1, jax.device_count() // config.mesh.data)),
        "batch": [config.train.batch_size, config.train.row_length, config.train.accumulate, config.train.remat],
        "mesh": [config.mesh.data, config.mesh.fsdp],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder(config.corpus.cache) / "bench" / f"{digest}.json"


def arrange(config: Config, began_with: Mapping[str, Any] | None = None) -> Arrangement:
    """Determine the arrangement: from the configuration, else the run's manifest, else a benchmark, else the default.

    Args:
        config: the experiment.
        began_with: the field ``arrangement`` in the manifest of a run that is continued.

    Raises:
        UserError: naming the file of a benchmark, if it contains no arrangement.
    """
    platform = jax.devices()[0].platform
    mapping: Any = config.mesh.mapping
    steps = config.train.steps_per_call
    source = "config"
    if mapping == "auto" or not steps:
        kept, source = _kept(choice_file(config), began_with)
        mapping = kept.get("mapping", "map" if platform == "cpu" else "vmap") if mapping == "auto" else mapping
        steps = steps or kept.get("steps_per_call", STEPS_PER_CALL)
    return Arrangement(mapping, steps, source)


def _kept(path: Path, began_with: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], str]:
    """Return the stored arrangement of the run, else of a benchmark, and its origin; the arrangement may be empty."""
    if began_with:
        return began_with, str(began_with.get("source", "config"))
    if not path.exists():
        return {}, "default"
    kept = read_json(path)
    steps = kept.get("steps_per_call") if isinstance(kept, dict) else None
    if not isinstance(steps, int) or steps < 1 or kept.get("mapping") not in ("map", "vmap"):
        raise UserError(f"{path} holds no choice of npi-jax bench; remove it, or run npi-jax bench again")
    return kept, str(path)


def save_choice(path: Path, chosen: Arrangement, measured: list[dict[str, Any]]) -> None:
    """Write an arrangement and its measurements to a file, from which later runs read it."""
    write_json(path, {"mapping": chosen.mapping, "steps_per_call": chosen.steps_per_call, "measured": measured})
