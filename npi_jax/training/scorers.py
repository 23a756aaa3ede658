"""Scorers of an experiment's suites, and the check that a custom model scores sentences independently."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from npi_jax.config.schema import Config
from npi_jax.errors import UserError
from npi_jax.models import CustomConfig, Model
from npi_jax.scoring import Encodable, Scorer, make_scorer


def make_scorers(config: Config, model: Model, suites: Mapping[str, Encodable]) -> dict[str, Scorer]:
    """Make a scorer for each suite with its `ScoreSpec` in the configuration.

    Raises:
        UserError: naming the suite, if it does not fit its `ScoreSpec` or the model.
    """
    scorers = {}
    for name, suite in suites.items():
        try:
            scorers[name] = make_scorer(model, suite, config.score.suites[name].spec)
        except ValueError as error:
            raise UserError(f"score.suites.{name}: {error}") from error
    return scorers


def check_custom_model(config: Config, model: Model, scorers: Mapping[str, Scorer]) -> None:
    """Refuse a custom model that does not score the sentences of a row independently.

    The model runs on a few dozen rows. Noise is added to its initial parameters, because parameters close to 0 could
    hide a fault. One program is compiled.

    Raises:
        UserError: naming the part of its input that the model must not use.
    """
    if not isinstance(config.model, CustomConfig):
        return
    longest = max(scorers.values(), key=lambda scorer: max(len(ids) for ids in scorer.sentences.ids))
    with jax.default_device(_roomy_device(config)):
        params = _with_noise(jax.jit(model.init)(jax.random.key(0, impl="threefry2x32")))
        try:
            longest.check(params)
        except ValueError as error:
            raise UserError(f"model.factory = {config.model.factory!r}: {error}") from error


def _roomy_device(config: Config) -> jax.Device:
    """Choose a device with enough memory for an unsharded member: the CPU if members are split over devices."""
    if config.mesh.fsdp:
        try:
            return jax.local_devices(backend="cpu")[0]
        except RuntimeError:
            # JAX_PLATFORMS may exclude the CPU.
            pass
    return jax.local_devices()[0]


def _with_noise(params: Any) -> Any:
    """Add noise to parameters: of size 0.1, but for matrices of the size with which products keep their scale."""
    rng = np.random.default_rng(0)

    def noisy(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        scale = max(leaf.shape[-2:]) ** -0.5 if leaf.ndim > 1 else 0.1
        # Draw with NumPy, because a program that draws each parameter takes long to compile.
        return leaf + jnp.asarray(scale * rng.standard_normal(leaf.shape, np.float32), leaf.dtype)

    return jax.tree.map(noisy, params)
