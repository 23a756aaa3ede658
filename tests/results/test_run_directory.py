"""Whatever happens to a run directory: it is read as it was written, mended, or refused by name; others stay as is."""

import json
import os
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest
from calls import assert_refused, call
from facts import facts, sentence_with
from gram_files import draw_gradients, file_arrays
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tiny import tiny_values

from npi_jax.analysis.alignment.tables import alignment_tables
from npi_jax.analysis.tables import write_tables
from npi_jax.errors import UserError
from npi_jax.evaluation.scoring import open_models
from npi_jax.experiment import reporting, run
from npi_jax.experiment.claim import claim_run
from npi_jax.experiment.mending import mend
from npi_jax.files.checksums import damaged
from npi_jax.files.writing import write_arrays, write_table
from npi_jax.results import manifest
from npi_jax.results.directory import Run, RunError, open_run
from npi_jax.results.folder import ANALYZED, TABLES
from npi_jax.training.checkpoints.checkpoints import set_aside

# What Orbax began to read beside the damaged file is left where it was.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]

MORE = int(os.environ.get("TEST_FUZZ", "1"))
"""How many times as many cases are tried as usual."""

CONFIG = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
LAST = 4


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("config") / "tiny.py"
    values = tiny_values(train__steps=LAST, score__every=2, checkpoints={"every": 2, "keep": 9})
    file.write_text(CONFIG.format(values=values))
    return file


def called(command: str, config_file: Path, run_dir: Path, *more: str) -> Any:
    return call(command, "--config", str(config_file), f"--config.run_dir={run_dir}", *more, seconds=120)


@pytest.fixture(scope="module")
def whole(config_file, tmp_path_factory) -> Path:
    """A finished run; its gradients are drawn at random, since comparing some takes a minute to compile."""
    path = tmp_path_factory.mktemp("whole") / "lr1"
    outcome = called("train", config_file, path)
    assert outcome.status == 0, outcome.error
    run = Run(path)
    for step in (0, LAST):
        file = path / "gradients" / f"{step}.npz"
        drawn = draw_gradients(members=4, groups=1, tasks=3)
        write_arrays(file, file_arrays(drawn, tasks=("x", "y", "z"), groups=("embedding",)))
        run.note_written(file)
    write_tables(run)
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Reports make tables and draw nothing, which takes most of their time."""
    for module in (reporting, run):
        monkeypatch.setattr(module, "write_and_print_report", lambda *arguments: None)


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


# Flipped bits.


def _tokens(path: Path) -> list[str]:
    tokenizer = open_models([path]).tokenizer
    return [tokenizer.token(number) for number in range(tokenizer.vocab_size)]


def _gradients(path: Path) -> list[pl.DataFrame]:
    return list(alignment_tables(path, open_run(path).members()).values())


def _all(path: Path) -> list[pl.DataFrame]:
    run = open_run(path)
    return [run.members(), run.corpus(), run.metrics(), run.scores(), run.curves()]


READ: dict[str, Callable[[Path], Any]] = {
    "config.json": lambda path: open_run(path).config,
    "manifest.json": lambda path: open_run(path).manifest,
    "checksums.json": _all,
    "members.parquet": lambda path: open_run(path).members(),
    "corpus.parquet": lambda path: open_run(path).corpus(),
    **{name: lambda path, name=name: open_run(path).kept(name) for name in TABLES},
    "tokenizer/vocab.txt": _tokens,
    "tokenizer/tokenizer.json": _tokens,
    "metrics/4.parquet": lambda path: open_run(path).metrics(),
    "scores/4.parquet": lambda path: open_run(path).scores(),
    "gradients/4.npz": _gradients,
    "metrics/checksums.json": _all,
    "scores/checksums.json": _all,
    "tables/checksums.json": _all,
    **{f"tables/{name}.parquet": lambda path, name=name: open_run(path).table(name) for name in ("curves", "final")},
}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, pl.DataFrame):
        return one.equals(other, null_equal=True)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def read_or_name(read: Callable[[Path], Any], path: Path, named: Path | None = None) -> Any:
    """What is read; None where that is refused, naming the path. Whatever else is raised is raised here."""
    try:
        return read(path)
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = str(error.filename)
    assert str(named or path) in message
    return None


def _parameters(path: Path) -> Any:
    (found, _), *_ = open_models([path]).batches()
    return found


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


@pytest.mark.parametrize("name", READ)
def test_a_flipped_bit_of_a_file_is_named_or_harmless(whole, name):
    read, file, named = READ[name], whole / name, 0
    content, before, rng = file.read_bytes(), read(whole), np.random.default_rng(len(name))
    flips = 4 * MORE
    try:
        for _ in range(flips):
            file.write_bytes(flipped(content, rng))
            found = read_or_name(read, whole)
            named += found is None
            assert found is None or _same(found, before)
    finally:
        file.write_bytes(content)
    print(f"{name}: {named} of {flips} flips named, the others harmless")
    if not name.endswith("checksums.json"):
        assert named == flips, "every bit of these counts"


def test_a_flipped_bit_of_a_checkpoint_is_named_or_harmless(whole):
    before = _parameters(whole)
    files = sorted(file for file in (whole / "checkpoints" / str(LAST)).rglob("*") if file.is_file())
    rng, named = np.random.default_rng(0), 0
    for _ in range(2 * MORE):
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        if not content:
            continue
        file.write_bytes(flipped(content, rng))
        try:
            found = read_or_name(_parameters, whole, whole / "checkpoints" / str(LAST))
        finally:
            file.write_bytes(content)
        named += found is None
        if found is not None:
            jax.tree.map(np.testing.assert_array_equal, found, before)
    print(f"checkpoint: {named} of {2 * MORE} flips named, the others harmless")


# What is damaged or lost comes back, or is named alike by all commands.


def contents(path: Path) -> dict[str, bytes]:
    skipped = ("log.jsonl", "manifest.json", ".lock")
    found = (file for file in path.rglob("*") if file.is_file() and "checkpoints" not in file.parts)
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in found if file.name not in skipped}


def _flip(file: Path) -> None:
    file.write_bytes(flipped(file.read_bytes(), np.random.default_rng(0)))


PREPARED = (*TABLES, "tokenizer/vocab.txt", "tokenizer/tokenizer.json", "members.parquet", "config.json")


@pytest.mark.parametrize("damage", [Path.unlink, pytest.param(_flip, marks=pytest.mark.drill)])
def test_what_preparation_made_is_made_anew_by_the_command_that_trained(copy, config_file, damage):
    before = contents(copy)
    for name in PREPARED:
        damage(copy / name)
    outcome = called("train", config_file, copy)
    assert outcome.status == 0, outcome.error
    said = outcome.out.replace("\n", "")
    for name in PREPARED:
        assert f"{copy / name} was damaged or lost".replace("\n", "") in said
    assert contents(copy) == before
    assert not damaged(copy)


def test_members_lists_of_checksums_and_tables_are_mended_by_a_report(copy, undrawn):
    before = contents(copy)
    (copy / "members.parquet").rename(copy / "away")
    with pytest.raises(RunError, match=facts("members.parquet", "gone", "npi-jax report")):
        open_run(copy).members()
    (copy / "away").rename(copy / "members.parquet")
    for name in ("checksums.json", "scores/checksums.json"):
        (copy / name).unlink()
    (copy / "metrics" / "checksums.json").write_text("[")
    _flip(copy / "tables" / "curves.parquet")
    with pytest.raises(RunError, match=facts("curves.parquet", "damaged", "npi-jax report")):
        open_run(copy).curves()
    (copy / "members.parquet").unlink()
    outcome = call("report", str(copy), seconds=120)
    assert outcome.status == 0, outcome.error
    assert contents(copy) == before
    said = outcome.out.replace("\n", "")
    for name in ("checksums.json", "metrics/checksums.json", "scores/checksums.json", "members.parquet"):
        assert f"{copy / name} was " in said


@pytest.mark.parametrize("damage", [Path.unlink, pytest.param(_flip, marks=pytest.mark.drill)])
def test_a_step_that_is_lost_is_named_by_all_and_written_anew_where_a_checkpoint_is_before_it(
    copy, config_file, damage, undrawn
):
    before, table = contents(copy), copy / "scores" / f"{LAST}.parquet"
    damage(table)
    with pytest.raises(RunError, match=rf"scores/{LAST}\.parquet\b.*\b(damaged|gone)"):
        open_run(copy).scores()
    assert str(table) in assert_refused(call("report", str(copy)))
    # Scoring needs none of it.
    score = ("--suite", "grammar", "--limit", "1", "--out", str(copy / "s.csv"))
    assert call("score", "--model", str(copy), *score, seconds=60).status == 0
    (copy / "s.csv").unlink()
    # Its gradients are not the run's own, which compares none.
    outcome = called("train", config_file, copy)
    assert "resuming at step 2" in outcome.out, outcome.error
    assert contents(copy) == before


@pytest.mark.drill
def test_where_no_checkpoint_is_before_what_is_lost_the_advice_keeps_all_and_brings_it_back(copy, config_file):
    before = contents(copy)
    (copy / "metrics" / "0.parquet").unlink()
    message = assert_refused(called("train", config_file, copy))
    assert "metrics" in message
    assert f"rename {copy / 'checkpoints'}" in message
    assert str(copy / "metrics" / "0.parquet") in assert_refused(call("report", str(copy)))
    (copy / "checkpoints").rename(copy / "checkpoints.old")
    assert called("train", config_file, copy).status == 0
    shutil.rmtree(copy / "checkpoints.old")
    assert contents(copy) == before


def test_an_empty_newest_checkpoint_hides_no_other(copy, config_file):
    before, newest = contents(copy), copy / "checkpoints" / str(LAST)
    shutil.rmtree(newest)
    newest.mkdir()
    score = ("score", "--model", str(copy), "--suite", "grammar", "--limit", "1", "--out", str(copy / "s.csv"))
    assert sentence_with(assert_refused(call(*score)), str(newest), "checkpoint")
    assert call(*score, "--steps", "2", seconds=60).status == 0
    (copy / "s.csv").unlink()
    outcome = called("train", config_file, copy)
    assert "resuming at step 2" in outcome.out, outcome.error
    assert contents(copy) == before
    assert (copy / "checkpoints" / "damaged" / str(LAST)).is_dir()


def test_where_all_checkpoints_are_set_aside_nothing_is_begun_anew(copy, config_file):
    for step in (copy / "checkpoints").iterdir():
        shutil.rmtree(step)
        step.mkdir()
    for _ in range(2):
        assert "same command" in assert_refused(called("train", config_file, copy))


# Which folders are runs, and whose.


def test_a_folder_of_another_program_is_refused_untouched(tmp_path, config_file):
    """The configuration of a Hugging Face model, and a manifest and tables of somebody's."""
    for name, content in {
        "config.json": json.dumps({"model_type": "gpt2", "vocab_size": 9}),
        "manifest.json": '{"files": []}',
        "corpus.parquet": "mine",
        ".notes.tmp": "draft",
        ".lock": "mine",
    }.items():
        (tmp_path / name).write_text(content)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    for command in ("prepare", "train"):
        message = assert_refused(called(command, config_file, tmp_path))
        assert "run directory" in message
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()} == before


def test_a_run_of_which_the_bulk_was_removed_is_still_that_run(copy, config_file):
    for folder in ("scores", "metrics", "gradients", "checkpoints", "tables"):
        shutil.rmtree(copy / folder)
    outcome = called("train", config_file, copy, "--config.seeds=(7,8)")
    assert_refused(outcome)
    assert "configuration" in outcome.error
    for name in ("members.parquet", "log.jsonl"):
        (copy / name).unlink()
    assert_refused(called("prepare", config_file, copy, "--config.seeds=(7,8)"))
    assert open_run(copy).config["seeds"] == [0, 1]


def test_the_format_is_named_and_that_of_before_the_marker_is_taken_over(copy, config_file):
    values = json.loads((copy / "manifest.json").read_text())
    newer = {**values, "npi_jax": {**values["npi_jax"], "format": 2}}
    (copy / "manifest.json").write_text(json.dumps(newer, indent=2))
    score = ("score", "--model", str(copy), "--suite", "grammar", "--out", str(copy / "x.csv"))
    commands = [("report", str(copy)), score]
    for outcome in (called("train", config_file, copy), *(call(*words) for words in commands)):
        assert sentence_with(assert_refused(outcome), "newer", "format 2", "1")
    del values["npi_jax"]
    (copy / "manifest.json").write_text(json.dumps(values))
    for sums in ("checksums.json", "tables/checksums.json"):
        (copy / sums).unlink()
    assert open_run(copy).manifest == values
    outcome = called("train", config_file, copy)
    assert outcome.status == 0
    assert "lost" not in outcome.out
    assert json.loads((copy / "manifest.json").read_text())["npi_jax"]["format"] == 1
    assert (copy / "checksums.json").exists()


def test_a_refusal_leaves_nothing_behind(tmp_path, config_file):
    outcome = called("train", config_file, tmp_path / "a" / "b", "--config.score.suites.grammar.loader=blimp")
    assert_refused(outcome)
    assert not list(tmp_path.iterdir())


# Names.

NAMES = st.text(st.sampled_from(string.printable[:95].replace("/", "") + "é中"), min_size=1, max_size=12)
RUN = {"name": "x", "run_dir": "", "seeds": [0], "variants": [], "corpus": {}, "model": {}, "train": {}}


def _pattern(name: str, kind: str) -> str:
    return {"*": "*", "?": "?" * len(name), "[": f"[{name[0]}]{name[1:]}", "same": name + "[x]"}[kind]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8 * MORE)
@given(name=NAMES, kind=st.sampled_from(["*", "?", "[", "same"]))
def test_a_run_reads_its_own_tables_whatever_it_is_called(tmp_path_factory, name, kind):
    """A second run, whose name is a pattern that fits the first's, never reads the first's tables."""
    other = _pattern(name, kind)
    assume(not {name, other} & {".", ".."} and name != other)
    at = tmp_path_factory.mktemp("names")
    for number, one in enumerate((name, other)):
        with claim_run(at / one, RUN) as run:
            for table in ("members", "metrics/0", "tables/curves"):
                rows = {"member": [0], "variant": ["full"], "seed": [number], "valid_loss": [float(number)]}
                write_table(at / one / f"{table}.parquet", pl.DataFrame(rows))
                run.note_written(at / one / f"{table}.parquet")
            run.update_manifest(name=one)
    for number, one in enumerate((name, other)):
        with claim_run(at / one, RUN) as run:
            assert run.manifest == {"name": one}
        opened = open_run(at / one)
        assert [opened.members()["seed"].item(), opened.metrics()["valid_loss"].item()] == [number, number]
        assert opened.curves()["seed"].item() == number


def test_two_runs_one_named_by_a_pattern_that_fits_the_other(whole, config_file, tmp_path, undrawn):
    shutil.copytree(whole, tmp_path / "lr1")
    second = tmp_path / "lr[1][/x]y[bold] :smile: $a"
    shutil.copytree(whole, tmp_path / "lr1y :smile: $a")
    outcome = called("run", config_file, second, "--config.seeds=(5,6)", "--config.score.ngram=False")
    assert outcome.status == 0, outcome.error
    assert str(second) in outcome.out.replace("\n", "")
    opened = open_run(second)
    assert opened.members()["seed"].unique().sort().to_list() == [5, 6]
    assert not opened.scores(LAST).equals(open_run(whole).scores(LAST))


@pytest.mark.drill
def test_a_run_of_any_name_is_reported_and_compared(config_file, tmp_path):
    second = tmp_path / "lr[1][/x]y[bold] :smile: $a\\b*?#%"
    for path, seeds in ((tmp_path / "lr1", "(0,1)"), (second, "(5,6)")):
        assert called("run", config_file, path, f"--config.seeds={seeds}").status == 0
    outcome = call("report", str(second), str(tmp_path / "lr1"), seconds=120)
    assert outcome.status == 0, outcome.error
    assert str(second / "report" / "against_lr1.html") in outcome.out.replace("\n", "")
    assert (second / "report" / "against_lr1.html").is_file()
    out = tmp_path / "s[1].parquet"
    score = ("--suite", "grammar", "--limit", "3", "--out", str(out))
    assert call("score", "--model", str(second), *score, seconds=60).status == 0
    scored = pl.read_parquet(out.read_bytes())
    np.testing.assert_allclose(scored["delta"], open_run(second).scores(LAST)["delta"], atol=1e-4)


# Whatever is in it.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
STRAY = (
    "scores/2.csv",
    "scores/002.parquet",
    "metrics/2.npz",
    "gradients/last.npz",
    "gradients/²",
    "tables/my.parquet",
)
STRAY += ("checkpoints/7", "checkpoints/notes.txt", "checkpoints/007", "notes", ".hidden", "scores/\udcff.parquet")
WRITTEN = ("manifest.json", "config.json", "checksums.json", "scores/checksums.json", "figures/.report.json")
WRITTEN += (
    "members.parquet",
    "scores/2.parquet",
    "tokenizer/tokenizer.json",
    "corpus.parquet",
    "tables/curves.parquet",
)
WRITTEN += ("gradients/0.npz", "checkpoints/4/_CHECKPOINT_METADATA", "log.jsonl")


@st.composite
def mischief(draw: st.DrawFn) -> list[tuple[str, bytes | None]]:
    """Files and what is put into them; None removes them."""
    found: list[tuple[str, bytes | None]] = []
    for _ in range(draw(st.integers(1, 3))):
        stray = draw(st.booleans())
        name = draw(st.sampled_from(STRAY if stray else WRITTEN))
        content = draw(st.binary(max_size=9) | JSON.map(lambda value: json.dumps(value).encode()))
        found.append((name, None if not stray and draw(st.booleans()) else content))
    if draw(st.booleans()):
        fields = draw(st.dictionaries(st.sampled_from(list(manifest._FIELDS)), JSON, max_size=3))
        found.append(("manifest.json", json.dumps(fields).encode()))
    return found


def _apply(path: Path, changes: list[tuple[str, bytes | None]]) -> None:
    for name, content in changes:
        file = path / name
        if content is None:
            file.unlink(missing_ok=True)
        elif not file.is_dir():
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)


def open_models_of(path: Path) -> Any:
    return open_models([path])


def _tables(path: Path) -> list[pl.DataFrame]:
    return [open_run(path).table(name) for name in ANALYZED]


def _use(path: Path, config: dict[str, Any]) -> None:
    """Everything that reads a run, short of training, scoring and drawing."""

    def claim(path: Path) -> None:
        with claim_run(path, config) as run:
            mend(run, print)
            set_aside(path / "checkpoints")

    for use in (_all, open_models_of, _tables, _gradients, claim, _all, open_models_of, _tables, _gradients):
        read_or_name(use, path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8 * MORE)
@given(changes=mischief())
def test_a_folder_with_anything_in_it_is_read_or_refused_by_name(whole, tmp_path_factory, changes):
    at = Path(shutil.copytree(whole, tmp_path_factory.mktemp("at") / "copy"))
    config = json.loads((at / "config.json").read_text())
    _apply(at, changes)
    _use(at, config)
    shutil.rmtree(at)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=3 * MORE)
@given(changes=mischief(), command=st.sampled_from(["train", "report", "score"]))
def test_a_command_on_a_folder_with_anything_in_it_succeeds_or_says_a_line(
    whole, config_file, tmp_path_factory, undrawn, changes, command
):
    at = Path(shutil.copytree(whole, tmp_path_factory.mktemp("at") / "copy"))
    _apply(at, changes)
    score = ("score", "--model", str(at), "--suite", "grammar", "--limit", "1", "--out", str(at / "s.csv"))
    outcome = (
        called("train", config_file, at)
        if command == "train"
        else call(*(score if command == "score" else ("report", str(at))), seconds=60)
    )
    if outcome.status:
        assert_refused(outcome)
    shutil.rmtree(at)


# Links.


@pytest.mark.parametrize("name", ["tables", "scores", ".lock", "log.jsonl", "members.parquet", "scores/4.parquet"])
def test_links_out_of_a_run_directory_are_not_followed(copy, config_file, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    if (copy / name).is_dir():
        shutil.rmtree(copy / name)
        elsewhere.mkdir()
        (elsewhere / "final.parquet").write_text("precious")
    else:
        (copy / name).unlink()
        elsewhere.write_text("precious")
    (copy / name).symlink_to(elsewhere)
    precious = elsewhere / "final.parquet" if elsewhere.is_dir() else elsewhere
    reports = call("report", str(copy)), call("report", str(copy), str(copy))
    for outcome in (called("train", config_file, copy), *reports):
        assert sentence_with(assert_refused(outcome), f"{copy / name}", "link", str(elsewhere))
    assert precious.read_text() == "precious"
    assert len(list(tmp_path.rglob("*"))) == len(list(copy.rglob("*"))) + 2 + elsewhere.is_dir()
