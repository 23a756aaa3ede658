"""How often the tests of transfer and of the link reject what is true. Prints the tables of docs/concepts/transfer.md:

python -m pytest -m drill tests/analysis/test_transfer_calibration.py -s
"""

import math

import numpy as np
import pytest
from intervals import difference_of
from scipy import special

from npi_jax.analysis.bounds import FREE, SHARE_DIFFERENCE, Bounds
from npi_jax.analysis.link.permutation import p_value, qap_correlations, relabelings
from npi_jax.analysis.statistics import adjust, paired_difference, resample_items
from npi_jax.analysis.transfer.outcomes import steps_to_threshold
from npi_jax.analysis.transfer.power import power_table
from npi_jax.analysis.variance import item_variance, squared_arm

ITEMS = 40
RUNS = 3000
SEEDS = (3, 5, 10)
FAMILY_SEEDS = (3, 5, 8)

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


def parts_of(values):
    """Mean squares of seeds, items and residual of values [..., seeds, items], as variances of their mean."""
    *_, seeds, items = values.shape
    mean, of_seed, of_item = values.mean(axis=(-2, -1)), values.mean(axis=-1), values.mean(axis=-2)
    rest = values - of_seed[..., None] - of_item[..., None, :] + mean[..., None, None]
    return (
        of_seed.var(axis=-1, ddof=1) / seeds,
        of_item.var(axis=-1, ddof=1) / items,
        (rest**2).sum(axis=(-2, -1)) / ((seeds - 1) * (items - 1) * seeds * items),
    )


def t_test(values, *, binary=False):
    """The test of `paired_difference` in closed form; its p-values, means and variances."""
    *_, seeds, items = values.shape
    mean, parts = values.mean(axis=(-2, -1)), parts_of(values)
    return p_of(mean, parts, seeds, items, binary=binary), mean, parts


def p_of(mean, parts, seeds, items, *, binary=False, arm=squared_arm):
    """p-values by bisection.

    Of differences of accuracies the variance at 0 is that at the mean divided by 1 - mean^2 (`bounds.Bounds`).
    """
    square, added = mean**2 * (1 - mean**2 if binary else 1), item_variance(*parts)
    low, high = np.full_like(square, 1e-12), np.ones_like(square)
    for _ in range(50):
        middle = np.sqrt(low * high)
        beyond = arm(parts[0], added, middle, n_seeds=seeds, n_items=items) > square
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return np.where(square > 0, high, 1.0)


def weighted_arm(of_seeds, of_items, p, *, n_seeds, n_items):
    """The squared arm of Cochran (1964): the quantiles, not the squared ones, are weighted by the variances."""
    t_seeds, t_items = (-special.stdtrit(n - 1, p / 2) for n in (n_seeds, n_items))
    total = of_seeds + of_items
    return (t_seeds * of_seeds + t_items * of_items) ** 2 / np.where(total > 0, total, 1.0)


def rejected_by_one_distribution(mean, parts, seeds):
    """The same variance, with one t distribution (Satterthwaite 1946) in the place of two quantiles."""
    items = item_variance(*parts)
    total = parts[0] + items
    spread = parts[0] ** 2 / (seeds - 1) + items**2 / (ITEMS - 1)
    # Counted answers can be the same everywhere; then there is nothing to reject.
    freedom = np.divide(total**2, spread, out=np.ones_like(total), where=spread > 0)
    t = np.divide(np.abs(mean), np.sqrt(total), out=np.zeros_like(mean), where=total > 0)
    return (2 * special.stdtr(np.maximum(freedom, seeds - 1), -t) <= 0.05).mean()


@pytest.mark.drill
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
    # Where items matter and seeds are few, the test errs to the safe side.
    assert min(rates) >= 0.015
    assert max(rates) <= 0.06


@pytest.mark.drill
@pytest.mark.parametrize("binary", [False, True], ids=["continuous", "binary"])
@pytest.mark.parametrize("seeds", [3, 8])
def test_resampled_items_decide_as_the_closed_form_does(seeds, binary):
    random = np.random.default_rng(5)
    values = differences(random, seeds, (0.3, 0.5, 1.0), binary=binary, runs=400, effect=0.1)
    closed, *_ = t_test(values, binary=binary)
    bounds = SHARE_DIFFERENCE if binary else FREE
    found = [difference_of(value, seed=run, bounds=bounds) for run, value in enumerate(values)]
    drawn = np.array([interval.p for interval in found])
    assert 0.03 < (drawn <= 0.05).mean() < 0.97
    assert ((drawn <= 0.05) == (closed <= 0.05)).mean() > 0.97
    assert np.abs(drawn - closed)[closed < 0.2].mean() < 0.01
    # p and the interval never disagree.
    assert [p <= 0.05 for p in drawn] == [not f.low <= 0 <= f.high for f in found]


@pytest.mark.drill
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
        interval = paired_difference(found[0] - found[1], resampled[0] - resampled[1], n_items=ITEMS, bounds=bounds)
        rejected += interval.p <= 0.05
    with capsys.disabled():
        print(f"\n| steps to threshold | all three, {seeds} seeds | {100 * rejected / runs:.1f} % |")
    assert 0.015 <= rejected / runs <= 0.07


# Values of seeds of a variant in nine tasks: [runs, variants, tasks, seeds].
OF_SEEDS = {
    "normal": lambda random, shape: random.normal(size=shape),
    "t with 3 df": lambda random, shape: random.standard_t(3, size=shape),
    "lognormal": lambda random, shape: np.exp(random.normal(size=shape)),
    # A seed fails in all tasks.
    "one seed in ten fails": lambda random, shape: (
        random.normal(size=shape) - 20 * (random.random((*shape[:2], 1, shape[3])) < 0.1)
    ),
}
FAMILIES = {f"{name}{how}": (name, items) for how, items in (("", 0.0), (", items matter", 1.0)) for name in OF_SEEDS}


def null_sums(random, name, seeds, runs, *, variants=8, tasks=9):
    """Means [runs, tests] and their mean squares, of true null hypotheses: variants against one baseline in nine tasks.

    Mean squares of items and of the residual are drawn from their distributions, instead of single answers.
    """
    kind, items = FAMILIES[name]
    values, noise, n_tests = OF_SEEDS[kind], 0.3, variants * tasks
    shapes = [(runs, count, tasks, seeds) for count in (1, variants)]
    full, without = (values(random, shape) + noise * random.normal(size=shape) for shape in shapes)
    of_seeds = (without - full).reshape(runs, n_tests, seeds)
    shared = items * (random.normal(size=(runs, variants, tasks)) - random.normal(size=(runs, 1, tasks)))
    mean = of_seeds.mean(axis=2) + shared.reshape(runs, n_tests)
    freedom, within = (seeds - 1) * (ITEMS - 1), 2 * noise**2 / seeds
    residual = within * random.chisquare(freedom, size=mean.shape) / freedom
    of_items = (2 * items**2 + within) * random.chisquare(ITEMS - 1, size=mean.shape) / (ITEMS - 1)
    return mean, (of_seeds.var(axis=2, ddof=1) / seeds, of_items, residual)


def null_accuracies(random, seeds, runs, share=0.9, *, variants=8, tasks=9):
    """Differences of accuracies of true null hypotheses: [runs, tests, seeds, items]."""
    spread, shape = (0.3, 0.5, 1.0, 0.7), (runs, tasks, 1, ITEMS)
    ease = special.ndtri(share) * np.linalg.norm(spread) + spread[3] * random.normal(size=(shape[0], 1, *shape[1:]))

    def right(count):
        of_seed = spread[0] * random.normal(size=(runs, count, tasks, seeds, 1))
        of_item = spread[1] * random.normal(size=(runs, count, tasks, 1, ITEMS))
        return ease + of_seed + of_item + spread[2] * random.normal(size=(runs, count, tasks, seeds, ITEMS)) > 0

    return (right(variants).astype(float) - right(1)).reshape(runs, variants * tasks, seeds, ITEMS)


def rejects(mean, parts, seeds, level, *, binary=False, arm=squared_arm):
    """Where p is at most 1 - level, without the bisection that p takes."""
    square = mean**2 * (1 - mean**2 if binary else 1)
    return square > arm(parts[0], item_variance(*parts), 1 - level, n_seeds=seeds, n_items=ITEMS)


def family_rate(mean, parts, seeds, **more):
    """Share of families [runs, tests] with an adjusted p of .05 or less: the smallest p decides (Šidák 1967)."""
    return rejects(mean, parts, seeds, 0.95 ** (1 / mean.shape[1]), **more).any(axis=1).mean()


def check_families(name, seeds, runs):
    mean, parts = null_sums(np.random.default_rng((seeds, len(name))), name, seeds, runs)
    single = rejects(mean, parts, seeds, 0.95)
    assert family_rate(mean, parts, seeds) <= 0.07
    assert single.mean() <= 0.055
    weighted = family_rate(mean, parts, seeds, arm=weighted_arm)
    return family_rate(mean, parts, seeds), weighted, single.any(axis=1).mean()


def test_the_smallest_p_decides_as_the_adjustment_does():
    mean, parts = null_sums(np.random.default_rng(2), "normal", 5, 60)
    p = p_of(mean, parts, 5, ITEMS)
    level = 0.6  # so that some families are rejected
    by_p = [adjust(family).min() <= 1 - level for family in p]
    assert rejects(mean, parts, 5, level ** (1 / 72)).any(axis=1).tolist() == by_p
    assert 0 < np.mean(by_p) < 1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_of_true_null_hypotheses_is_rarely_rejected_with_three_seeds(name):
    check_families(name, 3, 400)


@pytest.mark.drill
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_of_true_null_hypotheses_is_rarely_rejected(name, capsys):
    rates = [check_families(name, seeds, 2000) for seeds in FAMILY_SEEDS]
    cells = [f"{100 * rate:.1f} % ({100 * weighted:.1f} %)" for rate, weighted, _ in rates]
    with capsys.disabled():
        print(f"\n| {name} | {' | '.join(cells)} |")
    # Without adjustment, most experiments would make a false claim.
    assert min(unadjusted for *_, unadjusted in rates) > 0.3


@pytest.mark.drill
@pytest.mark.parametrize("share", [0.6, 0.9, 0.98])
def test_a_family_of_accuracies_is_rarely_rejected(share, capsys):
    rates = []
    for seeds in FAMILY_SEEDS:
        random = np.random.default_rng(seeds)
        drawn = (null_accuracies(random, seeds, 50, share) for _ in range(8))
        found = [family_rate(values.mean(axis=(2, 3)), parts_of(values), seeds, binary=True) for values in drawn]
        rates.append(np.mean(found))
    with capsys.disabled():
        print(f"\n| accuracies, {share:.0%} right | {' | '.join(f'{100 * rate:.1f} %' for rate in rates)} |")
    assert max(rates) <= 0.07


@pytest.mark.drill
def test_max_t_over_resampled_seeds_would_not_do(capsys):
    """Why `adjust` does not take dependence from the draws: three seeds span two directions, tests have 27."""
    random = np.random.default_rng(3)
    values = random.normal(size=(200, 3, 9, 3)) - random.normal(size=(200, 1, 9, 3))
    values = values.reshape(200, 27, 3)
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


@pytest.mark.drill
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


@pytest.mark.drill
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
