"""Cross-entropy of the output layer, computed without holding the logits of all rows.

All logits would be the largest array in the training step of a small language model. Here they are computed for one
chunk of rows after another. The gradient is computed in the same pass from the logits of each chunk.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from npi_jax.models.config import ComputeDtype
from npi_jax.models.numerics import matmul, transposed, vary_alike


def cross_entropy(
    hidden: Float[Array, "rows features"],
    weights: Float[Array, "features vocabulary"],
    bias: Float[Array, " vocabulary"],
    targets: Int[Array, " rows"],
    mask: Float[Array, " rows"],
    *,
    chunk: int,
    compute_dtype: ComputeDtype = "float32",
) -> Float[Array, ""]:
    """Compute the sum over rows of ``mask`` times the negative log-probability of ``targets``, nats; float32.

    Args:
        hidden, weights, bias: operands of the output layer, whose logits are ``hidden @ weights + bias``.
        targets: token to predict in each row.
        mask: weight of each row; it gets no gradient.
        chunk: maximum number of rows whose logits are held at once. It affects memory and speed, and results only by
            rounding.
        compute_dtype: dtype of the operands of matrix products; sums are float32.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least one row")
    operands = vary_alike(hidden, weights, bias, targets, mask)
    # Make chunks equally long, because a last chunk with much padding would cost as much as a full chunk.
    chunks = -(-hidden.shape[0] // chunk)
    return _total(operands, -(-hidden.shape[0] // chunks), compute_dtype)


def _in_chunks(rows: Array, chunk: int) -> Array:
    """Reshape rows to ``[chunks, chunk, ...]``, padded with zeros."""
    count = -(-rows.shape[0] // chunk)
    padded = jnp.pad(rows, [(0, count * chunk - rows.shape[0])] + [(0, 0)] * (rows.ndim - 1))
    return padded.reshape(count, chunk, *rows.shape[1:])


def _log_sum_exp(logits: Float[Array, "rows vocabulary"]) -> tuple[Array, Array]:
    """Return the log of the sum of exponentials for each row, and the probabilities."""
    exponentials = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
    total = exponentials.sum(axis=-1, keepdims=True)
    return (jnp.log(total) + logits.max(axis=-1, keepdims=True))[:, 0], exponentials / total


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _total(operands: tuple[Array, ...], chunk: int, compute_dtype: ComputeDtype) -> Float[Array, ""]:
    hidden, weights, bias, targets, mask = operands

    def of_chunk(total: Array, rows: tuple[Array, ...]) -> tuple[Array, None]:
        hidden, targets, mask = rows
        logits = matmul(hidden, weights, compute_dtype) + bias
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return total + ((_log_sum_exp(logits)[0] - chosen) * mask).sum(), None

    zero, _ = vary_alike(jnp.zeros((), jnp.float32), mask)
    rows = tuple(_in_chunks(array, chunk) for array in (hidden, targets, mask))
    return jax.lax.scan(of_chunk, zero, rows)[0]


def _forward(operands: tuple[Array, ...], chunk: int, compute_dtype: ComputeDtype) -> tuple[Array, tuple[Array, ...]]:
    hidden, weights, bias, targets, mask = operands
    tokens = jnp.arange(weights.shape[1], dtype=targets.dtype)
    # Cast once, not for every chunk. In float32 no copy is needed, since XLA fuses the transposition with the product.
    operand = weights.astype(compute_dtype)
    copied = None if compute_dtype == "float32" else transposed(weights, compute_dtype)

    def of_chunk(sums: tuple[Array, ...], rows: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array]:
        total, d_weights, d_bias = sums
        hidden, targets, mask = rows
        logits = matmul(hidden, operand, compute_dtype) + bias
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        normalizer, probabilities = _log_sum_exp(logits)
        d_logits = (probabilities - (tokens == targets[:, None])) * mask[:, None]
        d_weights = d_weights + matmul(transposed(hidden, compute_dtype), d_logits, compute_dtype)
        sums = (total + ((normalizer - chosen) * mask).sum(), d_weights, d_bias + d_logits.sum(axis=0))
        return sums, matmul(d_logits, operand.T if copied is None else copied, compute_dtype)

    zeros = vary_alike(jnp.zeros((), jnp.float32), jnp.zeros(weights.shape), jnp.zeros(bias.shape), mask)[:3]
    rows = tuple(_in_chunks(array, chunk) for array in (hidden, targets, mask))
    (total, d_weights, d_bias), d_hidden = jax.lax.scan(of_chunk, zeros, rows)
    return total, (d_hidden.reshape(-1, hidden.shape[1])[: hidden.shape[0]], d_weights, d_bias, mask)


def _backward(
    chunk: int, compute_dtype: ComputeDtype, saved: tuple[Array, ...], cotangent: Array
) -> tuple[tuple[Array | None, ...]]:
    del chunk, compute_dtype
    d_hidden, d_weights, d_bias, mask = saved
    return ((d_hidden * cotangent, d_weights * cotangent, d_bias * cotangent, None, jnp.zeros_like(mask)),)


_total.defvjp(_forward, _backward)
