"""Rules that everybody reads the tables by: kind, region, and the comparison that counts."""

import polars as pl
import pytest
from declared import make_table

from npi_jax.results.rules import comparable, decisive, in_main_region, is_single_removal, main_kind, main_region
from npi_jax.results.tables_transfer import Transfer


def effects(*rows):
    return make_table(Transfer, [{"removed": removed, "control": control} for removed, control in rows])


def told(frame):
    return frame.select("removed", "control").rows()


def test_licensor_pairs_are_the_main_kind_wherever_they_stand():
    assert main_kind(["scope", "licensor"]) == "licensor"
    assert main_kind(["scope", "other"]) == "scope"


@pytest.mark.parametrize("regions", [["sentence", "critical"], ["verb", "object"], ["sentence"]])
def test_the_region_of_a_table_is_that_of_its_names(regions):
    frame = pl.DataFrame({"suite": ["a"] * len(regions) + ["b"], "region": [*regions, "sentence"]})
    kept = frame.filter(in_main_region("suite"))
    assert kept.rows() == [("a", main_region(regions)), ("b", "sentence")]


def test_removals_are_compared_against_controls_only_if_all_have_one():
    all_have = effects(("only", ""), ("only", "random(1)"), ("adverbs", ""), ("adverbs", "random(2)"))
    assert told(comparable(all_have)) == [("only", "random(1)"), ("adverbs", "random(2)")]
    some_have = effects(("only", ""), ("only", "random(1)"), ("adverbs", ""))
    assert told(comparable(some_have)) == [("only", ""), ("adverbs", "")]


def test_for_one_removal_its_control_decides():
    some_have = effects(("only", ""), ("only", "random(1)"), ("adverbs", ""))
    assert told(decisive(some_have)) == [("only", "random(1)"), ("adverbs", "")]


def test_no_npi_and_other_interventions_remove_no_single_environment():
    frame = effects(("all", ""), ("", ""), ("only", ""))
    assert told(frame.filter(is_single_removal())) == [("only", "")]
