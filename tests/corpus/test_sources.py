import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from facts import facts, sentence_with

from npi_jax.corpus.text.sources import SourceError, read_jsonl, read_text, read_tfds, split_sentences

TEXT = "Nobody has ever left.\nKim saw any\u00a0cake\n\nDid Dr. Lee ever go? No, he did not.\n"
LONG = "".join(f"Line {i} has no end that anybody could ever see.\n" for i in range(60_000))


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


def test_running_text_is_split_into_sentences() -> None:
    text = 'Mr. Smith had no\nmoney. He  never\thad any.\n \nA heading\n\n"Ever?" she asked. On Jan. 5th.'
    assert split_sentences(text) == [
        "Mr. Smith had no money.",
        "He never had any.",
        "A heading",
        '"Ever?" she asked.',
        "On Jan. 5th.",
    ]


def test_no_word_of_running_text_is_lost() -> None:
    assert "".join(split_sentences(LONG)).replace(" ", "") == LONG.replace(" ", "").replace("\n", "")
    assert len(split_sentences(LONG)) == 60_000


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_units_and_packings(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a.txt{ending}", TEXT)
    running, lines = next(read_text(path)), next(read_text(path, unit="sentence"))
    assert running.name == path.name
    assert running.sentences == ["Nobody has ever left.", "Kim saw any cake", "Did Dr. Lee ever go?", "No, he did not."]
    assert lines.sentences == [
        "Nobody has ever left.",
        "Kim saw any\u00a0cake",
        "Did Dr. Lee ever go? No, he did not.",
    ]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_long_files_are_read_whole(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"long.txt{ending}", LONG)
    parts = list(read_text(path, unit="sentence"))
    assert [part.name for part in parts[:2]] == [f"{path.name}:1", f"{path.name}:{len(parts[0].sentences) + 1}"]
    assert max(len(part.text) for part in parts) < 1_100_000
    assert "\n".join(sentence for part in parts for sentence in part.sentences) + "\n" == LONG


def test_running_text_is_cut_between_paragraphs(tmp_path: Path) -> None:
    paragraph = "Nobody has ever left.\nKim saw any cake.\n"
    path = write(tmp_path / "a.txt", f"{paragraph}\n" * 40_000)
    parts = list(read_text(path))
    assert len(parts) > 1
    found = [sentence for part in parts for sentence in part.sentences]
    assert found == ["Nobody has ever left.", "Kim saw any cake."] * 40_000


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_files_put_one_after_the_other(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / ("a.txt.gz" if pack is gzip.compress else "a.txt.zst")
    path.write_bytes(pack(b"Kim left.\nLee") + pack(b" stayed.\n"))
    assert next(read_text(path, unit="sentence")).sentences == ["Kim left.", "Lee stayed."]


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfKim left.\r\nLee\xe2\x80\xa8stayed.\r\n")
    assert next(read_text(path, unit="sentence")).sentences == ["Kim left.", "Lee\u2028stayed."]


def test_folders_globs_and_files(tmp_path: Path) -> None:
    for name in [
        "b.txt",
        "a.txt.gz",
        "deep/c.txt.zst",
        "notes.md",
        "deep/d.jsonl",
        ".hidden/e.txt",
        "deep/.f.txt",
    ]:
        write(tmp_path / name, "Kim left.")
    assert [d.name for d in read_text(tmp_path)] == ["a.txt.gz", "b.txt", "deep/c.txt.zst"]
    assert [d.name for d in read_text(str(tmp_path / "**/*.zst"))] == ["c.txt.zst"]
    assert [d.name for d in read_text(tmp_path / "notes.md")] == ["notes.md"]
    both = [tmp_path / "deep", tmp_path / "*.txt"]
    assert [d.name for d in read_text(both)] == [d.name for d in read_text(both[::-1])] == ["b.txt", "deep/c.txt.zst"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "a[1].txt", "Kim left.")
    assert next(read_text(path)).sentences == ["Kim left."]


def test_documents_are_read_one_at_a_time(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "Kim left.")
    write(tmp_path / "b.txt", b"\xff")
    documents = read_text(tmp_path)
    assert next(documents).name == "a.txt"
    with pytest.raises(SourceError, match=r"b\.txt"):
        next(documents)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_json_lines(tmp_path: Path, ending: str) -> None:
    records = [{"text": "Kim left. Lee\nstayed.", "id": 1}, {"text": " \n"}, {"id": 2, "text": "Né."}]
    content = "\n\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    path = write(tmp_path / f"x.jsonl{ending}", content)
    assert [(document.name, document.sentences) for document in read_jsonl(tmp_path, field="text")] == [
        (f"{path.name}:1", ["Kim left.", "Lee stayed."]),
        (f"{path.name}:3", []),
        (f"{path.name}:5", ["Né."]),
    ]
    first = next(read_jsonl(path, field="text", unit="sentence"))
    assert first.sentences == ["Kim left. Lee", "stayed."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": }\n', ("x.jsonl, line 2, column 10", "JSON")),
        (
            '{"text": "a"}\n{"txt": "a", "id": 1}\n',
            ("x.jsonl, line 2", "'text'", "'txt', 'id'"),
        ),
        ('{"text": "a"}\n\n{"text": 3}\n', ("x.jsonl, line 3", "'text'", "int", "string")),
        ("[1]\n", ("x.jsonl, line 1", "list", "object")),
        (b'{"text": "a"}\n{"text": "\xe9"}\n', ("x.jsonl, line 2, byte 11", "0xe9", "UTF-8")),
        ("", ("x.jsonl", "no text", "'text'")),
        ('{"text": " "}\n', ("x.jsonl", "no text", "'text'")),
    ],
)
def test_faulty_json_lines(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path / "x.jsonl", content)
    with pytest.raises(SourceError, match=facts(message)):
        list(read_jsonl(path, field="text"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Kim left.\nLe caf\xe9 est ferm\xe9.\n", ("a.txt, line 2, byte 7", "0xe9", "UTF-8")),
        (b"Kim left.\n\xff", ("a.txt, line 2, byte 1", "0xff")),
        (b"", ("a.txt", "no text")),
        (b"\n \n", ("a.txt", "no text")),
    ],
)
@pytest.mark.parametrize("unit", ["document", "sentence"])
def test_faulty_text(tmp_path: Path, content: bytes, message: str, unit: str) -> None:
    with pytest.raises(SourceError, match=facts(message)):
        list(read_text(write(tmp_path / "a.txt", content), unit=unit))


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("kept", [0.5, -2])
def test_packed_files_cut_short(tmp_path: Path, ending: str, kept: float) -> None:
    path = write(tmp_path / f"a.txt{ending}", LONG)
    packed = path.read_bytes()
    path.write_bytes(packed[: int(kept * len(packed)) if kept > 0 else int(kept)])
    with pytest.raises(SourceError, match=facts("a.txt", "truncated", "damaged")):
        list(read_text(path))


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_files_that_are_not_packed(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_text("Kim left.", encoding="utf-8")
    with pytest.raises(SourceError, match=facts("a.txt", "truncated", "damaged")):
        list(read_text(path))
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.txt"):
        list(read_text(path))


def test_paths_with_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=facts("nowhere", "no such file")):
        list(read_text(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match=facts("pattern")):
        list(read_text(str(tmp_path / "*.txt")))
    with pytest.raises(SourceError, match=facts("folder", ".jsonl, .jsonl.gz, .jsonl.zst")):
        list(read_jsonl(tmp_path, field="text"))
    with pytest.raises(SourceError, match=facts("path")):
        list(read_text([]))


def test_a_file_named_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "Kim left.")
    with pytest.raises(SourceError, match=facts("a.txt", "twice")):
        list(read_text([tmp_path, path]))


def test_unknown_unit(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=facts("unit", "'line'", "'document', 'sentence'")):
        list(read_text(tmp_path, unit="line"))


# In separate processes: modules that TFDS imports may raise warnings.
PREPARE = """
import sys
import numpy as np
import tensorflow_datasets as tfds

class TinyText(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"text": tfds.features.Text(), "year": np.int64}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            yield i, {"text": f"Nobody has ever left. The café has number {i}.", "year": i}

TinyText(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""
READ = """
import json, sys
from npi_jax.corpus.text.sources import SourceError, read_tfds
try:
    documents = read_tfds(sys.argv[1], split=sys.argv[2], field=sys.argv[3], data_dir=sys.argv[4])
    print(json.dumps([[d.name, d.sentences] for d in documents]))
except SourceError as error:
    print(json.dumps(str(error)))
"""


def run(program: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("tensorflow_datasets", reason="the extra npi-jax[tfds] is not installed")
    folder = str(tmp_path_factory.mktemp("tfds"))
    run(PREPARE, folder)
    return folder


def test_tfds(prepared: str) -> None:
    documents = json.loads(run(READ, "tiny_text", "train", "text", prepared))
    assert [name for name, _ in documents] == ["tiny_text:0", "tiny_text:1", "tiny_text:2"]
    assert sorted(sentences for _, sentences in documents) == [
        ["Nobody has ever left.", f"The café has number {i}."] for i in range(3)
    ]


@pytest.mark.parametrize(
    ("name", "split", "field", "message"),
    [
        ("tiny_text", "train", "txt", ("example 0", "'txt'", "'text', 'year'")),
        ("tiny_text", "train", "year", ("'year'", "int")),
        ("tiny_text", "tset", "text", "Unknown split 'tset'"),
        ("tiny_txet", "train", "text", "Dataset tiny_txet not found"),
    ],
)
def test_tfds_faults(prepared: str, name: str, split: str, field: str, message: str) -> None:
    assert re.search(facts(message), json.loads(run(READ, name, split, field, prepared)))


SHARED = """
import sys
from npi_jax.config.build import make_config
from npi_jax.corpus.text.sources import tfds_shared
from npi_jax.errors import UserError
from npi_jax.preparation.inputs import text_sources

splits = [("train[:2]", "train[1:]"), ("train[:1]", "train[1:]"), ("train", "train")]
print([tfds_shared("tiny_text", one, other, sys.argv[1]) for one, other in splits])
for split in ("train[1:]", "train[2:]"):
    corpus = {"source": "tfds", "tfds_name": "tiny_text", "tfds_dir": sys.argv[1]}
    config = make_config({"name": "x", "corpus": {**corpus, "tfds_split": "train[:2]", "tfds_valid_split": split}})
    try:
        text_sources(config.corpus)
        print("taken")
    except UserError as error:
        print(error)
"""


def test_splits_that_share_examples_are_refused(prepared: str) -> None:
    counts, refused, taken = run(SHARED, prepared).splitlines()
    assert counts == "[1, 0, 3]"
    assert sentence_with(refused, "1 examples", "corpus.tfds_split", "train[:2]", "corpus.tfds_valid_split")
    assert taken == "taken"


def test_tfds_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(SourceError, match=r"pip install 'npi-jax\[tfds\]'"):
        list(read_tfds("lm1b", split="train", field="text"))
