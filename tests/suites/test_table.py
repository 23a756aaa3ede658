import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from facts import facts

from npi_jax.suites import Item, SuiteError, load_suite
from npi_jax.suites.loaders.table import load_table

GOOD, BAD = "Nobody has ever left.", "Kim has ever left."


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def regions(item: Item) -> tuple[str, str]:
    return item.good[slice(*item.critical_good)], item.bad[slice(*item.critical_bad)]


def json_row(tmp_path: Path, **columns: Any) -> Item:
    path = write(tmp_path / "x.jsonl", json.dumps({"good": GOOD, "bad": BAD} | columns))
    return load_suite("table", path).items[0]


def test_two_columns_are_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.tsv", f'bad\tnotes\tgood\n{BAD}\t"\t{GOOD}\n\n{BAD}\t\tHe "quoted".\n')
    suite = load_table(path, name="mine")
    assert suite.name == "mine"
    assert [(i.item, i.paradigm, i.task, i.kind) for i in suite] == [
        ("mine/0", "mine", "mine", "other"),
        ("mine/1", "mine", "mine", "other"),
    ]
    assert regions(suite.items[0]) == (GOOD, BAD)
    assert suite.items[1].good == 'He "quoted".'


def test_all_columns_of_csv(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.csv.gz",
        "good,bad,paradigm,task,kind,item,critical_good,critical_bad\r\n"
        '"No, nobody has ever left.",Kim has ever left.,p,t,licensor,one,ever,has ever\r\n'
        f"{GOOD},{BAD},p,,,,,\r\n",
    )
    full, sparse = load_suite("table", path)
    assert (full.item, full.paradigm, full.task, full.kind) == ("one", "p", "t", "licensor")
    assert full.good == "No, nobody has ever left."
    assert regions(full) == ("ever", "has ever")
    assert (sparse.item, sparse.task, sparse.kind) == ("p/1", "p", "other")
    assert regions(sparse) == (GOOD, BAD)


def test_regions_as_characters(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.tsv",
        "good\tbad\tcritical_good_start\tcritical_good_end\tcritical_bad\n" + f"{GOOD}\t{BAD}\t11\t15\tever\n",
    )
    assert regions(load_suite("table", path).items[0]) == ("ever", "ever")
    item = json_row(tmp_path, critical_good="ever", critical_bad_start=8, critical_bad_end=12, task=None)
    assert item.critical_bad == (8, 12)
    assert item.task == "x"


def test_limit(tmp_path: Path) -> None:
    rows = "".join(f"a {i}\tb {i}\tp{i % 2}\n" for i in range(10))
    suite = load_suite("table", write(tmp_path / "x.tsv", "good\tbad\tparadigm\n" + rows), limit=2)
    assert [item.good for item in suite] == ["a 0", "a 4", "a 1", "a 5"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"good": 3}, ("'good'", "int")),
        ({"bad": None}, "'bad'"),
        ({"kind": "licenser"}, ("kind", "'licenser'", "licensor, scope, npi, other")),
        ({"task": 1}, ("'task'", "int")),
        ({"critical_good": "ever"}, ("critical_good", "critical_bad")),
        ({"critical_bad": "ever"}, ("critical_bad", "critical_good")),
        (
            {"critical_good": "eve", "critical_bad": "ever"},
            ("critical_good", "'eve'", "0 times"),
        ),
        ({"critical_good": "ever", "critical_good_end": 3}, ("'critical_good'", "'critical_good_end'")),
        ({"critical_good_end": 3}, ("critical_good_start", "None", "integer")),
        ({"critical_good_start": "x", "critical_good_end": 3}, ("critical_good_start", "'x'", "integer")),
        ({"critical_good_start": 1.5, "critical_good_end": 3}, ("critical_good_start", "1.5", "integer")),
        ({"critical_good_start": 3, "critical_good_end": 3}, ("critical_good", "[3, 3)")),
        (
            {"critical_good_start": 3, "critical_good_end": 22},
            ("critical_good", "[3, 22)", "21"),
        ),
    ],
)
def test_faulty_rows(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=facts("x.jsonl, line 1", message)):
        json_row(tmp_path, **columns)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.tsv", "good\tworse\na\tb\n", ("line 1", "'bad'", "good, worse")),
        ("x.csv", "", ("line 1", "'good'", "none")),
        ("x.csv", "good,bad\na,b\na,b,c\n", ("line 3", "3 cells", "2")),
        ("x.csv", 'good,bad\na,"b\n', ("line 2", "unexpected end of data")),
        ("x.csv", "good,bad\na,\n", ("line 2", "'bad'")),
        ("x.csv", "good,bad,good\na,b,c\n", ("line 1", "'good'", "twice")),
        ("x.tsv", "good\tbad\ttask\ttask\na\tb\tc\td\n", ("line 1", "'task'", "twice")),
        ("x.jsonl", '{"good": "a", "bad": "b", "good": "c"}', ("line 1", "'good'", "twice")),
        ("x.jsonl", '{"good": "a \\ud800", "bad": "b"}', ("line 1", "'good'", "half a character")),
        (
            "x.csv",
            "good,bad,critical_good_start,critical_good_end,critical_bad,\na b,c b,1,2,b,\n",
            ("line 2", "critical_good", "[1, 2)", "word"),
        ),
    ],
)
def test_faulty_tables(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=facts(name, message)):
        load_suite("table", write(tmp_path / name, text))


def test_faulty_paths(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=facts("no such file")):
        load_suite("table", tmp_path / "nothing.csv")
    with pytest.raises(SuiteError, match=facts(".jsonl, .csv or .tsv")):
        load_suite("table", write(tmp_path / "x.xlsx", ""))
    with pytest.raises(SuiteError, match=facts("x.csv", "no items", "'table'")):
        load_suite("table", write(tmp_path / "x.csv", "good,bad\n"))


def test_columns_without_a_name_are_not_read(tmp_path: Path) -> None:
    suite = load_suite("table", write(tmp_path / "x.csv", "good,bad,,\na,b,,\n"))
    assert [(item.good, item.bad) for item in suite] == [("a", "b")]


def test_names_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for loader, record in (
        ("table", {"good": "a", "bad": "b", "item": "\ud800"}),
        ("blimp", {"sentence_good": "a", "sentence_bad": "b", "pairID": "\ud800"}),
        ("blimp", {"sentence_good": "a", "sentence_bad": "b", "UID": "\ud800"}),
    ):
        path = write(tmp_path / "x.jsonl", json.dumps(record))
        with pytest.raises(SuiteError, match=r"x\.jsonl.* half a character"):
            load_suite(loader, path)
    condition = {"condition_name": "c", "regions": [{"region_number": 1, "content": "\ud800"}]}
    suite = {"meta": {"name": "n"}, "predictions": [], "items": [{"item_number": 1, "conditions": [condition]}]}
    with pytest.raises(SuiteError, match=r"x\.json.* half a character"):
        load_suite("syntaxgym", write(tmp_path / "x.json", json.dumps(suite)))
