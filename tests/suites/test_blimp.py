import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from facts import facts

from npi_jax.suites import Item, SuiteError, load_suite
from npi_jax.suites.loaders.blimp import NPI_KINDS

DATA = Path(os.environ.get("NPI_JAX_DATA", "nowhere")) / "blimp"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="NPI_JAX_DATA has no folder blimp")

ONE = {
    "sentence_good": "Even Kim has often left.",
    "sentence_bad": "Even Kim has ever left.",
    "one_prefix_prefix": "Even Kim has",
    "one_prefix_word_good": "often",
    "one_prefix_word_bad": "ever",
    "UID": "npi_present_1",
    "pairID": "0",
}
TWO = {
    "sentence_good": "Only Kim has ever left.",
    "sentence_bad": "Kim has only ever left.",
    "two_prefix_prefix_good": "Only Kim has",
    "two_prefix_prefix_bad": "Kim has only",
    "two_prefix_word": " ever",
    "UID": "only_npi_scope",
    "pairID": "7",
}
PLAIN = {"sentence_good": "Kim: Who are you?\nLee: I am.", "sentence_bad": "Kim: Who are you?\nLee: You is."}


def write(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def regions(item: Item) -> tuple[str, str]:
    return item.good[slice(*item.critical_good)], item.bad[slice(*item.critical_bad)]


def test_regions_names_and_kinds(tmp_path: Path) -> None:
    suite = load_suite("blimp", write(tmp_path / "talk.jsonl", ONE, TWO, PLAIN, PLAIN | {"pair_id": 9}))
    assert suite.name == "blimp"
    assert [regions(item) for item in suite] == [
        ("often", "ever"),
        ("ever", "ever"),
        *[(PLAIN["sentence_good"], PLAIN["sentence_bad"])] * 2,
    ]
    assert suite.items[1].critical_good == (13, 17)
    assert [(i.item, i.paradigm, i.task, i.kind) for i in suite] == [
        ("npi_present_1/0", "npi_present_1", "npi_present_1", "npi"),
        ("only_npi_scope/7", "only_npi_scope", "only_npi_scope", "scope"),
        ("talk/2", "talk", "talk", "other"),
        ("talk/9", "talk", "talk", "other"),
    ]


def test_folders(tmp_path: Path) -> None:
    write(tmp_path / "data" / "b.jsonl", PLAIN)
    write(tmp_path / "data" / "a.jsonl.gz", PLAIN)
    write(tmp_path / "summary.jsonl", {"accuracy": 1})
    assert [item.item for item in load_suite("blimp", tmp_path)] == ["a/0", "b/0"]
    assert [item.item for item in load_suite("blimp", tmp_path / "data")] == ["a/0", "b/0"]


def test_npi_paradigms_alone(tmp_path: Path) -> None:
    for name in NPI_KINDS:
        write(tmp_path / f"{name}.jsonl", TWO | {"UID": name})
    write(tmp_path / "other.jsonl", "not read")
    assert [item.paradigm for item in load_suite("blimp_npi", tmp_path)] == list(NPI_KINDS)
    mixed = write(tmp_path / "mixed.jsonl", PLAIN, ONE)
    assert [item.paradigm for item in load_suite("blimp_npi", mixed)] == ["npi_present_1"]
    (tmp_path / "npi_present_1.jsonl").unlink()
    with pytest.raises(SuiteError, match=facts("npi_present_1.jsonl", "1 of 7")):
        load_suite("blimp_npi", tmp_path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", ("line 2, column 2", "JSON")),
        ("[]", ("line 2", "list", "object")),
        ({"sentence_good": "a"}, ("line 2", "'sentence_bad'", "'sentence_good'")),
        (PLAIN | {"sentence_good": None}, ("line 2", "'sentence_good'", "NoneType", "string")),
        (PLAIN | {"sentence_good": " "}, ("line 2", "'sentence_good'", "blank")),
        (TWO | {"two_prefix_word": "any"}, ("line 2", "'two_prefix_word'", "'any'")),
        (
            {k: TWO[k] for k in TWO if k != "two_prefix_prefix_bad"},
            ("line 2", "no field", "'two_prefix_prefix_bad'"),
        ),
    ],
)
def test_faulty_records(tmp_path: Path, record: Any, message: str) -> None:
    with pytest.raises(SuiteError, match=facts("x.jsonl", message)):
        load_suite("blimp", write(tmp_path / "x.jsonl", ONE, record))


def test_faulty_paths(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=facts("nowhere", "no such file")):
        load_suite("blimp", tmp_path / "nowhere")
    with pytest.raises(SuiteError, match=facts("folder", ".jsonl")):
        load_suite("blimp", tmp_path)
    with pytest.raises(SuiteError, match=facts("x.jsonl", "no records")):
        load_suite("blimp", write(tmp_path / "x.jsonl", ""))
    with pytest.raises(SuiteError, match=facts("two items", "'npi_present_1/0'")):
        load_suite("blimp", write(tmp_path / "y.jsonl", ONE, ONE))
    path = write(tmp_path / "z.jsonl.gz", ONE)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SuiteError, match=facts("z.jsonl.gz", "truncated")):
        load_suite("blimp", path)


def test_unknown_suite(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=facts("'blimpp'", "did you mean blimp?", "'blimp', 'blimp_npi'")):
        load_suite("blimpp", tmp_path)


@needs_data
def test_npi_paradigms_of_blimp() -> None:
    suite = load_suite("blimp_npi", DATA)
    assert Counter(item.paradigm for item in suite) == dict.fromkeys(NPI_KINDS, 1000)
    for item in suite:
        good, bad = regions(item)
        assert bad == "ever"
        assert (good == "ever") == (item.kind != "npi")


@pytest.mark.drill
@needs_data
def test_all_of_blimp() -> None:
    suite = load_suite("blimp", DATA)
    assert len(suite) == 67_000
    assert len({item.paradigm for item in suite}) == 67
    identical = Counter(item.paradigm for item in suite if item.good == item.bad)
    assert identical == {"passive_1": 2, "principle_A_case_2": 5}
    assert all(all(regions(item)) for item in suite)


@needs_data
def test_limit_is_an_even_subset_of_blimp() -> None:
    some = load_suite("blimp_npi", DATA, limit=10)
    assert [item.item for item in some][:3] == [f"matrix_question_npi_licensor_present/{i}" for i in (0, 100, 200)]
    assert len(some) == 70
