import math

import polars as pl
import pytest
from synthetic import VARIANTS, FakeRun, make_run

from npi_jax.analysis.tables import write_tables
from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.errors import UserError
from npi_jax.report.data.bands import band
from npi_jax.report.data.tables import load_tables
from npi_jax.results.names import MEAN_OVER_TASKS


def test_labels_keep_the_order_of_the_members(run):
    tables = load_tables(run)
    assert tables.labels == VARIANTS
    assert tables.controls == {"random_removal": "no_conditional"}
    assert tables.last_step == 2000


def test_cells_begin_with_licensor_pairs_in_the_critical_region(run):
    tables = load_tables(run)
    assert tables.cells() == [("grammar", "licensor", "critical"), ("grammar", "scope", "critical")]
    assert tables.main_cells() == [("grammar", "licensor", "critical")]
    assert tuple(tables.tasks(tables.cells()[0])) == ENVIRONMENTS


def test_labels_name_the_hyper_parameters_that_differ(run, tmp_path):
    members = run.members().with_columns(
        learning_rate=pl.when(pl.col("seed") == 0).then(0.1).otherwise(0.01), seed=pl.col("seed") // 2
    )
    other = FakeRun(tmp_path, {**run.frames, "members": members}, run.manifest, run.config)
    write_tables(other)
    tables = load_tables(other)
    assert tables.labels[:2] == ("full (learning rate 0.1)", "full (learning rate 0.01)")
    assert tables.controls["random_removal (learning rate 0.1)"] == "no_conditional (learning rate 0.1)"
    assert set(tables.final["label"]) == set(tables.labels) == set(tables.metrics["label"])


def test_a_run_that_was_not_analyzed_says_what_to_do(run, tmp_path):
    with pytest.raises(UserError, match="npi-jax report"):
        load_tables(FakeRun(tmp_path, run.frames))


def test_diverged_members_are_in_no_curve(tmp_path):
    tables = load_tables(make_run(tmp_path, environments=ENVIRONMENTS[:2], steps=(0, 1), diverged=(4,)))
    assert 4 not in set(tables.curves["member"])
    assert 4 not in set(tables.metrics["member"])
    assert MEAN_OVER_TASKS in set(tables.curves["task"])


def test_band_is_the_range_of_few_seeds_and_the_t_interval_of_more():
    frame = pl.DataFrame({"label": "a", "step": 1, "accuracy": [0.2, 0.4, 0.9]})
    row = band(frame, "accuracy").row(0, named=True)
    assert (row["low"], row["high"], row["n_seeds"]) == (0.2, 0.9, 3)
    assert row["mean"] == pytest.approx(0.5)
    more = pl.DataFrame({"label": "a", "step": 1, "accuracy": [0.4, 0.5, 0.6, 0.5]})
    row = band(more, "accuracy").row(0, named=True)
    assert row["high"] - row["mean"] == pytest.approx(3.182 * more["accuracy"].std() / 2, rel=1e-3)
    wide = pl.DataFrame({"label": "a", "step": 1, "accuracy": [0.0, 1.0, 1.0, 1.0]})
    row = band(wide, "accuracy", bounds=(0.0, 1.0)).row(0, named=True)
    # mean .75, arm 3.182 x .25: (x - .75)^2 = arm^2 x (1 - x) / (.75 x .25), solved by hand.
    assert (row["low"], row["high"]) == (pytest.approx(0.1307, abs=0.0005), pytest.approx(0.9835, abs=0.0005))


def test_a_band_of_perplexities_stays_above_one():
    frame = pl.DataFrame({"label": "a", "step": 1, "perplexity": [2.0, 3.0, 40.0, 900.0]})
    row = band(frame, "perplexity", bounds=(1.0, math.inf)).row(0, named=True)
    assert band(frame, "perplexity")["low"][0] < 0
    assert 1 < row["low"] < row["mean"] < row["high"]


def test_band_of_one_seed_is_its_line():
    row = band(pl.DataFrame({"label": "a", "step": 1, "accuracy": [0.4]}), "accuracy").row(0, named=True)
    assert row["low"] == row["mean"] == row["high"] == 0.4
