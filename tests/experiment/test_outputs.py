"""Outputs of commands: only a plain file or a free name is written; everything else stays unchanged."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from calls import assert_refused, call
from facts import sentence_with

from npi_jax.errors import UserError
from npi_jax.experiment.claim import claim_run
from npi_jax.files.csv_cells import write_csv
from npi_jax.files.writing import atomic_path, check_output, write_table, write_text


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only root makes devices")


def _link(path: Path) -> None:
    path.with_name("precious").write_text("precious")
    path.symlink_to("precious")


IN_THE_WAY: dict[str, Callable[[Path], None]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "device": _device,
    "link": _link,
    "link to nothing": lambda path: path.symlink_to("nothing"),
}


def commands(out: Path) -> dict[str, tuple[str, ...]]:
    """Return commands that write to a path, and whose inputs are missing."""
    return {
        "annotate": ("annotate", "absent.txt", "--out", str(out)),
        "score": ("score", "--suite", "grammar", "--model", "absent", "--out", str(out)),
        "report": ("report", "{run}", "{run}", "--out", str(out)),
        "audit": ("audit", "absent.txt", "--out", str(out)),
        "export": ("export", "absent", "--hf", str(out)),
    }


def refused(*words: str) -> str:
    """Return the message of a refused command."""
    # The first call takes longer, since it imports what all others use.
    return assert_refused(call(*words, seconds=60))


def _look(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.lstat().st_mode, path.lstat().st_ino) for path in folder.iterdir()}


@pytest.mark.parametrize("kind", IN_THE_WAY)
@pytest.mark.parametrize("command", commands(Path()))
def test_an_output_that_is_not_a_plain_file_is_refused_before_work_and_stays(tmp_path, kind, command):
    """The inputs are missing: a command that read them first would refuse those."""
    if kind == "folder" and command in ("audit", "export"):
        pytest.skip("these write folders")
    folder = tmp_path / "at"
    folder.mkdir()
    out = folder / "out.csv"
    IN_THE_WAY[kind](out)
    with claim_run(tmp_path / "run", {}):
        pass
    before = _look(folder)
    message = refused(*(word.format(run=tmp_path / "run") for word in commands(out)[command]))
    assert str(out) in message
    assert f"is a {kind.split()[0]}" in message
    assert _look(folder) == before
    if kind == "link":
        assert (folder / "precious").read_text() == "precious"


def test_paths_of_predictions_and_figures_are_checked_too(tmp_path):
    os.mkfifo(tmp_path / "s_predictions.csv")
    score = ("score", "--suite", "grammar", "--model", "absent", "--out", str(tmp_path / "s.csv"))
    assert "s_predictions.csv is a pipe" in refused(*score)
    with claim_run(tmp_path / "run", {}):
        pass
    (tmp_path / "page_figures").write_text("mine")
    report = ("report", str(tmp_path / "run"), str(tmp_path / "run"), "--out", str(tmp_path / "page.html"))
    assert sentence_with(refused(*report), "page_figures", "plain file", "folder")
    assert (tmp_path / "page_figures").read_text() == "mine"


def test_inputs_of_a_command_and_files_of_a_run_are_not_overwritten(tmp_path):
    text = tmp_path / "text.csv"
    text.write_text("No one ever left.\n")
    assert "is read by this command" in refused("annotate", str(text), "--out", str(text))
    assert "is read by this command" in refused(
        "score", "--suite", "table", "--path", str(text), "--model", "absent", "--out", str(text)
    )
    assert text.read_text() == "No one ever left.\n"
    with claim_run(tmp_path / "run", {}):
        pass
    for name in ("members.parquet", "scores/4.parquet"):
        out = tmp_path / "run" / name
        message = refused("score", "--suite", "grammar", "--model", "absent", "--out", str(out))
        assert sentence_with(message, str(out), str(tmp_path / "run"))


@pytest.mark.parametrize("folder", [False, True])
def test_an_unwritable_output_is_refused_before_work(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is not a folder"):
        check_output(tmp_path / "file" / "deep" / "out", folder=folder)
    check_output(tmp_path / "deep" / "er" / "out", folder=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(UserError, match="cannot be written"):
        check_output(tmp_path / "a\0b", folder=folder)
    if os.geteuid():
        (tmp_path / "shut").mkdir(mode=0o500)
        with pytest.raises(UserError, match="no permission"):
            check_output(tmp_path / "shut" / "out", folder=folder)


def test_tables_and_texts_replace_only_plain_files(tmp_path):
    """All files are written through these functions."""
    frame = pl.DataFrame({"x": [1]})
    writes: list[Callable[[Path], None]] = [
        lambda path: write_text(path, "new"),
        lambda path: write_table(path, frame),
        lambda path: write_csv(path, frame),
    ]
    for number, write in enumerate(writes):
        path = tmp_path / f"*[{number}]~{{}}?.out"
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UserError, match="is a link"):
            write(path)
        path.unlink()
        path.write_text("old")
        write(path)
        assert path.read_bytes() != b"old"
    assert not (tmp_path / "elsewhere").exists()
    assert pl.read_csv((tmp_path / "*[2]~{}?.out").read_bytes()).equals(frame)
    with pytest.raises(UserError, match="cannot be written"), atomic_path(tmp_path / "*[0]~{}?.out" / "below"):
        pass
