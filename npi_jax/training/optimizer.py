"""The optimizer of one member; its hyper-parameters may be traced."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from npi_jax.config import TrainConfig

ADAM_DECAY = 0.999
"""Of the second moment, as in `optax.scale_by_adam`."""


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
        "adam": optax.scale_by_adam(b2=ADAM_DECAY),
        "adamw": optax.chain(optax.scale_by_adam(b2=ADAM_DECAY), optax.add_decayed_weights(hyper.weight_decay)),
    }[config.optimizer]
    clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
    return optax.apply_if_finite(optax.chain(clip, rule, optax.scale(-rate)), max_consecutive_errors=2**31 - 2)


def skipped_updates(opt_state: optax.ApplyIfFiniteState) -> jax.Array:
    """How many updates were left out so far; int32."""
    return opt_state.total_notfinite


def second_moment(opt_state: optax.ApplyIfFiniteState) -> Any:
    """Adam's running mean of squared gradients, without its bias towards 0, like the parameters; None for sgd.

    Kingma and Ba (2015), algorithm 1: v over 1 - beta2 ** t. Before the first step it is 0.
    """
    moments = optax.tree.get(opt_state, "nu")
    if moments is None:
        return None
    # No update, no bias: the mean of nothing is 0 already.
    steps = jnp.maximum(optax.tree.get_all_with_path(opt_state, "count")[0][1], 1)
    return optax.tree.bias_correction(moments, ADAM_DECAY, steps)
