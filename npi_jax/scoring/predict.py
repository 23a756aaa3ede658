"""Log-probabilities of predicted tokens, from a model given as functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from npi_jax.scoring.packing import Packed
from npi_jax.scoring.shapes import Float

Params = Any
SequenceFn = Callable[[Params, Array, Array, Array], Array]
OutputFn = Callable[[Params], tuple[Array, Array]]
PredictFn = Callable[[Params, Mapping[str, Array]], Array]

MAX_LOGITS = 1 << 22
"""Largest number of logits in memory at a time (16 MiB). On CPU, larger blocks were slower: each needs new pages."""


class HiddenOutput(NamedTuple):
    """A model as two functions, so that the logits of all positions need not be in memory at once.

    Attributes:
        hidden: maps ``(params, tokens, segment_ids, positions)``, all int32 [R, L], to hidden states [R, L, D].
        output: maps ``params`` to the output layer's weights [D, V] and bias [V].
    """

    hidden: SequenceFn
    output: OutputFn


def log_normalizers(
    hidden: Float[Array, "contexts features"],
    weights: Float[Array, "features vocabulary"],
    bias: Float[Array, " vocabulary"],
) -> Float[Array, " contexts"]:
    """Return log sum exp over the vocabulary of ``hidden @ weights + bias``, float32, nats.

    At most `MAX_LOGITS` logits are in memory at a time. Any float dtype is accepted.
    """
    return _over_vocabulary(lambda logits: jax.nn.logsumexp(logits, axis=-1), hidden, weights, bias)


def _over_vocabulary(reduce: Callable[[Array], Array], hidden: Array, weights: Array, bias: Array) -> Array:
    """Apply `reduce` to the float32 logits of blocks of rows, so that few logits are in memory."""
    n = hidden.shape[0]
    n_chunks = -(-n * weights.shape[1] // MAX_LOGITS)
    chunk = -(-n // n_chunks)
    padded = jnp.pad(hidden, ((0, n_chunks * chunk - n), (0, 0))).reshape(n_chunks, chunk, -1)

    def of_chunk(rows: Array) -> Array:
        logits = jnp.dot(rows, weights, preferred_element_type=jnp.float32) + bias
        return reduce(logits.astype(jnp.float32))

    return jax.lax.map(of_chunk, padded).reshape(-1)[:n]


def _output_layer(output: Any, width: int) -> tuple[Array, Array]:
    """Check that a model's ``output`` returned weights and a bias, and return them."""
    shapes = [getattr(part, "shape", None) for part in output] if isinstance(output, tuple | list) else []
    if len(shapes) != 2 or not shapes[0] or len(shapes[0]) != 2 or shapes[1] != shapes[0][1:] or shapes[0][0] != width:
        given = f"arrays of shapes {shapes}" if shapes else f"a {type(output).__name__}"
        raise ValueError(
            f"the model's output returns {given}, not weights [D, V] and a bias [V]; its hidden states have D = {width}"
        )
    weights, bias = output
    return weights, bias


def predict_fns(model: Any, packed: Packed) -> tuple[PredictFn, PredictFn]:
    """Return two functions of ``(params, chunk)`` for the predictions of a chunk.

    The first returns the log-probability of each predicted token, float32 [P]. The second returns whether it is the
    likeliest token, bool [P].

    Args:
        model: as for `make_scorer`.
        packed: the suite, whose token ids must be in the model's vocabulary.

    Raises:
        TypeError: if `model` is not a function and lacks ``hidden`` or ``output``.
        ValueError: if a token id is outside the model's vocabulary. The functions raise it when they are traced.
    """
    largest = int(max(max(bucket.tokens.max(), bucket.predictions[:, 1].max()) for bucket in packed.buckets))
    if hasattr(model, "hidden") and hasattr(model, "output"):
        if isinstance(n_types := getattr(model, "vocab_size", None), int):
            _check_vocabulary(n_types, largest)
        return _hidden_fns(model, largest)
    if not callable(model):
        raise TypeError(f"make_scorer: {type(model).__name__} is not a function and has no methods hidden and output")
    return _logits_fns(model, largest)


def _hidden_fns(model: Any, largest: int) -> tuple[PredictFn, PredictFn]:
    """Return the functions of `predict_fns` for a model with hidden states and an output layer."""

    def run(params: Params, chunk: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        hidden = model.hidden(params, *chunk["rows"])
        _check_shape("hidden states", hidden, chunk)
        weights, bias = _output_layer(model.output(params), hidden.shape[-1])
        _check_vocabulary(weights.shape[1], largest)
        return hidden.reshape(-1, hidden.shape[-1])[chunk["contexts"]], weights, bias

    def predict(params: Params, chunk: Mapping[str, Array]) -> Array:
        hidden, weights, bias = run(params, chunk)
        context, target = chunk["predictions"]
        products = hidden[context].astype(jnp.float32) * weights.T[target].astype(jnp.float32)
        return products.sum(axis=1) + bias[target] - log_normalizers(hidden, weights, bias)[context]

    def greedy(params: Params, chunk: Mapping[str, Array]) -> Array:
        context, target = chunk["predictions"]
        return _over_vocabulary(lambda logits: logits.argmax(axis=-1), *run(params, chunk))[context] == target

    return predict, greedy


def _logits_fns(model: SequenceFn, largest: int) -> tuple[PredictFn, PredictFn]:
    """Return the functions of `predict_fns` for a model that is a function returning logits."""

    def run(params: Params, chunk: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        logits = model(params, *chunk["rows"])
        _check_shape("logits", logits, chunk)
        _check_vocabulary(logits.shape[-1], largest)
        context, target = chunk["predictions"]
        return logits.reshape(-1, logits.shape[-1]).astype(jnp.float32), chunk["contexts"][context], target

    def predict(params: Params, chunk: Mapping[str, Array]) -> Array:
        logits, position, target = run(params, chunk)
        return logits[position, target] - jax.nn.logsumexp(logits, axis=-1)[position]

    def greedy(params: Params, chunk: Mapping[str, Array]) -> Array:
        logits, position, target = run(params, chunk)
        return logits.argmax(axis=-1)[position] == target

    return predict, greedy


def _check_vocabulary(n_types: int, largest: int) -> None:
    # JAX clamps an index beyond the end of an array instead of raising an error.
    if largest >= n_types:
        raise ValueError(f"token id {largest} occurs, but the model has {n_types} token types: another tokenizer?")


def _check_shape(name: str, array: Any, chunk: Mapping[str, Array]) -> None:
    rows = chunk["rows"].shape[1:]
    if not isinstance(array, Array | np.ndarray):
        raise ValueError(
            f"the model returns a {type(array).__name__}, not {name} [R, L, ...] as one array; if it returns more "
            "than these, wrap it: lambda params, *rows: model(params, *rows)[0]"
        )
    if array.ndim != 3 or array.shape[:2] != rows:
        raise ValueError(f"the model returns {name} of shape {array.shape} for tokens of shape {rows}, not [R, L, ...]")
