"""Segments of packed text rows: every `<eos>` in the model's input begins a new segment."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer


def text_segments(
    tokens: Integer[Array | np.ndarray, "*batch length"], eos: int
) -> tuple[Int[Array, "*batch length"], Int[Array, "*batch length"]]:
    """Return segment ids, counted from 1 in each row, and positions, counted from 0 in each segment.

    Args:
        tokens: token ids as the model reads them; a row begins with `<eos>`.
        eos: id of `<eos>`.
    """
    columns = jnp.arange(tokens.shape[-1])
    starts = jnp.asarray(tokens == eos)
    first = jax.lax.cummax(jnp.where(starts, columns, 0), axis=tokens.ndim - 1)
    return jnp.cumsum(starts, axis=-1), columns - first
