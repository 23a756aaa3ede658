import math

import numpy as np
import polars as pl
import pytest
from declared import make_table
from facts import facts
from intervals import difference_of

from npi_jax.analysis.transfer.outcomes import baseline_variant, steps_to_threshold, training_weights
from npi_jax.analysis.transfer.tables import TABLES, interference, transfer_tables
from npi_jax.errors import UserError
from npi_jax.results.names import ITEMS, OUTCOMES, SEEDS_AND_ITEMS
from npi_jax.results.schema import empty
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_training import Members, Scores

STEPS = (0, 1, 4, 16, 64)
TASKS = ("conditional", "only", "quantifier")


def make_members(variants, seeds, **columns):
    rows = [(variant, seed) for variant in variants for seed in range(seeds)]
    frame = pl.DataFrame(
        {
            "member": range(len(rows)),
            "variant": [row[0] for row in rows],
            "seed": [row[1] for row in rows],
            "learning_rate": 0.1,
        }
    )
    return make_table(Members, frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()}))


def make_corpus(variants, **counts):
    controls = [name.removeprefix("random(")[:-1] if name.startswith("random(") else None for name in variants]
    frame = pl.DataFrame({"variant": variants, "control_of": pl.Series(controls, dtype=pl.String)})
    return make_table(Corpus, frame.with_columns(**{name: pl.Series(values) for name, values in counts.items()}))


def make_scores(members, delta, *, steps=STEPS, tasks=TASKS, items=12, kinds=("licensor",), regions=("critical",)):
    """Scores with delta(random, member's row, task, steps [S, 1], items [I]) -> [S, I]."""
    frames = []
    for row in members.iter_rows(named=True):
        for kind in kinds:
            for region in regions:
                for task in tasks:
                    random = np.random.default_rng([row["seed"], tasks.index(task), kinds.index(kind)])
                    values = delta(random, row, task, np.array(steps)[:, None], np.arange(items))
                    frames.append(
                        pl.DataFrame(
                            {
                                "member": row["member"],
                                "variant": row["variant"],
                                "seed": row["seed"],
                                "step": np.repeat(steps, items),
                                "suite": "grammar",
                                "paradigm": f"{task}_p",
                                "task": task,
                                "kind": kind,
                                "item": np.tile([f"{task}-{i}" for i in range(items)], len(steps)),
                                "region": region,
                                "delta": values.ravel(),
                            }
                        )
                    )
    delta_column = pl.col("delta")
    correct = pl.when(delta_column == 0).then(0.5).otherwise((delta_column > 0).cast(pl.Float64)).alias("correct")
    return make_table(Scores, pl.concat(frames).with_columns(correct))


def learns(effects):
    """Members learn with time; `effects` by (variant, task) shift delta. Noise is shared by the seed's members."""

    def delta(random, row, task, steps, items):
        noise = random.normal(size=(len(steps), len(items)))
        own = np.random.default_rng(row["member"] + 100).normal(size=noise.shape)
        return np.log1p(steps) - 2 + noise + 0.2 * own + effects.get((row["variant"], task), 0.0)

    return delta


def one(table, **values):
    rows = table.filter(**values).to_dicts()
    assert len(rows) == 1, rows
    return rows[0]


VARIANTS = ("full", "without(only)", "random(without(only))", "without(conditional)", "no_npi")
EFFECTS = {
    ("without(only)", "only"): -2.0,
    ("without(only)", "conditional"): -1.0,
    ("random(without(only))", "conditional"): -0.4,
    ("without(conditional)", "only"): 0.8,
}


@pytest.fixture(scope="module")
def tables():
    members = make_members(VARIANTS, 6)
    scores = make_scores(members, learns(EFFECTS), items=20)
    counts = {"npi_only": [50, 0, 50, 50, 0], "npi_conditional": [30, 30, 30, 0, 0], "slots_changed": [0, 9, 9, 9, 9]}
    corpus = make_corpus(VARIANTS, **counts)
    return transfer_tables(scores, members, corpus)


def test_tables_have_the_documented_columns(tables):
    for name, schema in ((table.NAME, table.schema()) for table in TABLES):
        assert dict(tables[name].schema) == schema
    assert tables["transfer"].columns[:16] == [
        *("intervention", "removed", "control", "suite", "kind", "region", "task", "outcome"),
        *("effect", "low", "high", "p", "p_adjusted", "n_seeds", "n_items", "n_censored"),
    ]
    assert set(tables["transfer"]["outcome"]) == set(OUTCOMES)


def test_effects_are_found_with_their_sign_and_size(tables):
    table = tables["transfer"]
    harmed = one(table, intervention="without(only)", control="", task="conditional", outcome="delta")
    assert harmed["effect"] == pytest.approx(-1, abs=0.1)
    assert harmed["low"] < -1 < harmed["high"] < 0
    assert harmed["p"] <= harmed["p_adjusted"] < 0.01
    assert (harmed["removed"], harmed["n_seeds"], harmed["n_items"]) == ("only", 6, 20)
    assert harmed["interval_over"] == SEEDS_AND_ITEMS
    none = one(table, intervention="without(only)", control="", task="quantifier", outcome="delta")
    assert none["low"] < 0 < none["high"]
    slower = one(table, intervention="without(only)", control="", task="only", outcome="log2_steps")
    assert slower["effect"] > 0
    assert one(table, intervention="no_npi", task="only", outcome="delta")["removed"] == "all"


def test_the_control_is_subtracted(tables):
    table = tables["transfer"]
    controlled = one(
        table, intervention="without(only)", control="random(without(only))", task="conditional", outcome="delta"
    )
    assert controlled["effect"] == pytest.approx(-0.6, abs=0.1)
    parts = [
        one(table, intervention=name, control="", task="conditional", outcome="delta")["effect"]
        for name in ("without(only)", "random(without(only))")
    ]
    assert controlled["effect"] == pytest.approx(parts[0] - parts[1])
    assert set(table.filter(intervention="without(conditional)")["control"]) == {""}


def test_effects_by_seed_have_the_effect_as_their_mean(tables):
    table, by_seed = tables["transfer"], tables["transfer_by_seed"]
    key = ["intervention", "removed", "control", "suite", "kind", "region", "task", "outcome"]
    means = by_seed.group_by(key).agg(pl.col("effect").mean().alias("mean"), pl.len().cast(pl.Int64).alias("n"))
    joined = table.join(means, on=key, how="full", coalesce=True)
    assert len(joined) == len(table)
    np.testing.assert_allclose(joined["mean"], joined["effect"], atol=1e-12)
    assert (joined["n"] == joined["n_seeds"]).all()
    assert set(by_seed["seed"]) == set(range(6))


def test_effects_are_those_of_the_paired_differences():
    members = make_members(("full", "without(only)"), 4)
    scores = make_scores(members, learns(EFFECTS), tasks=("only",), steps=(8,))
    row = one(transfer_tables(scores, members, make_corpus(("full", "without(only)")))["transfer"], outcome="delta")
    values = scores.sort("member", "item")["delta"].to_numpy().reshape(2, 4, 12)
    expected = difference_of(values[1] - values[0])
    assert row["effect"] == pytest.approx(expected.estimate)
    assert row["high"] - row["low"] == pytest.approx(expected.high - expected.low, rel=0.1)


def test_the_pooled_effect_is_the_mean_over_pairs(tables):
    transfer, pooled = tables["transfer"], tables["transfer_pooled"]
    single = (pl.col("removed") != pl.col("task")) & pl.col("removed").is_in(["only", "conditional"])
    for controlled, n_pairs in ((False, 4), (True, 2)):
        references = pl.col("control") != "" if controlled else pl.col("control") == ""
        for outcome in OUTCOMES:
            row = one(pooled, controlled=controlled, outcome=outcome)
            effects = transfer.filter(single & references & (pl.col("outcome") == outcome))["effect"]
            assert (row["n_pairs"], row["n_seeds"], len(effects)) == (n_pairs, 6, n_pairs)
            assert row["effect"] == pytest.approx(effects.mean())
            assert (row["p"] <= 0.05) == (not row["low"] <= 0 <= row["high"])
    assert one(pooled, controlled=True, outcome="delta")["p"] < 0.05


def test_the_pooled_effect_leaves_out_variants_that_changed_nothing():
    variants = ("full", "without(only)", "without(conditional)")
    members = make_members(variants, 3)
    scores = make_scores(members, learns(EFFECTS))
    corpus = make_corpus(variants, slots_changed=[0, 9, 0])
    found = transfer_tables(scores, members, corpus)
    assert set(found["transfer_pooled"]["n_pairs"]) == {2}
    both = transfer_tables(scores, members, make_corpus(variants, slots_changed=[0, 9, 9]))["transfer_pooled"]
    assert set(both["n_pairs"]) == {4}
    diverged = members.with_columns(status=pl.when(pl.col("seed") == 1).then(pl.lit("diverged")).otherwise("status"))
    assert set(transfer_tables(scores, diverged, corpus)["transfer_pooled"]["n_seeds"]) == {2}


def test_one_seed_has_a_pooled_effect_without_p():
    variants = ("full", "without(only)")
    members = make_members(variants, 1)
    corpus = make_corpus(variants, slots_changed=[0, 9])
    found = transfer_tables(make_scores(members, learns(EFFECTS)), members, corpus)["transfer_pooled"]
    assert len(found) == len(OUTCOMES)
    assert found["p"].is_nan().all()
    assert set(found["reason"]) == {"one seed does not show how much seeds differ"}
    assert found.filter(outcome="delta")["low"].is_finite().all()


def test_asymmetry(tables):
    row = one(tables["asymmetry"], outcome="delta")
    assert (row["removed_i"], row["removed_j"], row["control"]) == ("only", "conditional", "")
    assert row["effect_ij"] == pytest.approx(-1, abs=0.1)
    assert row["effect_ji"] == pytest.approx(0.8, abs=0.1)
    assert row["difference"] == pytest.approx(row["effect_ij"] - row["effect_ji"])
    assert row["p"] < 0.01


def test_asymmetry_of_controlled_effects():
    variants = tuple(f"{name}" for env in ("only", "conditional") for name in (f"without({env})",))
    variants = ("full", *variants, *(f"random({name})" for name in variants))
    members = make_members(variants, 3)
    scores = make_scores(members, learns(EFFECTS))
    row = one(transfer_tables(scores, members, make_corpus(variants))["asymmetry"], outcome="delta")
    assert row["control"] == "random(without(only)), random(without(conditional))"
    assert row["effect_ij"] == pytest.approx(-0.6, abs=0.15)


def test_interference_is_help_from_removal(tables):
    rows = interference(tables["transfer"])
    found = set(rows.filter(outcome="delta").select("removed", "task").iter_rows())
    assert found == {("conditional", "only")}
    # Where there is a control, only what goes beyond it counts.
    assert set(rows.filter(removed="only")["control"]) <= {"random(without(only))"}
    # A task acquired earlier is help, though the number of steps goes down.
    assert (rows.filter(outcome="log2_steps")["effect"] < 0).all()


def test_to_take_all_away_is_no_interference(tables):
    """It takes the task's own NPIs as well; that a task then does better says nothing of another environment."""
    helped = tables["transfer"].with_columns(
        effect=pl.when(pl.col("removed") == "all").then(1.0).otherwise("effect"), p_adjusted=pl.lit(0.001)
    )
    assert "all" not in set(interference(helped)["removed"])


def test_effects_say_what_they_are_differences_to(tables):
    named = tables["transfer"].select("control", "baseline").unique()
    assert set(named.iter_rows()) == {("", "full"), ("random(without(only))",) * 2}
    variants = VARIANTS[1:]
    members = make_members(variants, 3)
    found = transfer_tables(make_scores(members, learns(EFFECTS)), members, make_corpus(variants))
    assert set(found["transfer"].filter(control="")["baseline"]) == {"without(only)"}


def test_eavesdropping_is_against_the_control_where_there_is_one():
    variants = ("full", "without(only)", "random(without(only))")
    # Conditionals are late without "only", and as late without other text.
    later = {("full", "conditional"): -1.5, **{(name, "conditional"): -3.0 for name in variants[1:]}}
    members = make_members(variants, 4)
    scores = make_scores(members, learns(later), steps=tuple(2**k for k in range(12)))
    row = one(transfer_tables(scores, members, make_corpus(variants))["eavesdropping"], task="conditional")
    assert row["control"] == "random(without(only))"
    assert abs(row["lag_log2"]) < 0.5
    assert row["p"] > 0.05


@pytest.mark.parametrize("seeds", [3, 5])
def test_amplification(seeds):
    variants = ("full", "downsample(only, 0.1)", "without(only)", "only(only)", "no_npi")
    effects = {("without(only)", "only"): -3.0, ("downsample(only, 0.1)", "only"): -1.0, ("no_npi", "only"): -4.0}
    members = make_members(variants, seeds)
    corpus = make_corpus(variants, npi_only=[100, 10, 0, 100, 0])
    table = transfer_tables(make_scores(members, learns(effects)), members, corpus)["amplification"]
    kept = table.filter(others="kept")
    assert set(table["environment"]) == {"only"}
    assert kept["share"].to_list() == [0.0, 0.1, 1.0]
    assert kept["npis"].to_list() == [0, 10, 100]
    assert kept["delta"].is_sorted()
    if seeds < 5:  # too few for an interval
        assert kept.select("low", "high", "delta_low", "delta_high").unique().row(0) == pytest.approx(
            (math.nan,) * 4, nan_ok=True
        )
    else:
        assert (kept["low"] <= kept["accuracy"]).all()
        assert (kept["accuracy"] <= kept["high"]).all()
        assert (kept["high"] <= 1).all()
        assert (kept["delta_low"] < kept["delta_high"]).all()
    removed = table.filter(others="removed")
    assert removed["share"].to_list() == [0.0, 1.0]
    assert removed["variant"].to_list() == ["no_npi", "only(only)"]


def test_eavesdropping_is_of_later_tasks_only():
    later = {(name, "conditional"): -1.5 for name in ("full", "without(only)")}
    later["without(only)", "conditional"] = -3.0
    members = make_members(("full", "without(only)", "without(conditional)"), 4)
    scores = make_scores(members, learns(later), steps=tuple(2**k for k in range(12)))
    table = transfer_tables(scores, members, make_corpus(("full",)))["eavesdropping"]
    row = one(table, task="conditional", without="only")
    assert row["steps_without"] > 2 * row["steps_full"]
    assert row["lag_log2"] == pytest.approx(math.log2((1 + row["steps_without"]) / (1 + row["steps_full"])))
    assert row["p"] < 0.05
    assert table.filter(task="only", without="conditional").is_empty()
    assert table.filter(task="conditional", without="conditional").is_empty()


@pytest.mark.parametrize(
    ("accuracies", "expected", "censored"),
    [
        ([0.5, 0.5, 0.75, 1.0], math.log2(5), False),
        ([0.5, 0.5, 1.0, 1.0], (math.log2(3) + math.log2(5)) / 2, False),
        ([0.5, 0.75, 0.5, 1.0], (math.log2(5) + math.log2(9)) / 2, False),
        ([0.75, 0.75, 0.75, 0.75], 0.0, False),
        ([1.0, 1.0, 1.0, 0.5], math.log2(9), True),
        ([1.0, 1.0, 1.0, math.nan], math.log2(9), True),
        ([1.0, math.nan, 1.0, 1.0], math.log2(5), False),
    ],
)
def test_steps_to_threshold(accuracies, expected, censored):
    found, late = steps_to_threshold(np.array([accuracies, accuracies]), np.array([0, 2, 4, 8]))
    assert found.tolist() == [expected] * 2
    assert late.tolist() == [censored] * 2


def test_area_has_the_unit_of_its_outcome():
    weights = training_weights(np.array([0, 1, 7]))
    assert weights.tolist() == pytest.approx([1 / 6, 1 / 2, 1 / 3])
    assert training_weights(np.array([5])).tolist() == [1.0]
    log = np.log1p(np.array([0, 1, 3, 20, 50]))
    assert training_weights(np.array([0, 1, 3, 20, 50])) @ log == pytest.approx(log[-1] / 2)


def test_tasks_never_acquired_are_counted():
    members = make_members(("full", "without(only)"), 3)
    scores = make_scores(members, learns({("without(only)", "only"): -30.0}))
    table = transfer_tables(scores, members, make_corpus(("full", "without(only)")))["transfer"]
    row = one(table, task="only", outcome="log2_steps")
    assert row["n_censored"] == 3
    assert row["effect"] > 0
    assert one(table, task="conditional", outcome="log2_steps")["n_censored"] == 0


def test_a_seed_that_diverged_has_no_effect_by_seed():
    members = make_members(VARIANTS[:2], 4)
    lost = (pl.col("variant") == "full") & (pl.col("seed") == 2)
    diverged = members.with_columns(status=pl.when(lost).then(pl.lit("diverged")).otherwise("status"))
    scores = make_scores(members, learns(EFFECTS))
    corpus = make_corpus(VARIANTS[:2], npi_only=[50, 0]).with_columns(control_of=pl.lit(None, pl.String))
    by_seed = transfer_tables(scores, diverged, corpus)["transfer_by_seed"]
    whole = transfer_tables(scores, members, corpus)["transfer_by_seed"]
    assert set(by_seed["seed"]) == {0, 1, 3}
    assert by_seed.equals(whole.filter(pl.col("seed") != 2))


def test_diverged_members_leave_with_their_partners():
    members = make_members(("full", "without(only)"), 3)
    bad = members.with_columns(
        status=pl.when((pl.col("variant") == "full") & (pl.col("seed") == 1))
        .then(pl.lit("diverged"))
        .otherwise("status")
    )
    scores = make_scores(members, learns(EFFECTS))
    corpus = make_corpus(("full", "without(only)"))
    found = transfer_tables(scores, bad, corpus)["transfer"]
    kept = transfer_tables(scores.filter(pl.col("seed") != 1), members.filter(pl.col("seed") != 1), corpus)["transfer"]
    assert found["n_seeds"].unique().to_list() == [2]
    assert found["effect"].to_list() == pytest.approx(kept["effect"].to_list())
    none = transfer_tables(scores, members.with_columns(status=pl.lit("diverged")), corpus)["transfer"]
    assert none["effect"].is_nan().all()
    assert set(none["reason"]) == {"no seed that did not diverge in both without(only) and full"}


def test_hyper_parameters_are_paired_within():
    rates = [0.1, 0.01] * 4
    members = make_members(("full", "without(only)"), 4, learning_rate=rates)
    scores = make_scores(members, learns({("without(only)", "only"): -1.0}))
    table = transfer_tables(scores, members, make_corpus(("full",)))["transfer"]
    assert set(table["learning_rate"]) == {0.1, 0.01}
    assert set(table["n_seeds"]) == {2}


def test_one_seed_has_intervals_over_items_and_no_p():
    members = make_members(("full", "without(only)"), 1)
    table = transfer_tables(make_scores(members, learns(EFFECTS)), members, make_corpus(("full",)))["transfer"]
    row = one(table, task="only", outcome="delta")
    assert row["low"] < row["effect"] < row["high"] < 0
    assert (row["interval_over"], row["reason"]) == (ITEMS, "one seed does not show how much seeds differ")
    assert math.isnan(row["p"])
    assert math.isnan(row["p_adjusted"])
    assert interference(table).is_empty()


def test_scores_that_are_not_finite_are_seen():
    members = make_members(("full", "without(only)"), 3)
    scores = make_scores(members, learns(EFFECTS))
    broken = (pl.col("member") == 4) & (pl.col("step") == 64) & (pl.col("item") == "only-3")
    scores = scores.with_columns(delta=pl.when(broken).then(math.inf).otherwise("delta"))
    table = transfer_tables(scores, members, make_corpus(("full",)))["transfer"]
    row = one(table, task="only", outcome="accuracy")
    assert math.isnan(row["effect"])
    assert row["reason"] == "a score is not finite"
    assert one(table, task="conditional", outcome="accuracy")["reason"] == ""


def test_without_interventions_the_tables_are_empty():
    members = make_members(("full",), 2)
    tables = transfer_tables(make_scores(members, learns({})), members, make_corpus(("full",)))
    assert {name: len(table) for name, table in tables.items()} == {table.NAME: 0 for table in TABLES}
    assert all(tables[table.NAME].equals(empty(table)) for table in TABLES)


def test_another_baseline():
    variants = ("no_npi", "only(only)", "my own corpus")
    members = make_members(variants, 2)
    scores = make_scores(members, learns({("only(only)", "only"): 2.0}))
    assert baseline_variant(members) == "no_npi"
    table = transfer_tables(scores, members, make_corpus(variants))["transfer"]
    assert set(table["intervention"]) == {"only(only)", "my own corpus"}
    other = transfer_tables(scores, members, make_corpus(variants), baseline="only(only)")["transfer"]
    assert set(other["intervention"]) == {"no_npi", "my own corpus"}
    with pytest.raises(UserError, match=facts("'full'", "no_npi, only")):
        transfer_tables(scores, members, make_corpus(variants), baseline="full")


def test_the_main_region_of_every_kind():
    members = make_members(("full", "no_npi"), 2)
    scores = make_scores(members, learns({}), kinds=("licensor", "scope"), regions=("critical", "sentence"))
    scores = scores.filter((pl.col("kind") == "licensor") | (pl.col("region") == "sentence"))
    table = transfer_tables(scores, members, make_corpus(("full",)))["transfer"]
    assert set(table.select("kind", "region").iter_rows()) == {("licensor", "critical"), ("scope", "sentence")}


def test_missing_rows_are_an_error():
    members = make_members(("full", "no_npi"), 2)
    scores = make_scores(members, learns({}))
    with pytest.raises(ValueError, match=facts("'conditional'", "grammar/licensor/critical", "4 members", "5 steps")):
        transfer_tables(scores.tail(-1), members, make_corpus(("full",)))
    with pytest.raises(ValueError, match=facts("members [3]", "'conditional'")):
        transfer_tables(scores.filter(pl.col("member") != 3), members, make_corpus(("full",)))
