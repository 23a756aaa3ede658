import json

import numpy as np
import polars as pl
import pytest
from facts import facts

from npi_jax.analysis.summary import SPEC_KEY, compare_scores, read_spec, summarize
from npi_jax.scoring import ScoreSpec, SpecMismatchError, pair_accuracy


def table(deltas, spec="a:1", lengths=(5, 5)) -> pl.DataFrame:
    frames = []
    for member, given in enumerate(deltas):
        values = np.asarray(given, float)
        frames.append(
            pl.DataFrame(
                {
                    "member": member,
                    "suite": "s",
                    "paradigm": "p",
                    "item": [f"i{n}" for n in range(len(values))],
                    "region": "sentence",
                    "spec": spec,
                    "n_good": lengths[0],
                    "n_bad": [lengths[1]] * (len(values) - 1) + [9],
                    "delta": values,
                    "correct": pair_accuracy(values),
                }
            )
        )
    return pl.concat(frames)


def test_a_paradigm_is_summed_up_over_items_and_models():
    (row,) = summarize(table([[1, 1, -1, 0], [1, 1, 1, -1]]), seed="member").to_dicts()
    assert row["accuracy"] == pytest.approx((2.5 / 4 + 3 / 4) / 2)
    assert np.isnan([row["low"], row["high"]]).all()
    assert row["interval_over"] == "too few seeds"
    assert (row["ties"], row["equal_length"], row["n_items"], row["n_models"]) == (1 / 8, 3 / 4, 4, 2)
    assert row["accuracy_equal"] == pytest.approx(5 / 6)
    assert row["delta"] == pytest.approx(3 / 8)
    each = summarize(table([[1, 1, -1, 0], [1, 1, 1, -1]]), by=["member"])
    assert each["accuracy"].to_list() == [2.5 / 4, 3 / 4]
    assert each["interval_over"].to_list() == ["items", "items"]


def test_several_models_are_summed_up_by_the_typical_one():
    values = [[1, 1, 1, 1], [1, 1, 1, -1], [2, 1, 1, -1], [1, 1, 3, -1], [-1, -1, -1, -1]]
    (row,) = summarize(table(values), seed="member").to_dicts()
    assert (row["accuracy"], row["delta"]) == (0.75, 0.75)
    assert 0 <= row["low"] < 0.25 < row["accuracy"] < row["high"]
    assert row["interval_over"] == "seeds and items"


def test_scores_that_do_not_exist_are_not_averaged_away():
    (row,) = summarize(table([[1, np.nan, 1]])).to_dicts()
    assert np.isnan(row["accuracy"])
    assert row["n_nonfinite"] == 1


def test_models_scored_on_other_items_are_refused():
    with pytest.raises(ValueError, match=facts("2 models", "same items")):
        summarize(table([[1, 1], [1, 1, 1]]), seed="member")


def test_tables_are_compared_item_by_item_under_one_spec():
    one, other = table([[1, 2]]), table([[0.5, 3]])
    assert compare_scores(one, other)["difference"].to_list() == [0.5, -1.0]
    with pytest.raises(SpecMismatchError, match=facts("a:1", "b:2", "specs=")):
        compare_scores(one, table([[1, 2]], spec="b:2"))
    with pytest.raises(ValueError, match="different items"):
        compare_scores(one, table([[1, 2, 3]]))


def test_conventions_of_two_tables_are_told_apart_field_by_field(tmp_path):
    specs = (ScoreSpec(normalization="sum", score_end=end) for end in (True, False))
    one, other = (table([[1, 2]], spec=spec.label) for spec in specs)
    told = ("spec:7442e065", "spec:cf35f544", "score_end: True", "False")
    with pytest.raises(SpecMismatchError, match=facts(told)):
        compare_scores(one, other)
    # Others are known where their files are read.
    path = tmp_path / "odd[1].parquet"
    odd = ScoreSpec(normalization="token")
    with path.open("wb") as file:
        one.write_parquet(file, metadata={SPEC_KEY: json.dumps(odd.to_dict())})
    third = table([[1, 2]], spec=odd.label)
    with pytest.raises(SpecMismatchError, match=facts("specs=(read_spec(PATH)")):
        compare_scores(one, third)
    with pytest.raises(SpecMismatchError, match=facts("normalization", "'sum'", "'token'")):
        compare_scores(one, third, specs=(None, read_spec(path)))
    one.write_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=facts("none.parquet", "ScoreSpec")):
        read_spec(tmp_path / "none.parquet")
