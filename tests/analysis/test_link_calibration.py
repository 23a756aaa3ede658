"""How often the test of the link rejects what is true, and how often it detects what is there.

``python tests/analysis/test_link_calibration.py`` prints the table of docs/concepts/transfer.md.
"""

import sys
from collections.abc import Callable

import numpy as np
import pytest

from npi_jax.analysis.link.permutation import relabelings
from npi_jax.analysis.link.predictors import Predictor
from npi_jax.analysis.link.rows import link_rows
from npi_jax.analysis.link.seeds import Seeded

TASKS = 9
STEP = -1
"""A step at which rows with and without centering exist."""


def symmetric(values):
    return (values + np.swapaxes(values, -1, -2)) / np.sqrt(2)


def noise(random):
    """Alignment and effects of pairs without any traits of tasks."""
    return symmetric(random.normal(size=(TASKS, TASKS))), random.normal(size=(TASKS, TASKS))


def with_trait(random, size=1.0):
    """One trait of each task, for example how well it is learned, adds to its alignments and to its losses."""
    alignment, effects = noise(random)
    trait = size * random.normal(size=TASKS)
    sums = trait[:, None] + trait
    return alignment + sums, effects - sums


def independent_traits(random):
    alignment, effects = noise(random)
    aligned, removed, affected = random.normal(size=(3, TASKS))
    return alignment + aligned[:, None] + aligned, effects + removed[:, None] + affected


def same_models(random, seeds):
    """How well a seed's full model learned a task adds to that seed's alignments and effects: [seed, task, task]."""
    trait = random.normal(size=(seeds, TASKS))
    shape = (seeds, TASKS, TASKS)
    alignment, effects = noise(random)
    alignment = 0.5 * alignment + trait[:, :, None] + trait[:, None, :] + 0.5 * symmetric(random.normal(size=shape))
    return alignment, 0.3 * effects - trait[:, None, :] + random.normal(size=shape)


def same_pairs(random, seeds=10, size=0.5):
    """What is special about a pair of tasks in a seed adds to its alignment and to its effect in that seed."""
    alignment, effects = noise(random)
    special = symmetric(random.normal(size=(seeds, TASKS, TASKS)))
    other = random.normal(size=special.shape)
    return size * alignment + special, size * effects + 0.5 * special + np.sqrt(0.75) * other


def some_removed(random):
    alignment, effects = with_trait(random)
    effects[4:] = np.nan
    return alignment, effects


def some_missing(random):
    alignment, effects = with_trait(random)
    missing = np.triu(random.random((TASKS, TASKS)) < 0.3, 1)
    alignment[missing | missing.T] = np.nan
    return alignment, effects


def missing_for_a_reason(random):
    """Pairs with the lowest alignments, so mostly those of tasks that are learned badly, are not measured."""
    alignment, effects = with_trait(random)
    alignment[alignment < -1] = np.nan
    return alignment, effects


def heavy_tails(random):
    """Effects have t distributions with two degrees of freedom; those of one task are five times as large."""
    alignment, effects = with_trait(random)
    effects += random.standard_t(2, size=effects.shape)
    effects[0], effects[:, 0] = 5 * effects[0], 5 * effects[:, 0]
    return alignment, effects


def two_clusters(random):
    """Two clusters of tasks, in the alignment only."""
    alignment, effects = with_trait(random)
    cluster = np.arange(TASKS) < 4
    return alignment + 3 * (cluster[:, None] == cluster), effects


def at_a_bound(random):
    """A quarter of the effects are at a bound."""
    alignment, effects = with_trait(random)
    return alignment, np.maximum(effects, -1.2)


def outlier_in_both(random):
    """The pairs of one task vary four times as much as others, in alignment and in effects."""
    alignment, effects = noise(random)
    scale = np.where(np.arange(TASKS) == 0, 4.0, 1.0)
    return alignment * np.outer(scale, scale), effects * np.outer(scale, scale)


def multiplied_traits(random):
    """The trait of two tasks multiplies in both matrices."""
    alignment, effects = noise(random)
    trait = np.exp(0.5 * random.normal(size=TASKS))
    return alignment + np.outer(trait, trait), effects - np.outer(trait, trait)


def linked(random, tail=False):
    """The residuals of alignment and effects have the correlation .4."""
    alignment, effects = noise(random)
    if tail:
        effects = random.standard_t(2, size=effects.shape) / 1.5
    effects = 0.4 * alignment + np.sqrt(1 - 0.4**2) * effects
    trait = random.normal(size=TASKS)
    return alignment + trait[:, None] + trait, effects - trait[:, None] - trait


def linked_in_seeds(random, seeds):
    """The true residuals have the correlation .5, and are smaller than the noise of a seed: [seed, task, task]."""
    alignment, effects = noise(random)
    effects = 0.5 * alignment + np.sqrt(0.75) * effects
    noises = random.normal(size=(2, seeds, TASKS, TASKS))
    return 0.7 * alignment + symmetric(noises[0]), 0.7 * effects + noises[1]


def some_linked(random):
    alignment, effects = linked(random)
    effects[4:] = np.nan
    return alignment, effects


NULL: dict[str, Callable] = {
    "unrelated traits": independent_traits,
    "one weak trait in both": lambda random: with_trait(random, 0.3),
    "one medium trait in both": lambda random: with_trait(random, 1.0),
    "one strong trait in both": lambda random: with_trait(random, 3.0),
    "the same full models, 3 seeds": lambda random: same_models(random, 3),
    "the same full models, 5 seeds": lambda random: same_models(random, 5),
    "the same full models, 10 seeds": lambda random: same_models(random, 10),
    "one trait, 4 of 9 tasks removed": some_removed,
    "one trait, 30 % of alignments missing": some_missing,
    "one trait, heavy tails and an outlier task": heavy_tails,
    "one trait, two clusters in the alignment": two_clusters,
    "one trait, effects at a bound": at_a_bound,
    "one trait, low alignments missing": missing_for_a_reason,
    "pairs of tasks special in a seed, 10 seeds": same_pairs,
}
LIMITS: dict[str, Callable] = {
    "one task varies four times as much in both": outlier_in_both,
    "traits multiply in both": multiplied_traits,
}
POWER: dict[str, Callable] = {
    "residuals correlate .4": linked,
    "residuals correlate .4, heavy tails": lambda random: linked(random, tail=True),
    "residuals correlate .4, 4 of 9 removed": some_linked,
}


SEEDS: dict[str, Callable] = {
    "no link; pairs of tasks special in a seed, 10 seeds": same_pairs,
    "residuals correlate .5, noise, 4 seeds": lambda random: linked_in_seeds(random, 4),
    "residuals correlate .5, noise, 10 seeds": lambda random: linked_in_seeds(random, 10),
}


def seeded(values, *, split=True):
    """Means over seeds, and over each half if there are at least four seeds."""
    if values.ndim == 2:
        return Seeded(values)
    halves = (values[0::2].mean(axis=0), values[1::2].mean(axis=0)) if split and len(values) >= 4 else ()
    return Seeded(values.mean(axis=0), halves)


def rejection_rates(make, runs, *, permutations=199, seed=0, split=True):
    """Shares of experiments with p of .05 or less: of the test without centering, and of the declared test."""
    random = np.random.default_rng(seed)
    rejected = np.zeros(2)
    for _ in range(runs):
        alignment, effects = (seeded(values, split=split) for values in make(random))
        predictor = Predictor("corrected", "recurrent", STEP, alignment)
        labels = relabelings(TASKS, permutations, seed=int(random.integers(2**32)))
        rows = {row["centered"]: row for row in link_rows([predictor], {"delta": effects}, labels, ("recurrent", STEP))}
        assert rows["both"]["primary"]
        rejected += [rows[name]["p"] <= 0.05 for name in ("none", "both")]
    return rejected / runs


def test_one_trait_of_tasks_is_no_link():
    raw, declared = rejection_rates(NULL["one strong trait in both"], 100, permutations=99)
    assert raw > 0.8
    assert declared <= 0.13  # 2.7 standard errors above .05


def test_a_link_between_pairs_is_found():
    assert rejection_rates(POWER["residuals correlate .4"], 60, permutations=99)[1] > 0.6


@pytest.mark.drill
@pytest.mark.parametrize("name", NULL)
def test_null_rates(name):
    """One in twenty true null hypotheses is rejected; bounds are three standard errors from .03 and .07."""
    _, declared = rejection_rates(NULL[name], 300)
    assert 0.03 - 3 * np.sqrt(0.03 * 0.97 / 300) <= declared <= 0.07 + 3 * np.sqrt(0.07 * 0.93 / 300)


@pytest.mark.drill
def test_the_test_without_centering_takes_traits_for_a_link():
    assert rejection_rates(NULL["one medium trait in both"], 100)[0] > 0.5
    assert rejection_rates(NULL["the same full models, 5 seeds"], 100)[0] > 0.3


@pytest.mark.drill
@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_as_documented(name):
    """Traits that scale both matrices are not removed: docs/concepts/transfer.md warns of them."""
    assert 0.07 <= rejection_rates(LIMITS[name], 300)[1] <= 0.25


@pytest.mark.drill
def test_disjoint_seeds_matter_where_pairs_are_special_in_a_seed():
    assert rejection_rates(same_pairs, 150, split=False)[1] > 0.07
    four = SEEDS["residuals correlate .5, noise, 4 seeds"]
    assert rejection_rates(four, 150)[1] > 0.35


@pytest.mark.drill
@pytest.mark.parametrize("name", POWER)
def test_power(name):
    least = {"residuals correlate .4, 4 of 9 removed": 0.3}.get(name, 0.6)
    assert rejection_rates(POWER[name], 200)[1] > least


def main(runs=1000):
    """Print how often each test rejects, in percent."""
    for title, scenarios in (("null", NULL), ("limit", LIMITS), ("power", POWER)):
        for number, (name, make) in enumerate(scenarios.items()):
            raw, declared = 100 * rejection_rates(make, runs, seed=number)
            print(f"| {title} | {name} | {raw:.1f} % | {declared:.1f} % |", flush=True)
    for name, make in SEEDS.items():
        shared, disjoint = (100 * rejection_rates(make, runs, split=split)[1] for split in (False, True))
        print(f"| seeds | {name} | shared {shared:.1f} % | disjoint {disjoint:.1f} % |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
