"""All inputs are checked before anything is prepared, and a refused experiment leaves no files."""

import json
import os
from pathlib import Path

import pytest
from calls import assert_refused, call
from tiny import tiny_values

# Imported here, since the first command would otherwise take longer than its limit.
import npi_jax.experiment.run  # noqa: F401

CONFIG = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
PAIR = {"good": "nobody has ever been", "bad": "somebody has ever been"}
BLIMP = {"sentence_good": "Nobody ever left.", "sentence_bad": "Somebody ever left.", "UID": "x"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.txt").write_text("".join(f"nobody has ever seen number {n} .\n" for n in range(60)))
    (tmp_path / "valid.txt").write_text("nobody was here .\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n")
    (tmp_path / "bad.jsonl").write_text('{"good": 3}\n')
    (tmp_path / "cells.jsonl").write_text("{}\n")
    (tmp_path / "words.txt").write_text("<eos>\nnobody\n")
    (tmp_path / "own.py").write_text("def other(config, vocab_size): return None\n")
    os.mkfifo(tmp_path / "pipe.txt")
    monkeypatch.setenv("NPI_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(folder: Path, **changes) -> str:
    corpus = {"source": "text", "paths": ("train.txt",), "valid_paths": ("valid.txt",), "unit": "sentence"}
    suites = {"mine": {"loader": "table", "path": "pairs.jsonl"}}
    values = {"corpus": corpus, "score__suites": suites, "train__batch_size": 4, "variants": ("full",), **changes}
    (folder / "my.py").write_text(CONFIG.format(values=tiny_values(run_dir="runs/deep/my", **values)))
    return str(folder / "my.py")


GRADIENTS = {"enabled": True, "micro_batches": 4, "limit": 8}
REFUSED = {
    "no text": ({"corpus__paths": ("nowhere.txt",)}, "corpus.paths: nowhere.txt: there is no such file"),
    "an empty path": ({"corpus__paths": ("",)}, "corpus.paths.0 = ''"),
    "a pipe": ({"corpus__valid_paths": ("pipe.txt",)}, "corpus.valid_paths: pipe.txt: not a plain file"),
    "the same text": ({"corpus__valid_paths": ("train.txt",)}, "the same file is training text and validation text"),
    "no suite": ({"score__suites__mine__path": "nowhere.jsonl"}, "suites.mine: nowhere.jsonl: there is no such file"),
    "a bad suite": ({"score__suites__mine__path": "bad.jsonl"}, "bad.jsonl, line 1: the field 'good' is a int"),
    "no loader": ({"score__suites__mine__loader": "tabel"}, "tabel"),
    "no pairs": ({"score__suites__mine__loader": "warstadt2019_cells"}, "pairs.jsonl"),
    "a bad vocabulary": (
        {"tokenizer": {"kind": "word", "file": "words.txt"}},
        "words.txt, lines 1 to 2: none is <unk>",
    ),
    "an endless vocabulary": ({"tokenizer": {"kind": "word", "file": "/dev/zero"}}, "/dev/zero: not a plain file"),
    "no factory": ({"model": {"kind": "custom", "factory": "own.py:make"}}, "own.py defines no function make"),
    "no factory file": (
        {"model": {"kind": "custom", "factory": "my_own.py:make"}},
        "model.factory = 'my_own.py:make': ",
    ),
    "no region": ({"score__suites__mine__spec": {"regions": ("npi",)}}, "score.suites.mine: the spec asks for"),
    "few gradient items": ({"gradients": GRADIENTS}, "too few that share no sentence for 4 micro-batches"),
    "few built-in items": (
        {"gradients": {**GRADIENTS, "limit": 2}, "score__suites": {"grammar": {}}},
        "too few that share no sentence for 4 micro-batches",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_faulty_input_is_refused_before_anything_is_prepared(folder, name):
    changes, message = REFUSED[name]
    config = config_of(folder, **changes)
    before = sorted(folder.rglob("*"))
    assert message in assert_refused(call("prepare", "--config", config, seconds=30))
    assert sorted(folder.rglob("*")) == before


def test_a_mesh_that_does_not_fit_the_devices_is_refused_before_anything_is_prepared(folder):
    config = config_of(folder, mesh={"ens": 100})
    before = sorted(folder.rglob("*"))
    assert "needs 100 devices" in assert_refused(call("run", "--config", config, seconds=30))
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corpus__paths": ("latin.txt",)}, "latin.txt, line 1, byte 4 of the line: 0xe9 is not UTF-8"),
        ({"train__batch_size": 400}, "fewer than one batch of 400"),
        ({"variants": ("full", "without(only)")}, "without(only) changes 0 of 60 sentences"),
    ],
)
@pytest.mark.parametrize("command", ["prepare", "run"])
def test_an_experiment_refused_during_preparation_leaves_no_run_directory(folder, changes, message, command):
    config = config_of(folder, **changes)
    assert message in assert_refused(call(command, "--config", config, seconds=60))
    assert not (folder / "runs").exists()


def test_a_run_directory_that_was_there_stays(folder):
    assert call("prepare", "--config", config_of(folder), seconds=60).status == 0
    before = {path: path.read_bytes() for path in (folder / "runs").rglob("*") if path.is_file()}
    assert_refused(call("prepare", "--config", config_of(folder, corpus__paths=("latin.txt",)), seconds=60))
    assert before.keys() >= {folder / "runs/deep/my/config.json", folder / "runs/deep/my/corpus.parquet"}
    assert (folder / "runs/deep/my").is_dir()


def test_other_folders_stay_where_a_run_is_refused(folder):
    (folder / "runs").mkdir()
    assert_refused(call("prepare", "--config", config_of(folder, train__batch_size=400), seconds=60))
    assert list((folder / "runs").iterdir()) == []
