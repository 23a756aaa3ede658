import math
from collections import Counter

import polars as pl
import pytest
from facts import sentence_with

from npi_jax.cli.actions import annotate as annotate_action
from npi_jax.cli.actions.agreement import agreement
from npi_jax.cli.main import main
from npi_jax.corpus.annotation.parses import Tree

TEXT = "Nobody has ever left. Kim saw a cake.\n\nDid Lee see any of it? Any child can.\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    return path


def test_items_are_counted_shown_and_written(text, tmp_path, capsys):
    out = tmp_path / "found.parquet"
    assert main(["annotate", str(text), "--examples", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "3 NPIs" in said
    assert "determiner_negation: Nobody has [ever] left.  (Nobody)" in said
    frame = pl.read_parquet(out)
    assert frame["environment"].to_list() == ["determiner_negation", "simple_question", "ambiguous"]
    assert frame["licensor"].to_list() == ["Nobody", "Did", None]
    assert [t[s:e] for t, s, e in frame.select("text", "start", "end").iter_rows()] == ["ever", "any", "Any"]
    assert frame["sentence"].to_list() == [1, 3, 4]


def test_items_of_a_very_long_sentence_keep_an_excerpt(text, tmp_path):
    text.write_text("nobody saw any dog and " * 2000 + ".\n")
    out = tmp_path / "found.parquet"
    assert main(["annotate", str(text), "--out", str(out)]) == 0
    frame = pl.read_parquet(out)
    assert len(frame) == 2000
    assert {t[s:e] for t, s, e in frame.select("text", "start", "end").iter_rows()} == {"any"}
    # The word, and 500 characters on both sides.
    assert frame["text"].str.len_chars().max() == 1003


def test_another_phenomenon_is_annotated_and_written_as_csv(text, tmp_path):
    text.write_text("What are you looking at?\n")
    out = tmp_path / "found.csv"
    assert main(["annotate", str(text), "--phenomenon", "filler_gap_en", "--out", str(out)]) == 0
    assert pl.read_csv(out)["environment"].to_list() == ["wh_question"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "x.txt"], "must end in .parquet or .csv"),
        (["--phenomenon", "npi_de"], "'npi_de': no such file"),
        (["--against", "en_of_mine"], "en_of_mine"),
        (["--tfds", "x", "--out", "x.csv"], "--out: cannot be used with --tfds"),
        (["--validation", "x"], "need --tfds"),
    ],
)
def test_invalid_flags_are_refused_before_annotation(text, flags, message, capsys):
    assert main(["annotate", str(text), *flags]) == 1
    assert message in capsys.readouterr().err


def test_a_number_of_examples_below_0_is_bad_usage(text, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["annotate", str(text), "--examples", "-1"])
    assert sentence_with(capsys.readouterr().err, "--examples", "'-1'", "whole number from 0")


def test_two_annotators_are_compared(text, monkeypatch, capsys, tmp_path):
    trees = {
        "Nobody has ever left.": Tree(
            ["Nobody", "has", "ever", "left", "."], [3, 3, 3, 3, 3], ["nsubj", "aux", "advmod", "ROOT", "punct"]
        ),
        "Did Lee see any of it?": Tree(
            ["Did", "Lee", "see", "any", "of", "it", "?"], [2, 2, 2, 2, 3, 4, 2], ["x", "x", "ROOT", "x", "x", "x", "x"]
        ),
        "Any child can.": Tree(["Any", "child", "can", "."], [1, 2, 2, 2], ["det", "nsubj", "ROOT", "punct"]),
    }
    monkeypatch.setattr(annotate_action, "load_parser", lambda model: model)
    monkeypatch.setattr(annotate_action, "parsed", lambda _, sentences: (trees[one] for one in sentences))
    out = tmp_path / "both.parquet"
    assert main(["annotate", str(text), "--against", "some_model", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert sentence_with(said, "same label", "0.667", "3 items")
    assert pl.read_parquet(out)["parse_environment"].to_list() == ["determiner_negation", "ambiguous", "ambiguous"]


def test_kappa():
    assert agreement(Counter({("a", "a"): 20, ("a", "b"): 5, ("b", "a"): 10, ("b", "b"): 15})) == (
        pytest.approx(0.7),
        pytest.approx(0.4),
    )
    assert agreement(Counter({("a", "a"): 3})) == (1.0, None)
    share, kappa = agreement(Counter())
    assert math.isnan(share)
    assert kappa is None


def test_json_lines_need_a_field(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"t": "Nobody ever came."}\n')
    assert main(["annotate", str(tmp_path / "a.jsonl")]) == 1
    assert "--field" in capsys.readouterr().err
    assert main(["annotate", str(tmp_path / "a.jsonl"), "--field", "t"]) == 0
