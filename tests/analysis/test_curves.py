import math

import numpy as np
import polars as pl
import pytest
from declared import make_table
from facts import facts
from intervals import level_of

from npi_jax.analysis.curves import acquisition_table, curves_table, final_table, task_curves
from npi_jax.results.names import ITEMS, MEAN_OVER_TASKS, NO_INTERVAL, SEEDS_AND_ITEMS, TOO_FEW
from npi_jax.results.tables_training import Members
from npi_jax.scoring import pair_accuracy


def make_members(*rows, **columns):
    """Members from (variant, seed) or (variant, seed, status)."""
    frame = pl.DataFrame(
        {
            "member": range(len(rows)),
            "variant": [row[0] for row in rows],
            "seed": [row[1] for row in rows],
            "learning_rate": 0.1,
            "weight_decay": 0.0,
            "dropout": 0.0,
            "status": [row[2] if len(row) > 2 else "ok" for row in rows],
            "skipped_updates": 0,
        }
    )
    return make_table(Members, frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()}))


def make_scores(members, deltas, **constant):
    """Scores from {(member, step, task): deltas}."""
    columns = {"suite": "grammar", "kind": "licensor", "region": "critical"} | constant
    frames = [
        pl.DataFrame(
            {
                "step": step,
                "member": member,
                "paradigm": f"{task}_p",
                "task": task,
                "item": [f"{task}-{i}" for i in range(len(values))],
                "delta": np.asarray(values, dtype=np.float64),
                "correct": pair_accuracy(np.asarray(values, dtype=np.float64)),
                **columns,
            }
        )
        for (member, step, task), values in deltas.items()
    ]
    return pl.concat(frames).join(members.select("member", "variant", "seed"), on="member")


def cell(frame, variant, task):
    rows = frame.filter((pl.col("variant") == variant) & (pl.col("task") == task)).to_dicts()
    assert len(rows) == 1
    return rows[0]


def test_curves_count_ties_one_half():
    members = make_members(("full", 0))
    scores = make_scores(members, {(0, 0, "only"): [0.0, 0.0, 3.0, -1.0], (0, 1, "only"): [1.0, 1.0, 1.0, -1.0]})
    table = curves_table(scores)
    assert table.columns == [
        *("member", "variant", "seed", "step", "suite", "paradigm", "task", "kind", "region"),
        *("accuracy", "delta", "ties", "n_items"),
    ]
    assert table["accuracy"].to_list() == [0.5, 0.75]
    assert table["ties"].to_list() == [0.5, 0.0]
    assert table["delta"].to_list() == [0.5, 0.5]
    assert table["n_items"].to_list() == [4, 4]


def test_float32_scores_become_float64_curves():
    members = make_members(("full", 0))
    scores = make_scores(members, {(0, 0, "only"): [0.5, 1.5]}).with_columns(pl.col("delta").cast(pl.Float32))
    assert curves_table(scores)["delta"].dtype == pl.Float64


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_delta_that_is_not_finite_is_seen(bad):
    members = make_members(("full", 0), ("full", 1))
    scores = make_scores(members, {(0, 9, "only"): [1.0, bad], (1, 9, "only"): [1.0, 1.0]})
    curves = curves_table(scores)
    assert curves.filter(member=0)["accuracy"].is_nan().all()
    assert curves.filter(member=1)["accuracy"].to_list() == [1.0]
    row = cell(final_table(scores, members), "full", "only")
    assert math.isnan(row["accuracy"])
    assert math.isnan(row["low"])
    assert row["interval_over"] == NO_INTERVAL
    assert row["n_nonfinite"] == 1
    assert cell(acquisition_table(curves, members), "full", "only")["acquired"] is None


@pytest.mark.parametrize("seeds", [3, 6])
def test_final_is_the_typical_seed_of_the_last_step(seeds):
    members = make_members(*(("full", seed) for seed in range(seeds)))
    values = np.random.default_rng(0).normal(size=(seeds, 30))
    scores = make_scores(members, {(m, s, "only"): values[m] - 9 * (s < 5) for m in range(seeds) for s in (0, 5)})
    row = cell(final_table(scores, members), "full", "only")
    expected = level_of(values)
    assert row["step"] == 5
    assert row["delta"] == pytest.approx(np.median(values.mean(axis=1)))
    assert row["accuracy"] == pytest.approx(np.median((values > 0).mean(axis=1)))
    ends = (expected.low, expected.high)
    assert (row["delta_low"], row["delta_high"]) == pytest.approx(ends, abs=0.02, nan_ok=True)
    over = TOO_FEW if seeds == 3 else SEEDS_AND_ITEMS
    assert (row["n_seeds"], row["n_items"], row["interval_over"]) == (seeds, 30, over)
    assert math.isnan(row["low"]) == (seeds == 3)


def test_each_task_counts_the_same_in_the_mean():
    members = make_members(("full", 0))
    scores = make_scores(members, {(0, 1, "only"): [1.0] * 8, (0, 1, "adverbs"): [-1.0, -1.0]})
    row = cell(final_table(scores, members), "full", MEAN_OVER_TASKS)
    assert (row["accuracy"], row["n_items"], row["interval_over"]) == (0.5, 10, ITEMS)
    curve = task_curves(curves_table(scores), members).filter(task=MEAN_OVER_TASKS)
    assert curve["accuracy"].to_list() == [0.5]


def test_mean_over_tasks_resamples_tasks_apart():
    """The variance of the mean of T independent tasks is a T-th of one task's."""
    members = make_members(("full", 0))
    random = np.random.default_rng(4)
    scores = make_scores(members, {(0, 1, f"task{t}"): random.normal(size=100) for t in range(9)})
    table = final_table(scores, members)
    width = {row["task"]: row["delta_high"] - row["delta_low"] for row in table.to_dicts()}
    one = np.mean([value for task, value in width.items() if task != MEAN_OVER_TASKS])
    assert width[MEAN_OVER_TASKS] == pytest.approx(one / 3, rel=0.12)


def test_the_same_items_are_resampled_for_all_variants():
    members = make_members(("full", 0), ("copy", 0))
    values = np.random.default_rng(0).normal(size=30)
    scores = make_scores(members, {(m, 1, "only"): values for m in range(2)})
    table = final_table(scores, members)
    one, other = cell(table, "full", "only"), cell(table, "copy", "only")
    one.pop("variant")
    other.pop("variant")
    assert one == other


def test_diverged_members_are_left_out_and_counted():
    members = make_members(("full", 0), ("full", 1, "diverged"), ("none", 0, "diverged"))
    scores = make_scores(
        members, {(0, 1, "only"): [1.0, 1.0], (1, 1, "only"): [-9.0, math.nan], (2, 1, "only"): [-9.0, -9.0]}
    )
    table = final_table(scores, members)
    full, none = cell(table, "full", "only"), cell(table, "none", "only")
    assert (full["accuracy"], full["n_seeds"], full["n_diverged"], full["n_nonfinite"]) == (1.0, 1, 1, 0)
    assert (none["accuracy"], none["n_seeds"], none["n_diverged"]) == (None, 0, 1)
    curves = curves_table(scores)
    assert set(curves["member"]) == {0, 1, 2}
    assert set(task_curves(curves, members)["member"]) == {0}
    assert cell(acquisition_table(curves, members), "full", "only")["n_diverged"] == 1


def test_hyper_parameters_are_not_seeds():
    members = make_members(("full", 0), ("full", 0), learning_rate=[0.1, 0.01])
    scores = make_scores(members, {(0, 1, "only"): [1.0, 1.0], (1, 1, "only"): [-1.0, -1.0]})
    table = final_table(scores, members).filter(task="only")
    assert dict(table.select("learning_rate", "accuracy").iter_rows()) == {0.1: 1.0, 0.01: 0.0}
    assert table["n_seeds"].to_list() == [1, 1]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.5, 0.5, 0.75, 1.0], 4),
        ([0.5, 0.75, 0.5, 1.0], 8),
        ([0.75, 0.75, 0.75, 0.75], 0),
        ([1.0, 1.0, 1.0, 0.5], None),
    ],
)
def test_acquired_is_where_accuracy_comes_to_stay(accuracies, expected):
    members = make_members(("full", 0))
    deltas = {
        (0, step, "only"): [1.0] * round(4 * accuracy) + [-1.0] * round(4 - 4 * accuracy)
        for step, accuracy in zip((0, 2, 4, 8), accuracies, strict=True)
    }
    table = acquisition_table(curves_table(make_scores(members, deltas)), members)
    assert cell(table, "full", "only")["acquired"] == expected
    assert cell(table, "full", MEAN_OVER_TASKS)["acquired"] == expected


def test_acquisition_is_of_the_mean_over_seeds():
    members = make_members(("full", 0), ("full", 1))
    deltas = {(0, 1, "only"): [1.0] * 4, (1, 1, "only"): [1.0, 1.0, -1.0, -1.0]}
    row = cell(acquisition_table(curves_table(make_scores(members, deltas)), members), "full", "only")
    assert (row["acquired"], row["n_seeds"], row["threshold"]) == (1, 2, 0.75)


def test_a_member_scored_on_fewer_items_is_an_error():
    members = make_members(("full", 0), ("full", 1))
    scores = make_scores(members, {(0, 1, "only"): [1.0, 1.0], (1, 1, "only"): [1.0]})
    with pytest.raises(ValueError, match=facts("'only'", "2 members", "2 items", "4", "3")):
        final_table(scores, members)


def test_a_member_that_nobody_knows_is_an_error():
    members = make_members(("full", 0), ("full", 1))
    curves = curves_table(make_scores(members, {(1, 1, "only"): [1.0, 1.0]}))
    with pytest.raises(ValueError, match=facts("members [1]")):
        task_curves(curves, members.head(1))


def test_suites_end_at_their_own_last_step():
    members = make_members(("full", 0))
    scores = pl.concat(
        [
            make_scores(members, {(0, s, "only"): [1.0, 1.0] for s in (0, 8)}),
            make_scores(members, {(0, 4, "only"): [1.0, -1.0]}, suite="blimp"),
        ]
    )
    table = final_table(scores, members).filter(task="only")
    assert dict(table.select("suite", "step").iter_rows()) == {"grammar": 8, "blimp": 4}


def test_a_million_rows_take_seconds():
    members = make_members(*(("full", seed) for seed in range(10)))
    random = np.random.default_rng(0)
    deltas = {(m, s, f"t{t}"): random.normal(size=500) for m in range(10) for s in range(20) for t in range(10)}
    scores = make_scores(members, deltas)
    assert len(scores) == 1_000_000
    curves = curves_table(scores)
    assert len(curves) == 2000
    assert len(final_table(scores, members)) == 11
    assert len(acquisition_table(curves, members)) == 11
