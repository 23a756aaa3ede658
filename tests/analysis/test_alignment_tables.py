import math
import time

import numpy as np
import polars as pl
import pytest
from facts import facts
from gram_files import TASKS, draw_gradients, file_arrays, item_arrays, products

from npi_jax.analysis import statistics
from npi_jax.analysis.alignment.effective import effective_number
from npi_jax.analysis.alignment.estimators import align
from npi_jax.analysis.alignment.jackknife import resampled
from npi_jax.analysis.alignment.products import bootstrap_counts
from npi_jax.analysis.alignment.tables import BEYOND_ONE, alignment_tables
from npi_jax.analysis.bounds import COSINE

HEAD = ["member", "variant", "seed", "step"]
COLUMNS = {
    "alignment": [
        *(*HEAD, "group", "task_i", "task_j", "corrected", "naive", "reliable", "reason", "se", "adam"),
        *("sign_conflict", "adam_reason", "suite", "kind", "ratio"),
    ],
    "gradients": [
        *(*HEAD, "group", "task", "norm", "norm_low", "norm_high", "noise_scale", "reliability", "reliable", "reason"),
    ],
    "alignment_mean": [
        *("variant", "learning_rate", "weight_decay", "dropout", "step", "group", "statistic", "corrected", "low"),
        *("high", "adam", "naive", "sign_conflict", "n_seeds", "n_pairs", "n_unreliable", "interval_over"),
        "reason",
    ],
    "effective_tasks": [
        *("variant", "learning_rate", "weight_decay", "dropout", "step", "group", "metric", "n_tasks", "effective"),
        *("low", "high", "n_seeds", "n_pairs", "n_unreliable", "interval_over", "reason"),
    ],
    "alignment_contrasts": [
        *("variant", "learning_rate", "weight_decay", "dropout", "step", "group", "metric", "statistic", "baseline"),
        *("baseline_mean", "variant_mean", "difference", "low", "high", "p", "n_seeds", "n_left_out", "reason"),
    ],
    "alignment_npi": [
        *(*HEAD, "group", "task_i", "task_j", "npis", "corrected", "n_products", "reliable", "reason", "ratio"),
    ],
    "overlap": [*HEAD, "group", "task_i", "task_j", "k", "overlap", "ceiling", "reason"],
    "lookahead": [*HEAD, "task_i", "task_j", "change", "first_order"],
}


def make_members(*rows):
    """Members from (variant, seed) or (variant, seed, status)."""
    return pl.DataFrame(
        {
            "member": range(len(rows)),
            "variant": [row[0] for row in rows],
            "seed": [row[1] for row in rows],
            "learning_rate": 0.1,
            "weight_decay": 0.0,
            "dropout": 0.0,
            "status": [row[2] if len(row) > 2 else "ok" for row in rows],
        }
    )


def write(path, step, arrays):
    (path / "gradients").mkdir(exist_ok=True)
    np.savez(path / "gradients" / f"{step}.npz", **arrays)


def with_detail(vectors, seed=0):
    """What the last checkpoint holds: 12 items of each task but lm, two NPIs, and lookahead to first order."""
    members = len(vectors)
    task, npi = np.repeat(TASKS[:3], 12).tolist(), ["ever", "any"] * 18
    items = draw_gradients(members=members, tasks=36, batches=1, noise=0.3, seed=seed)
    items[..., :12, :] += items[..., :1, :]
    arrays = file_arrays(vectors) | item_arrays(items, task, npi)
    own = np.moveaxis(vectors, 1, 2).reshape(members, 4, 4, -1).astype(np.float32)  # all groups side by side
    change = np.zeros((members, 4, 4))
    for taken, other in (([0, 1], [2, 3]), ([2, 3], [0, 1])):
        step = own[:, :, taken].mean(axis=2)
        step *= 1e-3 * 7 / np.linalg.norm(step, axis=-1, keepdims=True)
        change += step @ own[:, :, other].mean(axis=2).swapaxes(1, 2) / 2
    return arrays | {"lookahead": change, "lookahead_step": 1e-3, "parameter_norm": np.full(members, 7.0)}


def cell(frame, **where):
    rows = frame.filter(**where).to_dicts()
    assert len(rows) == 1
    return rows[0]


def test_no_folder_no_tables(tmp_path):
    assert alignment_tables(tmp_path, make_members(("full", 0)), TASKS) == {}


def test_columns_and_rows(tmp_path):
    vectors = draw_gradients()
    write(tmp_path, 4, file_arrays(vectors))
    write(tmp_path, 16, with_detail(vectors))
    tables = alignment_tables(tmp_path, make_members(("full", 0), ("none", 0)), TASKS)
    assert {name: table.columns for name, table in tables.items()} == COLUMNS
    groups, pairs = 6, 10
    assert len(tables["alignment"]) == 2 * 2 * groups * pairs
    assert len(tables["gradients"]) == 2 * 2 * groups * 4
    assert len(tables["alignment_mean"]) == 2 * 2 * groups * 3
    assert len(tables["effective_tasks"]) == 2 * 2 * groups * 2
    assert len(tables["alignment_contrasts"]) == 2 * groups * 2 * 2
    assert len(tables["alignment_npi"]) == 2 * groups * 3 * 5
    assert len(tables["overlap"]) == 2 * groups * 3
    assert len(tables["lookahead"]) == 2 * 16
    assert tables["alignment"]["step"].unique().sort().to_list() == [4, 16]
    for table in tables.values():
        assert table.select(HEAD[1], "step").null_count().sum_horizontal().item() == 0


def test_detail_is_empty_where_there_is_none(tmp_path):
    write(tmp_path, 4, file_arrays(draw_gradients()))
    tables = alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS)
    assert {name: len(tables[name]) for name in ("alignment_npi", "overlap", "lookahead")} == {
        "alignment_npi": 0,
        "overlap": 0,
        "lookahead": 0,
    }
    assert {name: table.columns for name, table in tables.items()} == COLUMNS


def test_numbers_are_where_they_belong(tmp_path):
    vectors = draw_gradients(members=3, noise=1.0)
    second_moment = 1 + np.random.default_rng(0).random(vectors.shape[-1])
    write(tmp_path, 4, file_arrays(vectors, second_moment=second_moment))
    members = make_members(("full", 5), ("none", 6), ("none", 7))
    # In the reverse order of tasks; members in any order.
    tables = alignment_tables(tmp_path, members.reverse(), ["questions", "adverbs", "only"])
    found = align(products(vectors), np.full((4, 4), 10))
    adam = align((vectors / second_moment) @ vectors.swapaxes(-1, -2), np.full((4, 4), 10))
    row = cell(tables["alignment"], member=1, group="recurrent_1", task_i="questions", task_j="only")
    assert (row["variant"], row["seed"], row["step"], row["reliable"], row["reason"]) == ("none", 6, 4, True, "")
    for name, expected in (
        ("corrected", found.corrected),
        ("naive", found.naive),
        ("se", found.se),
        ("adam", adam.corrected),
    ):
        assert row[name] == pytest.approx(expected[1, 2, 0, 2], rel=1e-3), name
    assert 0 < row["sign_conflict"] < 0.5
    row = cell(tables["gradients"], member=2, group="output", task="adverbs")
    assert (row["variant"], row["seed"]) == ("none", 7)
    for name in ("norm", "norm_low", "norm_high", "noise_scale", "reliability"):
        assert row[name] == pytest.approx(getattr(found, name)[2, 3, 1], rel=1e-3), name
    whole = np.moveaxis(vectors, 1, 2).reshape(3, 16, -1)
    row = cell(tables["alignment"], member=0, group="all", task_i="adverbs", task_j="lm")
    expected = align(products(whole), np.full((4, 4), 10)).corrected[0, 1, 3]
    assert row["corrected"] == pytest.approx(expected, rel=1e-3)
    check = cell(tables["alignment"], member=0, group="all", task_i="lm", task_j="lm")
    assert check["corrected"] == pytest.approx(1, abs=0.2)
    assert math.isnan(check["se"])


def test_adam_is_nan_before_it_has_moments(tmp_path):
    write(tmp_path, 0, file_arrays(draw_gradients()))
    tables = alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS)
    assert tables["alignment"]["adam"].is_nan().all()
    assert tables["alignment"]["reliable"].all()
    assert tables["alignment_mean"]["adam"].is_nan().all()


def test_diverged_members_keep_their_rows(tmp_path):
    vectors = draw_gradients(members=3)
    vectors[2] = np.nan
    write(tmp_path, 4, with_detail(vectors))
    members = make_members(("full", 0), ("full", 1, "diverged"), ("full", 2))
    tables = alignment_tables(tmp_path, members, TASKS)
    for name in ("alignment", "gradients", "alignment_npi", "overlap"):
        table = tables[name]
        assert set(table.filter(member=1)["reason"]) == {"diverged"}, name
        assert set(table.filter(member=0)["reason"]) <= {"", BEYOND_ONE}, name
        numbers = table.filter(member=1).select(pl.col(pl.Float64).is_nan().all())
        assert all(numbers.row(0)), name
    assert not tables["alignment"].filter(member=1)["reliable"].any()
    assert set(tables["alignment"].filter(member=2)["reason"]) == {"not finite, or lost in rounding"}
    assert set(tables["gradients"].filter(member=2)["reason"]) == {"not finite, or lost in rounding"}
    assert tables["lookahead"].filter(member=1)["change"].is_nan().all()
    row = cell(tables["alignment_mean"], group="all", statistic="environments")
    alone = tables["alignment"].filter(
        pl.col("task_i") != pl.col("task_j"), pl.col("task_j") != "lm", member=0, group="all"
    )
    assert row["corrected"] == pytest.approx(alone["ratio"].mean())
    assert (row["n_seeds"], row["n_pairs"], row["n_unreliable"]) == (1, 3, 3)
    assert row["interval_over"] == "micro-batches"


def test_a_variant_without_a_member_left_has_no_mean(tmp_path):
    write(tmp_path, 4, file_arrays(draw_gradients()))
    members = make_members(("full", 0), ("none", 0, "diverged"))
    mean = alignment_tables(tmp_path, members, TASKS)["alignment_mean"].filter(variant="none")
    assert mean["n_seeds"].to_list() == [0] * 18
    assert mean["corrected"].is_nan().all()
    assert mean["naive"].is_nan().all()
    assert mean["n_unreliable"].to_list() == [0] * 18


def test_the_typical_seed_is_the_median_of_means_over_pairs_with_paired_draws(tmp_path):
    vectors = draw_gradients(members=6, tasks=4, noise=1.5, seed=3)
    write(tmp_path, 4, file_arrays(vectors))
    tables = alignment_tables(tmp_path, make_members(*(("full", seed) for seed in range(6))), TASKS)
    row = cell(tables["alignment_mean"], group="output", statistic="environments")
    pairs = tables["alignment"].filter(
        pl.col("task_i") != pl.col("task_j"), pl.col("task_j") != "lm", group="output", reliable=True
    )
    by_member = pairs.group_by("member").agg(pl.col("ratio").mean(), pl.len())
    assert row["corrected"] == pytest.approx(by_member["ratio"].median())
    assert row["n_unreliable"] == 6 * 3 - len(pairs)
    gram = products(vectors[:, 3])
    measured = align(gram, np.full((4, 4), 10)).measured
    chosen = [(0, 1), (0, 2), (1, 2)]
    left_out = [
        align(np.delete(np.delete(gram, np.s_[left::4], 1), np.s_[left::4], 2), np.full((4, 3), 10)).products
        for left in range(4)
    ]
    cosines = np.array([its[:, i, j] / np.sqrt(its[:, i, i] * its[:, j, j]) for its in left_out for i, j in chosen])
    cosines = np.where(measured[:, [0, 0, 1], [1, 2, 2]].T, cosines.reshape(4, 3, 6), np.nan)
    means = np.array(by_member.sort("member")["ratio"])
    draws = resampled(means, np.nanmean(cosines, axis=1).T, bootstrap_counts(4, 1000))
    expected = statistics.seed_interval(means, draws, n_items=4, bounds=COSINE)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), rel=1e-3)
    assert (row["n_seeds"], row["interval_over"]) == (6, "seeds and micro-batches")
    text = cell(tables["alignment_mean"], group="output", statistic="lm")
    with_lm = tables["alignment"].filter(pl.col("task_i") != "lm", group="output", task_j="lm", reliable=True)
    assert text["corrected"] == pytest.approx(with_lm.group_by("member").agg(pl.col("ratio").mean())["ratio"].median())
    same = cell(tables["alignment_mean"], group="output", statistic="same task")
    assert same["interval_over"] == "seeds"
    assert same["low"] < same["corrected"] < same["high"]


def test_a_few_seeds_have_no_interval_and_say_so(tmp_path):
    write(tmp_path, 4, file_arrays(draw_gradients(members=3, tasks=4)))
    tables = alignment_tables(tmp_path, make_members(*(("full", seed) for seed in range(3))), TASKS)
    for statistic in ("environments", "same task", "lm"):
        row = cell(tables["alignment_mean"], group="all", statistic=statistic)
        assert np.isfinite(row["corrected"])
        assert np.isnan([row["low"], row["high"]]).all()
        assert (row["n_seeds"], row["interval_over"]) == (3, "too few seeds")
        assert row["reason"].startswith("3 seeds are too few for an interval")


def test_noise_gives_nothing_and_says_why(tmp_path):
    random = np.random.default_rng(0)
    write(tmp_path, 4, file_arrays(random.normal(size=(2, 4, 16, 2000))))
    tables = alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS)
    assert tables["alignment"]["reliable"].mean() < 0.1
    lost = tables["alignment"].filter(reliable=False)
    assert lost["corrected"].is_nan().all()
    assert lost["naive"].is_finite().all()
    assert lost["reason"].str.contains("told from 0|half of the micro-batches leave no norm").all()
    rows = tables["alignment_mean"].filter(statistic="environments", n_seeds=0)
    assert len(rows)
    assert (rows["n_unreliable"] == 2 * 3).all()
    assert rows["corrected"].is_nan().all()


def test_without_ordinary_text(tmp_path):
    vectors = draw_gradients(tasks=2)
    write(tmp_path, 4, file_arrays(vectors, tasks=TASKS[:2]))
    tables = alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS)
    assert set(tables["alignment_mean"]["statistic"]) == {"environments", "same task"}
    assert set(tables["alignment_mean"]["n_pairs"]) == {1, 2}


def test_first_order_is_what_lookahead_should_do(tmp_path):
    """The file's changes are those of a linear model, which the products have to foretell exactly."""
    write(tmp_path, 4, with_detail(draw_gradients()))
    table = alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS)["lookahead"]
    np.testing.assert_allclose(table["first_order"], table["change"], rtol=1e-4)
    assert table["change"].n_unique() == 32


def test_first_order_needs_the_parameters_norm(tmp_path):
    arrays = with_detail(draw_gradients())
    del arrays["parameter_norm"]
    write(tmp_path, 4, arrays)
    table = alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS)["lookahead"]
    assert table["first_order"].is_nan().all()
    assert table["change"].is_finite().all()


def test_detail_says_what_is_missing(tmp_path):
    vectors = draw_gradients()
    arrays = with_detail(vectors)
    arrays["item_npi"] = np.array(["ever"] * 12 + ["any"] * 24)
    arrays["item_gram"][:, 0, :12, :12] = np.eye(12)
    write(tmp_path, 4, arrays)
    tables = alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS, k=4)
    npi = tables["alignment_npi"].filter(group="output", member=0, npis="same")
    reasons = dict(zip(zip(npi["task_i"], npi["task_j"], strict=True), npi["reason"], strict=True))
    assert reasons == {
        ("only", "adverbs"): "fewer than 3 such items in only or adverbs",
        ("only", "questions"): "fewer than 3 such items in only or questions",
        ("adverbs", "questions"): "",
    }
    lost = cell(tables["alignment_npi"], group="embedding", member=0, npis="all", task_i="only", task_j="adverbs")
    assert lost["reason"] == "norm of only is not told from 0"
    assert (lost["n_products"], lost["reliable"], math.isnan(lost["corrected"])) == (144, False, True)
    assert set(tables["overlap"]["reason"]) == {"only has fewer than 16 items", "adverbs has fewer than 16 items"}


def test_another_number_of_members_is_an_error(tmp_path):
    write(tmp_path, 4, file_arrays(draw_gradients()))
    with pytest.raises(ValueError, match=facts("4.npz", "gram", "2 members", "1")):
        alignment_tables(tmp_path, make_members(("full", 0)), TASKS)


@pytest.mark.parametrize("name", ["last", "4.old", "04", "\N{SUPERSCRIPT TWO}", "-1"])
def test_a_file_named_otherwise_than_by_a_step_is_left_out(tmp_path, name):
    write(tmp_path, 4, file_arrays(draw_gradients()))
    alone = alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS)
    (tmp_path / "gradients" / f"{name}.npz").write_text("notes")
    assert alignment_tables(tmp_path, make_members(("full", 0), ("full", 1)), TASKS)["alignment"].equals(
        alone["alignment"], null_equal=True
    )


def test_a_whole_run_takes_seconds(tmp_path):
    """13 checkpoints of 12 members, 10 tasks; the limit is four times what it takes on a slow machine."""
    tasks = (*(f"t{number}" for number in range(9)), "lm")
    arrays = file_arrays(draw_gradients(members=12, tasks=10), tasks=tasks)
    for step in range(13):
        write(tmp_path, step, arrays)
    members = make_members(*((variant, seed) for variant in ("full", "none", "control") for seed in range(4)))
    began = time.process_time()
    tables = alignment_tables(tmp_path, members, tasks)
    assert time.process_time() - began < 15
    assert len(tables["alignment"]) == 13 * 12 * 6 * 55


def test_effective_numbers_have_intervals_over_seeds_and_micro_batches(tmp_path):
    vectors = draw_gradients(members=6, tasks=4, batches=6, noise=1.0, seed=3)
    write(tmp_path, 4, file_arrays(vectors, batches=6, second_moment=np.ones(vectors.shape[-1])))
    tables = alignment_tables(tmp_path, make_members(*(("full", seed) for seed in range(6))), TASKS)
    table = tables["effective_tasks"]
    gram = products(vectors[:, 3])
    found = effective_number(gram, align(gram, np.full((4, 6), 10)), 3)
    logs = np.log(found.number)
    draws = resampled(logs, found.log_replicates, bootstrap_counts(6, 1000))
    expected = statistics.seed_interval(logs, draws, n_items=6)
    for metric in ("plain", "adam"):  # second moments of 1 leave the gradients as they are
        row = cell(table, group="output", metric=metric)
        assert row["effective"] == pytest.approx(np.exp(np.median(logs)), rel=1e-3)
        assert (row["low"], row["high"]) == pytest.approx((np.exp(expected.low), np.exp(expected.high)), rel=1e-2)
        assert (row["n_tasks"], row["n_seeds"], row["n_pairs"], row["n_unreliable"]) == (3, 6, 3, 0)
        assert (row["interval_over"], row["reason"]) == ("seeds and micro-batches", "")
    assert len(tables["alignment_contrasts"]) == 0


def test_an_effective_number_of_a_few_seeds_has_no_interval_and_says_so(tmp_path):
    write(tmp_path, 4, file_arrays(draw_gradients(members=4, tasks=4, batches=6), batches=6))
    members = make_members(*(("full", seed) for seed in range(4)))
    table = alignment_tables(tmp_path, members, TASKS)["effective_tasks"]
    row = cell(table, group="output", metric="plain")
    assert np.isfinite(row["effective"])
    assert np.isnan([row["low"], row["high"]]).all()
    assert (row["n_seeds"], row["interval_over"]) == (4, "too few seeds")
    assert row["reason"].startswith("4 seeds are too few for an interval")


def test_effective_numbers_that_cannot_be_given_have_reasons(tmp_path):
    write(tmp_path, 0, file_arrays(np.random.default_rng(0).normal(size=(3, 4, 16, 2000))))
    members = make_members(("full", 0), ("full", 1), ("none", 0, "diverged"))
    table = alignment_tables(tmp_path, members, TASKS)["effective_tasks"].filter(group="output")
    assert table.select("effective", "low", "high").select(pl.all().is_nan().all()).row(0) == (True, True, True)
    reasons = dict(zip(zip(table["variant"], table["metric"], strict=True), table["reason"], strict=True))
    assert reasons == {
        ("full", "plain"): "noise hides more than half of the pairs; compare more items (gradients.limit)",
        ("full", "adam"): "no gradient is finite in this metric",
        ("none", "plain"): "all members diverged",
        ("none", "adam"): "all members diverged",
    }
    assert set(table["interval_over"]) == {""}


def test_contrasts_are_of_means_over_the_seeds_whose_medians_the_other_tables_have(tmp_path):
    vectors = draw_gradients(members=6, batches=6)
    write(tmp_path, 4, file_arrays(vectors, batches=6, second_moment=np.ones(vectors.shape[-1])))
    members = make_members(*((variant, seed) for variant in ("full", "none") for seed in range(3)))
    tables = alignment_tables(tmp_path, members, TASKS)
    pairs = tables["alignment"].filter(
        pl.col("task_i") != pl.col("task_j"), pl.col("task_j") != "lm", group="output", reliable=True
    )
    cosines = pairs.group_by("member").agg(pl.col("ratio").mean()).sort("member")["ratio"].to_numpy()
    gram = products(vectors[:, 3])
    logs = np.log(effective_number(gram, align(gram, np.full((4, 6), 10)), 3).number)
    for statistic, values, scale, name, column, where in (
        ("mean cosine", cosines, np.asarray, "alignment_mean", "corrected", {"statistic": "environments"}),
        ("effective tasks", logs, np.exp, "effective_tasks", "effective", {"metric": "plain"}),
    ):
        row = cell(tables["alignment_contrasts"], group="output", metric="plain", statistic=statistic)
        full, none = scale(values.reshape(2, 3).mean(axis=1))
        assert (row["baseline_mean"], row["variant_mean"]) == pytest.approx((full, none), rel=1e-3)
        assert row["difference"] == pytest.approx(none - full, rel=1e-2)
        levels = {its["variant"]: its[column] for its in tables[name].filter(group="output", **where).to_dicts()}
        medians = scale(np.median(values.reshape(2, 3), axis=1))
        assert (levels["full"], levels["none"]) == pytest.approx(tuple(medians), rel=1e-3)
        adam = cell(tables["alignment_contrasts"], group="output", metric="adam", statistic=statistic)
        assert adam["p"] == pytest.approx(row["p"], rel=1e-2)


def test_a_single_environment_has_neither_number_nor_contrast(tmp_path):
    write(tmp_path, 4, file_arrays(draw_gradients(tasks=2), tasks=("only", "lm")))
    tables = alignment_tables(tmp_path, make_members(("full", 0), ("none", 0)), TASKS)
    assert (len(tables["effective_tasks"]), len(tables["alignment_contrasts"])) == (0, 0)
    assert set(tables["alignment_mean"]["statistic"]) == {"same task", "lm"}
