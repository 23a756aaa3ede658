"""How often the tests of transfer and of the link reject what is true. Prints the tables of docs/concepts/transfer.md:

python -m pytest -m drill tests/analysis/test_transfer_calibration.py -s
"""

import math

import numpy as np
import pytest
from scipy import special

from npi_jax.analysis.bounds import FREE, SHARE_DIFFERENCE, Bounds
from npi_jax.analysis.link.permutation import p_value, qap_correlations, relabelings
from npi_jax.analysis.statistics import (
    adjust,
    hierarchical_bootstrap,
    resample_items,
    seed_interval,
)
from npi_jax.analysis.transfer.outcomes import steps_to_threshold
from npi_jax.analysis.transfer.power import power_table
from npi_jax.analysis.variance import critical_t, mean_variance

pytestmark = pytest.mark.drill

ITEMS = 40
RUNS = 3000
SEEDS = (3, 5, 10)

# Standard deviations of seed, item and residual.
CONTINUOUS = {
    "residual only": (0.0, 0.0, 1.0),
    "seeds dominate": (0.5, 0.0, 0.5),
    "items dominate": (0.0, 1.0, 0.3),
    "all three": (0.3, 0.5, 1.0),
    # What the quickstart's deltas vary by.
    "as measured": (0.44, 0.39, 0.56),
}
BINARY = {
    "residual only": (0.0, 0.0, 1.0),
    "seeds dominate": (0.5, 0.0, 1.0),
    "items dominate": (0.0, 1.0, 0.5),
    "all three": (0.3, 0.5, 1.0),
}


def differences(random, seeds, spread, *, binary, runs=RUNS, effect=0.0):
    """Differences between two variants, of which neither is better by more than `effect`: [runs, seeds, items]."""

    def variant():
        of_seed, of_item, noise = spread
        return (
            of_seed * random.normal(size=(runs, seeds, 1))
            + of_item * random.normal(size=(runs, 1, ITEMS))
            + noise * random.normal(size=(runs, seeds, ITEMS))
        )

    if not binary:
        return variant() + effect
    # What an item has in both variants makes most answers agree, as in real suites.
    shared = 0.5 + 0.7 * random.normal(size=(runs, 1, ITEMS))
    return (shared + variant() + effect > 0).astype(float) - (shared + variant() > 0)


def t_test(values, *, binary=False):
    """The test that `seed_interval` gives, in closed form; its p-values, means and variances.

    Of differences of accuracies the variance at 0 is that at the mean divided by 1 - mean^2 (`bounds.Bounds`).
    """
    *_, seeds, items = values.shape
    mean, of_seed, of_item = values.mean(axis=(-2, -1)), values.mean(axis=-1), values.mean(axis=-2)
    rest = values - of_seed[..., None] - of_item[..., None, :] + mean[..., None, None]
    parts = (
        of_seed.var(axis=-1, ddof=1) / seeds,
        of_item.var(axis=-1, ddof=1) / items,
        (rest**2).sum(axis=(-2, -1)) / ((seeds - 1) * (items - 1) * seeds * items),
    )
    total, share = mean_variance(*parts)
    t = np.divide(np.abs(mean), np.sqrt(total), out=np.zeros_like(mean), where=total > 0)
    if binary:
        t *= np.sqrt(1 - mean**2)
    low, high = np.full_like(t, 1e-12), np.ones_like(t)
    for _ in range(50):
        middle = np.sqrt(low * high)
        beyond = critical_t(share, middle, n_seeds=seeds, n_items=items) > t
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return high, mean, parts


def rejected_by_one_distribution(mean, parts, seeds):
    """The same variance, with one t distribution (Satterthwaite 1946) in the place of the weighted quantiles."""
    total, _ = mean_variance(*parts)
    items = np.where(total > parts[0], parts[1], 0.0)
    spread = parts[0] ** 2 / (seeds - 1) + items**2 / (ITEMS - 1)
    # Counted answers can be the same everywhere; then there is nothing to reject.
    freedom = np.divide(total**2, spread, out=np.ones_like(total), where=spread > 0)
    t = np.divide(np.abs(mean), np.sqrt(total), out=np.zeros_like(mean), where=total > 0)
    return (2 * special.stdtr(np.maximum(freedom, seeds - 1), -t) <= 0.05).mean()


@pytest.mark.parametrize("binary", [False, True], ids=["continuous", "binary"])
def test_true_null_hypotheses_are_rejected_in_about_one_of_twenty(binary, capsys):
    lines, rates = [], []
    for name, spread in (BINARY if binary else CONTINUOUS).items():
        cells = []
        for seeds in SEEDS:
            random = np.random.default_rng((11, seeds))
            p, mean, parts = t_test(differences(random, seeds, spread, binary=binary), binary=binary)
            rates.append((p <= 0.05).mean())
            cells.append(f"{100 * rates[-1]:.1f} % ({100 * rejected_by_one_distribution(mean, parts, seeds):.1f} %)")
        lines.append(f"| {'binary' if binary else 'continuous'} | {name} | {' | '.join(cells)} |")
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert min(rates) >= 0.03
    assert max(rates) <= 0.07


@pytest.mark.parametrize("binary", [False, True], ids=["continuous", "binary"])
@pytest.mark.parametrize("seeds", [3, 8])
def test_the_bootstrap_decides_as_the_closed_form_does(seeds, binary):
    random = np.random.default_rng(5)
    values = differences(random, seeds, (0.3, 0.5, 1.0), binary=binary, runs=400, effect=0.1)
    closed, *_ = t_test(values, binary=binary)
    bounds = SHARE_DIFFERENCE if binary else FREE
    found = [hierarchical_bootstrap(value, draws=1000, seed=run, bounds=bounds) for run, value in enumerate(values)]
    boot = np.array([interval.p for interval in found])
    assert 0.03 < (boot <= 0.05).mean() < 0.97
    assert ((boot <= 0.05) == (closed <= 0.05)).mean() > 0.97
    assert np.abs(boot - closed)[closed < 0.2].mean() < 0.01
    # p and the interval never disagree.
    assert [p <= 0.05 for p in boot] == [not f.low <= 0 <= f.high for f in found]


def test_steps_to_threshold_are_calibrated(capsys):
    seeds, runs = 5, 400
    random = np.random.default_rng(seeds)
    steps = np.array([0, *(2**k for k in range(11))])
    bounds = Bounds(-math.log2(1025), math.log2(1025))
    rejected = 0
    for run in range(runs):
        # Item by item: how easy it is for all, for one variant, for one member, and at one checkpoint.
        ease = 0.3 * random.normal(size=(2, seeds, 1, 1)) + 0.8 * random.normal(size=(1, 1, 1, ITEMS))
        ease = ease + 0.3 * random.normal(size=(2, 1, 1, ITEMS)) + 0.6 * random.normal(size=(2, seeds, 1, ITEMS))
        noise = 0.3 * random.normal(size=(2, seeds, len(steps), ITEMS))
        correct = (0.6 * np.log2(1 + steps)[:, None] - 3 + ease + noise > 0).astype(float)
        drawn = resample_items(correct.reshape(-1, ITEMS), draws=1000, seed=run)
        curves = np.moveaxis(drawn.reshape(2, seeds, len(steps), -1), 2, 3)
        found, _ = steps_to_threshold(correct.mean(axis=-1), steps)
        resampled, _ = steps_to_threshold(curves, steps)
        interval = seed_interval(
            found[0] - found[1], resampled[0] - resampled[1], n_items=ITEMS, seed=run, bounds=bounds
        )
        rejected += interval.p <= 0.05
    with capsys.disabled():
        print(f"\n| steps to threshold | all three, {seeds} seeds | {100 * rejected / runs:.1f} % |")
    assert 0.03 <= rejected / runs <= 0.07


def null_family(random, seeds, runs, *, removed=3, tasks=9):
    """Values of 27 true null hypotheses: three variants against one baseline in nine tasks; seeds dominate."""
    full = random.normal(size=(runs, 1, tasks, seeds, 1)) + random.normal(size=(runs, 1, tasks, seeds, 12))
    without = random.normal(size=(runs, removed, tasks, seeds, 1)) + random.normal(
        size=(runs, removed, tasks, seeds, 12)
    )
    return (without - full).reshape(runs, removed * tasks, seeds, 12)


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_family_of_true_null_hypotheses_is_rarely_rejected(seeds, capsys):
    p, *_ = t_test(null_family(np.random.default_rng(seeds), seeds, 1000))
    rate = np.mean([adjust(family).min() <= 0.05 for family in p])
    unadjusted = (p.min(axis=1) <= 0.05).mean()
    with capsys.disabled():
        print(f"\n| 27 tests, {seeds} seeds | {100 * rate:.1f} % | unadjusted {100 * unadjusted:.1f} % |")
    assert rate <= 0.07
    assert unadjusted > 0.4


def test_max_t_over_resampled_seeds_would_not_do(capsys):
    """Why `adjust` does not take dependence from the draws: three seeds span two directions, tests have 27."""
    random = np.random.default_rng(3)
    values = null_family(random, 3, 200).mean(axis=-1)
    picks = random.integers(3, size=(300, 3))
    rejected = 0
    for family in values:
        mean = family.mean(axis=1, keepdims=True)
        draws = family[:, picks].mean(axis=2) - mean
        scale = draws.std(axis=1, keepdims=True)
        # Each test's own p-value is exact here; only the dependence is taken from the draws.
        t = np.abs(mean) / np.sqrt(family.var(axis=1, ddof=1, keepdims=True) / 3)
        p = 2 * special.stdtr(2, -t[:, 0])
        of_draws = 1 - (np.abs(draws / scale)[:, :, None] > np.abs(draws / scale)[:, None, :]).mean(axis=2)
        rejected += (of_draws.min(axis=0) <= p.min()).mean() <= 0.05
    with capsys.disabled():
        print(f"\n| 27 tests, 3 seeds, max-T over resampled seeds | {100 * rejected / 200:.1f} % |")
    assert rejected / 200 > 0.2


def test_effects_are_estimated_without_bias():
    values = differences(np.random.default_rng(1), 3, (0.3, 0.5, 1.0), binary=False, effect=-0.4)
    _, mean, parts = t_test(values)
    assert mean.mean() == pytest.approx(-0.4, abs=0.02)
    assert (parts[0] + parts[1] - parts[2]).mean() == pytest.approx(mean.var(), rel=0.1)


def test_power_rises_with_seeds_and_is_what_the_plan_says(capsys):
    spread = dict(zip(("seed_sd", "item_sd", "residual_sd"), (0.3, 0.5, 1.0), strict=True))
    planned = power_table(0.4, **spread, seeds=SEEDS, items=ITEMS, simulations=4000)["rejected"].to_list()
    found = []
    for seeds in SEEDS:
        random = np.random.default_rng(seeds)
        p, *_ = t_test(differences(random, seeds, tuple(spread.values()), binary=False, effect=0.4))
        found.append((p <= 0.05).mean())
    assert found == sorted(found)
    np.testing.assert_allclose(found, planned, atol=0.035)


@pytest.mark.parametrize("binary", [False, True], ids=["continuous", "binary"])
@pytest.mark.parametrize("removed", [9, 4])
def test_links_that_are_not_there_are_found_in_one_of_twenty(binary, removed, capsys):
    """Both sides have effects of single tasks, which would mislead a test that takes pairs as independent."""
    random = np.random.default_rng((removed, binary))
    labels = relabelings(9, 499, seed=1)
    runs, rejected = 1000, 0
    for _ in range(runs):
        of_tasks, of_removed, of_affected = random.normal(size=(3, 9))
        noise = random.normal(size=(9, 9))
        alignment = of_tasks[:, None] + of_tasks + (noise + noise.T) / 2
        effects = of_removed[:, None] + of_affected + random.normal(size=(9, 9))
        if binary:
            # Differences of accuracies over 40 items: a grid of fortieths, many of them 0.
            effects = np.round(effects * 2) / ITEMS
        effects[removed:] = np.nan
        rejected += p_value(qap_correlations(alignment, effects, labels)) <= 0.05
    rate = rejected / runs
    with capsys.disabled():
        print(f"\n| QAP, {'binary' if binary else 'continuous'}, {removed} of 9 tasks removed | {100 * rate:.1f} % |")
    assert 0.03 <= rate <= 0.07
