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


class OptimizerState(NamedTuple):
    """What the optimizer of one member carries from step to step.

    Attributes:
        skipped: updates left out so far, because they were not finite; int32.
        rule: the state of the update rule, as Optax defines it.
    """

    skipped: Int[Array, "..."]
    rule: Any


def update_rule(config: TrainConfig, hyper: HyperParameters) -> optax.GradientTransformation:
    """The update rule, before the learning rate; the structure of its state does not depend on `hyper`."""
    return {
        "sgd": optax.identity(),
        "adam": optax.scale_by_adam(b2=ADAM_DECAY),
        "adamw": optax.chain(optax.scale_by_adam(b2=ADAM_DECAY), optax.add_decayed_weights(hyper.weight_decay)),
    }[config.optimizer]


def init_optimizer(config: TrainConfig, params: Any) -> OptimizerState:
    """The state before the first step."""
    zero = jnp.zeros((), jnp.float32)
    return OptimizerState(jnp.zeros((), jnp.int32), update_rule(config, HyperParameters(zero, zero, zero)).init(params))


def update_params(
    config: TrainConfig,
    hyper: HyperParameters,
    step: Int[Array, ""],
    gradient: Any,
    scale: Float[Array, ""],
    norm: Float[Array, ""],
    state: OptimizerState,
    params: Any,
) -> tuple[Any, OptimizerState]:
    """Parameters and state after step `step`: clipping, the update rule, decay, learning rate.

    Where the norm of the gradient is not finite nothing changes but the count of what was left out; it never ends
    the training of other members. The norm is an argument because a gradient may lie on several devices.

    Args:
        gradient, params: pytrees of one member, or of this device's share of it.
        scale: what the gradient is multiplied by; here, and not before, because that would be one more pass over it.
        norm: the Euclidean norm of the whole gradient, not yet multiplied.
    """
    norm = norm * scale
    finite = jnp.isfinite(norm)
    if config.clip:
        # As `optax.clip_by_global_norm`.
        scale = scale * jnp.where(norm < config.clip, 1.0, config.clip / norm)
    rate = hyper.learning_rate * learning_rate_factor(config, step)
    scaled = jax.tree.map(lambda leaf: leaf * scale, gradient)
    updates, rule = update_rule(config, hyper).update(scaled, state.rule, params)
    moved = jax.tree.map(lambda leaf, update: leaf - rate * update, params, updates)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), (moved, rule), (params, state.rule))
    return kept[0], OptimizerState(state.skipped + ~finite, kept[1])


def second_moment(opt_state: OptimizerState) -> Any:
    """Adam's running mean of squared gradients, without its bias towards 0, like the parameters; None for sgd.

    Kingma and Ba (2015), algorithm 1: v over 1 - beta2 ** t. Before the first step it is 0.
    """
    moments = optax.tree.get(opt_state, "nu")
    if moments is None:
        return None
    # No update, no bias: the mean of nothing is 0 already.
    steps = jnp.maximum(optax.tree.get_all_with_path(opt_state, "count")[0][1], 1)
    return optax.tree.bias_correction(moments, ADAM_DECAY, steps)
