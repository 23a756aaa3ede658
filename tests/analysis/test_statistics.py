import math

import numpy as np
import pytest
from intervals import difference_of, level_of
from scipy import stats

from npi_jax.analysis.bounds import COSINE, SHARE, SHARE_DIFFERENCE
from npi_jax.analysis.statistics import adjust, paired_difference, resample_items, seed_interval
from npi_jax.analysis.typical import fewest_seeds, order_ends
from npi_jax.analysis.variance import Variance, crossed_variance, item_variance, squared_arm
from npi_jax.results.names import ITEMS, NO_INTERVAL, SEEDS_AND_ITEMS, TOO_FEW
from npi_jax.scoring import pair_accuracy


def simulate(random, seeds, items, *, of_seeds, of_items, noise=1.0):
    return (
        of_seeds * random.normal(size=(seeds, 1))
        + of_items * random.normal(size=(1, items))
        + noise * random.normal(size=(seeds, items))
    )


def of_seeds(*means, items=4000):
    """Values whose seeds have these means, with items that do not matter."""
    return np.tile(np.array(means)[:, None], (1, items))


def test_the_median_is_enclosed_by_the_order_of_the_seeds():
    values = np.arange(10.0) ** 2
    # Of 10 values, the 2nd and the 9th enclose the median in 97.9 %, the 3rd and the 8th in 89.1 %.
    low, high = order_ends(values, 1 - 2 * stats.binom.cdf(1, 10, 0.5))
    assert (low, high) == pytest.approx((1, 64))
    low, high = order_ends(values, 0.95)
    assert 1 < low < 4
    assert 49 < high < 64
    # Hettmansperger & Sheather (1986), formula of lambda with k = 2.
    of_two, of_three = (1 - 2 * stats.binom.cdf(k - 1, 10, 0.5) for k in (2, 3))
    surplus = (of_two - 0.95) / (of_two - of_three)
    way = 8 * surplus / (2 + 6 * surplus)
    assert low == pytest.approx((1 - way) * 1 + way * 4)
    # Their order does not matter.
    assert order_ends(values[::-1], 0.95) == (low, high)
    assert order_ends(-values, 0.95) == pytest.approx((-high, -low))


def test_fewest_seeds_are_those_whose_range_nearly_has_the_level():
    assert [fewest_seeds(level) for level in (0.5, 0.9, 0.95, 0.99)] == [2, 4, 5, 8]
    assert order_ends(np.array([3.0, 1.0, 2.0, 9.0, 4.0]), 0.95) == (1.0, 9.0)


def test_a_level_is_that_of_the_typical_seed():
    found = level_of(of_seeds(0.9, 0.92, 0.94, 0.5, 0.91))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.91, 0.5, 0.94))
    assert (found.interval_over, found.n_seeds, found.reason) == (SEEDS_AND_ITEMS, 5, "")
    # One seed that fails does not move the result of many.
    many = 0.9 + 0.01 * np.arange(20) / 20
    failed = level_of(of_seeds(*many[:-1], 0.2))
    assert failed.low > 0.9 - 1e-12
    assert failed.estimate == pytest.approx(np.median([*many[:-1], 0.2]))


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_a_few_seeds_have_a_level_without_an_interval(seeds):
    values = np.random.default_rng(0).normal(size=(seeds, 30))
    found = level_of(values)
    assert found.estimate == pytest.approx(np.median(values.mean(axis=1)))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.interval_over == TOO_FEW
    assert f"{seeds} seeds" in found.reason
    # Their difference is tested all the same.
    assert math.isfinite(difference_of(values).p)


def test_one_seed_is_an_interval_over_items_only():
    values = np.random.default_rng(0).normal(size=(1, 100))
    for found in (level_of(values), difference_of(values)):
        assert (found.interval_over, found.n_seeds, found.n_items) == (ITEMS, 1, 100)
        arm = stats.t.ppf(0.975, 99) * values.std(ddof=1) / 10
        assert found.high - found.low == pytest.approx(2 * arm, rel=0.1)


def test_items_that_all_seeds_share_widen_the_interval():
    """Seeds that agree on every item: their order shows nothing, and the items' sampling everything."""
    random = np.random.default_rng(1)
    values = np.tile(random.normal(size=(1, 50)), (16, 1))
    expected = 2 * stats.t.ppf(0.975, 49) * values[0].std(ddof=1) / math.sqrt(50)
    for found in (level_of(values), difference_of(values)):
        assert found.high - found.low == pytest.approx(expected, rel=0.08)


def test_seeds_and_items_are_added_in_quadrature():
    random = np.random.default_rng(3)
    shared = random.normal(size=(1, 2000))
    of_items = stats.t.ppf(0.975, 1999) * shared.std(ddof=1) / math.sqrt(2000)
    offsets = np.array([-0.1, -0.03, 0.0, 0.04, 0.2])
    values = shared + offsets[:, None]
    found = level_of(values)
    assert found.estimate - found.low == pytest.approx(math.hypot(0.1, of_items), rel=0.03)
    assert found.high - found.estimate == pytest.approx(math.hypot(0.2, of_items), rel=0.03)


def test_the_residual_counts_once():
    """Seeds and items without effects of their own: each alone shows the whole variance of the mean."""
    random = np.random.default_rng(2)
    widths = []
    for run in range(60):
        found = difference_of(random.normal(size=(20, 40)), seed=run)
        widths.append(found.high - found.low)
    assert np.mean(widths) == pytest.approx(2 * 2.09 * math.sqrt(1 / 800), rel=0.15)


def test_item_variance_is_that_of_the_crossed_model():
    seeds, items, residual = (np.array([value]) for value in (0.3, 0.5, 0.1))
    assert item_variance(seeds, items, residual) == pytest.approx(0.4)
    # Items that add nothing leave the t test over seeds.
    assert item_variance(seeds, residual, items) == 0
    # Seeds that do not differ at all tell nothing.
    assert item_variance(0 * seeds, items, residual) == 0.5


def test_the_estimated_variance_is_that_of_the_mean():
    random = np.random.default_rng(5)
    found, means = [], []
    for run in range(400):
        values = simulate(random, 5, 30, of_seeds=0.3, of_items=0.6, noise=0.8)
        by_item = resample_items(values, draws=1000, seed=run)
        found.append(crossed_variance(values.mean(axis=1), by_item, 30).total)
        means.append(values.mean())
    assert np.mean(found) == pytest.approx(np.var(means), rel=0.15)


def test_the_squared_arm_has_each_variance_with_its_own_quantile():
    of_seeds, of_items = np.array(0.3), np.array(0.7)
    square = squared_arm(of_seeds, of_items, 0.05, n_seeds=3, n_items=40)
    assert square == pytest.approx(0.3 * stats.t.ppf(0.975, 2) ** 2 + 0.7 * stats.t.ppf(0.975, 39) ** 2)
    variance = Variance(0.3, 0.7, 3, 40)
    for p in (0.9, 0.05, 1e-6, 1e-30):
        assert variance.p(math.sqrt(variance.squared_arm(p))) == pytest.approx(p, rel=1e-6)
    assert variance.p(1e120) == 1e-100
    assert variance.p(0.0) == 1.0


@pytest.mark.parametrize("seeds", [1, 2, 3, 8])
def test_p_and_the_interval_agree(seeds):
    random = np.random.default_rng(seeds)
    p = []
    for run in range(150):
        shift = random.choice([0.0, 6.0 if seeds == 2 else 0.6])
        values = simulate(random, seeds, 12, of_seeds=0.3, of_items=0.3) + shift
        found = difference_of(values, seed=run)
        assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)
        if found.p < 1:
            at_p = difference_of(values, seed=run, level=1 - found.p)
            assert min(abs(at_p.low), abs(at_p.high)) == pytest.approx(0, abs=1e-6)
        p.append(found.p)
    assert 0 < np.mean(np.array(p) <= 0.05) < 1


def test_p_of_many_items_is_that_of_the_t_test_over_seeds():
    values = np.random.default_rng(0).normal(size=(6, 1)) + np.zeros((1, 50)) + 0.5
    found = difference_of(values)
    exact = stats.ttest_1samp(values.mean(axis=1), 0)
    assert found.p == pytest.approx(exact.pvalue)
    ends = exact.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_p_at_its_ends():
    assert difference_of(np.zeros((3, 10))).p == 1
    values = np.random.default_rng(0).normal(size=(5, 30))
    assert difference_of(values - values.mean()).p > 0.99
    assert difference_of(values).p == pytest.approx(difference_of(-values).p)
    # Nothing varies, so there is no test.
    for bounds in (COSINE, SHARE_DIFFERENCE):
        assert math.isnan(difference_of(np.full((3, 10), 0.5), bounds=bounds).p)


def test_one_answer_of_many_is_no_proof():
    """One seed of five has one more right answer in 240. A bootstrap, all of whose draws are positive, had p = .007."""
    values = np.zeros((5, 240))
    values[2, 17] = 1
    found = difference_of(values, bounds=SHARE_DIFFERENCE)
    assert found.p > 0.3
    assert found.low < 0 < found.high


def test_counted_answers_that_agree_in_sum_are_no_proof():
    """Three seeds that each got two more items right, but not the same ones."""
    values = np.zeros((3, 40))
    for seed in range(3):
        values[seed, 7 * seed : 7 * seed + 6] = 1
        values[seed, 20 + 7 * seed : 20 + 7 * seed + 4] = -1
    found = difference_of(values)
    assert found.estimate == pytest.approx(0.05)
    assert found.p > 0.1
    assert found.low < 0


def test_adjusted_p_values():
    found = adjust(np.array([0.03, math.nan, 0.01, 0.5, 0.02]))
    assert math.isnan(found[1])
    expected = [1 - 0.97**2, 1 - 0.99**4, 0.5, 1 - 0.98**3]
    np.testing.assert_allclose(found[[0, 2, 3, 4]], expected)
    assert adjust(np.array([0.04, 0.9, 0.05])).tolist() == pytest.approx([1 - 0.96**3, 0.9, 1 - 0.96**3])
    assert adjust(np.array([1.0, 1.0])).tolist() == [1.0, 1.0]
    assert adjust(np.array([])).size == 0


def test_intervals_are_not_wider_than_they_have_to_be():
    random = np.random.default_rng(3)
    widths = []
    for run in range(30):
        values = simulate(random, 20, 50, of_seeds=0.5, of_items=0.5, noise=0.1)
        found = [interval(values, seed=run) for interval in (level_of, difference_of)]
        widths.append([one.high - one.low for one in found])
    exact = 2 * 2.05 * math.sqrt(0.25 / 20 + 0.25 / 50 + 0.01 / 1000)
    of_level, of_difference = np.mean(widths, axis=0)
    assert of_difference == pytest.approx(exact, rel=0.08)
    # The median of normal values varies 1.25 times as much as their mean.
    assert of_level == pytest.approx(2 * 2.05 * math.sqrt(1.57 * 0.25 / 20 + 0.25 / 50), rel=0.15)


def test_resamples_do_not_depend_on_what_else_is_resampled():
    values = np.random.default_rng(0).normal(size=(6, 40))
    together = resample_items(values, seed=3)
    np.testing.assert_allclose(together[2:3], resample_items(values[2:3], seed=3), atol=1e-12)


def test_large_suites_are_resampled_in_blocks_of_the_right_mean():
    values = np.random.default_rng(0).normal(size=(2, 9000))
    draws = resample_items(values, draws=1000)
    np.testing.assert_allclose(draws.mean(axis=1), values.mean(axis=1), atol=0.002)
    np.testing.assert_allclose(draws.std(axis=1), values.std(axis=1) / math.sqrt(9000), rtol=0.1)


def test_ties_count_one_half():
    assert level_of(pair_accuracy(np.zeros((5, 10)))).estimate == 0.5


def test_equal_values_give_that_value():
    for found in (level_of(np.full((5, 10), 2.5)), difference_of(np.full((3, 10), 2.5))):
        assert (found.low, found.estimate, found.high) == (2.5, 2.5, 2.5)


def test_intervals_stay_within_their_bounds():
    values = np.concatenate([np.ones((5, 19)), [[0.0], [1.0], [1.0], [1.0], [1.0]]], axis=1)
    found = level_of(values, bounds=SHARE)
    # The scores of the lowest seed, .05 / .95, and of half an answer of 20, .025 / .975, solved for the end.
    assert found.low == pytest.approx(1 / (1 + 0.05 / 0.95 + 0.025 / 0.975))
    assert found.estimate == found.high == 1
    free, bounded = (difference_of(values[:3], bounds=bounds) for bounds in (COSINE, SHARE_DIFFERENCE))
    assert bounded == free
    assert 0 < bounded.low < bounded.estimate < bounded.high < 1


def test_a_typical_cosine_within_bounds_may_have_a_mean_beyond():
    means = np.array([0.9, 0.95, 0.97, 0.99, 1.9])
    found = seed_interval(means, means[:, None] + np.zeros((1, 1000)), n_items=8, bounds=COSINE)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.97, 0.9, 1.0))


@pytest.mark.parametrize("interval", [seed_interval, paired_difference])
def test_values_that_are_not_finite_have_no_interval(interval):
    means = np.array([1.0, math.nan, 2.0, 1.0, 1.0])
    found = interval(means, np.ones((5, 1000)), n_items=3)
    assert math.isnan(found.estimate)
    assert math.isnan(found.low)
    assert (found.interval_over, found.reason) == (NO_INTERVAL, "a score is not finite")


@pytest.mark.parametrize("interval", [seed_interval, paired_difference])
def test_bad_arguments_are_refused(interval):
    with pytest.raises(ValueError, match=r"level is 95\.0"):
        interval(np.ones(2), np.ones((2, 1000)), n_items=3, level=95.0)
    with pytest.raises(ValueError, match="0 seeds but"):
        interval(np.ones(0), np.ones((0, 1000)), n_items=3)


def test_bad_resamples_are_refused():
    with pytest.raises(ValueError, match="draws is 10"):
        resample_items(np.ones((2, 3)), draws=10)
    with pytest.raises(ValueError, match="nothing to resample"):
        resample_items(np.ones((2, 0)))
