"""Sets in BLiMP's form, all cells of Warstadt et al., what is counted, and damaged files of every kind."""

import contextlib
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from facts import facts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.scoring import ScoreSpec, pack
from npi_jax.suites import LOADERS, SuiteError, load_suite

DATA = Path(os.environ.get("NPI_JAX_DATA", ""))


def write(path: Path, *records) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records))
    return path


def test_words_after_a_prefix_are_regions(tmp_path):
    record = {
        "sentence_good": "What had Tara ever eaten?",
        "sentence_bad": "Tara had ever eaten.",
        "UID": "p",
        "pairID": "0",
        "two_prefix_prefix_good": "What had Tara",
        "two_prefix_prefix_bad": "Tara had",
        "two_prefix_word": "ever",
    }
    other = {**record, "pairID": "1"}
    for field in ("two_prefix_prefix_good", "two_prefix_prefix_bad", "two_prefix_word"):
        del other[field]
    suite = load_suite("blimp", write(tmp_path / "p.jsonl", record, other))
    item = suite.items[0]
    assert item.regions == {"two_prefix": ((14, 18), (9, 13))}
    assert (item.critical_good, item.critical_bad) == item.regions["two_prefix"]
    encoded = suite.encode(WordTokenizer.train([item.good, item.bad])).sentences(ScoreSpec())
    # The other item has no such region, and is left out there.
    np.testing.assert_array_equal(encoded.regions["two_prefix"], [[3, 4], [2, 3], [-1, -1], [-1, -1]])


def test_other_fields_folders_and_languages(tmp_path):
    write(tmp_path / "zh" / "anaphor.jsonl", {"ok": "他喜欢自己", "no": "他喜欢你们", "set": "照应"})
    suite = load_suite("blimp", tmp_path, good="ok", bad="no", paradigm="set", name="cblimp")
    (item,) = suite
    assert (suite.name, item.paradigm) == ("cblimp", "照应")
    # A pair that states no region is scored whole.
    assert item.good[slice(*item.critical_good)] == "他喜欢自己"
    with pytest.raises(SuiteError, match=facts("anaphor.jsonl, line 1", "'sentence_good'", "'ok', 'no'")):
        load_suite("blimp", tmp_path)


def test_the_supplement_has_line_ends_and_no_numbers(tmp_path):
    records = [{"row": 0, "sentence_good": "A: Who?\nB: Sarah.", "sentence_bad": f"A: Who?\nB: The {x}."} for x in "xy"]
    suite = load_suite("supplement", write(tmp_path / "qa.jsonl", *records).parent)
    assert [item.item for item in suite] == ["qa/0", "qa/1"]
    assert suite.items[0].good[slice(*suite.items[0].critical_good)] == "A: Who?\nB: Sarah."


def test_identical_and_repeated_pairs_are_kept_and_counted(tmp_path):
    pair = {"sentence_good": "a b", "sentence_bad": "a c"}
    equal = {"sentence_good": "a b", "sentence_bad": "a b"}
    path = write(tmp_path / "p.jsonl", pair, pair, equal, {"sentence_good": "x", "sentence_bad": "y"})
    suite = load_suite("blimp", path)
    assert len(suite) == 4
    notes = suite.notes()
    assert (notes.equal, notes.repeated, notes.left_out) == ({"p": 1}, {"p": 1}, 0)
    assert notes.lines() == [
        "1 pairs of identical sentences, kept: they tie (p 1)",
        "1 pairs that are in their paradigm already, kept: they count again (p 1)",
    ]
    assert load_suite("blimp", path, limit=1).notes().lines() == ["3 items left out by the limit"]
    same = {**pair, "pairID": "0"}
    with pytest.raises(SuiteError, match=facts("two items", "'q/0'")):
        load_suite("blimp", write(tmp_path / "q.jsonl", same, same))
    path.write_text("")
    with pytest.raises(SuiteError, match=facts("p.jsonl", "no records")):
        load_suite("blimp", path)


@pytest.mark.drill
@pytest.mark.skipif(not (DATA / "blimp").is_dir(), reason="NPI_JAX_DATA has no folder blimp")
def test_blimps_seven_identical_pairs_are_counted():
    notes = load_suite("blimp", DATA / "blimp").notes()
    assert notes.equal == {"passive_1": 2, "principle_A_case_2": 5}
    assert not notes.repeated


@pytest.mark.drill
@pytest.mark.skipif(not (DATA / "blimp").is_dir(), reason="NPI_JAX_DATA has no folder blimp")
def test_packed_rows_of_blimp_are_nearly_full():
    suite = load_suite("blimp", DATA / "blimp", limit=250)
    tokenizer = WordTokenizer.train([text for item in suite for text in (item.good, item.bad)])
    packed = pack(suite.encode(tokenizer).sentences(ScoreSpec()), ScoreSpec(regions=("sentence",)))
    assert packed.utilization >= 0.97
    (bucket,) = packed.buckets
    assert bucket.tokens.shape[2] <= 128
    # Prefixes that sentences share are computed once.
    assert bucket.n_contexts < 0.7 * bucket.n_positions


@pytest.mark.skipif(not (DATA / "babylm_blimp_supplement").is_dir(), reason="NPI_JAX_DATA has no supplement")
def test_all_of_the_supplement():
    suite = load_suite("supplement", DATA / "babylm_blimp_supplement" / "supplement_filtered")
    assert len(suite) == 5218
    assert len({item.paradigm for item in suite}) == 5


@pytest.mark.drill
@pytest.mark.skipif(not (DATA / "npi_warstadt2019").is_dir(), reason="NPI_JAX_DATA has no npi_warstadt2019")
def test_all_cells_of_warstadt_2019():
    suite = load_suite("warstadt2019_cells", DATA / "npi_warstadt2019", limit=100)
    by_environment = {item.paradigm: item for item in suite}
    assert len(by_environment) == 9
    assert {len(item.conditions) for item in suite if item.paradigm != "simple_question"} == {8}
    assert len(by_environment["simple_question"].conditions) == 4
    for item in suite:
        for name, condition in item.conditions.items():
            span = condition.regions["npi"]
            assert (span is None) == name.endswith("npi=0")
            assert span is None or condition.text[slice(*span)].lower() in ("any", "ever")
    # 12,000 sentences an environment: 1,500 paradigms of eight; 3,000 of four.
    whole = load_suite("warstadt2019_cells", DATA / "npi_warstadt2019")
    assert sum(len(item.conditions) for item in whole) == 108_000


NAMES = {"zorro": "x.txt", "syntaxgym": "x.json", "table": "x.csv", "warstadt2019": "x.jsonl"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["sentence_good", "meta", "items", "good", "name"]), inner, max_size=4
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
        st.binary(max_size=30).map(gzip.compress),
    )
)
def test_any_file_is_read_or_refused(tmp_path, content):
    for name in LOADERS:
        for suffix in ("", ".gz"):
            path = tmp_path / (NAMES.get(name, "x.jsonl") + suffix)
            path.write_bytes(content)
            with contextlib.suppress(SuiteError):
                assert len(load_suite(name, path)) > 0
