import itertools
import math

import numpy as np
import polars as pl
import pytest
from declared import make_table
from facts import sentence_with
from scipy import stats

from npi_jax.analysis.link.additive import residuals
from npi_jax.analysis.link.centered import Recentered
from npi_jax.analysis.link.permutation import p_value, qap_correlations, relabelings
from npi_jax.analysis.link.prediction import leave_one_task_out
from npi_jax.analysis.link.tables import link_tables
from npi_jax.results.names import MEAN_OVER_TRAINING
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_transfer import Transfer, TransferBySeed

TASKS = ("adverbs", "conditional", "embedded_question", "only", "quantifier", "superlative")


def symmetric(random, n):
    values = random.normal(size=(n, n))
    return (values + values.T) / 2


def make_alignment(matrix, *, tasks=TASKS, groups=("recurrent", "output"), steps=(0, 1, 4), seeds=2, noise=0.0):
    """Alignment with the given corrected matrix at every step but 0, plus the rows of `lm` and the diagonal."""
    random = np.random.default_rng(0)
    rows = []
    for seed, step, group in itertools.product(range(seeds), steps, groups):
        for i, j in itertools.combinations_with_replacement(range(len(tasks) + 1), 2):
            names = [(*tasks, "lm")[place] for place in (i, j)]
            value = 0.5 if len(tasks) in (i, j) else matrix[i, j]
            corrected = value + noise * random.normal() if step else random.normal()
            rows.append((seed, "full", seed, step, group, *names, corrected, 0.5 * value, corrected))
    names = ["member", "variant", "seed", "step", "group", "task_i", "task_j", "corrected", "naive", "adam"]
    return make_table(Alignment, pl.DataFrame(rows, schema=names, orient="row"))


def make_transfer(matrix, *, tasks=TASKS, removed=None, control="", outcomes=("accuracy", "delta"), suite="grammar"):
    rows = [
        {
            "intervention": f"without({tasks[j]})",
            "removed": tasks[j],
            "control": control,
            "suite": suite,
            "kind": "licensor",
            "region": "critical",
            "task": task,
            "outcome": outcome,
            "effect": float(matrix[j, i]),
            "low": float(matrix[j, i]) - 1,
            "high": float(matrix[j, i]) + 1,
            "learning_rate": 0.1,
            "weight_decay": 0.0,
            "dropout": 0.0,
        }
        for outcome in outcomes
        for j in (range(len(tasks)) if removed is None else removed)
        for i, task in enumerate(tasks)
    ]
    return make_table(Transfer, rows)


def primary(tables):
    rows = tables["link"].filter("primary").to_dicts()
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize("removed", [range(6), (1, 4)])
@pytest.mark.parametrize("hole", [False, True])
def test_correlations_are_spearmans_in_every_relabeling(removed, hole):
    random = np.random.default_rng(1)
    predictor, effects = symmetric(random, 6).round(1), np.full((6, 6), np.nan)
    effects[list(removed)] = random.normal(size=(len(removed), 6)).round(1)
    if hole:
        predictor[2, 3] = predictor[3, 2] = np.nan
    labels = relabelings(6)[:50]
    found = qap_correlations(predictor, effects, labels)
    for order, value in zip(labels, found, strict=True):
        shuffled = predictor[np.ix_(order, order)]
        pairs = [(j, i) for j in removed for i in range(6) if i != j and np.isfinite(shuffled[j, i])]
        expected = stats.spearmanr([shuffled[p] for p in pairs], [effects[p] for p in pairs]).statistic
        assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("removed", [range(6), (1, 4, 5)])
@pytest.mark.parametrize("hole", [False, True])
def test_centered_correlations_are_those_of_residuals_in_every_relabeling(removed, hole):
    random = np.random.default_rng(1)
    predictor, effects = symmetric(random, 6), np.full((6, 6), np.nan)
    effects[list(removed)] = random.normal(size=(len(removed), 6))
    if hole:
        predictor[2, 3] = predictor[3, 2] = np.nan
    labels = relabelings(6)[:50]
    # Additive effects of rows and columns change nothing, however large they are.
    traits = 100 * random.normal(size=(4, 6))
    moved = predictor + traits[0] + traits[1][:, None]
    found = Recentered(moved, labels).correlations(effects + traits[2] + traits[3][:, None])
    for order, value in zip(labels, found, strict=True):
        shuffled = predictor[np.ix_(order, order)]
        there = np.isfinite(shuffled) & np.isfinite(effects) & ~np.eye(6, dtype=bool)
        one, other = (residuals(np.where(there, its, np.nan)[None])[0][there].round(8) for its in (shuffled, effects))
        assert value == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)


def test_few_tasks_are_enumerated_and_many_sampled():
    assert len(relabelings(6)) == 720
    sampled = relabelings(7, 99)
    assert len(sampled) == 100
    assert sampled[0].tolist() == list(range(7))
    assert (np.sort(sampled, axis=1) == np.arange(7)).all()
    assert len(np.unique(sampled, axis=0)) > 95


def test_p_counts_the_data_itself_and_both_directions():
    assert p_value(np.array([0.5, 0.4, -0.6, math.nan])) == 0.5
    assert p_value(np.array([0.9, 0.4, -0.6, 0.1])) == 0.25


def test_a_strong_link_is_found():
    matrix = symmetric(np.random.default_rng(2), 6)
    tables = link_tables(make_alignment(matrix, noise=0.1), make_transfer(-matrix))
    row = primary(tables)
    assert row["statistic"] < -0.9
    assert row["p"] == row["p_adjusted"] <= 2 / 720
    assert (row["predictor"], row["group"], row["step"], row["outcome"]) == (
        "corrected",
        "recurrent",
        4,
        "delta",
    )
    assert (row["centered"], row["seeds"]) == ("both", "shared")
    assert (row["n_pairs"], row["n_tasks"], row["n_permutations"]) == (30, 6, 719)
    others = tables["link"].filter(~pl.col("primary") & pl.col("p").is_not_nan())
    assert (others["p_adjusted"] >= others["p"] - 1e-12).all()
    # Step 0 is noise and must not enter the mean over training, whose test without centering is kept.
    kept = others.filter(predictor="corrected", group="recurrent", outcome="delta", step=MEAN_OVER_TRAINING)
    assert kept["centered"].to_list() == ["both", "none"]
    assert (kept["statistic"] < -0.9).all()
    pairs = tables["link_pairs"].filter(group="recurrent", outcome="delta", step=4, n_cells=2)
    assert len(pairs) == 30
    # What this test makes up is no cosine everywhere; a mean beyond 1 is not shown as one.
    cosine = pairs["alignment"].is_not_nan().to_numpy()
    assert pairs["alignment"].filter(cosine).abs().max() <= 1
    np.testing.assert_allclose(pairs["alignment"].filter(cosine), -pairs["effect"].filter(cosine), atol=0.3)
    assert pairs["effect"].filter(~cosine).abs().min() > 0.9
    np.testing.assert_allclose(pairs["naive"], -0.5 * pairs["effect"], atol=1e-9)


def test_what_belongs_to_single_tasks_is_not_taken_for_a_link():
    """Effects that hang on the removed task alone: ordinary correlation over 30 pairs is misled by 6 tasks."""
    random = np.random.default_rng(0)
    labels = relabelings(6)
    naive, qap = [], []
    for _ in range(150):
        of_tasks, other = random.normal(size=6), random.normal(size=6)
        predictor = of_tasks[:, None] + of_tasks
        effects = np.repeat(other[:, None], 6, axis=1) + 0.1 * random.normal(size=(6, 6))
        off = ~np.eye(6, dtype=bool)
        naive.append(stats.spearmanr(predictor[off], effects[off]).pvalue)
        qap.append(p_value(qap_correlations(predictor, effects, labels)))
    assert np.mean(np.array(naive) <= 0.05) > 0.2
    assert np.mean(np.array(qap) <= 0.05) < 0.1


def in_seeds(transfer, effects):
    """The table of effects by seed: for each seed, the rows of transfer with the effects of that seed."""
    place = {task: number for number, task in enumerate(TASKS)}
    rows = [
        {name: row[name] for name in TransferBySeed.COLUMNS if name != "seed"}
        | {"seed": seed, "effect": float(effects[seed][place[row["removed"]], place[row["task"]]])}
        for seed in range(len(effects))
        for row in transfer.to_dicts()
    ]
    return make_table(TransferBySeed, rows)


@pytest.mark.parametrize(("seeds", "split"), [(3, "shared"), (4, "disjoint"), (5, "disjoint")])
def test_what_is_special_in_single_seeds_is_no_link(seeds, split):
    """Alignment and effects agree within each seed, and not at all between seeds."""
    random = np.random.default_rng(8)
    matrices = np.array([symmetric(random, 6) for _ in range(seeds)])
    alignment = pl.concat(
        make_alignment(matrix, seeds=1).with_columns(pl.lit(seed).alias("member"), pl.lit(seed).alias("seed"))
        for seed, matrix in enumerate(matrices)
    )
    transfer = make_transfer(matrices.mean(axis=0))
    found = link_tables(alignment, transfer, by_seed=in_seeds(transfer, matrices))
    row = primary(found)
    assert row["seeds"] == split
    assert row["statistic"] == pytest.approx(1) if split == "shared" else abs(row["statistic"]) < 0.5
    whole = primary(link_tables(alignment, transfer))
    assert whole["seeds"] == "shared"
    assert whole["statistic"] == pytest.approx(1)
    # Both directions, by hand: the alignment of one half with the effects of the other.
    if split == "disjoint":
        labels = np.arange(6)[None]
        halves = [matrices[0::2].mean(axis=0), matrices[1::2].mean(axis=0)]
        by_hand = Recentered(halves[0], labels).correlations(halves[1])[0]
        assert row["statistic"] == pytest.approx(by_hand)


def test_a_pair_that_one_half_of_the_seeds_lacks_is_left_out():
    matrix = symmetric(np.random.default_rng(3), 6)
    alignment, transfer = make_alignment(matrix, seeds=4), make_transfer(-matrix)
    by_seed = in_seeds(transfer, [-matrix] * 4)
    lost = pl.col("seed").is_in([1, 3]) & (pl.col("removed") == TASKS[0]) & (pl.col("task") == TASKS[1])
    row = primary(link_tables(alignment, transfer, by_seed=by_seed.filter(~lost)))
    assert (row["seeds"], row["n_pairs"]) == ("disjoint", 29)
    assert row["statistic"] == pytest.approx(-1)


def test_controls_are_used_where_there_are_some():
    matrix = symmetric(np.random.default_rng(2), 6)
    plain = make_transfer(np.random.default_rng(5).normal(size=(6, 6)))
    controlled = make_transfer(matrix, control="random")
    tables = link_tables(make_alignment(matrix), pl.concat([plain, controlled]))
    assert primary(tables)["statistic"] == pytest.approx(1)
    assert primary(tables)["n_pairs"] == 30
    assert set(tables["link_pairs"]["control"]) == {"random"}


def test_only_some_tasks_removed():
    matrix = symmetric(np.random.default_rng(2), 6)
    row = primary(link_tables(make_alignment(matrix), make_transfer(matrix, removed=(0, 3))))
    assert (row["n_pairs"], row["n_tasks"]) == (10, 6)
    assert row["statistic"] == pytest.approx(1)
    # Two removals leave three pairs more than effects of tasks; one leaves none.
    assert row["p"] < 0.05
    large = symmetric(np.random.default_rng(2), 7)
    names = [f"t{i}" for i in range(7)]
    one = link_tables(make_alignment(large, tasks=names), make_transfer(large, tasks=names, removed=(0,)))
    assert math.isnan(primary(one)["p"])
    assert sentence_with(primary(one)["reason"], "6 pairs", "0 more", "3", "remove more environments")


def test_too_few_pairs_and_constants_have_a_reason():
    matrix = symmetric(np.random.default_rng(2), 6)
    row = primary(link_tables(make_alignment(matrix), make_transfer(matrix, removed=(0,))))
    assert math.isnan(row["p"])
    assert sentence_with(row["reason"], "5 pairs", "6", "5 have an effect", "30 a predictor")
    row = primary(link_tables(make_alignment(np.ones((6, 6))), make_transfer(matrix)))
    assert math.isnan(row["statistic"])
    assert row["reason"] == "the predictor is the same in all pairs"
    sums = np.arange(6.0)[:, None] + np.arange(6.0)
    tables = link_tables(make_alignment(sums), make_transfer(matrix))
    assert sentence_with(
        primary(tables)["reason"], "the predictor is the sum of effects of single tasks", "same in all"
    )
    kept = tables["link"].filter(predictor="corrected", group="recurrent", outcome="delta", centered="none")
    assert kept["p"].is_finite().all()
    tables = link_tables(make_alignment(matrix), make_transfer(sums))
    assert sentence_with(primary(tables)["reason"], "the effect is the sum of effects of single tasks")
    unknown = link_tables(make_alignment(np.full((6, 6), np.nan)), make_transfer(matrix))
    assert sentence_with(primary(unknown)["reason"], "0 pairs", "6", "30 have an effect", "0 a predictor")


def test_no_removals_give_tables_without_numbers():
    matrix = symmetric(np.random.default_rng(2), 6)
    tables = link_tables(make_alignment(matrix), make_transfer(matrix).head(0))
    assert tables["link"]["p"].is_nan().all()
    assert tables["link_pairs"].is_empty()
    assert tables["prediction"]["r2"].is_nan().all()


def test_baselines_are_predictors_of_their_own():
    random = np.random.default_rng(3)
    matrix = symmetric(random, 6)
    pairs = list(itertools.combinations(range(6), 2))
    counts = random.integers(10, 1000, size=6)
    environments = pl.DataFrame(
        {
            "task_i": [TASKS[i] for i, _ in pairs],
            "task_j": [TASKS[j] for _, j in pairs],
            "ngram_overlap": [float(matrix[p]) for p in pairs],
            "npi_overlap": random.random(len(pairs)),
            "npis_i": [counts[i] for i, _ in pairs],
            "npis_j": [counts[j] for _, j in pairs],
        }
    )
    effects = np.repeat(np.log(counts)[:, None], 6, axis=1) + 1e-3 * random.normal(size=(6, 6))
    tables = link_tables(make_alignment(symmetric(random, 6)), make_transfer(effects), environments)
    of_delta = tables["link"].filter(outcome="delta", group="", centered="none").to_dicts()
    found = {row["predictor"]: row for row in of_delta}
    assert set(found) == {"ngram_overlap", "npi_overlap", "frequency"}
    assert {row["seeds"] for row in of_delta} == {""}
    alone = tables["link"].filter(outcome="delta", group="", centered="both", predictor="frequency").row(0, named=True)
    assert sentence_with(alone["reason"], "the predictor is the sum of effects of single tasks")
    assert found["frequency"]["statistic"] > 0.95
    assert found["frequency"]["p"] < 0.01
    models = {row["model"]: row for row in tables["prediction"].filter(outcome="delta", group="recurrent").to_dicts()}
    assert models["frequency"]["r2"] > 0.99
    assert models["alignment"]["r2"] < 0.3
    assert models["baselines + alignment"]["r2"] > 0.9


def test_prediction_generalizes_to_tasks_left_out():
    random = np.random.default_rng(4)
    pairs = np.array([(j, i) for j in range(7) for i in range(7) if i != j])
    values = random.normal(size=(42, 1))
    good = leave_one_task_out(values, 3 * values[:, 0] - 1, pairs)
    assert good["correlation"] == pytest.approx(1)
    assert good["r2"] == pytest.approx(1)
    found = [leave_one_task_out(random.normal(size=(42, 1)), random.normal(size=42), pairs) for _ in range(100)]
    assert abs(np.mean([row["correlation"] for row in found])) < 0.05
    assert np.mean([row["r2"] for row in found]) < 0


def test_what_only_memorizes_a_task_predicts_no_other():
    """Effects of each removed task are the same, and the predictor says which task: of no use for a new one."""
    random = np.random.default_rng(4)
    pairs = np.array([(j, i) for j in range(7) for i in range(7) if i != j])
    found = []
    for _ in range(60):
        of_task, code = random.normal(size=7), random.normal(size=7)
        found.append(leave_one_task_out(code[pairs[:, :1]], of_task[pairs[:, 0]], pairs)["r2"])
    assert np.mean(found) < 0


def test_a_model_too_large_for_its_pairs_has_a_reason():
    pairs = np.array([(j, i) for j in range(3) for i in range(3) if i != j])
    found = leave_one_task_out(np.random.default_rng(0).normal(size=(6, 1)), np.arange(6.0), pairs)
    assert math.isnan(found["r2"])
    assert sentence_with(found["reason"], "2 pairs", "4")


@pytest.mark.drill
def test_pairs_measured_late_only_do_not_look_aligned():
    """Alignment rises alike in all pairs; effects depend on when a task's gradient can be told from noise."""
    names, steps, rejected = [f"t{i}" for i in range(9)], [2**k for k in range(11)], np.zeros(2)
    random = np.random.default_rng(1)
    for _ in range(60):
        late = random.uniform(0, 8, 9)
        rows = [
            (seed, "full", seed, step, "recurrent", names[i], names[j], 0.05 * k + 0.05 * random.normal())
            for i, j in itertools.combinations(range(9), 2)
            for seed in range(3)
            for k, step in enumerate(steps)
        ]
        columns = ["member", "variant", "seed", "step", "group", "task_i", "task_j", "corrected"]
        alignment = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
            naive=pl.lit(math.nan), adam=pl.lit(math.nan)
        )
        told = dict(zip(names, late, strict=True))
        hidden = pl.max_horizontal(*(pl.col(side).replace_strict(told) for side in ("task_i", "task_j")))
        alignment = alignment.with_columns(
            corrected=pl.when(pl.col("step").log(2) < hidden).then(math.nan).otherwise(pl.col("corrected"))
        )
        effects = -0.1 * late[None, :] + 0.3 * random.normal(size=(9, 9))
        transfer = make_transfer(effects, tasks=names, outcomes=("delta",))
        tables = link_tables(alignment, transfer, permutations=499)
        over_training = {"predictor": "corrected", "step": MEAN_OVER_TRAINING, "outcome": "delta"}
        rows = tables["link"].filter(**over_training).sort("centered")
        rejected += (rows["p"] <= 0.05).to_numpy()
    # Plain means over what is there would reject in more than half of the experiments.
    assert (rejected / 60 <= 0.15).all()


def test_effects_are_those_of_the_suite_whose_gradients_were_taken():
    random = np.random.default_rng(3)
    matrix = symmetric(random, 6)
    both = pl.concat([make_transfer(random.normal(size=(6, 6)), suite="another"), make_transfer(-matrix)])
    alignment = make_alignment(matrix).with_columns(suite=pl.lit("grammar"), kind=pl.lit("licensor"))
    assert primary(link_tables(alignment, both))["statistic"] == pytest.approx(-1)
    assert primary(link_tables(alignment.drop("suite", "kind"), both))["statistic"] > -0.9


def test_a_setting_that_diverged_takes_nothing_away():
    matrix = symmetric(np.random.default_rng(3), 6)
    diverged = make_transfer(np.full((6, 6), np.nan)).with_columns(learning_rate=pl.lit(1e4))
    found = link_tables(make_alignment(matrix), pl.concat([make_transfer(-matrix), diverged]))
    assert primary(found)["n_pairs"] == 30
    assert found["prediction"].filter(model="alignment", outcome="delta", group="recurrent")["n_pairs"].item() == 30


def test_controls_of_some_removals_only_are_not_used():
    matrix = symmetric(np.random.default_rng(3), 6)
    some = make_transfer(-matrix + 5, removed=range(3), control="random")
    mixed = link_tables(make_alignment(matrix), pl.concat([make_transfer(-matrix), some]))
    assert primary(mixed)["statistic"] == pytest.approx(-1)
    every = make_transfer(matrix, control="random")
    controlled = link_tables(make_alignment(matrix), pl.concat([make_transfer(-matrix), every]))
    assert primary(controlled)["statistic"] == pytest.approx(1)
