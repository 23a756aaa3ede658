"""Means over seeds and items, with intervals that treat both as samples."""

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

# Means of equal values can differ by this much, because sums in different orders round differently.
_ROUNDING: Final = 1e-12

# Draws are made in blocks of at most this many item indices, so that memory does not grow with the suite.
_BLOCK: Final = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and the interval around it.

    Attributes:
        mean, low, high: the mean and both ends of its interval, in the unit of the values.
        n_seeds, n_items: numbers of seeds and items in the mean.
        interval_over: `SEEDS_AND_ITEMS`, or `ITEMS` with one seed: then the interval does not cover other seeds.
        p: two-sided p-value of the hypothesis that the true mean is 0; NaN if 0 is not inside the bounds. Unless all
            values are equal, it is at most .05 exactly if the 95 % interval excludes 0.
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
        values: finite values, one row per seed.
        draws: number of bootstrap draws, at least 1000.
        level: nominal coverage.
        seed: seed of the random numbers.
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

    The plain percentile interval has the wrong width. It is too narrow with few seeds: with three it is their range,
    which contains the true mean in 75 % of cases, not 95 %. It is too wide if the noise of single values dominates,
    because resampling both seeds and items counts that noise three times (Owen 2007). Both arms are therefore scaled by
    the ratio of two intervals. One is the t interval with the variance of `mean_variance`, the other the normal
    interval with the variance of the draws.

    A quantity with bounds has the ends of `Bounds.ends`, which shortens the arm toward the nearer bound. Counted
    answers are an exception: both arms are that of the t interval. The arms of the draws are already skewed by the
    bounds, so `Bounds.ends` would shorten the nearer arm twice. Coverage would be 90 % instead of 98 % if nearly all
    answers are right.

    If all values are equal, resampling shows no variance. The interval is then that single value, or `Bounds.unseen`
    for counted answers. With one seed, only items are resampled.

    Args:
        means: mean of each seed over the original items.
        by_item: mean of each seed over resampled items.
        n_items: number of items.
        level: nominal coverage, between 0 and 1.
        seed: seed of the random numbers.
        bounds: range of the mean; the interval stays within it.

    Raises:
        ValueError: if the shapes disagree, ``level`` is not between 0 and 1 or the mean is not within the bounds.
    """
    n_seeds = len(means)
    if by_item.shape[0] != n_seeds or not n_seeds:
        raise ValueError(f"{n_seeds} seeds but by_item has shape {by_item.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    over = SEEDS_AND_ITEMS if n_seeds > 1 else ITEMS
    mean = float(means.mean())
    interval = partial(Interval, n_seeds=n_seeds, n_items=n_items, interval_over=over)
    if not (np.isfinite(means).all() and np.isfinite(by_item).all()):
        return interval(mean=mean, low=math.nan, high=math.nan, p=math.nan)
    if not bounds.hold(mean):
        raise ValueError(f"the mean {mean} is not between {bounds.low} and {bounds.high}")
    mean = min(max(mean, bounds.low), bounds.high)  # rounding can push the mean beyond a bound
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
    """Return the arms around a mean, before bounds: of the t interval for counted answers, else of resampled seeds."""
    variance = crossed_variance(means, by_item, n_items)
    if bounds.counted:
        return CountedArms(mean, variance, bounds)
    n_seeds, n_draws = by_item.shape
    picks = np.random.default_rng((seed, 1)).integers(n_seeds, size=(n_draws, n_seeds))
    draws = np.sort(by_item[picks.T, np.arange(n_draws)].mean(axis=0))
    return BootstrapArms(mean, draws, float(draws.var()), variance, bounds)


def constant(means: Float[np.ndarray, " seeds"], by_item: Float[np.ndarray, "seeds draws"]) -> bool:
    """Return True if all seeds and items have the same value, so that no variance can be estimated."""
    return bool(np.ptp(means) <= _ROUNDING and np.ptp(by_item) <= _ROUNDING)


def adjust(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjust p-values for the number of tests: step-down Šidák (Holm 1979; Šidák 1967).

    This is max-T under the assumption of independent tests, the worst case for two-sided tests of jointly normal means
    (Šidák 1967). The dependence is deliberately not estimated from the draws. Resamples of a few seeds vary only
    in the few directions in which those seeds differ, so tests look far more dependent than they are. With 3 seeds and
    27 true null hypotheses, max-T over such draws rejects at least one in about half of all experiments, not in 5 %
    (tests/analysis/test_transfer_calibration.py).

    Args:
        p: p-values in [0, 1]; NaN for a test that was not made, which is not counted.
    """
    adjusted = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    left = np.arange(len(order), 0, -1)
    with np.errstate(divide="ignore"):
        adjusted[order] = np.maximum.accumulate(-np.expm1(left * np.log1p(-p[order])))
    return adjusted
