import math

import numpy as np
import pytest
from facts import facts
from scipy import stats

from npi_jax.analysis.bounds import SHARE
from npi_jax.analysis.statistics import (
    ITEMS,
    SEEDS_AND_ITEMS,
    adjust,
    hierarchical_bootstrap,
    resample_items,
    seed_interval,
)
from npi_jax.analysis.variance import Variance, critical_t, mean_variance
from npi_jax.scoring import pair_accuracy


def simulate(random, seeds, items, *, of_seeds, of_items, noise=1.0):
    return (
        of_seeds * random.normal(size=(seeds, 1))
        + of_items * random.normal(size=(1, items))
        + noise * random.normal(size=(seeds, items))
    )


@pytest.mark.parametrize(
    ("seeds", "of_seeds", "of_items"),
    [
        (3, 0.3, 0.0),
        pytest.param(5, 0.3, 0.3, marks=pytest.mark.drill),
        pytest.param(10, 0.3, 0.0, marks=pytest.mark.drill),
        pytest.param(10, 0.0, 1.0, marks=pytest.mark.drill),
        pytest.param(1, 0, 1, marks=pytest.mark.drill),
    ],
)
def test_interval_holds_the_true_mean_about_as_often_as_it_says(seeds, of_seeds, of_items):
    random = np.random.default_rng(7)
    runs = 600
    held = 0
    for run in range(runs):
        values = simulate(random, seeds, 40, of_seeds=of_seeds, of_items=of_items)
        found = hierarchical_bootstrap(values, draws=1000, seed=run)
        held += found.low <= 0 <= found.high
    error = math.sqrt(0.95 * 0.05 / runs)
    # The bootstrap of two crossed factors errs to the wide side (Owen 2007), hence up to 1.
    assert held / runs >= 0.95 - 3 * error


def test_the_residual_counts_once():
    """Seeds and items without effects of their own: each alone shows the whole variance of the mean."""
    random = np.random.default_rng(2)
    widths = []
    for run in range(60):
        found = hierarchical_bootstrap(random.normal(size=(20, 40)), draws=1000, seed=run)
        widths.append(found.high - found.low)
    assert np.mean(widths) == pytest.approx(2 * 2.09 * math.sqrt(1 / 800), rel=0.15)


def test_mean_variance_is_that_of_the_crossed_model():
    seeds, items, residual = (np.array([value]) for value in (0.3, 0.5, 0.1))
    total, share = mean_variance(seeds, items, residual)
    assert total == pytest.approx(0.3 + 0.5 - 0.1)
    assert share == pytest.approx(0.3 / 0.7)
    # Items that add nothing leave the t test over seeds.
    assert mean_variance(seeds, residual, items) == (0.3, 1)
    # Seeds that do not differ at all tell nothing.
    assert mean_variance(0 * seeds, items, residual) == (0.5, 0)
    assert mean_variance(*np.zeros((3, 1))) == (0, 1)


def test_the_critical_t_lies_between_those_of_seeds_and_items():
    ends = [critical_t(np.array(share), 0.05, n_seeds=3, n_items=40) for share in (1.0, 0.25, 0.0)]
    assert ends[0] == pytest.approx(stats.t.ppf(0.975, 2))
    assert ends[2] == pytest.approx(stats.t.ppf(0.975, 39))
    assert ends[1] == pytest.approx(0.25 * ends[0] + 0.75 * ends[2])
    variance = Variance(1.0, 0.25, 3, 40)
    for p in (0.9, 0.05, 1e-6, 1e-30):
        assert variance.p(variance.critical(p)) == pytest.approx(p, rel=1e-6)
    assert variance.p(1e300) == 1e-100


@pytest.mark.parametrize("seeds", [1, 2, 3, 8])
def test_p_and_the_interval_agree(seeds):
    random = np.random.default_rng(seeds)
    p = []
    for run in range(150):
        values = simulate(random, seeds, 12, of_seeds=0.3, of_items=0.3) + random.choice([0.0, 0.5])
        found = hierarchical_bootstrap(values, draws=1000, seed=run)
        assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)
        at_p = hierarchical_bootstrap(values, draws=1000, seed=run, level=1 - found.p) if found.p < 1 else found
        if found.p < 1:
            assert min(abs(at_p.low), abs(at_p.high)) == pytest.approx(0, abs=1e-6)
        p.append(found.p)
    assert 0 < np.mean(np.array(p) <= 0.05) < 1


def test_p_at_its_ends():
    assert hierarchical_bootstrap(np.zeros((3, 10))).p == 1
    assert hierarchical_bootstrap(np.ones((3, 10)), draws=1000).p == 1 / 1001
    values = np.random.default_rng(0).normal(size=(5, 30))
    assert hierarchical_bootstrap(values - values.mean()).p > 0.99
    assert hierarchical_bootstrap(values).p == pytest.approx(hierarchical_bootstrap(-values).p, rel=0.2)


def test_p_can_be_smaller_than_one_draw():
    """Otherwise nothing would be left after adjusting for a hundred tests."""
    values = np.random.default_rng(0).normal(size=(10, 40))
    p = [hierarchical_bootstrap(values + shift).p for shift in (0.3, 0.6, 1.2)]
    assert p[0] > 10 * p[1] > 100 * p[2] > 0
    exact = stats.ttest_1samp((values + 0.6).mean(axis=1), 0).pvalue
    assert math.log(p[1]) == pytest.approx(math.log(exact), abs=2)


def test_counted_answers_that_agree_in_sum_are_no_proof():
    """Three seeds that each got two more items right, but not the same ones."""
    values = np.zeros((3, 40))
    for seed in range(3):
        values[seed, 7 * seed : 7 * seed + 6] = 1
        values[seed, 20 + 7 * seed : 20 + 7 * seed + 4] = -1
    found = hierarchical_bootstrap(values)
    assert found.mean == pytest.approx(0.05)
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


def test_interval_is_not_wider_than_it_has_to_be():
    random = np.random.default_rng(3)
    widths = []
    for run in range(30):
        values = simulate(random, 20, 50, of_seeds=0.5, of_items=0.5, noise=0.1)
        found = hierarchical_bootstrap(values, draws=1000, seed=run)
        widths.append(found.high - found.low)
    exact = 2 * 2.05 * math.sqrt(0.25 / 20 + 0.25 / 50 + 0.01 / 1000)
    assert np.mean(widths) == pytest.approx(exact, rel=0.08)


def test_items_are_shared_by_the_seeds_of_a_draw():
    """If each seed had its own items, the item effect would average out over seeds."""
    random = np.random.default_rng(1)
    values = np.tile(random.normal(size=(1, 50)), (16, 1))
    found = hierarchical_bootstrap(values)
    expected = 2 * 2.01 * values[0].std(ddof=1) / math.sqrt(50)
    assert found.high - found.low == pytest.approx(expected, rel=0.08)


def test_seeds_are_resampled():
    values = np.tile(np.arange(8.0)[:, None], (1, 500))
    found = hierarchical_bootstrap(values)
    assert found.interval_over == SEEDS_AND_ITEMS
    assert found.high - found.low == pytest.approx(2 * 2.365 * values[:, 0].std(ddof=1) / math.sqrt(8), rel=0.08)


def test_one_seed_is_an_interval_over_items_only():
    values = np.random.default_rng(0).normal(size=(1, 100))
    found = hierarchical_bootstrap(values)
    assert (found.interval_over, found.n_seeds, found.n_items) == (ITEMS, 1, 100)
    assert found.low < found.mean < found.high


def test_same_seed_same_interval_other_seed_other_interval():
    values = np.random.default_rng(0).normal(size=(4, 30))
    assert hierarchical_bootstrap(values, seed=5) == hierarchical_bootstrap(values, seed=5)
    assert hierarchical_bootstrap(values, seed=5) != hierarchical_bootstrap(values, seed=6)


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
    assert hierarchical_bootstrap(pair_accuracy(np.zeros((3, 10)))).mean == 0.5


def test_equal_values_give_that_value():
    found = hierarchical_bootstrap(np.full((3, 10), 2.5))
    assert (found.low, found.mean, found.high) == (2.5, 2.5, 2.5)


def test_interval_stays_within_its_bounds():
    values = np.concatenate([np.ones((3, 19)), [[0.0], [1.0], [1.0]]], axis=1)
    free, bounded = hierarchical_bootstrap(values), hierarchical_bootstrap(values, bounds=SHARE)
    assert free.high > 1
    assert 0 < bounded.low < free.low
    assert bounded.mean < bounded.high < 1


def test_values_that_are_not_finite_are_refused():
    values = np.ones((2, 3))
    values[1, 2] = np.nan
    with pytest.raises(ValueError, match=facts("1 of 6", "finite")):
        hierarchical_bootstrap(values)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="draws is 10"):
        hierarchical_bootstrap(np.ones((2, 3)), draws=10)
    with pytest.raises(ValueError, match="nothing to resample"):
        resample_items(np.ones((2, 0)))
    with pytest.raises(ValueError, match=r"level is 95\.0"):
        hierarchical_bootstrap(np.ones((2, 3)), level=95.0)
    with pytest.raises(ValueError, match="0 seeds but"):
        seed_interval(np.ones(0), np.ones((0, 1000)), n_items=3)
