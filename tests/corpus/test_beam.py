"""Apache Beam pipelines, each in a process of its own: importing Beam sets up logging for the whole process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from facts import facts, sentence_with
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.corpus.annotation.table import DTYPES
from npi_jax.preparation.prepare import prepare

TRAIN = "Nobody has ever left.\nKim saw a cake.\n\nDid Lee ever see any of it?\n"
MORE = "He is the best man I ever met.\n" + "The man saw a house.\n" * 40


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.txt").write_text(TRAIN)
    (folder / "b.txt").write_text(MORE)
    return folder


def annotate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "npi_jax.cli", "annotate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def dataset(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    done = annotate(str(text), "--unit", "sentence", "--tfds", str(folder))
    assert done.returncode == 0, done.stderr
    assert "npi_annotated_text" in done.stdout
    return folder


def prepared(**corpus: object):
    corpus = {"valid_paths": (), "max_valid_sentences": None, "allow_repeats": True, **corpus}
    values = tiny_values(corpus=corpus, train__batch_size=2, score__suites={"grammar": {"limit": 1}})
    return prepare(make_config(values), lambda _: None)


@pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")
def test_the_data_set_prepares_as_the_text_does(text: Path, dataset: Path) -> None:
    plain = prepared(source="text", unit="sentence", paths=(str(text),), valid_paths=(str(text),))
    read = prepared(
        source="tfds",
        tfds_name="npi_annotated_text",
        tfds_dir=str(dataset),
        tfds_split="train",
        tfds_valid_split="train",
    )
    assert list(read.corpus.text) == list(plain.corpus.text)
    assert read.facts["corpus_sha256"] == plain.facts["corpus_sha256"]
    for name in DTYPES:
        one, other = (getattr(ready.corpus.annotations, name).tolist() for ready in (read, plain))
        assert one == other
    assert len(read.corpus.annotations) >= 4


@pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")
def test_another_table_is_refused(dataset: Path) -> None:
    with pytest.raises(ValueError, match=facts("npi_en", "filler_gap_en")):
        prepared(
            source="tfds",
            tfds_name="npi_annotated_text",
            tfds_dir=str(dataset),
            tfds_valid_split="train",
            phenomenon="filler_gap_en",
        )


def test_it_is_not_written_twice(text: Path, dataset: Path) -> None:
    done = annotate(str(text), "--tfds", str(dataset))
    assert done.returncode == 1
    assert "already" in done.stderr


def test_a_runner_that_is_not_there(text: Path, tmp_path: Path) -> None:
    done = annotate(str(text), "--tfds", str(tmp_path / "data"), "--beam=--runner=NopeRunner")
    assert (done.returncode, done.stderr.splitlines()[-1].partition(":")[0]) == (1, "npi-jax")
    assert "'NopeRunner'" in done.stderr
    assert not list(tmp_path.glob("data/npi_annotated_text/1.0.0"))


def test_two_splits(text: Path, tmp_path: Path) -> None:
    more = text / "b.txt"
    done = annotate(str(text / "a.txt"), "--validation", str(more), "--tfds", str(tmp_path))
    assert done.returncode == 0, done.stderr
    info = json.loads(next(tmp_path.glob("npi_annotated_text/1.0.0/dataset_info.json")).read_text())
    assert [split["name"] for split in info["splits"]] == ["train", "validation"]


def test_damaged_text_leaves_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({"t": "Kim left."}) + "\n{}\n")
    done = annotate(str(tmp_path / "x.jsonl"), "--field", "t", "--tfds", str(tmp_path / "data"))
    assert done.returncode != 0
    assert sentence_with(done.stderr, "line 2", "'t'")
    assert not list(tmp_path.glob("data/npi_annotated_text/1.0.0"))
