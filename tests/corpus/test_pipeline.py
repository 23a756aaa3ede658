"""The stages from text to rows, in one process or several, cached or not."""

import dataclasses
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from facts import facts
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.corpus import pipeline
from npi_jax.corpus.annotation import phenomenon, wordclasses
from npi_jax.corpus.annotation.stored_text import AnnotatedStore
from npi_jax.corpus.grammar.generate import GrammarSpec, generate
from npi_jax.corpus.storage.arrays import spread
from npi_jax.corpus.storage.cache import _open
from npi_jax.corpus.storage.columns import Columns
from npi_jax.corpus.stored import StoredVariants
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.corpus.variants.row_files import RowRecords
from npi_jax.corpus.variants.rows import pack
from npi_jax.errors import UserError
from npi_jax.files.checksums import DamagedError
from npi_jax.files.writing import read_table
from npi_jax.preparation.prepare import prepare

FEW = {"grammar": {"limit": 1}}


def written(folder: Path, sentences: int) -> Path:
    path = folder / "train.txt"
    path.write_text("\n".join(" ".join(words) for words in generate(GrammarSpec(sentences, seed=1)).sentences) + "\n")
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("text"), 1000)


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("short"), 300)


def prepared(text: Path, cache: Path, **changes):
    corpus = {
        "source": "text",
        "paths": (str(text),),
        "valid_paths": (str(text),),
        "unit": "sentence",
        "max_valid_sentences": 100,
        "allow_repeats": True,
        "processes": 1,
        "cache": str(cache),
        **changes.pop("corpus", {}),
    }
    said: list[str] = []
    ready = prepare(make_config(tiny_values(corpus=corpus, score__suites=FEW, **changes)), said.append)
    return ready, said


def folders(cache: Path, kind: str) -> set[str]:
    return {path.name for path in (cache / kind).iterdir() if not path.name.startswith(".")}


def test_processes_do_not_matter(text, tmp_path, monkeypatch):
    # Small text would be prepared in one process.
    monkeypatch.setattr("npi_jax.corpus.pipeline._LARGE", 0)
    monkeypatch.setattr("npi_jax.corpus.pipeline._MANY", 0)
    monkeypatch.setattr("npi_jax.corpus.text.sources._PART", 1 << 14)
    one, two = (prepared(text, tmp_path / str(processes), corpus={"processes": processes})[0] for processes in (1, 2))
    assert one.facts == two.facts
    np.testing.assert_array_equal(one.pool.tokens, two.pool.tokens)
    assert list(one.corpus.text[:50]) == text.read_text().splitlines()[:50]


def test_stages_are_made_once_for_all_that_they_depend_on(text, tmp_path):
    first, _ = prepared(text, tmp_path)
    second, _ = prepared(text, tmp_path)
    assert first.facts == second.facts
    np.testing.assert_array_equal(first.pool.tokens, second.pool.tokens)
    counts = {kind: len(folders(tmp_path, kind)) for kind in ("text", "tokenizer", "corpus", "variants")}
    assert counts == {"text": 1, "tokenizer": 1, "corpus": 2, "variants": 1}
    # Other variants need no new annotation or tokens.
    prepared(text, tmp_path, variants=("full", "without(only)"))
    assert (len(folders(tmp_path, "corpus")), len(folders(tmp_path, "variants"))) == (2, 2)
    # Another vocabulary needs no new annotation.
    prepared(text, tmp_path, tokenizer={"kind": "word", "size": 50})
    assert (len(folders(tmp_path, "text")), len(folders(tmp_path, "tokenizer"))) == (1, 2)
    # Other training seeds matter only to variants that inject.
    prepared(text, tmp_path, seeds=(7,))
    assert len(folders(tmp_path, "variants")) == 3
    text_copy = text.with_name("other.txt")
    text_copy.write_text(text.read_text() + "Nobody came.\n")
    prepared(text_copy, tmp_path)
    assert len(folders(tmp_path, "text")) == 2


def test_a_new_version_renews_a_stage_and_all_later_ones(short, tmp_path, monkeypatch):
    prepared(short, tmp_path)
    kinds = ("text", "tokenizer", "corpus", "variants")
    before = {kind: len(folders(tmp_path, kind)) for kind in kinds}
    later = dataclasses.replace(pipeline.VARIANTS, version=pipeline.VARIANTS.version + 1)
    monkeypatch.setattr(pipeline, "VARIANTS", later)
    prepared(short, tmp_path)
    counts = {kind: len(folders(tmp_path, kind)) for kind in kinds}
    assert counts == before | {"variants": 2}
    monkeypatch.setattr(pipeline, "TEXT", dataclasses.replace(pipeline.TEXT, version=pipeline.TEXT.version + 1))
    prepared(short, tmp_path)
    assert {kind: len(folders(tmp_path, kind)) for kind in kinds} == {
        kind: count + before[kind] for kind, count in counts.items()
    }


def test_annotations_depend_on_the_table_and_the_word_classes(short, tmp_path, monkeypatch):
    table = tmp_path / "table.toml"
    built_in = Path(phenomenon.__file__).parent / "phenomena" / "npi_en.toml"
    table.write_bytes(built_in.read_bytes())
    own = {"phenomenon": str(table)}
    prepared(short, tmp_path / "cache", corpus=own)
    table.write_text(built_in.read_text() + "\n# changed\n")
    prepared(short, tmp_path / "cache", corpus=own)
    assert len(folders(tmp_path / "cache", "text")) == 2
    monkeypatch.setattr(wordclasses, "NOT_FINITE", frozenset({"having", "doing"}))
    prepared(short, tmp_path / "cache", corpus=own)
    assert len(folders(tmp_path / "cache", "text")) == 3


def test_the_pipeline_lists_its_stages_in_order():
    listed = re.findall(r"^    (?:\d\. |   )(\w+)", pipeline.__doc__, re.MULTILINE)
    own = [one for one in vars(pipeline).values() if inspect.isfunction(one) and one.__module__ == pipeline.__name__]
    assert listed == [one.__name__ for one in own if not one.__name__.startswith("_")]


def test_injections_follow_the_seeds(text, tmp_path):
    variants = ("full", "inject(only & npi, 2, 3)")
    ready, _ = prepared(text, tmp_path, variants=variants)
    again, _ = prepared(text, tmp_path, variants=variants)
    other, _ = prepared(text, tmp_path, variants=variants, seeds=(5,))
    assert set(ready.variants[1].overrides) == {(0, 3), (1, 3)}
    assert set(other.variants[1].overrides) == {(5, 3)}
    for key, rows in ready.variants[1].overrides.items():
        np.testing.assert_array_equal(rows, again.variants[1].overrides[key])
    slots = read_table(ready.folder / "slots.parquet")
    assert slots.filter(action="injected")["seed"].unique().sort().to_list() == [0, 1]


def test_slot_preserving_variants_differ_in_changed_slots_only(text, tmp_path):
    ready, _ = prepared(text, tmp_path, variants=("full", "no_npi", "without(only)", "random(no_npi)"))
    assert ready.table["tokens"].n_unique() == 1
    slots = read_table(ready.folder / "slots.parquet")
    lengths = np.asarray(ready.corpus.lengths)
    packing = pack(lengths, 32)
    full, order = ready.pool.tokens[ready.variants[0].rows], ready.orders[0]
    for variant in ready.variants[1:]:
        rows = ready.pool.tokens[variant.rows]
        changed = slots.filter(variant=str(variant.intervention))["slot"].unique().to_numpy()
        assert len(changed) == variant.removed > 0
        inside = np.zeros(rows.shape, bool)
        first = packing.row[changed] * np.int64(33) + packing.start[changed] + 1
        inside.reshape(-1)[spread(first, lengths[changed].astype(np.int64))] = True
        assert (full == rows)[~inside].all()
        assert (full != rows)[inside].mean() > 0.5
        np.testing.assert_array_equal(ready.pool.used[variant.rows], ready.pool.used[ready.variants[0].rows])
        untouched = ~inside.any(axis=1)
        for step in range(3):
            place = order.rows(0, step)
            one, other = (v.batch(order, 0, step) for v in (ready.variants[0], variant))
            np.testing.assert_array_equal(one[untouched[place]], other[untouched[place]])


def flipped(path: Path, bit: int) -> bytes:
    """Flip a bit of a file; return its content before."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    return content


def stored(cache: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in cache.rglob("*")
        if path.suffix != ".lock" and path.is_file()
    }


OPEN = {
    "text": AnnotatedStore.open,
    "tokenizer": Tokenizer.load,
    "corpus": Columns,
    "variants": StoredVariants.open,
    "row_files": RowRecords,
}


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory) -> Path:
    """A cache with an entry of every kind."""
    cache = tmp_path_factory.mktemp("whole")
    prepared(text, cache)[0].records()
    prepared(text, cache, tokenizer={"kind": "bpe", "size": 300})
    return cache


def flips_found(cache: Path, flips: int) -> dict[str, list[int]]:
    """Flip bits of every file, one at a time; count for each kind of file: detected, harmless, undetected."""
    draw = np.random.default_rng(5)
    found: dict[str, list[int]] = {}
    for path in sorted(path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"):
        kind, entry, *_ = path.relative_to(cache).parts
        if path.stat().st_size == 0:
            continue
        for bit in draw.integers(0, 8 * path.stat().st_size, flips):
            content = flipped(path, int(bit))
            try:
                _open(cache / kind / entry, OPEN[kind])
                equal = json.loads(path.read_bytes()) == json.loads(content)
                which = 1 if path.name == "checksums.json" and equal else 2
            except DamagedError as error:
                which = 0 if str(cache / kind / entry) in str(error) else 2
            path.write_bytes(content)
            found.setdefault(f"{kind}/{'*' if path.suffix == '.bin' else ''}{path.name}", [0, 0, 0])[which] += 1
    return found


def test_every_file_of_the_cache_has_a_checksum(whole):
    found = flips_found(whole, 1)
    assert {name.split("/")[0] for name in found} == set(OPEN)
    assert "tokenizer/vocab.txt" in found
    assert not {name: counts for name, counts in found.items() if counts[2]}


@pytest.mark.drill
def test_flipped_bits_of_the_cache_are_named_or_harmless(whole):
    found = flips_found(whole, 100)
    print(found)
    assert not {name: counts for name, counts in found.items() if counts[2]}


def test_what_is_damaged_is_made_anew_and_said(text, tmp_path):
    first, _ = prepared(text, tmp_path)
    before = stored(tmp_path)
    damaged = ["content.bin", "vocab.txt", "tokens.bin", "slots.parquet"]
    paths = [sorted(tmp_path.rglob(name))[0] for name in damaged]
    for path in paths:
        flipped(path, 8 * (path.stat().st_size // 2) + 1)
    again, said = prepared(text, tmp_path)
    for path in paths:
        assert any(str(path) in line and line.endswith("is rebuilt") for line in said), said
    assert stored(tmp_path) == before
    assert again.facts == first.facts
    np.testing.assert_array_equal(again.pool.tokens, first.pool.tokens)
    (tmp_path / "variants" / folders(tmp_path, "variants").pop() / "checksums.json").unlink()
    prepared(text, tmp_path)
    assert stored(tmp_path) == before


def test_text_without_sentences(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": " "}\n')
    with pytest.raises(UserError, match=facts("'text'")):
        prepared(path, tmp_path / "cache", corpus={"source": "jsonl"})
    assert not folders(tmp_path / "cache", "text")


_PREPARE = """
import json, sys
from npi_jax.files.checksums import DamagedError
from npi_jax.config.build import make_config
from npi_jax.corpus.storage.cache import _open
from npi_jax.corpus.storage.columns import Columns
from npi_jax.preparation.prepare import prepare
ready = prepare(make_config(json.loads(sys.argv[1])), print)
print("facts", json.dumps(ready.facts, sort_keys=True))
"""


@pytest.mark.drill
def test_a_preparation_that_is_killed_again_and_again_ends_as_one_that_is_not(data_folder, tmp_path):
    """Kill ten preparations of real text at different moments, then let one finish."""
    files = sorted((data_folder / "corpus" / "us_speeches").glob("*.txt"))
    files += sorted((data_folder / "corpus" / "novels100").glob("*.txt"))
    values = tiny_values(
        corpus={
            "source": "text",
            "paths": [str(path) for path in files[1:]],
            "valid_paths": [str(files[0])],
            "unit": "sentence",
            "processes": 2,
        },
        tokenizer={"kind": "word", "size": 10_000},
        train__row_length=64,
        score__suites=FEW,
        variants=["full", "no_npi", "random(no_npi)"],
    )

    def start(cache: str) -> subprocess.Popen[str]:
        values["corpus"]["cache"] = str(tmp_path / cache)
        command = [sys.executable, "-c", _PREPARE, json.dumps(values)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def facts_of(cache: str) -> str:
        with start(cache) as process:
            return process.communicate()[0].splitlines()[-1]

    began = time.monotonic()
    facts = facts_of("whole")
    seconds = time.monotonic() - began
    assert facts.startswith("facts")
    killed = 0
    for number in range(10):
        with start("killed") as process:
            try:
                process.communicate(timeout=seconds * (number + 0.5) / 10)
            except subprocess.TimeoutExpired:
                # Kill the process group, as when a machine goes down.
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
    assert killed >= 3
    assert facts_of("killed") == facts
    assert not list((tmp_path / "killed").rglob(".*.part"))
