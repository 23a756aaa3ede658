"""Prepared data is complete or absent, and made once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from facts import facts

from npi_jax.corpus.storage.cache import cache_folder, cached
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.storage.stage import Stage, key_digest
from npi_jax.corpus.storage.workers import ordered_map
from npi_jax.errors import UserError

# Writes a file in two halves, with a pause between them.
_SLOW = """
import sys, time
from pathlib import Path
from npi_jax.corpus.storage.cache import cached
from npi_jax.corpus.storage.stage import Stage

def make(folder):
    with (folder / "data").open("w") as file:
        file.write("first half\\n")
        file.flush()
        Path(sys.argv[2]).touch()
        time.sleep(float(sys.argv[3]))
        file.write("second half\\n")

folder = cached(Path(sys.argv[1]), Stage("text", 1), {"a": 1}, make, lambda line: print(line, flush=True))
print((folder / "data").read_text())
"""


TEXT = Stage("text", 1)


def slow(cache: Path, begun: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _SLOW, str(cache), str(begun), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def test_it_is_made_once(tmp_path):
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "data").write_text("x")

    first, second, other = (cached(tmp_path, TEXT, {"a": n}, make, print) for n in (1, 1, 2))
    assert first == second != other
    assert len(made) == 2
    assert json.loads((first / "key.json").read_text()) == TEXT.key({"a": 1})


def test_what_fails_leaves_nothing(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "data").write_text("x")
        raise UserError("line 3 is bad")

    with pytest.raises(UserError, match="line 3"):
        cached(tmp_path, TEXT, {}, fail, print)
    assert not [path for path in (tmp_path / "text").iterdir() if path.suffix != ".lock"]


def test_what_was_killed_is_not_taken_for_whole(tmp_path):
    cache, begun = tmp_path / "cache", tmp_path / "begun"
    with slow(cache, begun, 60) as process:
        wait_for(begun)
        process.kill()
    begun.unlink()
    with slow(cache, begun, 0) as process:
        assert process.communicate()[0].split("\n")[:2] == ["first half", "second half"]
    assert len([path for path in (cache / "text").iterdir() if path.suffix != ".lock"]) == 1


def test_a_second_process_waits_for_the_first(tmp_path):
    cache, begun, other = tmp_path / "cache", tmp_path / "begun", tmp_path / "other"
    with slow(cache, begun, 3) as first:
        wait_for(begun)
        with slow(cache, other, 0) as second:
            said = second.communicate()[0]
        assert "another process" in said
        assert "second half" in said
        assert not other.exists(), "it made the folder again"
        first.communicate()
        assert first.returncode == 0


def test_ctrl_c_leaves_nothing(tmp_path):
    cache, begun = tmp_path / "cache", tmp_path / "begun"
    with slow(cache, begun, 60) as process:
        wait_for(begun)
        process.send_signal(signal.SIGINT)
    assert not [path for path in (cache / "text").iterdir() if path.suffix != ".lock"]


def test_keys_depend_on_everything(monkeypatch):
    numpy = Stage("text", 1, ("numpy",))
    keys = [TEXT.key(inputs) for inputs in ({}, {"a": 1}, {"a": "1"}, {"a": [1]}, {"b": 1})]
    keys += [Stage("text", 2).key({}), Stage("tokens", 1).key({}), numpy.key({})]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0")
    keys += [numpy.key({})]
    assert len({key_digest(key) for key in keys}) == len(keys)
    assert key_digest({"a": 1, "b": 2}) == key_digest({"b": 2, "a": 1})


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("NPI_JAX_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder("/elsewhere") == Path("/elsewhere")
    monkeypatch.delenv("NPI_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder().parent in (tmp_path / "x", Path.home() / "Library" / "Caches")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=facts("written", "NPI_JAX_CACHE")):
        cached(tmp_path, TEXT, {}, lambda _: None, print)


def test_a_cache_in_the_place_of_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=facts("written", "NPI_JAX_CACHE")):
        cached(tmp_path / "file", TEXT, {}, lambda _: None, print)


# -- columns ------------------------------------------------------------------------------------------


def written(folder: Path) -> Path:
    with ColumnWriter(folder, {"a": np.uint16, "b": np.int64, "empty": np.int8}) as writer:
        for start in range(3):
            writer.append(a=np.arange(start, start + 2), b=np.array([-start]))
        writer.close(note="x")
    return folder


def test_columns_are_read_as_they_were_written(tmp_path):
    columns = Columns(written(tmp_path / "c"))
    assert columns["a"].tolist() == [0, 1, 1, 2, 2, 3]
    assert columns["a"].dtype == np.uint16
    assert columns["b"].tolist() == [0, -1, -2]
    assert columns["empty"].tolist() == []
    assert columns.facts == {"note": "x"}


def test_damage_is_named(tmp_path):
    folder = written(tmp_path / "c")
    path = folder / "b.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x01")
    with pytest.raises(UserError, match=facts("b.bin", "checksum")):
        Columns(folder)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=facts("b.bin", "missing", "length")):
        Columns(folder)


# -- workers ------------------------------------------------------------------------------------------


class Square:
    def __call__(self, number: int) -> int:
        if number == 13:
            raise UserError("thirteen")
        return number * number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_errors_in_their_place(processes):
    assert list(ordered_map(Square, range(10), processes=processes)) == [n * n for n in range(10)]
    seen: list[int] = []
    with pytest.raises(UserError, match="thirteen"):
        seen.extend(ordered_map(Square, range(20), processes=processes))
    assert seen == [n * n for n in range(13)]


def test_items_are_not_read_all_at_once():
    read = []

    def items():
        for number in range(1000):
            read.append(number)
            yield number

    results = ordered_map(Square, items(), processes=2)
    next(results)
    assert len(read) < 20
    results.close()


def lives(process: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_one_they_work_for(tmp_path, how):
    command = [sys.executable, str(Path(__file__).with_name("orphans.py")), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        for _ in range(1200):
            if len(workers := [int(path.name) for path in tmp_path.iterdir()]) == 2:
                break
            time.sleep(0.05)
        assert all(map(lives, workers))
        process.send_signal(how)
        process.communicate(timeout=60)
    for _ in range(200):
        if not any(map(lives, workers)):
            return
        time.sleep(0.05)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    raise AssertionError(f"{workers} outlive their parent by 10 s")
