"""Paths that a loader cannot read: missing, of another kind, or of another format."""

import json
import os
from pathlib import Path

import pytest
from facts import sentence_with

from npi_jax.suites import LOADERS, SuiteError, load_suite
from npi_jax.suites.loaders.paths import ENDINGS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "foreign").mkdir()
    (folder / "foreign" / "README.md").write_text("# not a suite")
    (folder / "pairs.csv").write_text("good,bad\na b,a c\n")
    (folder / "p.jsonl").write_text(json.dumps({"sentence_good": "a b", "sentence_bad": "a c"}))
    (folder / "z.txt").write_text("a b\na c\n")
    (folder / "s.json").write_text("{}")
    (folder / "link").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    return folder


def refusal(name: str, path: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        load_suite(name, path)
    message = str(caught.value)
    assert str(path)[:100] in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", LOADERS)
def test_an_unusable_path_is_described(place: Path, name: str) -> None:
    assert "no such file" in refusal(name, place / "nothing")
    assert "a link to " in refusal(name, place / "link")
    for path in (place / "pipe", Path("/dev/zero")):
        assert "neither a file nor a folder" in refusal(name, path)
    assert "File name too long" in refusal(name, place / ("x" * 300))
    folder = refusal(name, place / "foreign")
    assert ".jsonl, .csv or .tsv" in folder if name == "table" else "folder" in folder
    assert "no such" not in folder


@pytest.mark.parametrize(("file", "reader"), [("pairs.csv", "table"), ("p.jsonl", "blimp"), ("z.txt", "zorro")])
def test_a_file_of_another_kind_names_its_reader(place: Path, file: str, reader: str) -> None:
    assert len(load_suite(reader, place / file)) == 1
    ending = Path(file).suffix
    for name in LOADERS:
        if ending not in ENDINGS[name]:
            assert sentence_with(refusal(name, place / file), ending, repr(reader))


def test_a_reserved_task_name_is_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("good,bad,task\na b,a c,mean over tasks\n")
    message = refusal("table", path)
    assert sentence_with(message, "'mine/0'", "'mean over tasks'")
