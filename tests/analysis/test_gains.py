"""Data amplification: gains of a scarce environment from the others' data."""

import math

import numpy as np
import polars as pl
import pytest
from test_transfer import learns, make_corpus, make_members, make_scores, one

from npi_jax.analysis.transfer.experiment import Experiment
from npi_jax.analysis.transfer.gains import gain_rows
from npi_jax.analysis.transfer.outcomes import Setting, TaskOutcomes
from npi_jax.analysis.transfer.tables import transfer_tables
from npi_jax.results.names import LINEAR_OUTCOMES, MEAN_OVER_ENVIRONMENTS, OUTCOMES
from npi_jax.results.schema import check_written
from npi_jax.results.tables_amplification import Amplification, Gains

VARIANTS = (
    *("full", "no_npi", "without(only)", "only(only)", "downsample(only, 0.1)", "only(only) + downsample(only, 0.1)"),
    *("scarce(only, 0.1)", "alone(only, 0.1)", "pair(only, 0.1, conditional)", "pair(only, 0.1, quantifier)"),
    *("scarce(conditional, 0.1)", "alone(conditional, 0.1)", "scarce(only, 0)", "alone(only, 0)"),
    *("random(scarce(only, 0.1))", "scarce(superlative, 0.1)", "alone(superlative, 0.1)", "scarce(only, 0.3)"),
)
LEVELS = {
    ("no_npi", "only"): -3.0,
    ("without(only)", "only"): -2.5,
    ("downsample(only, 0.1)", "only"): -0.5,
    ("only(only) + downsample(only, 0.1)", "only"): -0.75,
    ("scarce(only, 0.1)", "only"): -1.0,
    ("alone(only, 0.1)", "only"): -2.0,
    ("pair(only, 0.1, conditional)", "only"): -1.25,
    ("pair(only, 0.1, quantifier)", "only"): -2.0,
    ("scarce(conditional, 0.1)", "conditional"): -1.0,
    ("alone(conditional, 0.1)", "conditional"): -3.0,
    ("scarce(only, 0)", "only"): -3.5,
    ("alone(only, 0)", "only"): -3.75,
}
GOLDEN = {
    # environment, thinned, share, donor: the variant with others' data, the one without, gain in delta
    ("only", "items", 0.0, ""): (("without(only)", "no_npi"), 0.5),
    ("only", "items", 0.1, ""): (("downsample(only, 0.1)", "only(only) + downsample(only, 0.1)"), 0.25),
    ("only", "items", 1.0, ""): (("full", "only(only)"), 0.0),
    ("only", "sentences", 0.0, ""): (("scarce(only, 0)", "alone(only, 0)"), 0.25),
    ("only", "sentences", 0.1, ""): (("scarce(only, 0.1)", "alone(only, 0.1)"), 1.0),
    ("conditional", "sentences", 0.1, ""): (("scarce(conditional, 0.1)", "alone(conditional, 0.1)"), 2.0),
    (MEAN_OVER_ENVIRONMENTS, "sentences", 0.1, ""): (("", ""), 1.5),
    ("only", "sentences", 0.1, "conditional"): (("pair(only, 0.1, conditional)", "alone(only, 0.1)"), 0.75),
    ("only", "sentences", 0.1, "quantifier"): (("pair(only, 0.1, quantifier)", "alone(only, 0.1)"), 0.0),
}


def exactly(random, row, task, steps, items):
    """Deltas in which members differ by variant only, except for noise that cancels over the seeds."""
    shared = random.normal(size=(len(steps), len(items)))
    noise = 0.25 * (-1) ** row["seed"] * row["variant"].startswith(("full", "without", "downsample", "scarce", "pair"))
    return np.log1p(steps) + shared + LEVELS.get((row["variant"], task), 0.0) + noise


@pytest.fixture(scope="module")
def scored():
    members = make_members(VARIANTS, 4)
    return members, make_scores(members, exactly, items=20)


@pytest.fixture(scope="module")
def tables(scored):
    members, scores = scored
    return transfer_tables(scores, members, make_corpus(VARIANTS))


def test_gains_compare_equal_shares_with_others_and_without(tables):
    gains = check_written(tables["gains"], Gains).filter(outcome="delta")
    key = ("environment", "thinned", "share", "donor")
    rows = {tuple(row[name] for name in key): row for row in gains.to_dicts()}
    compared = {name: (row["variant_with"], row["variant_without"]) for name, row in rows.items()}
    assert compared == {name: variants for name, (variants, _) in GOLDEN.items()}
    for name, row in rows.items():
        assert row["gain"] == pytest.approx(GOLDEN[name][1], abs=1e-9)
        assert row["level_with"] - row["level_without"] == pytest.approx(row["gain"])
        assert row["n_seeds"] == 4
        assert row["n_environments"] == (2 if name[0] == MEAN_OVER_ENVIRONMENTS else 1)


def test_the_test_is_that_of_transfer(scored, tables):
    members, scores = scored
    against = transfer_tables(scores, members, make_corpus(VARIANTS), baseline="alone(only, 0.1)")["transfer"]
    for outcome in OUTCOMES:
        effect = one(against, intervention="scarce(only, 0.1)", control="", task="only", outcome=outcome)
        gain = one(tables["gains"], environment="only", thinned="sentences", share=0.1, donor="", outcome=outcome)
        for name in ("low", "high", "p", "n_seeds", "n_censored"):
            assert gain[name] == pytest.approx(effect[name], nan_ok=True), name
        assert gain["gain"] == effect["effect"]


def test_p_values_are_adjusted_within_a_share_and_for_means_apart():
    variants = (
        "full",
        "no_npi",
        *(
            f"{kind}({name}, {share})"
            for kind in ("scarce", "alone")
            for name in ("only", "conditional")
            for share in (0.1, 0.3)
        ),
    )
    members = make_members(variants, 4)
    effects = {(f"scarce({name}, 0.1)", name): 0.2 for name in ("only", "conditional")}
    scores = make_scores(members, learns(effects), items=20)
    gains = transfer_tables(scores, members, make_corpus(variants))["gains"].filter(outcome="delta")
    mean = pl.col("environment") == MEAN_OVER_ENVIRONMENTS
    assert len(gains.filter(mean)) == 2
    assert gains.filter(mean)["p_adjusted"].to_list() == pytest.approx(gains.filter(mean)["p"].to_list())
    for _, family in gains.filter(~mean).group_by("share"):
        least = family["p"].min()
        assert len(family) == 2
        assert family["p_adjusted"].min() == pytest.approx(1 - (1 - least) ** 2)


def test_diverged_members_are_left_out_and_too_few_seeds_named(scored):
    members, scores = scored
    # Seed 0 has no scarce(only, 0.1), seeds 1 to 3 have no alone(conditional, 0.1).
    lost = ((pl.col("variant") == "scarce(only, 0.1)") & (pl.col("seed") == 0)) | (
        (pl.col("variant") == "alone(conditional, 0.1)") & (pl.col("seed") > 0)
    )
    status = pl.when(lost).then(pl.lit("diverged")).otherwise("status").alias("status")
    gains = transfer_tables(scores, members.with_columns(status), make_corpus(VARIANTS))["gains"]
    chosen = gains.filter(outcome="delta", thinned="sentences", share=0.1, donor="")
    rows = {row["environment"]: row for row in chosen.to_dicts()}
    assert {name: row["n_seeds"] for name, row in rows.items()} == {
        "only": 3,
        "conditional": 1,
        MEAN_OVER_ENVIRONMENTS: 0,
    }
    assert "one seed" in rows["conditional"]["reason"]
    mean = rows[MEAN_OVER_ENVIRONMENTS]
    assert math.isnan(mean["gain"])
    assert math.isnan(mean["level_with"])
    assert all(name in mean["reason"] for name in ("no seed", "scarce(only, 0.1)", "alone(conditional, 0.1)"))


def test_curves_do_not_mix_what_was_thinned(tables):
    amplification = check_written(tables["amplification"], Amplification).filter(environment="only")
    curves = {
        key: frame.select("share", "variant").rows()
        for key, frame in amplification.group_by("thinned", "others", "donor", maintain_order=True)
    }
    assert curves == {
        ("items", "kept", ""): [(0.0, "without(only)"), (0.1, "downsample(only, 0.1)"), (1.0, "full")],
        ("items", "removed", ""): [(0.0, "no_npi"), (0.1, "only(only) + downsample(only, 0.1)"), (1.0, "only(only)")],
        ("sentences", "kept", ""): [
            (0.0, "scarce(only, 0)"),
            (0.1, "scarce(only, 0.1)"),
            (0.3, "scarce(only, 0.3)"),
            (1.0, "full"),
        ],
        ("sentences", "removed", ""): [(0.0, "alone(only, 0)"), (0.1, "alone(only, 0.1)")],
        ("sentences", "one", "conditional"): [(0.1, "pair(only, 0.1, conditional)")],
        ("sentences", "one", "quantifier"): [(0.1, "pair(only, 0.1, quantifier)")],
    }


def simulated(random, *, seeds, environments, items, seed_sd, item_sd, residual_sd, draws=1000):
    """An experiment without gains: seeds differ alike in all environments and in each, and so do items."""
    names = [f"e{number}" for number in range(environments)]
    variants = [f"{kind}({name}, 0.1)" for kind in ("scarce", "alone") for name in names]
    members = {name: {seed: number * seeds + seed for seed in range(seeds)} for number, name in enumerate(variants)}
    n_members = seeds * len(variants)
    by_seed = np.tile(seed_sd * random.normal(size=(len(OUTCOMES), 2, 1, seeds, 1)), (1, 1, environments, 1, 1))
    tasks = []
    for name in names:
        own = seed_sd * random.normal(size=(len(OUTCOMES), n_members, 1))
        by_item = item_sd * random.normal(size=(len(OUTCOMES), len(variants), 1, items))
        values = residual_sd * random.normal(size=(len(OUTCOMES), n_members, items)) + own
        values += by_seed.reshape(len(OUTCOMES), n_members, 1) + np.repeat(by_item, seeds, axis=1).reshape(
            values.shape[0], -1, items
        )
        picks = random.multinomial(items, np.full(items, 1 / items), size=draws) / items
        tasks.append(
            TaskOutcomes(
                cell=("grammar", "licensor", "critical"),
                task=name,
                members=np.arange(n_members),
                items=values[: len(LINEAR_OUTCOMES)],
                means=values.mean(axis=2),
                by_item=values @ picks.T,
                censored=np.zeros(n_members, bool),
                steps_range=10.0,
            )
        )
    return Experiment(Setting({}, members), tasks, variants[0], {})


SPREADS = {
    "seeds": {"seed_sd": 0.1, "item_sd": 0.01, "residual_sd": 0.05},
    "items": {"seed_sd": 0.005, "item_sd": 0.1, "residual_sd": 0.05},
    "all": {"seed_sd": 0.03, "item_sd": 0.1, "residual_sd": 0.2},
}


def rejections(experiments, **size):
    """Shares of experiments in which the mean gain, and the least adjusted p of its environments, are at most .05."""
    random = np.random.default_rng(7)
    means, families = [], []
    for _ in range(experiments):
        rows = pl.DataFrame(gain_rows(simulated(random, **size))).filter(pl.col("outcome").is_in(LINEAR_OUTCOMES))
        mean = pl.col("environment") == MEAN_OVER_ENVIRONMENTS
        means += rows.filter(mean)["p"].to_list()
        families += rows.filter(~mean).group_by("outcome").agg(pl.col("p_adjusted").min())["p_adjusted"].to_list()
    return np.mean(np.array(means) <= 0.05), np.mean(np.array(families) <= 0.05)


def test_without_gains_few_means_are_significant():
    mean, family = rejections(15, seeds=6, environments=2, items=20, **SPREADS["all"])
    # 60 outcomes; at a rate of .05, 10 or more would occur in 1 of 1,000 such tests.
    assert mean < 0.16
    assert family < 0.16


@pytest.mark.drill
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("seeds", "environments"), [(3, 2), (6, 2), (6, 9)])
def test_the_rate_of_false_gains(spread, seeds, environments):
    experiments = 300 // environments
    mean, family = rejections(experiments, seeds=seeds, environments=environments, items=40, **SPREADS[spread])
    print(f"{spread} {seeds} seeds {environments} environments: mean {mean:.3f} family {family:.3f}")
    # Four outcomes of each experiment; four standard errors.
    most = 0.05 + 4 * math.sqrt(0.05 * 0.95 / (4 * experiments))
    assert mean < most
    assert family < most
