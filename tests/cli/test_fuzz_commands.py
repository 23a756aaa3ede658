"""Random command lines, configs and environments: each ends in success or in one line of error.

No draw may end in a traceback, hang, or leave half of a file. TEST_FUZZ multiplies the draws: with 25 they are 1,000.
"""

import copy
import importlib
import io
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from calls import Outcome, call
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.config.overrides import all_fields
from npi_jax.config.schema import Config

# Loaded before any draw, whose time is limited.
for action in ("annotate", "audit", "bench", "export", "plan", "power", "score"):
    importlib.import_module(f"npi_jax.cli.actions.{action}")

MORE = int(os.environ.get("TEST_FUZZ", "1"))
FEW = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=8 * MORE,
    # A failing draw says enough as it is; to find a smaller one takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)

# Without what leads out of the folder that a draw has for itself.
TEXT = st.text(st.characters(exclude_characters="/~\\"), max_size=6)
WORDS = st.sampled_from(
    ["", ".", "..", "../up", "a/b", "full", "grammar", "only(ever)", "no_npi", "1e3", "None", "[", "\0", "\ud800"]
)
NUMBERS = (
    st.integers(-2, 12)
    | st.sampled_from([2**31, 10**10, 10**12, 10**20, -(10**20), 10**400])
    | st.floats(allow_nan=True)
    | st.sampled_from([0.5, 1.0, 1e-300])
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | WORDS, inner, max_size=3),
    max_leaves=6,
)
FILE = """from ml_collections import ConfigDict
nan, inf = float("nan"), float("inf")


def get_config(size="1"):
    values = {values!r}
    return ConfigDict(values)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a function that empties the folder for the next draw, some levels down for names with ``..``."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def clear() -> Path:
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        folder = tmp_path / "a" / "b" / "c" / "d"
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        return tmp_path / "a"

    return clear


def assert_ends_well(folder: Path, *words: str) -> None:
    """Check that a command succeeds or is refused with a message within ten seconds, and leaves readable files."""
    began = time.process_time()
    # What waits for something is ended later, so that a machine that is busy with other things fails no test.
    outcome: Outcome = call(*words, seconds=60)
    assert time.process_time() - began < 10
    shown = outcome.out + outcome.error
    assert outcome.status in (0, 1, 2), shown
    assert "Traceback" not in shown, shown
    if outcome.status:
        assert "npi-jax: " in outcome.error, shown
    for path in folder.rglob("*"):
        assert not path.name.endswith((".tmp", ".part")), path
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".parquet":
            pl.read_parquet(path, glob=False)


def tiny(folder: Path) -> dict[str, Any]:
    """A small experiment with every field written out."""
    values = tiny_values(run_dir="run", corpus__grammar__sentences=150, seeds=(0,))
    return make_config(values).to_dict(mode="python")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all parts of a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def exchanged(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return the value with the part at a path replaced."""
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = exchanged(value[path[0]], path[1:], new)
    return copied if isinstance(value, dict) else tuple(copied)


@st.composite
def faulty(draw: st.DrawFn, values: dict[str, Any]) -> Any:
    """Draw values of a config, and replace, delete or rename a few of them."""
    changed = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, 3))):
        here = places(changed)
        path = draw(st.sampled_from(here if len(here) == 1 else here[1:]))
        kind = draw(st.sampled_from(["exchange", "exchange", "exchange", "rename", "drop"]))
        parent: Any = changed
        for key in path[:-1]:
            parent = parent[key]
        if kind == "exchange" or not path or not isinstance(parent, dict):
            changed = exchanged(changed, path, draw(JSON))
        elif kind == "rename":
            parent[draw(TEXT)] = parent.pop(path[-1])
        else:
            del parent[path[-1]]
        if not isinstance(changed, dict):
            return changed
    # The default grammar writes 60,000 sentences, which is no fault but takes long.
    corpus = changed.setdefault("corpus", {})
    if isinstance(corpus, dict):
        corpus.setdefault("grammar", values["corpus"]["grammar"])
    return changed


@FEW
@given(data=st.data())
def test_configs_with_faulty_values(place, data):
    folder = place()
    Path("my.py").write_text(FILE.format(values=data.draw(faulty(tiny(folder)))), encoding="utf-8", errors="replace")
    assert_ends_well(folder, "prepare", "my.py")


@FEW
@given(data=st.data())
def test_config_files_with_mistakes(place, data):
    folder = place()
    text = FILE.format(values=tiny(folder))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        to = data.draw(st.integers(at, min(len(text), at + 30)))
        put = data.draw(st.sampled_from(["", "\n", " ", "(", ")", "'", "\0", "#", "\t", "1/0", "raise ", ":", "é"]))
        text = text[:at] + put + text[to:]
    Path("my.py").write_text(text, encoding=data.draw(st.sampled_from(["utf-8", "latin-1"])), errors="replace")
    # A name that the mistake made a path of the machine's is not to be written to.
    argument = data.draw(st.sampled_from(["", ":", ":1", ":x:y"]))
    assert_ends_well(folder, "prepare", f"my.py{argument}")


FIELDS = sorted(path for path, _ in all_fields(Config))
MORE_FIELDS = ("model.kind", "model.options.x", "score.suites.grammar.limit", "score.suites.x.loader")


@FEW
@given(data=st.data())
def test_overrides(place, data):
    folder = place()
    Path("my.py").write_text(FILE.format(values=tiny(folder)))
    words = []
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([*FIELDS, *MORE_FIELDS]))
        cut = data.draw(st.sampled_from([None, None, None, -1, -4]))
        value = data.draw(st.one_of(JSON.map(str), WORDS, TEXT).filter(lambda text: "/" not in text[:1]))
        words.append(f"--config.{path[:cut]}{data.draw(st.sampled_from(['=', '=', '=', '', '.x=']))}{value}")
    assert_ends_well(folder, "prepare", "my.py", *words)


COMMANDS = (
    "run",
    "train",
    "prepare",
    "bench",
    "plan",
    "report",
    "score",
    "export",
    "annotate",
    "audit",
    "presets",
    "x",
)
FLAGS = (
    *("--config", "--profile", "--seconds", "--topology", "--fit", "--memory", "--peak", "--utilization", "--price"),
    *("--power", "--effect", "--outcome", "--items", "--run", "--seed-sd", "--item-sd", "--residual-sd", "--out"),
    *("--suite", "--path", "--limit", "--model", "--steps", "--members", "--run-code", "--spec", "--set", "--member"),
    *("--step", "--hf", "--no-tokenizer", "--unit", "--field", "--phenomenon", "--examples", "--per-environment"),
    *("--without", "--clean", "--seed", "--report", "--config.train.steps=3", "--version", "--", "-x"),
)
# No config that could be trained, and no text that takes long.
VALUES = (
    *("missing", "missing.py", "bad.py", "text.txt", "binary.txt", "folder", "s.csv", "s.parquet", "out", "grammar"),
    *("-1", "0", "3", "0.1", "nan", "1:2", "2:1", "x", "", "delta", "accuracy", "sentence", "document", "table", "all"),
    *("blimp", "lm_eval_v04", "ties=half", "ties=x", "regions=", "npi_en", "sample", "last", "0,1", "9" * 30),
)


@FEW
@given(st.sampled_from(COMMANDS), st.lists(st.sampled_from([*FLAGS, *VALUES, *VALUES, *VALUES]) | TEXT, max_size=9))
def test_command_lines(place, command, words):
    folder = place()
    Path("bad.py").write_text("raise RuntimeError('not today')\n")
    Path("text.txt").write_text("Nobody has ever seen it.\nHave you ever been there?\n")
    Path("binary.txt").write_bytes(bytes(range(256)) * 3)
    Path("folder").mkdir()
    words = [word for word in words if "\0" not in word and not word.startswith(("/", "~"))]
    assert_ends_well(folder, command, *words)


USEFUL = {
    "score": ["--suite", "grammar", "--model", "folder", "--out", "s.csv"],
    "export": ["folder", "--hf", "out"],
    "annotate": ["text.txt"],
    "report": ["folder"],
    "plan": ["--power", "--effect", "0.5", "--seed-sd", "1", "--item-sd", "1", "--residual-sd", "1"],
}
READ = (
    *("NPI_COORDINATOR", "NPI_NUM_PROCESSES", "NPI_PROCESS_ID", "NPI_START_TIMEOUT", "NPI_SHARED_TIMEOUT"),
    *("NPI_JAX_CACHE", "NPI_JAX_DATA", "JAX_NUM_CPU_DEVICES", "XDG_CACHE_HOME", "XLA_FLAGS", "SLURM_JOB_ID"),
    *("SLURM_NTASKS", "SLURM_PROCID", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES", "COLUMNS", "LINES", "TERM"),
    *("NO_COLOR", "FORCE_COLOR", "CUDA_VISIBLE_DEVICES", "TPU_SKIP_MDS_QUERY", "MEGASCALE_NUM_SLICES"),
)
SET = st.text(st.characters(exclude_characters="/~\0\\", exclude_categories=("Cs",)), max_size=6) | st.sampled_from(
    ["0", "1", "-1", "2", "1e3", "nan", "x y", "²", "cache"]
)


@FEW
@given(
    st.sampled_from([*USEFUL, "prepare", "english", "presets"]),
    st.dictionaries(st.sampled_from(READ), SET, min_size=1, max_size=3),
)
def test_environments(place, command, variables):
    folder = place()
    Path("text.txt").write_text("Nobody has ever seen it.\n")
    Path("folder").mkdir()
    Path("my.py").write_text(FILE.format(values=tiny(folder)))
    words = {"prepare": ["prepare", "my.py"], "english": ["prepare", "english"], "presets": ["presets"]}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"NPI_JAX_DATA": "nowhere", **variables}.items():
            patch.setenv(name, value)
        assert_ends_well(folder, *words.get(command, [command, *USEFUL.get(command, [])]))
