"""Index arrays and random generators that several stages share."""

import zlib

import numpy as np
from jaxtyping import Int, Integer


def spread(starts: Integer[np.ndarray, " ranges"], lengths: Integer[np.ndarray, " ranges"]) -> Int[np.ndarray, " all"]:
    """Return ``arange(start, start + length)`` for each pair, one after the other, without a Python loop."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def generator(seed: int, use: str) -> np.random.Generator:
    """Return a random generator for one use of a seed; generators of different uses are independent."""
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(use.encode())]))
