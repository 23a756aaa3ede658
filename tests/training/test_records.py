import numpy as np
from tiny import minimal_pair

from npi_jax.config.schema import Member
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.models import LSTMConfig, make_model
from npi_jax.scoring import ScoreSpec, make_scorer
from npi_jax.suites.schema import Suite
from npi_jax.training.member.step import Progress
from npi_jax.training.tables import ScoreTables, members_table, metrics_table


def test_metrics_hold_mean_losses():
    progress = Progress(np.array([6.0, 9.0]), np.array([3.0, 3.0]), np.array([0, 2], np.int32))
    table = metrics_table(7, progress, np.array([1.5, np.nan]))
    assert table["train_loss"].to_list() == [2.0, 3.0]
    assert table["step"].to_list() == [7, 7]
    assert table["skipped_updates"].to_list() == [0, 2]
    assert metrics_table(0, None, np.array([1.5]))["train_loss"].to_list() == [None]


def test_every_member_item_and_region_has_a_row():
    items = [
        minimal_pair("a b", "a c", (2, 3), (2, 3), item="i0", task="only"),
        minimal_pair("a b c", "a c", (2, 5), (2, 3), item="i1", task="only"),
    ]
    suite = Suite("its own name", items).encode(WordTokenizer.train(["a b c"]))
    scorer = make_scorer(make_model(LSTMConfig(embedding=2, hidden=2, layers=1), 5), suite)
    tables = ScoreTables({"s": scorer}, n_members=3)
    sentence = np.arange(12.0).reshape(3, 4)
    table = tables.table(5, {"s": {"sentence": sentence, "critical": sentence + 100}})
    assert table.height == 3 * 2 * 2
    row = table.row(by_predicate=(table_filter(member=1, item="i1", region="critical")), named=True)
    # Sums of 106 over two words and of 107 over one, as means, times 1.5 words.
    assert (row["good"], row["bad"], row["delta"], row["correct"]) == (79.5, 160.5, -81.0, 0.0)
    assert (row["n_good"], row["n_bad"], row["step"], row["suite"]) == (2, 1, 5, "s")
    assert row["spec"] == ScoreSpec(normalization="matched").label
    row = table.row(by_predicate=(table_filter(member=2, item="i0", region="sentence")), named=True)
    assert (row["good"], row["bad"]) == (8.0, 9.0)
    assert (row["n_good"], row["n_bad"]) == (3, 3)


def table_filter(**values):
    import polars as pl  # noqa: PLC0415

    return pl.all_horizontal(*(pl.col(name) == value for name, value in values.items()))


def test_members_say_how_they_fared():
    members = [Member("full", 0, 0.1, 0.0, 0.0), Member("full", 1, 0.1, 0.0, 0.0)]
    table = members_table(members, np.array([0, 3], np.int32), np.array([False, True]))
    assert table["member"].to_list() == [0, 1]
    assert table["status"].to_list() == ["ok", "diverged"]
    assert table["skipped_updates"].to_list() == [0, 3]
