"""The typical seed: the median over seeds, and its interval from the order of the seeds."""

import itertools
import math
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Float

# The interval of the fewest seeds is their range, whose level may fall short by a quarter of the share left out.
_SHORT: Final = 1.25


def fewest_seeds(level: float) -> int:
    """Return the smallest number of seeds whose range is an interval of the median: 5 for a level of .95.

    The range of n values contains the median with probability 1 - 2^(1 - n): 93.75 % for 5 values, 87.5 % for 4.
    """
    n_seeds = 2
    while 2.0 ** (1 - n_seeds) > _SHORT * (1 - level) + 1e-12:
        n_seeds += 1
    return n_seeds


def median(values: Float[np.ndarray, " n"]) -> float:
    """Return the median of at least one value, as `np.median` does, which takes much longer for a few values."""
    ordered = sorted(values.tolist())
    half = len(ordered) // 2
    if any(math.isnan(value) for value in ordered):
        return math.nan
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def order_ends(values: Float[np.ndarray, " seeds"], level: float) -> tuple[float, float]:
    """Return both ends of the interval of the median, whatever the distribution of the values.

    The k-th lowest and k-th highest value enclose the median with a known probability. The interval is interpolated
    between the two k whose probabilities are next to ``level`` (Hettmansperger & Sheather 1986, Statistics &
    Probability Letters 4:75). If the range has a smaller probability than ``level``, the interval is the range.

    Args:
        values: finite values, one of each seed.
        level: nominal coverage, between 0 and 1.
    """
    ordered = sorted(values.tolist())
    n = len(ordered)
    enclosed = _enclosed(n)
    k = sum(probability >= level for probability in enclosed)
    if not k:
        return ordered[0], ordered[-1]
    surplus = (enclosed[k - 1] - level) / (enclosed[k - 1] - enclosed[k])
    way = (n - k) * surplus / (k + (n - 2 * k) * surplus)
    low = (1 - way) * ordered[k - 1] + way * ordered[k]
    high = (1 - way) * ordered[n - k] + way * ordered[n - k - 1]
    return low, high


@cache
def _enclosed(n: int) -> tuple[float, ...]:
    """Return the probability that the k-th lowest and k-th highest of n values enclose the median, from k = 1 on.

    The last one is 0, the probability of the middle value alone.
    """
    below = itertools.accumulate(math.comb(n, k) for k in range(n // 2))
    return (*((2**n - 2 * count) / 2**n for count in below), 0.0)
