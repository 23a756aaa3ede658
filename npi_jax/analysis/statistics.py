"""Means over seeds and items with intervals that count both as sampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy import special

DRAWS: Final = 2000
LEVEL: Final = 0.95
SEEDS_AND_ITEMS: Final = "seeds and items"
ITEMS: Final = "items"

# Draws are made in blocks of at most this many item indices, so that memory does not grow with the suite.
_BLOCK: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the interval around it.

    Attributes:
        mean, low, high: in the unit of the values.
        n_seeds, n_items: how many of each the mean is over.
        interval_over: what was resampled: `SEEDS_AND_ITEMS`, or `ITEMS` where there is one seed only, which
            says nothing of how another seed would have come out.
    """

    mean: float
    low: float
    high: float
    n_seeds: int
    n_items: int
    interval_over: str


def hierarchical_bootstrap(
    values: Float[np.ndarray, "seeds items"],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Interval of the mean of ``values`` with seeds and, within them, items resampled.

    Items are shared by the seeds, hence each draw takes one resample of items for all seeds of the draw. The
    same ``seed`` gives the same draws.

    Args:
        values: one row a seed; finite.
        draws: bootstrap draws, at least 1000.
        level: coverage aimed at.
        seed: of the random numbers.
        bounds: smallest and largest possible mean, ``(0, 1)`` for accuracies; the interval is cut to it.

    Raises:
        ValueError: if there is no value, if one is not finite, or if an argument is out of its range.
    """
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"{bad} of {values.size} values are not finite; leave out diverged members first")
    by_item = resample_items(values, draws=draws, seed=seed)
    return seed_interval(values.mean(axis=1), by_item, n_items=values.shape[1], level=level, seed=seed, bounds=bounds)


def resample_items(
    values: Float[np.ndarray, "rows items"], *, draws: int = DRAWS, seed: int | Sequence[int] = 0
) -> Float[np.ndarray, "rows draws"]:
    """Means of each row over items drawn with replacement; a draw takes the same items in every row.

    Two calls with the same ``seed``, ``draws`` and number of items take the same items, so that differences
    between their rows are paired.

    Raises:
        ValueError: if there is no value, or ``draws`` is under 1000.
    """
    if draws < 1000:
        raise ValueError(f"draws is {draws}; take at least 1000, fewer make the ends of the interval noise")
    if not values.size:
        raise ValueError(f"nothing to resample: values has shape {values.shape}")
    n_rows, n_items = values.shape
    random = np.random.default_rng(seed)
    means = np.empty((n_rows, draws))
    step = max(1, _BLOCK // n_items)
    for start in range(0, draws, step):
        n = min(step, draws - start)
        picks = random.integers(n_items, size=(n, n_items)) + n_items * np.arange(n)[:, None]
        counts = np.bincount(picks.ravel(), minlength=n * n_items).reshape(n, n_items)
        means[:, start : start + n] = values @ counts.T / n_items
    return means


def seed_interval(
    means: Float[np.ndarray, " seeds"],
    by_item: Float[np.ndarray, "seeds draws"],
    *,
    n_items: int,
    level: float = LEVEL,
    seed: int = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Resample seeds on top of ``by_item`` (from `resample_items`), and take the percentile interval.

    The percentile interval is too narrow for few seeds: with three it is their range, which holds the true
    mean in 75 % of cases, not 95 %. Its two arms are therefore lengthened by the factor that a t interval
    has over a normal one with the variance the bootstrap sees; degrees of freedom after Satterthwaite (1946),
    from the variance between seeds and the variance between items. With many seeds, or where seeds hardly
    differ, the factor goes to 1. Where all values are equal the interval is that value: a resample cannot
    show what was never seen. With one seed only items are resampled.

    Args:
        means: mean of each seed over the items as they are.
        by_item: mean of each seed over resampled items.
        n_items: number of items.
        level: coverage aimed at, between 0 and 1.
        seed: of the random numbers.
        bounds: the interval is cut to it.

    Raises:
        ValueError: if the shapes disagree or ``level`` is not between 0 and 1.
    """
    n_seeds = len(means)
    if by_item.shape[0] != n_seeds or not n_seeds:
        raise ValueError(f"{n_seeds} seeds but by_item has shape {by_item.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, as 0.95")
    mean = float(means.mean())
    random = np.random.default_rng((seed, 1))
    picks = random.integers(n_seeds, size=(by_item.shape[1], n_seeds))
    draws = by_item[picks.T, np.arange(by_item.shape[1])].mean(axis=0)
    ends = np.percentile(draws, [50 * (1 - level), 50 * (1 + level)])
    ends = mean + _factor(means, by_item, n_items, level) * (ends - mean)
    low, high = np.clip(ends, *bounds)
    over = SEEDS_AND_ITEMS if n_seeds > 1 else ITEMS
    return Interval(mean, float(low), float(high), n_seeds, n_items, over)


def _factor(
    means: Float[np.ndarray, " seeds"], by_item: Float[np.ndarray, "seeds draws"], n_items: int, level: float
) -> float:
    """How much longer than the percentile interval's arms the interval's should be; 1 or more."""
    n_seeds = len(means)
    seen_items = float(by_item.mean(axis=0).var())
    of_items = seen_items * n_items / max(n_items - 1, 1)
    of_seeds = float(means.var(ddof=1)) / n_seeds if n_seeds > 1 else 0.0
    seen = seen_items + of_seeds * (n_seeds - 1) / n_seeds
    if seen == 0:
        return 1.0
    total = of_items + of_seeds
    freedom = total**2 / (of_seeds**2 / max(n_seeds - 1, 1) + of_items**2 / max(n_items - 1, 1))
    tail = (1 + level) / 2
    return math.sqrt(total / seen) * float(special.stdtrit(freedom, tail) / special.ndtri(tail))
