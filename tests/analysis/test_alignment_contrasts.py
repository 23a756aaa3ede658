"""Contrasts of variants against the paired t test of SciPy, and what is said where there is no test."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from npi_jax.analysis.alignment.contrasts import NO_PAIR, NO_VARIANCE, ONE_SEED, contrast_table, paired
from npi_jax.results.names import EFFECTIVE_TASKS, MEAN_COSINE
from npi_jax.results.schema import check_written
from npi_jax.results.tables_alignment import AlignmentContrasts

GROUPS = ("recurrent", "all")


def make_members(*rows):
    """Members from (variant, seed, learning rate, status)."""
    full = [(*row, *(0.1, "ok")[len(row) - 2 :]) for row in rows]
    names = ("variant", "seed", "learning_rate", "status")
    columns = {name: [row[place] for row in full] for place, name in enumerate(names)}
    return pl.DataFrame({"member": range(len(rows)), "weight_decay": 0.0, "dropout": 0.0, **columns})


def table_of(members, values, metric="adam", statistic=MEAN_COSINE):
    """The contrasts of values [members, groups]."""
    found = contrast_table(8, GROUPS, members, {(metric, statistic): np.asarray(values, float)})
    return check_written(found, AlignmentContrasts)


def row_of(table, **where):
    rows = table.filter(**where).to_dicts()
    assert len(rows) == 1
    return rows[0]


FOUR = [("full", 0), ("full", 1), ("full", 2), ("full", 3), ("none", 3), ("none", 0), ("none", 2), ("none", 1)]


def test_it_is_the_paired_t_test_over_seeds():
    random = np.random.default_rng(0)
    values = random.normal(0.3, 0.1, size=(8, 2))
    full, none = values[:4], values[[5, 7, 6, 4]]
    table = table_of(make_members(*FOUR), values)
    assert table["group"].to_list() == list(GROUPS)
    for column, group in enumerate(GROUPS):
        row = row_of(table, group=group)
        test = stats.ttest_rel(none[:, column], full[:, column])
        ends = test.confidence_interval(0.95)
        assert row["p"] == pytest.approx(test.pvalue)
        assert (row["low"], row["high"]) == pytest.approx((ends.low, ends.high))
        assert row["difference"] == pytest.approx((none - full)[:, column].mean())
        assert row["baseline_mean"] == pytest.approx(full[:, column].mean())
        assert row["variant_mean"] == pytest.approx(none[:, column].mean())
        assert (row["variant"], row["baseline"], row["metric"], row["statistic"], row["step"]) == (
            *("none", "full", "adam", "mean cosine", 8),
        )
        assert (row["n_seeds"], row["n_left_out"], row["reason"]) == (4, 0, "")


def test_by_hand():
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t = 3.4641 with 2 degrees of freedom, p = .0742."""
    found = paired(np.zeros((3, 1)), np.array([[1.0], [2.0], [3.0]]))
    assert found.difference[0] == pytest.approx(2)
    assert found.p[0] == pytest.approx(0.0742, abs=5e-5)
    assert found.high[0] - 2 == pytest.approx(4.302653 / np.sqrt(3))


def test_effective_numbers_are_compared_by_their_ratio():
    numbers = np.array([4.0, 5.0, 3.0, 4.0, 8.0, 8.0, 7.0, 9.0])
    values = np.column_stack([numbers, numbers[::-1]])
    row = row_of(table_of(make_members(*FOUR), values, statistic=EFFECTIVE_TASKS), group="recurrent")
    full, none = numbers[:4], numbers[[5, 7, 6, 4]]
    test = stats.ttest_rel(np.log(none), np.log(full))
    ends = test.confidence_interval(0.95)
    assert row["p"] == pytest.approx(test.pvalue)
    assert row["baseline_mean"] == pytest.approx(stats.gmean(full))
    assert row["variant_mean"] == pytest.approx(stats.gmean(none))
    assert row["difference"] == pytest.approx(stats.gmean(none) - stats.gmean(full))
    # The ratio's interval, in tasks.
    assert 1 + row["low"] / row["baseline_mean"] == pytest.approx(np.exp(ends.low))
    assert 1 + row["high"] / row["baseline_mean"] == pytest.approx(np.exp(ends.high))


@pytest.mark.parametrize("statistic", [MEAN_COSINE, EFFECTIVE_TASKS])
def test_the_interval_excludes_0_exactly_if_p_is_below_5_percent(statistic):
    random = np.random.default_rng(1)
    told = []
    for shift in np.linspace(0, 2, 40):
        values = np.exp(random.normal(size=(8, 2)) * 0.5)
        values[4:] *= np.exp(shift)
        for row in table_of(make_members(*FOUR), values, statistic=statistic).to_dicts():
            assert (row["p"] < 0.05) == (not row["low"] <= 0 <= row["high"])
            told.append(row["p"] < 0.05)
    assert 0.1 < np.mean(told) < 0.95


def test_seeds_without_a_value_are_left_out_and_counted():
    values = np.full((8, 2), 0.3) + 0.01 * np.arange(16).reshape(8, 2) ** 1.3
    values[1, 0] = values[6, 0] = values[:4, 1] = math.nan
    table = table_of(make_members(*FOUR), values)
    row = row_of(table, group="recurrent")
    kept = values[[0, 3], 0], values[[5, 4], 0]
    assert (row["n_seeds"], row["n_left_out"], row["reason"]) == (2, 2, "")
    assert row["p"] == pytest.approx(stats.ttest_rel(kept[1], kept[0]).pvalue)
    assert row["baseline_mean"] == pytest.approx(kept[0].mean())
    lost = row_of(table, group="all")
    assert (lost["n_seeds"], lost["n_left_out"], lost["reason"]) == (0, 4, NO_PAIR)
    assert all(math.isnan(lost[name]) for name in ("baseline_mean", "variant_mean", "difference", "low", "high", "p"))


def test_one_seed_has_a_difference_but_no_test():
    row = row_of(table_of(make_members(("full", 0), ("none", 0)), [[0.5, 0.5], [0.1, 0.1]]), group="all")
    assert (row["difference"], row["n_seeds"], row["reason"]) == (pytest.approx(-0.4), 1, ONE_SEED)
    assert all(math.isnan(row[name]) for name in ("low", "high", "p"))


def test_equal_differences_have_no_test():
    """At step 0, all variants of a seed are the same model."""
    values = np.tile([[0.1], [0.2], [0.3], [0.4], [0.4], [0.1], [0.3], [0.2]], 2)
    for shift in (0.0, 0.1):
        shifted = values + shift * (np.arange(8) > 3)[:, None]
        row = row_of(table_of(make_members(*FOUR), shifted), group="all")
        assert (row["difference"], row["reason"]) == (pytest.approx(shift), NO_VARIANCE)
        assert math.isnan(row["p"])


def test_pairs_share_seed_and_hyper_parameters_and_did_not_diverge():
    members = make_members(
        *(("full", 0, 0.1), ("full", 1, 0.1), ("full", 2, 0.1), ("full", 3, 0.1, "diverged")),
        *(("none", 0, 0.1), ("none", 1, 0.1), ("none", 2, 0.1, "diverged"), ("none", 3, 0.1), ("none", 9, 0.1)),
        *(("full", 0, 0.2), ("none", 0, 0.2), ("only", 0, 0.3)),
    )
    values = np.repeat([[1.0], [2], [3], [4], [11], [13], [33], [44], [99], [5], [6], [7]], 2, axis=1)
    table = table_of(members, values).filter(group="all")
    assert table.select("variant", "learning_rate", "n_seeds", "difference").rows()[:2] == [
        ("none", 0.1, 2, pytest.approx(10.5)),
        ("none", 0.2, 1, pytest.approx(1.0)),
    ]
    alone = row_of(table, variant="only")
    assert (alone["n_seeds"], alone["n_left_out"], alone["reason"]) == (0, 0, NO_PAIR)


def test_a_run_of_one_variant_has_no_contrast():
    assert len(table_of(make_members(("full", 0), ("full", 1)), np.ones((2, 2)))) == 0
