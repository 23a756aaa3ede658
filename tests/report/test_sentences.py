"""What no sentence says: effects of variants that changed nothing, regions not scored, learning before training."""

import dataclasses

import polars as pl
import pytest
from declared import make_table
from facts import denies, sentence_with
from synthetic import make_run

from npi_jax.analysis.curves import rename_reserved
from npi_jax.analysis.transfer.empty import empty_variants, with_controls, without_empty
from npi_jax.report.data.selection import transfer_matrix
from npi_jax.report.data.tables import load_tables
from npi_jax.report.pages.run_page import result_table
from npi_jax.report.prose import findings, sentences
from npi_jax.report.prose.verdict import verdict
from npi_jax.results.names import MEAN_OVER_TASKS, TOO_FEW
from npi_jax.results.tables_learning import FailedSeeds
from npi_jax.results.tables_transfer import TransferPooled

EMPTY = "no_conditional"


@pytest.fixture
def emptied(tables):
    """The run, if one variant had changed nothing."""
    changed = pl.when(pl.col("variant") == EMPTY).then(0).otherwise("slots_changed")
    return dataclasses.replace(tables, corpus=tables.corpus.with_columns(changed.alias("slots_changed")))


def test_a_variant_that_changed_nothing_is_in_no_sentence_and_named_once(tables, emptied):
    def everything(tables):
        claims = [claim.text for claim in verdict(tables)]
        return [*sentences.accuracies(tables), findings.alignment(tables), *findings.transfer(tables), *claims]

    assert EMPTY in " ".join(everything(tables))
    said = everything(emptied)
    assert EMPTY not in " ".join(said)
    # Its control changed as many sentences as it did, and is as empty.
    assert "random_removal" not in " ".join(said)
    assert emptied.empty == (EMPTY,)
    named = [text for text in sentences.warnings(emptied) if EMPTY in text]
    assert len(named) == 1
    assert "changed nothing" in named[0]
    # What it did not do is no effect of one environment on another.
    before, after = transfer_matrix(tables), transfer_matrix(emptied)
    empty_effects = {row["removed"] for row in before.rows.to_dicts() if row["intervention"] == EMPTY}
    assert after is None or not empty_effects & set(after.removed)
    # The numbers themselves stay.
    assert EMPTY in {label for label, *_ in result_table(emptied, emptied.cells()[0]).rows}


def test_which_variants_are_empty():
    corpus = pl.DataFrame(
        {
            "variant": ["full", "without(only)", "random(without(only))", "a", "b", "c", "d"],
            "control_of": [None, None, "without(only)", None, None, None, None],
            "slots_changed": [0, 0, 0, 0, 0, 3, 0],
            "edited": [0, 0, 0, 2, 0, 0, None],
            "injected": [0, 0, 0, 0, 5, 0, None],
        }
    )
    assert empty_variants(corpus, "full") == ["without(only)", "d"]
    assert empty_variants(corpus, "d") == ["without(only)"]
    assert empty_variants(corpus.drop("slots_changed"), "full") == []
    assert with_controls(["without(only)"], corpus) == ["without(only)", "random(without(only))"]
    transfer = pl.DataFrame({"intervention": corpus["variant"]})
    assert without_empty(transfer, corpus, "full")["intervention"].to_list() == ["full", "a", "b", "c"]


def test_what_is_scored_is_called_by_its_name(tables):
    suite, kind, _ = tables.cells()[0]
    whole = dataclasses.replace(tables, manifest={**tables.manifest, "suites": {suite: {"region": "sentence"}}})
    assert tables.scored((suite, kind, "critical")) == "the critical region"
    assert whole.scored((suite, kind, "critical")) == "the whole sentence"
    assert tables.scored((suite, kind, "sentence")) == "the whole sentence"
    assert tables.scored((suite, kind, "spill_over")) == "the region “spill over”"
    assert "the whole sentence" in result_table(whole, tables.cells()[0]).title


def test_pairs_whose_regions_are_not_what_they_seem_are_counted(tables):
    suites = {
        "mine": {"items": 1200, "unequal_regions": 1034, "split_regions": 7, "unknown_items": 0},
        "other": {"items": 10, "unequal_regions": 0, "split_regions": 0, "region": "sentence"},
    }
    said = sentences.warnings(dataclasses.replace(tables, manifest={**tables.manifest, "suites": suites}))
    assert any("1,034 of 1,200 pairs" in text and "number of tokens" in text for text in said)
    assert any("7 of 1,200 pairs" in text and "within a token" in text for text in said)
    assert not any("other" in text for text in said)
    assert any("Each additional token lowers a sum of log-probabilities" in text for text in said)
    specs = {"mine": {"normalization": "matched"}}
    manifest = {**tables.manifest, "suites": suites, "score_specs": specs}
    said = sentences.warnings(dataclasses.replace(tables, manifest=manifest))
    assert any("They are compared by their means over tokens" in text for text in said)
    assert not any("Each additional token" in text for text in said)


def test_what_is_so_before_training_is_not_learned(tables):
    first = pl.col("task") == "adverbs"
    given = tables.acquisition.with_columns(acquired=pl.when(first).then(0).otherwise("acquired"))
    text = " ".join(sentences.accuracies(dataclasses.replace(tables, acquisition=given)))
    assert "(step 0)" not in text
    assert sentence_with(text, "adverbs", "before training")
    nothing = tables.acquisition.with_columns(acquired=pl.lit(0, pl.Int64))
    text = " ".join(sentences.accuracies(dataclasses.replace(tables, acquisition=nothing)))
    assert sentence_with(text, "none", "9 tasks")
    assert "(step 0)" not in text


def test_a_task_called_as_the_mean_is_does_not_become_it(tmp_path):
    run = make_run(tmp_path, seeds=2, environments=(MEAN_OVER_TASKS, "only"), steps=(0, 4), multitask=False)
    assert set(rename_reserved(run.scores())["task"]) == {f"{MEAN_OVER_TASKS} (a task)", "only"}
    tables = load_tables(run)
    cell = tables.cells()[0]
    assert tables.tasks(cell) == ["only", f"{MEAN_OVER_TASKS} (a task)"]
    row = tables.final.filter(label="full", suite=cell[0], kind=cell[1], region=cell[2])
    by_task = dict(row.select("task", "accuracy").iter_rows())
    parts = [by_task["only"], by_task[f"{MEAN_OVER_TASKS} (a task)"]]
    assert by_task[MEAN_OVER_TASKS] == pytest.approx(sum(parts) / 2)
    assert len(row) == 3


def test_an_alignment_without_an_interval_says_why(tables):
    mean = tables.more["alignment_mean"].with_columns(
        reason=pl.when(pl.col("label") == "full").then(pl.lit("one seed")).otherwise(pl.lit("the estimate is 1.010")),
        corrected=pl.when(pl.col("label") == "full").then("corrected"),
        low=pl.lit(None, pl.Float64),
    )
    text = findings.alignment(dataclasses.replace(tables, more={**tables.more, "alignment_mean": mean}))
    assert sentence_with(text, "no interval", "one seed", "full")
    assert denies(sentence_with(text, "no_npi, no_conditional and random_removal", "the estimate is 1.010"))


def with_tables(tables, **more):
    return dataclasses.replace(tables, more=tables.more | more)


def test_a_failed_seed_is_named_in_one_sentence(tables):
    row = {"variant": "full", "suite": "grammar", "kind": "licensor", "region": "critical", "seed": 2, "member": 2}
    numbers = {"accuracy": 0.512, "others": 0.973, "margin": 0.1, "step": 800, "n_seeds": 5}
    rows = make_table(FailedSeeds, [row | numbers, row | numbers | {"kind": "scope", "accuracy": 0.45}])
    failed = with_tables(tables, failed_seeds=rows.with_columns(label=pl.lit("full")))
    (said,) = (text for text in sentences.warnings(failed) if "failed to learn" in text)
    for part in ("Seed 2 of full", "member 2", "51.2%", "licensor", "97.3%", "step 800", "45.0%", "scope"):
        assert part in said
    assert not any("failed to learn" in text for text in sentences.warnings(tables))


def test_the_pooled_effect_is_stated_with_its_test(tables):
    common = {"suite": "grammar", "kind": "licensor", "region": "critical", "outcome": "delta", "n_pairs": 72}
    rows = [
        common | {"controlled": True, "effect": -0.31, "low": -0.5, "high": -0.12, "p": 0.018, "n_seeds": 3},
        common | {"controlled": False, "effect": -0.99, "low": -1.5, "high": -0.12, "p": 0.03, "n_seeds": 3},
    ]
    setting = dict(tables.members.select("learning_rate", "weight_decay", "dropout").row(0, named=True))
    pooled = make_table(TransferPooled, [row | setting for row in rows])
    said = " ".join(findings.transfer(with_tables(tables, transfer_pooled=pooled)))
    assert sentence_with(said, "72 pairs", "−.31 nats", "−.50 to −.12", "p = .018", "3 seeds")
    assert "−.99" not in said


def test_a_few_seeds_cannot_tell_what_alignment_is(tables):
    mean = tables.table("alignment_mean")
    assert mean is not None
    none = pl.lit(float("nan"))
    few = mean.with_columns(low=none, high=none, interval_over=pl.lit(TOO_FEW), reason=pl.lit("3 seeds are too few"))
    without = with_tables(tables, alignment_mean=few)
    assert "no interval: 3 seeds are too few" in findings.alignment(without)
