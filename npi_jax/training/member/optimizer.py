"""The optimizer of one member; its hyper-parameters may be traced."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from npi_jax.config.schema import TrainConfig

FIRST_DECAY, ADAM_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam's first moment and second moment, and what is added to the root of the second: Optax's defaults."""


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
        moments: running means of gradients and of their squares (adam, adamw), or nothing (sgd).
    """

    skipped: Int[Array, "..."]
    moments: optax.ScaleByAdamState | optax.EmptyState


def init_optimizer(config: TrainConfig, params: Any) -> OptimizerState:
    """The state before the first step."""
    rule = optax.identity() if config.optimizer == "sgd" else optax.scale_by_adam()
    return OptimizerState(jnp.zeros((), jnp.int32), rule.init(params))


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

    The rules are Optax's `scale_by_adam` and `add_decayed_weights` after `clip_by_global_norm`, written out: each
    array that changes takes one pass and changes in place, while Optax's chain of transformations, and its branch on
    whether an update is finite, would hold as much again as the parameters three times over.

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
        scale = scale * jnp.where(norm < config.clip, 1.0, config.clip / norm)
    rate = hyper.learning_rate * learning_rate_factor(config, step)

    def kept(new: Array, old: Array) -> Array:
        return jnp.where(finite, new, old)

    skipped = state.skipped + ~finite
    moments = state.moments
    if isinstance(moments, optax.EmptyState):
        moved = jax.tree.map(lambda leaf, g: kept(leaf - rate * (g * scale), leaf), params, gradient)
        return moved, OptimizerState(skipped, moments)
    count = moments.count + finite
    means = jax.tree.map(lambda m, g: kept(FIRST_DECAY * m + (1 - FIRST_DECAY) * (g * scale), m), moments.mu, gradient)
    squares = jax.tree.map(
        lambda v, g: kept(ADAM_DECAY * v + (1 - ADAM_DECAY) * jnp.square(g * scale), v), moments.nu, gradient
    )
    # The means are biased towards 0, their beginning (Kingma and Ba, 2015, section 3).
    of_means, of_squares = (1 - decay ** jnp.maximum(count, 1) for decay in (FIRST_DECAY, ADAM_DECAY))
    decay = hyper.weight_decay if config.optimizer == "adamw" else 0.0

    def move(leaf: Array, mean: Array, square: Array) -> Array:
        update = (mean / of_means) / (jnp.sqrt(square / of_squares) + EPSILON)
        return kept(leaf - rate * (update + decay * leaf), leaf)

    moved = jax.tree.map(move, params, means, squares)
    return moved, OptimizerState(skipped, optax.ScaleByAdamState(count, means, squares))


def second_moment(opt_state: OptimizerState) -> Any:
    """Adam's running mean of squared gradients, without its bias towards 0, like the parameters; None for sgd.

    Kingma and Ba (2015), algorithm 1: v over 1 - beta2 ** t. Before the first step it is 0.
    """
    moments = opt_state.moments
    if isinstance(moments, optax.EmptyState):
        return None
    # No update, no bias: the mean of nothing is 0 already.
    return optax.tree.bias_correction(moments.nu, ADAM_DECAY, jnp.maximum(moments.count, 1))
