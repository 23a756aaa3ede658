"""What a micro-batch's gradient is the gradient of: a weighted sum of log-probabilities, as a pure function."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from npi_jax.gradients.batches import MicroBatches
from npi_jax.models import LanguageModel, Model, make_model

MAX_LOGITS = 1 << 22
"""Most logits that are held for several micro-batches at once (16 MiB)."""
ROWS = 16
"""Rows that fill a processor: more of them at once gain nothing."""


def analysis_model(model: Model, *, plain: bool = False) -> Model:
    """The same function in float32: gradients that are compared are not rounded to bfloat16.

    With `plain` it can be differentiated forward (see `npi_jax.models.make_model`); a custom model is as it is.
    """
    if not isinstance(model, LanguageModel):
        return model
    return make_model(dataclasses.replace(model.config, compute_dtype="float32"), model.vocab_size, plain=plain)


def hidden_states(model: Model, params: Any, batch: MicroBatches) -> Float[Array, "contexts features"]:
    """What the output layer sees at the contexts of one micro-batch (arrays without their first axis)."""
    hidden = model.hidden(params, *batch.rows)
    return hidden.reshape(-1, hidden.shape[-1])[batch.contexts]


def objective(
    hidden: Float[Array, "contexts features"], output: tuple[Array, Array], batch: MicroBatches
) -> Float[Array, ""]:
    """The objective of one micro-batch, nats, from its hidden states and the output layer's weights and bias."""
    weights, bias = output
    context, target = batch.predictions
    log_probs = jax.nn.log_softmax(hidden @ weights + bias)
    return (log_probs[context, target] * batch.weights).sum()


def objective_of(model: Model, params: Any, batch: MicroBatches) -> Float[Array, ""]:
    """The objective of one micro-batch as a function of a model's parameters, nats."""
    return objective(hidden_states(model, params, batch), model.output(params), batch)


def at_once(family: MicroBatches, vocab_size: int) -> int:
    """How many micro-batches are computed at once: as many as are worth it, a divisor of their number."""
    n_batches, n_contexts = family.contexts.shape
    most = min(ROWS // family.rows.shape[2], MAX_LOGITS // (n_contexts * vocab_size))
    return max(number for number in range(1, max(1, most) + 1) if n_batches % number == 0)


def objectives(model: Model, params: Any, families: Sequence[MicroBatches]) -> Float[Array, " batches"]:
    """The objectives of all micro-batches of all families, nats."""
    vocab_size = jax.eval_shape(model.output, params)[1].shape[0]
    found = [
        jax.lax.map(lambda batch: objective_of(model, params, batch), family, batch_size=at_once(family, vocab_size))
        for family in families
    ]
    return jnp.concatenate(found)
