import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from facts import facts

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.suites import Item, Suite, SuiteError, load_suite

DATA = Path(os.environ.get("NPI_JAX_DATA", "nowhere")) / "npi_warstadt2019"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="NPI_JAX_DATA has no folder npi_warstadt2019")

# The second "any" is the NPI: "any" also stands in a place where all cells have it.
CELLS = {
    (0, 0, 0): "Some any-time men say that the boys ate many buns.",
    (0, 0, 1): "Any any-time men say that the boys ate many buns.",
    (0, 1, 0): "The any day men say that boys ate the buns.",
    (0, 1, 1): "The any day men say that boys ate any buns.",
    (1, 0, 0): "Some any-time men doubt whether the boys ate many buns.",
    (1, 0, 1): "Any any-time men doubt whether the boys ate many buns.",
    (1, 1, 0): "The any day men doubt whether boys ate the buns?",
    (1, 1, 1): "The any day men doubt whether boys ate any, buns?",
}


def rows(environment: str = "questions", paradigm: int = 12) -> list[dict[str, Any]]:
    keys = ("licensor", "scope", "npi_present")
    return [
        dict(zip(keys, cell, strict=True))
        | {"environment": environment, "npi": "any", "paradigm": paradigm, "sentence": sentence}
        for cell, sentence in CELLS.items()
    ]


def write(path: Path, records: list[Any]) -> Path:
    path.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))
    return path


def published(row: dict[str, Any]) -> str:
    keys = ("npi", "crucial_item", "licensor", "scope", "npi_present", "paradigm")
    row = row | {"crucial_item": "more than-three x"}
    metadata = "-".join([f"experiment=NPI-env={row['environment']}", *(f"{key}={row[key]}" for key in keys)])
    return f"{metadata}\t1\t\t{row['sentence']}\n"


def regions(item: Item) -> tuple[str, str]:
    return item.good[slice(*item.critical_good)], item.bad[slice(*item.critical_bad)]


def check_pairs(items: list[Item]) -> None:
    assert [(i.item, i.paradigm, i.task, i.kind) for i in items] == [
        ("embedded_question_licensor/12", "embedded_question_licensor", "embedded_question", "licensor"),
        ("embedded_question_scope/12", "embedded_question_scope", "embedded_question", "scope"),
    ]
    assert [(i.good, i.bad) for i in items] == [
        (CELLS[1, 1, 1], CELLS[0, 1, 1]),
        (CELLS[1, 1, 1], CELLS[1, 0, 1]),
    ]
    assert [regions(item) for item in items] == [("any", "any"), ("any", "Any")]
    assert items[0].critical_good == (CELLS[1, 1, 1].index("any,"), CELLS[1, 1, 1].index("any,") + 3)
    assert items[1].critical_bad == (0, 3)


def test_pairs_and_regions(tmp_path: Path) -> None:
    path = write(tmp_path / "npi_all_environments.jsonl.gz", rows())
    check_pairs(list(load_suite("warstadt2019", path)))
    check_pairs(list(load_suite("warstadt2019", tmp_path)))


def test_published_files(tmp_path: Path) -> None:
    lines = [published(row) for row in rows()]
    for folder in ("splits/questions", "plain/questions"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dev.tsv").write_text("".join(lines[:3]), encoding="utf-8")
        (tmp_path / folder / "train.tsv").write_text("".join(lines[3:]), encoding="utf-8")
    check_pairs(list(load_suite("warstadt2019", tmp_path)))
    check_pairs(list(load_suite("warstadt2019", tmp_path / "plain")))


def test_simple_questions_have_no_scope_pairs(tmp_path: Path) -> None:
    four = [row for row in rows("simplequestions") if row["scope"] == 1]
    suite = load_suite("warstadt2019", write(tmp_path / "x.jsonl.gz", four))
    assert [item.paradigm for item in suite] == ["simple_question_licensor"]


def test_items_do_not_depend_on_the_order_of_lines(tmp_path: Path) -> None:
    some = [row for number in (3, 20, 1) for row in rows(paradigm=number)]
    suite = load_suite("warstadt2019", write(tmp_path / "x.jsonl.gz", some))
    assert [item.item.split("/")[1] for item in suite] == ["1", "3", "20"] * 2
    assert suite == load_suite("warstadt2019", write(tmp_path / "y.jsonl.gz", some[::-1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": "question"}, ("line 8", "'question'", "adverbs, conditional")),
        ({"licensor": "1"}, ("line 8", "'licensor'", "'1'", "integer")),
        ({"paradigm": None}, ("line 8", "'paradigm'", "None", "integer")),
        ({"sentence": 5}, ("line 8", "'sentence'", "int", "string")),
        ({"scope": 0}, ("line 8", "questions", "paradigm 12", "(1, 0, 1)")),
        ({"paradigm": 13}, ("embedded_question", "paradigm 12", "(1, 1, 1)")),
        ({"npi": "ever"}, ("embedded_question", "paradigm 12", "'ever'", "'The any day men doubt")),
        ({"sentence": CELLS[1, 1, 0]}, ("embedded_question", "paradigm 12", "'any'")),
        (
            {"sentence": CELLS[1, 1, 0].replace("the", "anyone")},
            ("embedded_question", "paradigm 12", "'any'"),
        ),
    ],
)
def test_faulty_rows(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    faulty = rows()
    faulty[-1] |= change
    with pytest.raises(SuiteError, match=facts("x.jsonl.gz", message)):
        load_suite("warstadt2019", write(tmp_path / "x.jsonl.gz", faulty))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a\tb\n", ("line 1", "2 fields", "4")),
        (
            "experiment=NPI-env=only\t1\t\tKim left.\n",
            ("line 1", "first field", "'experiment=NPI-env=only'"),
        ),
        (published(rows()[0] | {"sentence": ""}), ("line 1", "'sentence'", "blank")),
    ],
)
def test_faulty_published_lines(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "dev.tsv").write_text(line, encoding="utf-8")
    with pytest.raises(SuiteError, match=facts("dev.tsv", message)):
        load_suite("warstadt2019", tmp_path)


def test_faulty_paths(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=facts("nowhere", "no such file")):
        load_suite("warstadt2019", tmp_path / "nowhere")
    with pytest.raises(SuiteError, match=facts("npi_all_environments.jsonl.gz", "<environment>/*.tsv")):
        load_suite("warstadt2019", tmp_path)


@pytest.fixture(scope="module")
def whole() -> Suite:
    return load_suite("warstadt2019", DATA)


@needs_data
def test_the_data_of_warstadt_2019(whole: Suite) -> None:
    expected = {f"{e}_{kind}": 1500 for e in ENVIRONMENTS for kind in ("licensor", "scope")}
    del expected["simple_question_scope"]
    expected["simple_question_licensor"] = 3000
    assert Counter(item.paradigm for item in whole) == expected
    for item in whole:
        good, bad = regions(item)
        assert good in ("any", "ever")
        assert bad.lower() == good


@needs_data
def test_published_files_give_the_same_items_and_a_limit_keeps_both_npis(whole: Suite) -> None:
    some = load_suite("warstadt2019", DATA / "splits", limit=20)
    assert set(some) <= set(whole)
    npis = Counter((item.paradigm, regions(item)[0]) for item in some)
    assert len(npis) == 2 * 17
    assert min(npis.values()) >= 8
    assert set(Counter(item.paradigm for item in some).values()) == {20}
