"""Means over seeds and items with intervals that count both as sampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Float

from npi_jax.analysis.bounds import FREE, Bounds
from npi_jax.analysis.variance import BootstrapArms, CountedArms, crossed_variance
from npi_jax.results.names import ITEMS, SEEDS_AND_ITEMS

DRAWS: Final = 2000
LEVEL: Final = 0.95

# Equal values that were summed in another order differ by this much.
_ROUNDING: Final = 1e-12

# Draws are made in blocks of at most this many item indices, so that memory does not grow with the suite.
_BLOCK: Final = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and the interval around it.

    Attributes:
        mean, low, high: in the unit of the values.
        n_seeds, n_items: numbers of seeds and items that the mean is over.
        interval_over: what was resampled: `SEEDS_AND_ITEMS`, or `ITEMS` with one seed, which says nothing about
            other seeds.
        p: two-sided probability of a mean as far from 0 if the true mean is 0; NaN if 0 is not inside the bounds.
            Unless all values are equal, it is at most .05 exactly if the 95 % interval excludes 0.
    """

    mean: float
    low: float
    high: float
    n_seeds: int
    n_items: int
    interval_over: str
    p: float


def hierarchical_bootstrap(
    values: Float[np.ndarray, "seeds items"],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
    bounds: Bounds = FREE,
) -> Interval:
    """Return the interval of the mean of ``values`` with seeds and, within them, items resampled.

    The seeds share their items, so each draw takes one resample of items for all its seeds. The same ``seed`` gives
    the same draws.

    Args:
        values: one row a seed; finite.
        draws: bootstrap draws, at least 1000.
        level: nominal coverage.
        seed: of the random numbers.
        bounds: smallest and largest possible mean, `bounds.SHARE` for accuracies; the interval stays within them.

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
    """Return the mean of each row over items drawn with replacement; a draw takes the same items in every row.

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
    bounds: Bounds = FREE,
) -> Interval:
    """Resample seeds on top of ``by_item`` (from `resample_items`), and scale the interval to few seeds.

    The plain percentile interval has the wrong width. With few seeds it is too narrow: with three it is their range,
    which holds the true mean in 75 % of cases, not 95 %. If the noise of single values dominates it is too wide, for
    resampling seeds and items counts that noise three times (Owen 2007). Its two arms are therefore scaled by the
    ratio of the t interval with the variance of `mean_variance` to the normal interval with the variance of the draws.

    A quantity with bounds has the ends of `Bounds.ends`, which shortens the arm towards the nearer bound. A share of
    counted answers takes both arms from that t interval, equally long: the arms of the draws are skewed for the same
    reason, and the end at the nearer bound would be too near (90 % coverage instead of 98 % if nearly all answers are
    right).

    If all values are equal, a resample shows no variance: the interval is that value, or for counted answers
    `Bounds.unseen`. With one seed only items are resampled.

    Args:
        means: mean of each seed over the items as they are.
        by_item: mean of each seed over resampled items.
        n_items: number of items.
        level: nominal coverage, between 0 and 1.
        seed: of the random numbers.
        bounds: of the mean; the interval stays within them.

    Raises:
        ValueError: if the shapes disagree, ``level`` is not between 0 and 1 or the mean is not within the bounds.
    """
    n_seeds = len(means)
    if by_item.shape[0] != n_seeds or not n_seeds:
        raise ValueError(f"{n_seeds} seeds but by_item has shape {by_item.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, as 0.95")
    over = SEEDS_AND_ITEMS if n_seeds > 1 else ITEMS
    mean = float(means.mean())
    interval = partial(Interval, n_seeds=n_seeds, n_items=n_items, interval_over=over)
    if not (np.isfinite(means).all() and np.isfinite(by_item).all()):
        return interval(mean=mean, low=math.nan, high=math.nan, p=math.nan)
    if not bounds.hold(mean):
        raise ValueError(f"the mean {mean} is not between {bounds.low} and {bounds.high}")
    mean = min(max(mean, bounds.low), bounds.high)  # rounding may pass a bound
    arms = _arms(mean, means, by_item, n_items, seed, bounds)
    if bounds.counted and constant(means, by_item):
        low, high = bounds.unseen(mean, level, n_items)
    else:
        low, high = bounds.ends(mean, arms.below(level), arms.above(level))
    return interval(mean=mean, low=low, high=high, p=arms.p())


def _arms(
    mean: float,
    means: Float[np.ndarray, " seeds"],
    by_item: Float[np.ndarray, "seeds draws"],
    n_items: int,
    seed: int,
    bounds: Bounds,
) -> BootstrapArms | CountedArms:
    """Return the arms around a mean, before bounds: from draws of seeds, or those of the t interval for counts."""
    variance = crossed_variance(means, by_item, n_items)
    if bounds.counted:
        return CountedArms(mean, variance, bounds)
    n_seeds, n_draws = by_item.shape
    picks = np.random.default_rng((seed, 1)).integers(n_seeds, size=(n_draws, n_seeds))
    draws = np.sort(by_item[picks.T, np.arange(n_draws)].mean(axis=0))
    return BootstrapArms(mean, draws, float(draws.var()), variance, bounds)


def constant(means: Float[np.ndarray, " seeds"], by_item: Float[np.ndarray, "seeds draws"]) -> bool:
    """Return whether all seeds and items have the same value, so that nothing shows how much they could vary."""
    return bool(np.ptp(means) <= _ROUNDING and np.ptp(by_item) <= _ROUNDING)


def adjust(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjust p-values for the number of tests: step-down Šidák (Holm 1979; Šidák 1967).

    This is the max-T test of tests that are assumed independent, which for two-sided tests of jointly normal means is
    the worst case (Šidák 1967). The dependence is not estimated from the draws on purpose: resamples of a few seeds
    all vary in the few directions in which those seeds differ, so the tests look far more alike than they are. With
    3 seeds a max-T over such draws rejects at least one of 27 true null hypotheses in about half of all
    experiments, not in 5 % (tests/analysis/test_transfer_calibration.py).

    Args:
        p: each in [0, 1]; NaN for a test that was not made, which does not count.
    """
    adjusted = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    left = np.arange(len(order), 0, -1)
    with np.errstate(divide="ignore"):
        adjusted[order] = np.maximum.accumulate(-np.expm1(left * np.log1p(-p[order])))
    return adjusted
