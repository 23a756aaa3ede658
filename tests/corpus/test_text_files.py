"""Files that paths name, and those that are refused: repeats, cycles, bombs, pipes, files that change."""

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from calls import at_most
from facts import facts
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.corpus.annotation.phenomenon import load_phenomenon
from npi_jax.corpus.text.files import SourceError, check_distinct, digested, find_files
from npi_jax.corpus.text.sources import numbered_sentences, read_jsonl, read_text
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.errors import UserError
from npi_jax.preparation.inputs import open_inputs
from npi_jax.preparation.prepare import prepare
from npi_jax.suites import load_suite

SENTENCES = [f"Nobody has ever seen number {n}." for n in range(40)] + [f"It was number {n}." for n in range(60)]
TEXT = "\n".join(SENTENCES) + "\n"
PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def config_of(folder: Path, source: str = "text", ending: str = ".txt", **corpus):
    values = {
        "source": source,
        "paths": (str(folder / f"train{ending}"),),
        "valid_paths": (str(folder / f"valid{ending}"),),
        "unit": "sentence",
        "cache": str(folder / "cache"),
        **corpus,
    }
    return make_config(tiny_values(corpus=values, train__batch_size=4, score__suites={"grammar": {"limit": 1}}))


def write(folder: Path, ending: str = ".txt") -> None:
    pack = PACKED[ending.removeprefix(".txt").removeprefix(".jsonl")]
    lines = [f'{{"text": "{line}"}}' for line in SENTENCES] if "jsonl" in ending else SENTENCES
    (folder / f"train{ending}").write_bytes(pack("\n".join(lines).encode()))
    (folder / f"valid{ending}").write_bytes(pack("\n".join(lines[:3] + lines[50:55]).encode()))


# -- files that change while they are read -----------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "ending"), [("text", ".txt"), ("jsonl", ".jsonl"), ("text", ".txt.gz")])
def test_a_file_that_changes_between_digest_and_reading_is_refused_and_nothing_kept(tmp_path, source, ending):
    write(tmp_path, ending)
    config = config_of(tmp_path, source, ending)
    inputs = open_inputs(config)
    path = tmp_path / f"train{ending}"
    before = path.stat()
    content = path.read_bytes()
    pack = PACKED[".gz"] if ending.endswith(".gz") else bytes
    unpacked = gzip.decompress(content) if ending.endswith(".gz") else content
    path.write_bytes(pack(unpacked.replace(b"number 7.", b"number 8.")))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # its time stamp does not tell
    with pytest.raises(UserError, match=facts(f"train{ending}", "changed")):
        prepare(config, print, None, inputs)
    assert not [entry for entry in (tmp_path / "cache" / "text").iterdir() if entry.is_dir()]
    path.write_bytes(content)
    ready = prepare(config, print, None, inputs)
    assert list(ready.corpus.text) == SENTENCES


def test_a_file_that_grows_or_appears_meanwhile(tmp_path):
    write(tmp_path)
    config = config_of(tmp_path, paths=(str(tmp_path / "train*"),))
    inputs = open_inputs(config)
    (tmp_path / "train2.txt").write_text("It came late.\n")
    assert len(prepare(config, print, None, inputs).corpus) == 100
    inputs = open_inputs(config)
    with (tmp_path / "train2.txt").open("a") as file:
        file.write("It came later.\n")
    with pytest.raises(UserError, match=facts("train2.txt", "changed")):
        prepare(config, print, None, inputs)


# -- repeated text --------------------------------------------------------------------------------


def test_loops_of_links_end_and_text_is_read_once(tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    (inside / "x.txt").write_text(TEXT)
    for name in ("one", "two", "three"):  # 3 ** 40 paths for who follows them
        (inside / name).symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "other").symlink_to(inside, target_is_directory=True)
    with at_most(10):
        for paths in (
            tmp_path,
            str(tmp_path / "**" / "*.txt"),
            str(tmp_path / "**"),
            str(tmp_path / "a/**/b/**/*.txt"),
        ):
            assert len(list(numbered_sentences(read_text(paths, unit="sentence")))) == 100


@pytest.mark.parametrize("how", ["link", "hard link", "copy", ".gz", ".zst"])
@pytest.mark.parametrize("field", ["paths", "valid_paths"])
def test_the_same_text_twice_is_refused_by_both_names(tmp_path, how, field):
    write(tmp_path)
    path, other = tmp_path / "train.txt", tmp_path / f"more.txt{how if how in PACKED else ''}"
    match how:
        case "link":
            other.symlink_to(path)
        case "hard link":
            other.hardlink_to(path)
        case "copy":
            other.write_bytes(path.read_bytes())
        case _:
            other.write_bytes(PACKED[how](path.read_bytes()))
    paths = {"paths": (str(path), str(other)), "valid_paths": (str(tmp_path / "valid.txt"),)}
    if field == "valid_paths":
        paths = {"paths": (str(path),), "valid_paths": (str(tmp_path / "valid.txt"), str(other))}
    with pytest.raises(SourceError, match=r"(train|more)\.txt") as refused:
        open_inputs(config_of(tmp_path, **paths))
    assert str(path) in str(refused.value)
    assert str(other) in str(refused.value)
    if how == "copy":
        allowed = prepare(config_of(tmp_path, **paths, allow_repeats=True), print)
        assert len(allowed.corpus) == (200 if field == "paths" else 100)


def test_validation_text_that_is_training_text_is_refused(tmp_path):
    write(tmp_path)
    train = str(tmp_path / "train.txt")
    with pytest.raises(SourceError, match=facts("train.txt", "same file", "allow_repeats")):
        open_inputs(config_of(tmp_path, valid_paths=(train,)))
    assert len(prepare(config_of(tmp_path, valid_paths=(train,), allow_repeats=True), print).corpus) == 100


def test_a_file_named_by_two_links_is_refused_where_nothing_can_allow_it(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    with pytest.raises(SourceError, match=facts("twice", "a.txt")):
        list(read_text(tmp_path))


def test_texts_of_one_size_are_compared_by_what_they_hold(tmp_path):
    (tmp_path / "a.txt").write_text("Kim left.\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"Lee left.\n"))
    files = digested(find_files(tmp_path, ".txt"))
    check_distinct(files[:1], files[1:])
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"Kim left.\n"))
    with pytest.raises(SourceError, match=facts("a.txt", "b.txt.gz", "same text")):
        check_distinct(files[:1], digested(files[1:]))


# -- input without end ------------------------------------------------------------------------------------


def zst_of_newlines(size: int) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    block = b"\n" * (1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(size >> 20)), packer.flush()])


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt.zst", zst_of_newlines(1 << 29)), ("a.txt.gz", gzip.compress(bytes(1 << 26), 9))],
)
def test_what_unpacks_to_much_more_than_text_would_is_refused_at_once(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert len(content) < 100_000
    began = time.process_time()
    with pytest.raises(UserError, match=facts(name, "200 times")):
        list(read_text(tmp_path / name))
    assert time.process_time() - began < 1


def test_text_that_repeats_itself_is_read(tmp_path):
    text = b"Kim left.\n" * 20_000  # a thousand times its packed size, and small
    (tmp_path / "a.txt.zst").write_bytes(zstandard.compress(text))
    assert sum(len(document.sentences) for document in read_text(tmp_path / "a.txt.zst", unit="sentence")) == 20_000


def test_a_line_without_end_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Kim left.\n" + "x" * ((16 << 20) + 1))
    with pytest.raises(SourceError, match=facts("a.txt", "line 2", "16 MiB")):
        list(read_text(path))


def reads(path: str) -> list[Callable[[], object]]:
    return [
        lambda: list(read_text(path)),
        lambda: list(read_jsonl(path, field="text")),
        lambda: WordTokenizer.from_file(Path(path)),
        lambda: load_phenomenon(path),
        *(
            lambda name=name: load_suite(name, path)
            for name in ("table", "blimp", "zorro", "syntaxgym", "warstadt2019")
        ),
    ]


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with at_most(5):
        for path in (str(tmp_path / "pipe.txt"), "/dev/zero"):
            for read in reads(path):
                with pytest.raises(UserError, match=path):
                    read()


def test_an_empty_path_is_not_this_folder(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=facts("path", "empty")):
        find_files(("a.txt", ""), ".txt")
    assert [file.name for file in find_files(".", ".txt")] == ["a.txt"]
