"""Models as functions, and the log-probabilities that they give the predictions of a chunk."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from npi_jax.scoring.packing import Packed

Params = Any
SequenceFn = Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]
OutputFn = Callable[[Params], tuple[jax.Array, jax.Array]]
PredictFn = Callable[[Params, Mapping[str, jax.Array]], jax.Array]

MAX_LOGITS = 1 << 22
"""Most logits that exist at a time (16 MiB); more were slower on CPU, where fresh memory has to be paged in."""


class HiddenOutput(NamedTuple):
    """A model in two parts, so that logits of all positions never exist at once.

    Attributes:
        hidden: ``(params, tokens, segment_ids, positions)``, all int32 [R, L], to hidden states [R, L, D].
        output: ``params`` to the output layer's weights [D, V] and bias [V].
    """

    hidden: SequenceFn
    output: OutputFn


def log_normalizers(hidden: jax.Array, weights: jax.Array, bias: jax.Array) -> jax.Array:
    """log sum exp over the vocabulary of ``hidden @ weights + bias``, never more than `MAX_LOGITS` at a time.

    Args:
        hidden: [N, D], any float dtype.
        weights: [D, V].
        bias: [V].

    Returns:
        float32 [N], nats.
    """
    return _over_vocabulary(lambda logits: jax.nn.logsumexp(logits, axis=-1), hidden, weights, bias)


def _over_vocabulary(
    reduce: Callable[[jax.Array], jax.Array], hidden: jax.Array, weights: jax.Array, bias: jax.Array
) -> jax.Array:
    """`reduce` of every row's float32 logits, a part of the rows at a time."""
    n = hidden.shape[0]
    n_chunks = -(-n * weights.shape[1] // MAX_LOGITS)
    chunk = -(-n // n_chunks)
    padded = jnp.pad(hidden, ((0, n_chunks * chunk - n), (0, 0))).reshape(n_chunks, chunk, -1)

    def of_chunk(rows: jax.Array) -> jax.Array:
        logits = jnp.dot(rows, weights, preferred_element_type=jnp.float32) + bias
        return reduce(logits.astype(jnp.float32))

    return jax.lax.map(of_chunk, padded).reshape(-1)[:n]


def _output_layer(found: Any, width: int) -> tuple[jax.Array, jax.Array]:
    """The weights and the bias that a model's ``output`` gives.

    Raises:
        ValueError: if it gives something else.
    """
    shapes = [getattr(part, "shape", None) for part in found] if isinstance(found, tuple | list) else []
    if len(shapes) != 2 or not shapes[0] or len(shapes[0]) != 2 or shapes[1] != shapes[0][1:] or shapes[0][0] != width:
        given = f"arrays of shapes {shapes}" if shapes else f"a {type(found).__name__}"
        raise ValueError(
            f"the model's output gives {given}, not weights [D, V] and a bias [V]; its hidden states have D = {width}"
        )
    weights, bias = found
    return weights, bias


def predict_fns(model: Any, packed: Packed) -> tuple[PredictFn, PredictFn]:
    """Two functions of ``(params, chunk)``: the log-probabilities of its predictions, float32 [P], and whether each
    is of the likeliest token, bool [P].
    """
    largest = int(max(max(bucket.tokens.max(), bucket.predictions[:, 1].max()) for bucket in packed.buckets))

    def check(n_types: int) -> None:
        # An index beyond the end of an array is not an error in JAX.
        if largest >= n_types:
            raise ValueError(f"token id {largest} occurs, but the model has {n_types} token types: another tokenizer?")

    def check_shape(name: str, array: Any, chunk: Mapping[str, jax.Array]) -> None:
        rows = chunk["rows"].shape[1:]
        if not isinstance(array, jax.Array | np.ndarray):
            raise ValueError(
                f"the model gives a {type(array).__name__}, not {name} [R, L, ...] as one array; if it returns more "
                "than these, wrap it: lambda params, *rows: model(params, *rows)[0]"
            )
        if array.ndim != 3 or array.shape[:2] != rows:
            raise ValueError(
                f"the model gives {name} of shape {array.shape} for tokens of shape {rows}, not [R, L, ...]"
            )

    if hasattr(model, "hidden") and hasattr(model, "output"):
        if isinstance(n_types := getattr(model, "vocab_size", None), int):
            check(n_types)

        def run(params: Params, chunk: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            hidden = model.hidden(params, *chunk["rows"])
            check_shape("hidden states", hidden, chunk)
            weights, bias = _output_layer(model.output(params), hidden.shape[-1])
            check(weights.shape[1])
            return hidden.reshape(-1, hidden.shape[-1])[chunk["contexts"]], weights, bias

        def predict(params: Params, chunk: Mapping[str, jax.Array]) -> jax.Array:
            hidden, weights, bias = run(params, chunk)
            context, target = chunk["predictions"]
            products = hidden[context].astype(jnp.float32) * weights.T[target].astype(jnp.float32)
            return products.sum(axis=1) + bias[target] - log_normalizers(hidden, weights, bias)[context]

        def greedy(params: Params, chunk: Mapping[str, jax.Array]) -> jax.Array:
            context, target = chunk["predictions"]
            return _over_vocabulary(lambda logits: logits.argmax(axis=-1), *run(params, chunk))[context] == target

        return predict, greedy
    if not callable(model):
        raise TypeError(f"make_scorer: {type(model).__name__} is neither a function nor has it hidden and output")

    def run_logits(params: Params, chunk: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        logits = model(params, *chunk["rows"])
        check_shape("logits", logits, chunk)
        check(logits.shape[-1])
        context, target = chunk["predictions"]
        return logits.reshape(-1, logits.shape[-1]).astype(jnp.float32), chunk["contexts"][context], target

    def predict_logits(params: Params, chunk: Mapping[str, jax.Array]) -> jax.Array:
        logits, position, target = run_logits(params, chunk)
        return logits[position, target] - jax.nn.logsumexp(logits, axis=-1)[position]

    def greedy_logits(params: Params, chunk: Mapping[str, jax.Array]) -> jax.Array:
        logits, position, target = run_logits(params, chunk)
        return logits.argmax(axis=-1)[position] == target

    return predict_logits, greedy_logits
