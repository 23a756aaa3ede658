"""A check before text is read: the devices must have enough memory for the state of all members."""

import os

import jax
import numpy as np

from npi_jax.config.schema import Config, ConfigError, model_kind
from npi_jax.models import CustomConfig, make_model
from npi_jax.training.devices.chips import GIB, chip_of

_MOMENTS = {"sgd": 0, "adam": 2, "adamw": 2}
"""Number of values that each optimizer keeps for each parameter."""


def check_capacity(config: Config) -> None:
    """Refuse members whose parameters and optimizer state take more memory than all devices have.

    Such members fit in no arrangement. A run takes much more memory than this check counts; ``npi-jax plan`` counts it.
    Custom models are not checked: their size may depend on the vocabulary, which is unknown before text is read.

    Raises:
        ConfigError: stating both sizes in GiB.
    """
    if isinstance(config.model, CustomConfig):
        return
    model = make_model(config.model, config.tokenizer.size or 1)
    shapes = jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))
    parameters = sum(int(np.prod(leaf.shape, dtype=object)) for leaf in shapes)
    members = len(config.members)
    needed = 4 * parameters * (1 + _MOMENTS[config.train.optimizer]) * members
    memory = _memory()
    if memory is not None and needed > memory:
        raise ConfigError(
            f"model: {members:,} members of kind {model_kind(config.model)} with at least {parameters:,} parameters "
            f"each take {needed / GIB:,.0f} GiB with their optimizer state; the devices have {memory / GIB:,.0f} GiB. "
            "Make the model smaller, or train fewer members"
        )


def _memory() -> int | None:
    """Return the memory of all devices in bytes; None if unknown."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        chip = chip_of(device)
        return None if chip is None else chip.memory * jax.device_count()
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * jax.process_count()
