"""The objective of a micro-batch: a weighted sum of log-probabilities, as a pure function of parameters."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from npi_jax.gradients.batches import MicroBatches
from npi_jax.models import LanguageModel, Model, make_model

MAX_LOGITS = 1 << 22
"""Maximum number of logits that are held at once if several micro-batches are computed together (16 MiB)."""

MAX_ROWS = 16
"""Maximum number of rows that are computed at once; they keep a CPU core busy, and more rows are not faster."""


def analysis_model(model: Model, *, plain: bool = False) -> Model:
    """Return the model with float32 products, so that gradients are not rounded to bfloat16.

    A custom model is returned unchanged.

    Args:
        model: the architecture.
        plain: return a model that supports forward-mode differentiation (`npi_jax.models.make_model`).
    """
    if not isinstance(model, LanguageModel):
        return model
    return make_model(dataclasses.replace(model.config, compute_dtype="float32"), model.vocab_size, plain=plain)


def hidden_states(model: Model, params: Any, batch: MicroBatches) -> Float[Array, "contexts features"]:
    """Compute the hidden states at the contexts of one micro-batch, whose arrays have no batch axis."""
    hidden = model.hidden(params, *batch.rows)
    return hidden.reshape(-1, hidden.shape[-1])[batch.contexts]


def objective(
    hidden: Float[Array, "contexts features"],
    output: tuple[Float[Array, "features vocabulary"], Float[Array, " vocabulary"]],
    batch: MicroBatches,
) -> Float[Array, ""]:
    """Compute the objective of one micro-batch, nats, from hidden states and the output layer's weights and bias."""
    weights, bias = output
    context, target = batch.predictions
    log_probs = jax.nn.log_softmax(hidden @ weights + bias)
    return (log_probs[context, target] * batch.weights).sum()


def objective_of(model: Model, params: Any, batch: MicroBatches) -> Float[Array, ""]:
    """Compute the objective of one micro-batch, nats, from a model's parameters."""
    return objective(hidden_states(model, params, batch), model.output(params), batch)


def micro_batches_at_once(family: MicroBatches, vocab_size: int) -> int:
    """Choose how many micro-batches are computed at once: a divisor of their number.

    If there are several, they have at most `MAX_ROWS` rows and `MAX_LOGITS` logits.
    """
    n_batches, n_contexts = family.contexts.shape
    most = min(MAX_ROWS // family.rows.shape[2], MAX_LOGITS // (n_contexts * vocab_size))
    return max(number for number in range(1, max(1, most) + 1) if n_batches % number == 0)


def objectives(model: Model, params: Any, families: Sequence[MicroBatches]) -> Float[Array, " batches"]:
    """Compute the objectives of all micro-batches of all families, nats."""
    vocab_size = jax.eval_shape(model.output, params)[1].shape[0]
    by_family = [
        jax.lax.map(
            lambda batch: objective_of(model, params, batch),
            family,
            batch_size=micro_batches_at_once(family, vocab_size),
        )
        for family in families
    ]
    return jnp.concatenate(by_family)
