"""Index arrays and random generators that several stages share."""

import zlib

import numpy as np


def spread(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The concatenation of ``arange(start, start + length)`` over all pairs, without a Python loop."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def generator(seed: int, use: str) -> np.random.Generator:
    """The random numbers of one use of a seed; uses do not share theirs."""
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(use.encode())]))
