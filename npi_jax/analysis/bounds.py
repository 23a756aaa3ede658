"""Intervals of quantities that cannot leave a range: accuracies, their differences, cosines.

The interval mean +- arm can leave the range. Cutting it at the ends would not help: near an end the estimate varies
less than in the middle. The variance of such a mean is proportional to V(x) = (x - low) (high - x). The interval is
therefore the set of all x whose score, (mean - x)^2 / V(x), is at most arm^2 / V(mean). For the range 0 to 1, this is
the score interval of Wilson (1927) with an effective number of observations (Korn and Graubard 1998). It never leaves
the range, is close to mean +- arm if the arm is short, and excludes a value exactly if the score test does.
Coverage, compared with intervals that are cut: tests/analysis/test_bounds_calibration.py.
"""

import math
from dataclasses import dataclass
from typing import Final

from scipy import special

# A mean of ones may come out as 1 + 2e-16.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Bounds:
    """Range of a quantity.

    Attributes:
        low, high: ends of the range; both finite or both infinite.
        counted: True if the quantity is a mean of one value per item, each within the same range. Then there is an
            interval even if all values are equal (`unseen`).
    """

    low: float = -math.inf
    high: float = math.inf
    counted: bool = False

    @property
    def finite(self) -> bool:
        """True if there are bounds."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def doubled(self) -> "Bounds":
        """Range of the difference of two quantities that have this range, which must be symmetric around 0."""
        return Bounds(2 * self.low, 2 * self.high, self.counted)

    def hold(self, value: float) -> bool:
        """Return whether a value is within the range, up to rounding."""
        return bool(self.low - _ROUNDING <= value <= self.high + _ROUNDING)

    def variance(self, value: float) -> float:
        """Return V(value), proportional to the variance of an estimate; 1 without bounds, 0 at the ends."""
        return max((value - self.low) * (self.high - value), 0.0) if self.finite else 1.0

    def score(self, mean: float, value: float) -> float:
        """Return the squared distance between an estimate and a value, relative to V(value); infinite if V is 0."""
        if mean == value:
            return 0.0
        spread = self.variance(value)
        return (mean - value) ** 2 / spread if spread > 0 else math.inf

    def relative(self, variance: float, mean: float) -> float:
        """Return the variance of an estimate relative to V(mean); infinite if V is 0 but the variance is not."""
        spread = self.variance(mean)
        return variance / spread if spread > 0 else (math.inf if variance > 0 else 0.0)

    def ends(self, mean: float, below: float, above: float) -> tuple[float, float]:
        """Return the ends of the interval whose `score` is ``below`` at the lower and ``above`` at the upper end."""
        if not self.finite:
            return mean - math.sqrt(below), mean + math.sqrt(above)
        width = self.high - self.low
        share = min(max((mean - self.low) / width, 0.0), 1.0)
        low, high = (_end(share, score, sign) for score, sign in ((below, -1), (above, 1)))
        return self.low + width * low, self.low + width * high

    def distance(self, mean: float, value: float) -> float:
        """Return the arm with which the interval would end at `value`; NaN if `value` is not inside the range."""
        if not self.finite:
            return abs(mean - value)
        if not self.low < value < self.high:
            return math.nan
        return abs(mean - value) * math.sqrt(self.variance(mean) / self.variance(value))

    def unseen(self, mean: float, level: float, n_items: int) -> tuple[float, float]:
        """Return the interval of a mean of values that are all equal.

        By chance, a sample can miss items with other values. If none occurs among n items, the score interval of 0 of n
        bounds their share by t^2 / (n + t^2). Their values can be anywhere in the range.
        """
        t = float(special.stdtrit(max(n_items - 1, 1), (1 + level) / 2))
        share = t**2 / (n_items + t**2)
        return mean - share * (mean - self.low), mean + share * (self.high - mean)


FREE: Final = Bounds()
SHARE: Final = Bounds(0.0, 1.0, counted=True)
"""Range of accuracies."""
SHARE_DIFFERENCE: Final = Bounds(-1.0, 1.0, counted=True)
"""Range of differences of two accuracies over the same items."""
COSINE: Final = Bounds(-1.0, 1.0)


def _end(share: float, score: float, sign: int) -> float:
    """Return the x on one side of ``share``, from 0 to 1, with (x - share)^2 = score x (1 - x)."""
    if math.isinf(score):
        return (1 + sign) / 2
    reach = math.sqrt(score * share * (1 - share) + score**2 / 4)
    # Only rounding can move the end outside of 0 to 1.
    return min(max((share + score / 2 + sign * reach) / (1 + score), 0.0), 1.0)
