"""A stage whose output changes needs a new version: outputs are compared with recorded digests."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.corpus.pipeline import STAGES
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.variants.row_files import RowRecords
from npi_jax.files.writing import read_table
from npi_jax.preparation.prepare import Prepared, prepare

HERE = Path(__file__).parent / "golden"
TEXT = {
    "source": "text",
    "paths": (str(HERE / "training.txt"),),
    "valid_paths": (str(HERE / "validation.txt"),),
    "unit": "document",
    "processes": 1,
}
GRAMMAR = {"source": "grammar", "grammar": {"sentences": 600, "seed": 3, "sharing": 0.5}, "grammar_valid_sentences": 60}
VARIANTS = (
    "full",
    "without(only) + replace(licensor, adverbs & npi)",
    "random(without(only))",
    "replace(npi, quantifier)",
    "inject(conditional & npi, 2, 3)",
)


def prepared(cache: Path, corpus: dict[str, object], **changes: object) -> Prepared:
    values = tiny_values(corpus=corpus | {"cache": str(cache)}, score__suites={"grammar": {"limit": 1}}, **changes)
    return prepare(make_config(values), lambda line: None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which every stage has run, most of them with several settings."""
    folder = tmp_path_factory.mktemp("golden")
    prepared(folder, GRAMMAR, variants=VARIANTS).records()
    prepared(folder, GRAMMAR | {"removal": "delete"})
    words = {"kind": "word", "min_count": 2, "lowercase": True}
    prepared(folder, TEXT | {"max_sentences": 100}, variants=("full",), tokenizer=words, train__row_length=12)
    pieces = {"kind": "bpe", "size": 300}
    prepared(folder, TEXT | {"phenomenon": "filler_gap_en"}, variants=("full",), tokenizer=pieces)
    return folder


def digest(stage: Path) -> str:
    """Return the SHA-256 of the content of all folders of a stage; names of folders do not matter."""
    return _sha(*sorted(folder_digest(folder) for folder in stage.iterdir() if folder.is_dir()))


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of names, dtypes and values; the compression of files does not matter."""
    parts: list[object] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in ("key.json", "checksums.json") and path.suffix not in (".bin", ".array_record"):
            parts += [name, *content(path)]
    return _sha(*parts)


def content(path: Path) -> list[object]:
    if path.name == "columns.json":
        columns = Columns(path.parent)
        return [columns.facts, *((name, columns[name].dtype.str, columns[name]) for name in sorted(columns))]
    if path.name == "records.json":
        rows = RowRecords(path.parent)
        return [rows.width, rows.dtype.str, *rows._source.__getitems__(list(range(len(rows._source))))]
    if path.suffix == ".parquet":
        table = read_table(path)
        return [{name: str(dtype) for name, dtype in table.schema.items()}, *map(_rounded, table.iter_rows())]
    if path.name == "bpe.json":
        model = json.loads(path.read_text())["model"]
        return [model["vocab"], [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]]
    return [json.loads(path.read_text())] if path.suffix == ".json" else [path.read_text()]


def _rounded(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(f"{value:.9g}" if isinstance(value, float) else value for value in row)


def _sha(*parts: object) -> str:
    sha = hashlib.sha256()
    for part in parts:
        for piece in part if isinstance(part, tuple) else (part,):
            if isinstance(piece, np.ndarray):
                sha.update(np.ascontiguousarray(piece).tobytes())
            elif isinstance(piece, bytes):
                sha.update(piece)
            else:
                sha.update(json.dumps(piece, sort_keys=True).encode())
    return sha.hexdigest()


RECORDED = HERE / "digests.json"


def test_every_stage_has_run(cache):
    assert {path.name for path in cache.iterdir() if path.is_dir()} == {stage.name for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_the_output_of_a_stage_is_that_of_its_version(cache, stage):
    entry = {"libraries": stage.key({})["libraries"], "sha256": digest(cache / stage.name)}
    recorded = json.loads(RECORDED.read_text())[stage.name].get(str(stage.version))
    if recorded and recorded["sha256"] != entry["sha256"] and recorded["libraries"] != entry["libraries"]:
        pytest.skip(f"recorded with {recorded['libraries']}; here are {entry['libraries']}, which the key names")
    assert recorded == entry | {"libraries": (recorded or entry)["libraries"]}, (
        f"output of stage {stage.name!r} changed; raise its version in npi_jax/corpus/pipeline.py and record the new "
        f"digest in {RECORDED}: {json.dumps({str(stage.version): entry})}"
    )


@pytest.mark.parametrize("array", [np.arange(3, dtype=np.uint16), np.arange(3, dtype=np.int32), np.arange(1, 4)])
def test_the_digest_depends_on_values_and_dtypes(tmp_path, array):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder, values in zip(folders, (array, np.arange(3)), strict=True):
        with ColumnWriter(folder, {"a": values.dtype}) as writer:
            writer.append(a=values)
            writer.close()
    assert folder_digest(folders[0]) != folder_digest(folders[1])
