import math

import numpy as np
import polars as pl
import pytest
from declared import make_table

from npi_jax.analysis.transfer.published import published_table
from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.results.tables_learning import FinalResults, Published
from npi_jax.results.tables_transfer import Transfer

CELL = {"suite": "warstadt2019", "kind": "licensor", "region": "critical"}
SETTING = {"learning_rate": 0.1, "weight_decay": 0.0, "dropout": 0.0}


def tables(held_out: dict[str, float], *, arm: float = 0.05):
    """Results in which each environment's accuracy falls from .9 when its NPIs are taken away."""
    final, transfer = [], []
    for variant in ("full", *(f"without({name})" for name in held_out)):
        for task in ENVIRONMENTS:
            accuracy = held_out[task] if variant == f"without({task})" else 0.9
            row = {"accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
            final.append({"variant": variant, "task": task, **CELL, **SETTING, **row})
    for name, accuracy in held_out.items():
        effect = accuracy - 0.9
        row = {"effect": effect, "low": effect - arm, "high": effect + arm, "baseline": "full"}
        names = {"intervention": f"without({name})", "removed": name, "control": "", "outcome": "accuracy"}
        for task in {name, "superlative"}:
            transfer.append({**names, "task": task, **CELL, **row})
    return make_table(FinalResults, final), make_table(Transfer, transfer)


def test_each_held_out_environment_is_beside_its_published_accuracy():
    held_out = {name: 0.6 + 0.02 * number for number, name in enumerate(ENVIRONMENTS)}
    table = published_table(*tables(held_out))
    assert table.schema == Published.schema()
    assert table["task"].to_list() == list(ENVIRONMENTS)
    row = table.row(by_predicate=pl.col("task") == "only", named=True)
    assert (row["full"], row["held_out"], row["held_out_low"]) == (0.9, held_out["only"], held_out["only"] - 0.1)
    # As published: .845 and .744.
    assert row["published_effect"] == pytest.approx(-0.101)
    assert row["direction"] == "same"
    assert table["rank"].to_list() == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    published = table["published_held_out"].to_numpy()
    assert table["published_rank"].to_list() == (np.argsort(np.argsort(-published)) + 1).tolist()
    found = table["rank_correlation"][0]
    assert found == pytest.approx(np.corrcoef(table["rank"], table["published_rank"])[0, 1])
    # Bonett and Wright (2000): the variance of Fisher's z is (1 + r^2 / 2) / (n - 3).
    arm = 1.959964 * math.sqrt((1 + found**2 / 2) / 6)
    assert table["rank_low"][0] == pytest.approx(math.tanh(math.atanh(found) - arm))


def test_directions():
    held_out = {"adverbs": 0.95, "conditional": 0.88, "only": 0.6}
    table = published_table(*tables(held_out, arm=0.04))
    assert table["direction"].to_list() == ["opposite", "open", "same"]
    assert table["rank_correlation"].to_list() == [None] * 3, "too few for a correlation"


def test_runs_that_repeat_nothing_published_have_no_table():
    final, transfer = tables({"only": 0.6})
    assert not len(published_table(final, transfer.filter(pl.col("removed") == "all")))
    several = pl.concat([final, final.with_columns(pl.lit(0.2).alias("learning_rate"))])
    assert not len(published_table(several, transfer))
