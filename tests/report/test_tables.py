import numpy as np
import polars as pl
import pytest
from synthetic import VARIANTS, FakeRun, make_run

from npi_jax.analysis.tables import write_tables
from npi_jax.analysis.typical import order_ends
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


def test_band_is_the_range_of_few_seeds_and_the_interval_of_the_median_of_more():
    frame = pl.DataFrame({"label": "a", "step": 1, "accuracy": [0.2, 0.4, 0.9]})
    row = band(frame, "accuracy").row(0, named=True)
    assert (row["low"], row["typical"], row["high"], row["n_seeds"]) == (0.2, 0.4, 0.9, 3)
    many = [0.1, *np.linspace(0.5, 0.6, 9)]
    row = band(pl.DataFrame({"label": "a", "step": 1, "accuracy": many}), "accuracy").row(0, named=True)
    assert (row["low"], row["high"]) == pytest.approx(order_ends(np.array(many), 0.95))
    # The seed that failed moves neither the line nor the band away from the others.
    assert row["typical"] == pytest.approx(np.median(many))
    assert 0.1 < row["low"] < row["typical"] < row["high"] < 0.6


def test_band_of_one_seed_is_its_line():
    row = band(pl.DataFrame({"label": "a", "step": 1, "accuracy": [0.4]}), "accuracy").row(0, named=True)
    assert row["low"] == row["typical"] == row["high"] == 0.4
