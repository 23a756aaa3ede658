"""The optimizer of one member. Its hyper-parameters may be traced arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from npi_jax.config.schema import TrainConfig

FIRST_DECAY, ADAM_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Adam's decay rates of the first and second moment, and its epsilon: the defaults of Optax."""


class HyperParameters(NamedTuple):
    """Hyper-parameters that may differ between members: float32 scalars, or arrays [members] if stacked."""

    learning_rate: Float[Array | np.ndarray, "..."]
    weight_decay: Float[Array | np.ndarray, "..."]
    dropout: Float[Array | np.ndarray, "..."]


def learning_rate_factor(config: TrainConfig, step: Int[Array, ""]) -> Float[Array, ""]:
    """Return the learning rate at step `step` (from 0) as a share of the peak: warm-up, then the schedule."""
    decay_steps = max(1, config.steps - config.warmup)
    after = {
        "constant": optax.constant_schedule(1.0),
        "linear": optax.linear_schedule(1.0, 0.0, decay_steps),
        "cosine": optax.cosine_decay_schedule(1.0, decay_steps),
    }[config.schedule]
    if not config.warmup:
        return jnp.asarray(after(step), jnp.float32)
    # The learning rate of step 0 is already above 0; the last step of warm-up reaches the peak.
    ramp = jnp.minimum(1.0, (step + 1) / config.warmup)
    return jnp.asarray(ramp * after(jnp.maximum(0, step - config.warmup)), jnp.float32)


class OptimizerState(NamedTuple):
    """State of one member's optimizer between two steps.

    Attributes:
        skipped: int32, number of updates that were skipped so far because they were not finite.
        moments: running means of gradients and of their squares (adam, adamw); empty for sgd.
    """

    skipped: Int[Array, "..."]
    moments: optax.ScaleByAdamState | optax.EmptyState


def init_optimizer(config: TrainConfig, params: Any) -> OptimizerState:
    """Make the state before the first step."""
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
    """Apply one update: clipping, the update rule, weight decay and learning rate.

    The rules are Optax's `clip_by_global_norm`, then `scale_by_adam` and `add_decayed_weights`. They are reimplemented
    here so that each array is updated in place in one pass. Optax's chain of transformations, with its test for finite
    updates, would take additional memory: three times that of the parameters.

    If the norm of the gradient is not finite, only the number of skipped updates changes. Other members continue to
    train.

    Args:
        config: configuration of training.
        hyper: hyper-parameters of the member.
        step: number of the step, from 0.
        gradient: pytree of one member, or of the shard of a member on this device.
        scale: factor of the gradient. It is applied here because a separate multiplication would take another pass.
        norm: Euclidean norm of the complete gradient before scaling. It is an argument because the gradient may be
            sharded over devices.
        state: state of the optimizer.
        params: pytree like `gradient`.

    Returns:
        the new parameters, and the new state of the optimizer.
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
        updated = jax.tree.map(lambda leaf, g: kept(leaf - rate * (g * scale), leaf), params, gradient)
        return updated, OptimizerState(skipped, moments)
    count = moments.count + finite
    means = jax.tree.map(lambda m, g: kept(FIRST_DECAY * m + (1 - FIRST_DECAY) * (g * scale), m), moments.mu, gradient)
    squares = jax.tree.map(
        lambda v, g: kept(ADAM_DECAY * v + (1 - ADAM_DECAY) * jnp.square(g * scale), v), moments.nu, gradient
    )
    # The running means start at 0 and are biased towards 0 (Kingma and Ba, 2015, section 3).
    of_means, of_squares = (1 - decay ** jnp.maximum(count, 1) for decay in (FIRST_DECAY, ADAM_DECAY))
    decay = hyper.weight_decay if config.optimizer == "adamw" else 0.0

    def update(leaf: Array, mean: Array, square: Array) -> Array:
        direction = (mean / of_means) / (jnp.sqrt(square / of_squares) + EPSILON)
        return kept(leaf - rate * (direction + decay * leaf), leaf)

    updated = jax.tree.map(update, params, means, squares)
    return updated, OptimizerState(skipped, optax.ScaleByAdamState(count, means, squares))


def second_moment(opt_state: OptimizerState) -> Any:
    """Return Adam's running mean of squared gradients, corrected for bias, as a pytree like the parameters.

    It is v / (1 - beta2 ** t) in algorithm 1 of Kingma and Ba (2015), and 0 before the first step. The result is None
    for sgd.
    """
    moments = opt_state.moments
    if isinstance(moments, optax.EmptyState):
        return None
    # Before the first update the mean is 0; a count of 1 avoids a division by 0.
    return optax.tree.bias_correction(moments.nu, ADAM_DECAY, jnp.maximum(moments.count, 1))
