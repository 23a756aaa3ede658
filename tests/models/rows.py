"""Packed rows for the tests of the models."""

import jax.numpy as jnp
import numpy as np
from jax import Array

VOCAB = 23


def sentences(rng: np.random.Generator, lengths: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.integers(0, VOCAB, n).astype(np.int32) for n in lengths]


def pack(parts: list[np.ndarray], time: int) -> tuple[Array, Array, Array]:
    """One row holding all ``parts`` one after another: tokens, segment ids, positions, each [1, time]."""
    tokens, segments, positions = (np.zeros((1, time), np.int32) for _ in range(3))
    start = 0
    for number, part in enumerate(parts, 1):
        end = start + len(part)
        tokens[0, start:end] = part
        segments[0, start:end] = number
        positions[0, start:end] = np.arange(len(part))
        start = end
    return jnp.asarray(tokens), jnp.asarray(segments), jnp.asarray(positions)


def batch(seed: int = 0, rows: int = 3, time: int = 12) -> tuple[Array, Array, Array]:
    """Rows of two segments and some padding."""
    rng = np.random.default_rng(seed)
    packed = [pack(sentences(rng, (4 + row, 5)), time) for row in range(rows)]
    tokens, segments, positions = (jnp.asarray(np.concatenate(arrays)) for arrays in zip(*packed, strict=True))
    return tokens, segments, positions
