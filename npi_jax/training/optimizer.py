"""The optimizer of one member; its hyper-parameters may be traced."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from npi_jax.config import TrainConfig


class HyperParameters(NamedTuple):
    """What may differ between members; float32 scalars (stacked: [members])."""

    learning_rate: Float[Array | np.ndarray, "..."]
    weight_decay: Float[Array | np.ndarray, "..."]
    dropout: Float[Array | np.ndarray, "..."]


def learning_rate_factor(config: TrainConfig, step: Int[Array, ""]) -> Float[Array, ""]:
    """The share of the peak learning rate used in step `step` (from 0): warm-up, then the schedule."""
    decay_steps = max(1, config.steps - config.warmup)
    after = {
        "constant": optax.constant_schedule(1.0),
        "linear": optax.linear_schedule(1.0, 0.0, decay_steps),
        "cosine": optax.cosine_decay_schedule(1.0, decay_steps),
    }[config.schedule]
    if not config.warmup:
        return jnp.asarray(after(step), jnp.float32)
    # Step 0 already moves: the ramp reaches its peak after `warmup` steps.
    ramp = jnp.minimum(1.0, (step + 1) / config.warmup)
    return jnp.asarray(ramp * after(jnp.maximum(0, step - config.warmup)), jnp.float32)


def make_optimizer(config: TrainConfig, hyper: HyperParameters, step: Int[Array, ""]) -> optax.GradientTransformation:
    """The optimizer as it is at `step`: clipping, the update rule, decay, learning rate.

    An update that is not finite is left out and counted (`optax.apply_if_finite`); it never ends the training
    of other members. The state's structure does not depend on `hyper` or `step`, which may be traced.
    """
    rate = hyper.learning_rate * learning_rate_factor(config, step)
    rule = {
        "sgd": optax.identity(),
        "adam": optax.scale_by_adam(),
        "adamw": optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(hyper.weight_decay)),
    }[config.optimizer]
    clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
    return optax.apply_if_finite(optax.chain(clip, rule, optax.scale(-rate)), max_consecutive_errors=2**31 - 2)


def skipped_updates(opt_state: optax.ApplyIfFiniteState) -> jax.Array:
    """How many updates were left out so far; int32."""
    return opt_state.total_notfinite
