"""Intervals of bounded quantities: their formula, that they stay within bounds, and that p agrees with them."""

import math

import numpy as np
import pytest
from facts import facts
from intervals import difference_of, level_of
from scipy import stats

from npi_jax.analysis.bounds import COSINE, FREE, SHARE, SHARE_DIFFERENCE, Bounds
from npi_jax.analysis.statistics import paired_difference, seed_interval


def of_arms(bounds, mean, below, above):
    """The ends of the interval that would have these arms without bounds."""
    return bounds.ends(mean, *(bounds.relative(arm**2, mean) for arm in (below, above)))


@pytest.mark.parametrize(("hits", "n"), [(1, 10), (7, 10), (39, 40), (199, 200)])
def test_with_the_arm_of_a_binomial_it_is_the_interval_of_wilson(hits, n):
    share = hits / n
    arm = stats.norm.ppf(0.975) * math.sqrt(share * (1 - share) / n)
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert of_arms(SHARE, share, arm, arm) == pytest.approx((expected.low, expected.high))
    # In any range: the same numbers, scaled.
    scaled = of_arms(Bounds(-3.0, 7.0), -3 + 10 * share, 10 * arm, 10 * arm)
    assert scaled == pytest.approx((-3 + 10 * expected.low, -3 + 10 * expected.high))


def test_nothing_seen_leaves_what_the_interval_of_wilson_leaves():
    t = stats.t.ppf(0.975, 39)
    assert SHARE.unseen(1.0, 0.95, 40) == pytest.approx((40 / (40 + t**2), 1.0))
    assert SHARE.unseen(0.0, 0.95, 40) == pytest.approx((0.0, t**2 / (40 + t**2)))
    # No answer differs between two variants: none seen of 40, in either direction.
    reach = t**2 / (40 + t**2)
    assert SHARE_DIFFERENCE.unseen(0.0, 0.95, 40) == pytest.approx((-reach, reach))
    assert level_of(np.ones((5, 40)), bounds=SHARE).low == pytest.approx(40 / (40 + t**2))


def test_the_intervals_that_were_impossible():
    """Numbers of a run whose intervals left their ranges."""
    low, high = of_arms(SHARE_DIFFERENCE, -0.55, 0.67, 0.67)
    # (x + .55)^2 = .67^2 (1 - x^2) / (1 - .55^2), solved by hand.
    k = 0.67**2 / (1 - 0.55**2)
    root = math.sqrt(0.55**2 - (1 + k) * (0.55**2 - k))
    assert (low, high) == pytest.approx(((-0.55 - root) / (1 + k), (-0.55 + root) / (1 + k)))
    assert (low, high) == pytest.approx((-0.90, 0.23), abs=0.005)
    assert of_arms(COSINE, -0.30, 2.99, 2.52) == pytest.approx((-0.97, 0.90), abs=0.01)


def test_short_arms_are_kept():
    for bounds, mean in ((SHARE, 0.4), (SHARE_DIFFERENCE, -0.2), (COSINE, 0.3)):
        low, high = of_arms(bounds, mean, 0.002, 0.003)
        assert (mean - low, high - mean) == pytest.approx((0.002, 0.003), rel=0.02)
    assert of_arms(FREE, 0.4, 2.0, 3.0) == pytest.approx((-1.6, 3.4))


def test_no_end_is_outside():
    random = np.random.default_rng(0)
    for mean, below, above in zip(
        random.uniform(-1, 1, size=2000) ** 3, *np.exp(random.uniform(-12, 8, size=(2, 2000))), strict=True
    ):
        low, high = COSINE.ends(float(mean), below, above)
        assert -1 <= low <= mean + 1e-12
        assert mean - 1e-12 <= high <= 1
        # Larger scores, longer intervals.
        wider = COSINE.ends(float(mean), 1.5 * below, 1.5 * above)
        assert wider[0] <= low + 1e-12
        assert wider[1] >= high - 1e-12


def test_the_score_of_an_end_is_the_one_it_was_made_from():
    for bounds, mean in ((SHARE, 0.4), (SHARE, 1.0), (COSINE, -0.9), (FREE, 3.0)):
        low, high = bounds.ends(mean, 0.2, 0.3)
        assert bounds.score(mean, low) == pytest.approx(0.2)
        assert high == pytest.approx(mean) or bounds.score(mean, high) == pytest.approx(0.3)
    assert SHARE.score(0.4, 1.0) == SHARE.score(0.4, 1.1) == math.inf
    assert SHARE.ends(0.4, math.inf, math.inf) == (0.0, 1.0)
    assert SHARE.score(1.0, 1.0) == 0
    assert (SHARE.relative(0.1, 1.0), SHARE.relative(0.0, 1.0)) == (math.inf, 0.0)


@pytest.mark.parametrize("bounds", [SHARE_DIFFERENCE, Bounds(-9.6, 9.6), Bounds(-2.0, 2.0)])
def test_p_and_the_interval_agree(bounds):
    random = np.random.default_rng(3)
    p = []
    for run in range(120):
        values = np.clip(random.normal(random.choice([0.0, 0.4]), 0.6, size=(4, 25)), bounds.low, bounds.high)
        found = difference_of(values, seed=run, bounds=bounds)
        assert bounds.low <= found.low <= found.estimate <= found.high <= bounds.high
        assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)
        if found.p < 1:
            at_p = difference_of(values, seed=run, level=1 - found.p, bounds=bounds)
            assert min(abs(at_p.low), abs(at_p.high)) == pytest.approx(0, abs=1e-6)
        p.append(found.p)
    assert 0.1 < np.mean(np.array(p) <= 0.05) < 0.9


def test_what_is_tested_against_zero_has_zero_inside():
    assert math.isnan(difference_of(np.eye(3, 9), bounds=SHARE).p)


@pytest.mark.parametrize("interval", [seed_interval, paired_difference])
def test_an_estimate_outside_is_refused_and_rounding_is_not(interval):
    with pytest.raises(ValueError, match=facts("1.5", "-1.0", "1.0")):
        interval(np.full(5, 1.5), np.full((5, 1000), 1.5), n_items=4, bounds=COSINE)
    found = interval(np.full(5, 1 + 4e-16), np.full((5, 1000), 1.0), n_items=4, bounds=SHARE)
    assert (found.estimate, found.high) == (1.0, 1.0)
