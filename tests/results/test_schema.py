"""The schema of results: it is whole, it is readable, and what does not follow it is refused by name."""

import pickle
from pathlib import Path

import polars as pl
import pytest

from npi_jax.config import members as members_of_config
from npi_jax.errors import UserError
from npi_jax.results import names
from npi_jax.results.columns import Column
from npi_jax.results.directory import Run
from npi_jax.results.folder import ANALYZED, OF_GRADIENTS
from npi_jax.results.folder import TABLES as PREPARED
from npi_jax.results.schema import TABLES, SchemaError, check, check_written, describe, empty, find, reference
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_preparation import Corpus, Slots
from npi_jax.results.tables_training import HYPERPARAMETERS, Members, Scores
from npi_jax.results.tables_transfer import Transfer


def members(**changes) -> pl.DataFrame:
    values = {
        "member": [0, 1],
        "variant": ["full", "no_npi"],
        "seed": 0,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "dropout": 0.0,
        "status": "ok",
        "skipped_updates": 0,
    }
    frame = pl.DataFrame(values | changes)
    return frame.cast({name: dtype for name, dtype in Members.schema().items() if name in frame.columns})


def test_every_table_that_a_run_has_is_declared_once():
    files = {table.FILE for table in TABLES.values()} - {""}
    assert files == {
        *PREPARED,
        "members.parquet",
        "metrics/STEP.parquet",
        "scores/STEP.parquet",
        *(f"tables/{name}.parquet" for name in ANALYZED),
    }
    of_gradients = {name for name, table in TABLES.items() if "gradients" in table.WHEN}
    assert of_gradients == set(OF_GRADIENTS)
    assert all(name == find(name).NAME for name in TABLES)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_says_what_it_holds_in_whole_sentences(table):
    assert table.about().endswith(".")
    assert table.KEY or "no key" in table.about()
    assert set(table.KEY) <= set(table.COLUMNS)
    for column in table.COLUMNS:
        assert column.meaning.endswith("."), (table, column)
        assert column.nullable == ("null" in column.meaning or (table.NAME, column) in NULL_WITH_ACCURACY), column
    shown = describe(table.NAME)
    assert all(column in shown for column in table.COLUMNS)
    assert max(map(len, shown.splitlines())) <= 100


NULL_WITH_ACCURACY = {
    *(("final", name) for name in ("low", "high", "delta_low", "delta_high")),
    *(("published", name) for name in ("rank_low", "rank_high")),
}
"""Ends of intervals, null where the number that they belong to is."""


def test_a_column_is_its_name_and_more():
    frame = pl.DataFrame({"effect": [1.0, -1.0], "task": ["a", "b"]})
    assert frame[Transfer.effect].to_list() == [1.0, -1.0]
    assert frame.filter(pl.col(Transfer.effect) < 0)[Transfer.task].to_list() == ["b"]
    assert frame.row(0, named=True)[Transfer.task] == "a"
    assert pl.DataFrame({Transfer.effect: [1.0]}).columns == ["effect"]
    again = pickle.loads(pickle.dumps(Transfer.outcome))
    assert isinstance(again, Column)
    assert (again, again.dtype, again.values) == ("outcome", pl.String, names.OUTCOMES)


def test_a_family_of_columns_is_one_column_for_each_label():
    assert Corpus.npi.of("only") == "npi_only"
    assert Corpus.column("npi_only") is Corpus.npi
    assert Corpus.column("contexts_other") is Corpus.contexts
    assert Corpus.column("other") is None


def test_hyper_parameters_are_those_of_the_configuration():
    assert HYPERPARAMETERS == members_of_config.HYPERPARAMETERS


def test_an_empty_table_has_the_columns_of_its_file():
    assert empty(Transfer).schema == Transfer.schema()
    assert check_written(empty(Slots), Slots).height == 0
    assert "seed" not in empty(Scores).columns, "Run adds it"


def test_what_follows_the_schema_is_returned_as_it_is():
    frame = members()
    assert check_written(frame, Members) is frame
    later = frame.with_columns(pl.lit(1).alias("added_later"))
    assert check(later, Members) is later


def test_columns_that_came_later_may_be_missing_from_a_file():
    old = empty(Alignment).drop("ratio", "adam_reason")
    assert check(old, Alignment) is old


def test_earlier_versions_wrote_narrower_types():
    old = empty(Scores).cast({"suite": pl.Categorical, "delta": pl.Float32, "step": pl.Int64})
    assert check(old, Scores) is old
    with pytest.raises(SchemaError, match="'suite' is of type Categorical; String is expected"):
        check_written(old, Scores)


@pytest.mark.parametrize(
    ("frame", "facts"),
    [
        (members().drop("seed"), ["no column 'seed'", "member, variant"]),
        (members().cast({"seed": pl.String}), ["'seed'", "String", "Int64 is expected"]),
        (members(status="lost"), ["'status'", "'lost'", "'ok', 'diverged'"]),
        (members(variant=["full", None]), ["'variant'", "null in row 1"]),
        (members(member=[1, 1]), ["2 rows", "member 1"]),
        (members(mine=0), ["'mine'", "not declared"]),
    ],
    ids=["missing", "type", "value", "null", "key", "unknown"],
)
def test_what_does_not_follow_it_is_refused_with_table_and_column(frame, facts):
    with pytest.raises(SchemaError) as caught:
        check_written(frame, Members)
    for fact in ("table 'members'", *facts):
        assert fact in str(caught.value)


def test_a_file_is_named_where_it_is_known():
    with pytest.raises(SchemaError, match=r"^some/members\.parquet: has no column 'seed'"):
        check(members().drop("seed"), Members, file=Path("some/members.parquet"))


def test_what_a_run_adds_when_it_reads_is_not_written():
    frame = empty(Scores).with_columns(pl.lit(0).alias("seed"))
    assert check(frame, Scores) is frame
    with pytest.raises(SchemaError, match="'seed', which is not declared"):
        check_written(frame, Scores)


def test_a_run_describes_its_tables(tmp_path):
    shown = Run(tmp_path).describe("transfer")
    assert shown.startswith("transfer: ")
    assert "In tables/transfer.parquet" in shown
    assert '"accuracy", "delta"' in shown
    with pytest.raises(UserError, match="did you mean transfer"):
        Run(tmp_path).describe("transfr")


def test_reference_pages_have_every_column_in_words():
    pages = {page.name: page for page in reference()}
    assert list(pages) == list(TABLES)
    corpus = {name: meaning for name, _, _, meaning in pages["corpus"].rows}
    assert "npi_LABEL" in corpus
    assert "Absent from runs" in corpus["edited"]
    scores = {name: meaning for name, _, _, meaning in pages["scores"].rows}
    assert "adds it" in scores["variant"]
