"""Intervals that treat seeds and items as samples: of a variant's typical seed, and of the difference of two variants.

A *level* is a result of one variant, such as its accuracy. It is the median over seeds, so that it stays that of a
typical seed if a few seeds fail to learn (`seed_interval`). A *difference* of two variants is the mean over seeds of
paired differences, tested with a t test (`paired_difference`). Coverage and rates of false claims of both:
tests/analysis/test_interval_calibration.py and test_transfer_calibration.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from npi_jax.analysis.bounds import FREE, Bounds
from npi_jax.analysis.typical import fewest_seeds, median, order_ends
from npi_jax.analysis.variance import crossed_variance, squared_arm
from npi_jax.results.names import ITEMS, NO_INTERVAL, SEEDS_AND_ITEMS, TOO_FEW

DRAWS: Final = 2000
LEVEL: Final = 0.95

# Means of equal values can differ by this much, because sums in different orders round differently.
_ROUNDING: Final = 1e-12

# Draws are made in blocks of at most this many item indices, so that memory does not grow with the suite.
_BLOCK: Final = 4_000_000

_NOT_FINITE: Final = "a score is not finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and the interval around it.

    Attributes:
        estimate, low, high: the estimate and both ends of its interval, in the unit of the values; the ends are NaN if
            there is no interval (`reason`).
        n_seeds, n_items: numbers of seeds and items in the estimate.
        interval_over: `SEEDS_AND_ITEMS`; `ITEMS` with one seed, then the interval does not cover other seeds; `TOO_FEW`
            if there are several seeds, but too few for an interval; `NO_INTERVAL` if a value is not finite.
        reason: why there is no interval, and what would give one; "" if there is one.
    """

    estimate: float
    low: float
    high: float
    n_seeds: int
    n_items: int
    interval_over: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Interval):
    """A difference of two variants with its interval and test.

    Attributes:
        p: two-sided p-value of the hypothesis that the true mean is 0; NaN if 0 is not inside the bounds, or all
            values are equal but not 0. It is at most .05 exactly if the 95 % interval excludes 0.
    """

    p: float


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
    bounds: Bounds = FREE,
) -> Interval:
    """Return the median over seeds of a variant's results, with an interval.

    The interval answers: what would the typical seed have reached, had other seeds been trained and other items been
    asked? Seeds enter by their order (`typical.order_ends`), so that neither skewness nor seeds that fail to learn can
    make it too short. Items enter by the variance that all seeds share, added in quadrature to each arm (`level_ends`).

    With one seed, the interval is over items only. With more seeds, but fewer than `typical.fewest_seeds`, there is
    none: the range of four seeds contains the true median in 87.5 % of cases only.

    If all answers of all seeds are equal, nothing shows how much they vary; the interval is then `Bounds.unseen`.

    Args:
        means: result of each seed with the original items.
        by_item: result of each seed with resampled items (`resample_items`).
        n_items: number of items.
        level: nominal coverage, between 0 and 1.
        bounds: range of the result; the interval stays within it.

    Raises:
        ValueError: if the shapes disagree, ``level`` is not between 0 and 1 or the median is not within the bounds.
    """
    _check(means, by_item, level)
    n_seeds, typical = len(means), median(means)
    low = high = math.nan
    over, reason = SEEDS_AND_ITEMS if n_seeds > 1 else ITEMS, ""
    if not (np.isfinite(means).all() and np.isfinite(by_item).all()):
        over, reason = NO_INTERVAL, _NOT_FINITE
    else:
        typical = _inside(typical, bounds)
        if 1 < n_seeds < (fewest := fewest_seeds(level)):
            over, reason = TOO_FEW, f"{n_seeds} seeds are too few for an interval; it needs {fewest}"
        elif bounds.counted and constant(means, by_item):
            low, high = bounds.unseen(typical, level, n_items)
        else:
            shared = crossed_variance(means, by_item, n_items).of_items
            low, high = level_ends(means, shared, n_items=n_items, level=level, bounds=bounds)
    named = {"n_seeds": n_seeds, "n_items": n_items}
    return Interval(estimate=typical, low=low, high=high, interval_over=over, reason=reason, **named)


def level_ends(
    means: Float[np.ndarray, " seeds"], of_items: float, *, n_items: int, level: float = LEVEL, bounds: Bounds = FREE
) -> tuple[float, float]:
    """Return the ends of the interval of the median over seeds, with the variance of items added to each arm.

    Arms are added in quadrature, within bounds as scores (`Bounds.score`): that of the seeds' order and that of items.
    Accuracies are counts, which form a grid. Half an answer is therefore a third arm. Without it, nearly perfect seeds
    would mostly have the same accuracy, and the interval would contain the true one in as few as 64 % of cases.

    Args:
        means: finite result of each seed; a single one has an interval over items only.
        of_items: variance from items that all seeds share, `Variance.of_items`.
        n_items, level, bounds: as for `seed_interval`.
    """
    typical = _inside(median(means), bounds)
    t_squared = float(squared_arm(np.array(0.0), np.array(1.0), 1 - level, n_seeds=1, n_items=n_items))
    # V at the mean, because the median of nearly perfect seeds is at the bound, where V is 0. Noise can push the mean
    # of estimated cosines beyond their bounds.
    mean = float(means.mean())
    from_items = t_squared * bounds.relative(of_items, mean if bounds.hold(mean) else typical)
    if len(means) == 1:
        return bounds.ends(typical, from_items, from_items)
    low, high = order_ends(means, level)
    half = (bounds.high - bounds.low) / (2 * n_items) if bounds.counted else 0.0
    below, above = (
        bounds.score(typical, end) + bounds.score(typical, typical + step) for end, step in ((low, -half), (high, half))
    )
    return bounds.ends(typical, below + from_items, above + from_items)


def paired_difference(
    means: Float[np.ndarray, " seeds"],
    by_item: Float[np.ndarray, "seeds draws"],
    *,
    n_items: int,
    level: float = LEVEL,
    bounds: Bounds = FREE,
) -> Difference:
    """Return the mean over seeds of paired differences, with its t interval and the p-value of the same test.

    The variance is that of a mean over seeds crossed with items (`variance.crossed_variance`), the critical value that
    of `variance.squared_arm`. Both variants have the same seeds and items. Without an effect, a difference is therefore
    as likely as its opposite, even if seeds are skewed or fail to learn, and the t test remains honest with few seeds.

    If all seeds and items differ by the same amount, nothing shows the variance: there is no p unless that amount is 0.
    The interval of counted answers is then `Bounds.unseen`. With one seed, interval and p are over items only.

    Args:
        means: difference in each seed with the original items.
        by_item: difference in each seed with resampled items (`resample_items`).
        n_items: number of items.
        level: nominal coverage, between 0 and 1.
        bounds: range of the difference; the interval stays within it.

    Raises:
        ValueError: if the shapes disagree, ``level`` is not between 0 and 1 or the mean is not within the bounds.
    """
    _check(means, by_item, level)
    mean, low, high, p = float(means.mean()), math.nan, math.nan, math.nan
    over, reason = SEEDS_AND_ITEMS if len(means) > 1 else ITEMS, ""
    if not (np.isfinite(means).all() and np.isfinite(by_item).all()):
        over, reason = NO_INTERVAL, _NOT_FINITE
    else:
        mean, variance = _inside(mean, bounds), crossed_variance(means, by_item, n_items)
        apart = bounds.distance(mean, 0.0)
        same = constant(means, by_item)
        p = math.nan if math.isnan(apart) or (same and mean) else variance.p(apart)
        if bounds.counted and same:
            low, high = bounds.unseen(mean, level, n_items)
        else:
            score = bounds.relative(variance.squared_arm(1 - level), mean)
            low, high = bounds.ends(mean, score, score)
    named = {"n_seeds": len(means), "n_items": n_items}
    return Difference(estimate=mean, low=low, high=high, p=p, interval_over=over, reason=reason, **named)


def _check(means: Float[np.ndarray, " seeds"], by_item: Float[np.ndarray, "seeds draws"], level: float) -> None:
    if by_item.shape[0] != len(means) or not len(means):
        raise ValueError(f"{len(means)} seeds but by_item has shape {by_item.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, for example 0.95")


def _inside(value: float, bounds: Bounds) -> float:
    """Return a value without the rounding that pushed it beyond a bound; raise an error if it is further outside."""
    if not bounds.hold(value):
        raise ValueError(f"the estimate {value} is not between {bounds.low} and {bounds.high}")
    return min(max(value, bounds.low), bounds.high)


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
