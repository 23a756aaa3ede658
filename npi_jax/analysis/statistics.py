"""Means over seeds and items with intervals that count both as sampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

DRAWS: Final = 2000
LEVEL: Final = 0.95
SEEDS_AND_ITEMS: Final = "seeds and items"
ITEMS: Final = "items"

# What lies beyond is not worth telling apart, and quantiles are no longer exact.
_SMALLEST_P: Final = 1e-100

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
        p: two-sided probability of a mean as far from 0 if the true mean is 0; it says something of differences
            only. At most .05 exactly where the 95 % interval (before it is cut to its bounds) excludes 0.
    """

    mean: float
    low: float
    high: float
    n_seeds: int
    n_items: int
    interval_over: str
    p: float


@dataclass(frozen=True, slots=True)
class Variance:
    """The estimated variance of a mean over seeds and items, and how well it is known.

    Attributes:
        total: variance of the mean.
        share: what of `total` is the variance between seeds.
        n_seeds, n_items: how many of each it is estimated from.
    """

    total: float
    share: float
    n_seeds: int
    n_items: int

    def critical(self, p: float) -> float:
        """The t that a mean has to reach, in units of its standard error, to have this two-sided p."""
        return float(critical_t(np.array(self.share), p, n_seeds=self.n_seeds, n_items=self.n_items))

    def p(self, t: float) -> float:
        """The two-sided p of a mean of this size, in units of its standard error."""
        smallest = math.log(_SMALLEST_P)
        if self.critical(_SMALLEST_P) <= t:
            return _SMALLEST_P
        return math.exp(optimize.brentq(lambda log_p: self.critical(math.exp(log_p)) - t, smallest, 0.0, xtol=1e-9))


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
    """Resample seeds on top of ``by_item`` (from `resample_items`), and scale the percentile interval.

    Neither end of the plain percentile interval is right. With few seeds it is too narrow: with three it is their
    range, which holds the true mean in 75 % of cases, not 95 %. Where the noise of single values dominates it is
    too wide, for resampling seeds and items counts that noise three times (Owen 2007). Its two arms are therefore
    scaled by the ratio of the t interval with the variance of `mean_variance` to the normal interval with the
    variance of the draws. Where all values are equal the interval is that value: a resample cannot show what was
    never seen. With one seed only items are resampled.

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
    over = SEEDS_AND_ITEMS if n_seeds > 1 else ITEMS
    mean = float(means.mean())
    if not (np.isfinite(means).all() and np.isfinite(by_item).all()):
        return Interval(mean, math.nan, math.nan, n_seeds, n_items, over, math.nan)
    random = np.random.default_rng((seed, 1))
    picks = random.integers(n_seeds, size=(by_item.shape[1], n_seeds))
    draws = np.sort(by_item[picks.T, np.arange(by_item.shape[1])].mean(axis=0))
    arms = _Arms(mean, draws, float(draws.var()), _variance(means, by_item, n_items))
    low, high = np.clip([mean - arms.below(level), mean + arms.above(level)], *bounds)
    return Interval(mean, float(low), float(high), n_seeds, n_items, over, arms.p())


def mean_variance(
    of_seeds: Float[np.ndarray, "*cells"],
    of_items: Float[np.ndarray, "*cells"],
    residual: Float[np.ndarray, "*cells"],
) -> tuple[Float[np.ndarray, "*cells"], Float[np.ndarray, "*cells"]]:
    """Variance of a mean over seeds crossed with items, and what share of it is between seeds.

    For values with an effect of the seed, one of the item and a residual, the variance of the mean is
    ``of_seeds + of_items - residual``, each divided mean squares of the two-way analysis of variance: the residual is
    in the first two and must count once (quasi-F of Clark 1973). What items add over the residual, ``of_items -
    residual``, can come out negative by chance and is then 0, which leaves the t test over seeds; seeds are not treated
    alike, because the residual of the few seeds that there are is in ``of_seeds`` as it was drawn. Where seeds do not
    differ at all it is ``of_items``.

    Args:
        of_seeds: variance between the seeds' means, divided by the number of seeds.
        of_items: variance between the items' means, divided by the number of items.
        residual: variance of the residual, divided by both.

    Returns:
        variance, and share; the latter 1 where the variance is 0.
    """
    # Counted answers can give all seeds the very same mean; the t test over seeds would then find anything.
    seeds_tell = of_seeds > 1e-12 * of_items
    added = np.where(seeds_tell, np.maximum(of_items - residual, 0.0), of_items)
    total = of_seeds + added
    return total, np.divide(of_seeds, total, out=np.ones_like(total), where=total > 0)


def critical_t(
    share: Float[np.ndarray, "*cells"], p: float | Float[np.ndarray, "*cells"], *, n_seeds: int, n_items: int
) -> Float[np.ndarray, "*cells"]:
    """The t that a mean over seeds crossed with items has to reach for a two-sided p.

    The quantiles of the t distributions of seeds and of items, each with one degree of freedom fewer than there are,
    weighted by what each adds to the variance (Cochran 1964, Biometrics 20:191). One distribution with degrees of
    freedom after Satterthwaite (1946) finds effects that are not there in up to 7 % of experiments with three seeds,
    at a level of 5 %: where those few seeds happen to lie close together, items seem to be what matters.

    Args:
        share: from `mean_variance`.
        p: two-sided, between 0 and 1.
        n_seeds, n_items: how many of each the variance is estimated from.
    """
    of_seeds, of_items = (-special.stdtrit(max(n - 1, 1), p / 2) for n in (n_seeds, n_items))
    return np.asarray(share * of_seeds + (1 - share) * of_items)


def _variance(means: Float[np.ndarray, " seeds"], by_item: Float[np.ndarray, "seeds draws"], n_items: int) -> Variance:
    """Of the mean over seeds, from what resampling the items does to each seed's mean and to their mean."""
    n_seeds = len(means)
    unbiased = n_items / max(n_items - 1, 1)
    of_items = float(by_item.mean(axis=0).var()) * unbiased
    if n_seeds == 1:
        return Variance(of_items, 0.0, n_seeds, n_items)
    of_seeds = float(means.var(ddof=1)) / n_seeds
    # Of one seed's mean the items' variance holds the whole residual, of the mean over seeds a part of it.
    residual = max(float(by_item.var(axis=1).mean()) * unbiased - of_items, 0.0) / (n_seeds - 1)
    parts = np.array([[of_seeds], [of_items], [residual]])
    total, share = mean_variance(*parts)
    return Variance(float(total[0]), float(share[0]), n_seeds, n_items)


@dataclass(frozen=True, slots=True)
class _Arms:
    """The two arms of the interval around `mean` at any level; `draws` are sorted, `seen` is their variance."""

    mean: float
    draws: Float[np.ndarray, " draws"]
    seen: float
    variance: Variance

    def below(self, level: float) -> float:
        """From the mean down to the lower end."""
        inner = min(level, 1 - self._edge)
        return self._scale(level, inner) * (self.mean - self._quantile((1 - inner) / 2))

    def above(self, level: float) -> float:
        """From the mean up to the upper end."""
        inner = min(level, 1 - self._edge)
        return self._scale(level, inner) * (self._quantile((1 + inner) / 2) - self.mean)

    def p(self) -> float:
        """1 minus the level at which the interval's end meets 0."""
        if self.mean == 0:
            return 1.0
        arm = self.below if self.mean > 0 else self.above
        outermost = arm(1 - self._edge)
        if outermost <= 0:
            # Nothing varies, and a share of the draws cannot be told from 0 once it is smaller than one of them.
            return 1 / (len(self.draws) + 1)
        if outermost < abs(self.mean):
            return self.variance.p(self.variance.critical(self._edge) * abs(self.mean) / outermost)
        low, high = self._edge, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if arm(1 - middle) > abs(self.mean) else (low, middle)
        return high

    @property
    def _edge(self) -> float:
        """The share of the draws, ten on each side, outside of which the arms grow as those of the t interval do."""
        return 20 / len(self.draws)

    def _quantile(self, share: float) -> float:
        """As `numpy.quantile`, of draws sorted already."""
        place = share * (len(self.draws) - 1)
        left = min(int(place), len(self.draws) - 2)
        return float(self.draws[left] + (place - left) * (self.draws[left + 1] - self.draws[left]))

    def _scale(self, level: float, inner: float) -> float:
        """The t interval's arm at `level`, in units of the draws' normal arm at `inner`."""
        if self.seen == 0 or level <= 0:
            return 1.0
        wanted = self.variance.critical(1 - level)
        return math.sqrt(self.variance.total / self.seen) * wanted / float(special.ndtri((1 + inner) / 2))


def adjust(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjust p-values for having made them all: step-down Šidák (Holm 1979; Šidák 1967).

    This is the max-T test of tests that are taken to be independent, which for two-sided tests of jointly normal
    means is the worst case (Šidák 1967). The dependence is not estimated from the draws on purpose: resamples of a
    few seeds all vary in the few directions in which those seeds differ, so the tests look far more alike than they
    are. With 3 seeds a max-T over such draws rejects at least one of 27 true null hypotheses in about half of all
    experiments, not in 5 % (tests/analysis/test_transfer_calibration.py).

    Args:
        p: each in [0, 1]; NaN where a test was not made, which counts for nothing.
    """
    adjusted = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    left = np.arange(len(order), 0, -1)
    with np.errstate(divide="ignore"):
        adjusted[order] = np.maximum.accumulate(-np.expm1(left * np.log1p(-p[order])))
    return adjusted
