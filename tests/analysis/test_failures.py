"""Seeds that failed to learn: whom the table names, and how often it names a seed without reason."""

import numpy as np
import polars as pl
import pytest
from test_curves import make_members, make_scores

from npi_jax.analysis.curves import curves_table
from npi_jax.analysis.failures import failed_seeds, failures
from npi_jax.results.tables_learning import FailedSeeds

SEEDS = (5, 8)


def named(accuracies):
    """Number of failed seeds in each row."""
    return np.array([failures(row)[0] for row in accuracies])


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(("middle", "spread"), [(0.7, 0.1), (0.85, 0.05), (0.95, 0.02)])
def test_seeds_that_vary_normally_are_rarely_named(seeds, middle, spread):
    random = np.random.default_rng(seeds)
    assert (named(middle + spread * random.normal(size=(3000, seeds))) > 0).mean() < 0.01


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("share", [0.9, 0.98])
def test_chance_in_counted_answers_is_rarely_named(seeds, share):
    random = np.random.default_rng(seeds)
    assert (named(random.binomial(240, share, size=(2000, seeds)) / 240) > 0).mean() < 0.01


@pytest.mark.parametrize(("seeds", "least"), [(5, 0.99), (8, 0.99)])
def test_a_seed_at_chance_among_good_ones_is_named(seeds, least):
    random = np.random.default_rng(1)
    accuracy = np.minimum(0.98 + 0.01 * random.normal(size=(500, seeds)), 1)
    accuracy[:, 1] = 0.5
    assert (named(accuracy) == 1).mean() > least


@pytest.mark.parametrize(("seeds", "share"), [(4, 0.36), (5, 0.80), (6, 0.98), (8, 1.0)])
def test_a_seed_at_70_among_others_at_95_is_named(seeds, share):
    random = np.random.default_rng(2)
    accuracy = 0.95 + 0.02 * random.normal(size=(500, seeds))
    accuracy[:, 0] = 0.7
    # Shares of 4,000 variants; 3 standard errors of 500.
    assert (named(accuracy) == 1).mean() == pytest.approx(share, abs=0.01 + 3 * np.sqrt(share * (1 - share) / 500))


@pytest.mark.parametrize("seeds", [5, 8])
def test_a_seed_at_70_among_others_that_hardly_vary_is_nearly_always_named(seeds):
    random = np.random.default_rng(2)
    accuracy = np.minimum(0.95 + 0.01 * random.normal(size=(500, seeds)), 1)
    accuracy[:, 0] = 0.7
    assert (named(accuracy) == 1).mean() > 0.99


def test_two_seeds_of_eight_are_both_named():
    assert failures(np.array([0.98, 0.5, 0.97, 0.99, 0.52, 0.98, 0.97, 0.96])) == (2, pytest.approx(0.1))
    # Half of the seeds cannot be said to have failed.
    assert failures(np.array([0.98, 0.5, 0.97, 0.52]))[0] == 0


def test_few_seeds_and_scores_that_are_not_finite_name_nobody():
    assert failures(np.array([0.98, 0.5, 0.97]))[0] == 0
    assert failures(np.array([0.98, 0.5, 0.97, np.nan, 0.98]))[0] == 0
    assert failures(np.array([0.98, 0.5, 0.97, 0.98]))[0] == 1


def run(accuracies, steps=(0, 1, 2, 3)):
    """Curves of members [members, steps] in two tasks, which share the accuracy."""
    members = make_members(*(("full", seed) for seed in range(len(accuracies))))
    deltas = {
        (member, step, task): np.repeat([1.0, -1.0], [round(20 * value), 20 - round(20 * value)])
        for member, row in enumerate(accuracies)
        for step, value in zip(steps, row, strict=True)
        for task in ("only", "adverbs")
    }
    return curves_table(make_scores(members, deltas)), members


def test_the_table_says_who_failed_and_since_when():
    learns = [0.5, 0.7, 0.9, 0.95]
    curves, members = run([learns, learns, [0.5, 0.7, 0.5, 0.55], learns, [0.5, 0.65, 0.95, 1.0]])
    (row,) = failed_seeds(curves, members).to_dicts()
    assert (row["variant"], row["suite"], row["kind"], row["seed"], row["member"]) == (
        "full",
        "grammar",
        "licensor",
        2,
        2,
    )
    assert (row["accuracy"], row["others"], row["margin"]) == pytest.approx((0.55, 0.95, row["margin"]))
    assert 0.1 <= row["margin"] < 0.4
    # At step 1 it still was where the others were.
    assert (row["step"], row["n_seeds"]) == (2, 5)
    # A member that diverged is in no table, and does not hide one that failed.
    gone = members.with_columns(status=pl.when(pl.col("member") == 4).then(pl.lit("diverged")).otherwise("status"))
    assert failed_seeds(curves, gone)["n_seeds"].to_list() == [4]


def test_the_table_of_a_run_without_failures_is_empty():
    learns = [0.5, 0.7, 0.9, 0.95]
    found = failed_seeds(*run([learns] * 5))
    assert found.is_empty()
    assert dict(found.schema) == FailedSeeds.schema()
