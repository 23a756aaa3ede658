"""How the members of a device are run, where the configuration leaves it open: as ``npi-jax bench`` found best.

The choice is kept in the user's cache folder, one file for each kind of device, model and batch. A run keeps what it
began with in its manifest: the mapping of members decides the last digits of results.
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
"""Where neither the configuration nor a benchmark says otherwise."""


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """How the members of a device are run.

    Attributes:
        mapping: in turn (``map``) or at once (``vmap``).
        steps_per_call: steps in one call of the compiled program.
        source: where that comes from: ``config``, ``default``, or the file that a benchmark wrote.
    """

    mapping: Literal["map", "vmap"]
    steps_per_call: int
    source: str

    def applied(self, config: Config) -> Config:
        """The configuration with what it left open filled in."""
        mesh = dataclasses.replace(config.mesh, mapping=self.mapping)
        return dataclasses.replace(
            config, mesh=mesh, train=dataclasses.replace(config.train, steps_per_call=self.steps_per_call)
        )


def choice_file(config: Config) -> Path:
    """Where the choice for this model, batch and kind of device is kept."""
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
    """What the configuration says, then what the run began with, then what was measured, then the default.

    Args:
        config: the experiment.
        began_with: of a run that goes on: its manifest's ``arrangement``.

    Raises:
        UserError: naming a file of a benchmark that does not hold a choice.
    """
    platform = jax.devices()[0].platform
    mapping: Any = config.mesh.mapping
    steps = config.train.steps_per_call
    source = "config"
    if mapping == "auto" or not steps:
        found, source = _found(choice_file(config), began_with)
        mapping = found.get("mapping", "map" if platform == "cpu" else "vmap") if mapping == "auto" else mapping
        steps = steps or found.get("steps_per_call", STEPS_PER_CALL)
    return Arrangement(mapping, steps, source)


def _found(path: Path, began_with: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], str]:
    if began_with:
        return began_with, str(began_with.get("source", "config"))
    if not path.exists():
        return {}, "default"
    found = read_json(path)
    valid = (
        isinstance(found, dict)
        and found.get("mapping") in ("map", "vmap")
        and isinstance(found.get("steps_per_call"), int)
    )
    if not valid or found["steps_per_call"] < 1:
        raise UserError(f"{path} holds no choice of npi-jax bench; remove it, or run npi-jax bench again")
    return found, str(path)


def save_choice(path: Path, chosen: Arrangement, measured: list[dict[str, Any]]) -> None:
    """Write what was chosen, and the measurements behind it, for runs to come."""
    write_json(path, {"mapping": chosen.mapping, "steps_per_call": chosen.steps_per_call, "measured": measured})
