import os
import subprocess
import sys
import time

from npi_jax.files import temporary
from npi_jax.files.temporary import FORGOTTEN, remove_abandoned, temporary_name

WRITES = """
import sys
from pathlib import Path
from npi_jax.files.writing import atomic_path
with atomic_path(Path(sys.argv[1]) / "table.parquet") as half:
    half.write_text("half of it")
    print(half.name, flush=True)
    sys.stdin.read()
    half.write_text("all of it")
"""


def test_the_file_of_another_process_is_left_alone_while_that_runs(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    half = tmp_path / process.stdout.readline().strip()
    remove_abandoned(tmp_path)
    assert half.read_text() == "half of it"
    process.communicate("")
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]
    assert (tmp_path / "table.parquet").read_text() == "all of it"


def test_the_file_of_a_process_that_was_killed_is_removed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    half = tmp_path / process.stdout.readline().strip()
    process.kill()
    process.communicate()
    assert half.exists()
    remove_abandoned(tmp_path)
    assert not half.exists()


def test_only_own_files_count_as_being_written_under_the_own_number(tmp_path, monkeypatch):
    own = tmp_path / temporary_name("own.json")
    with monkeypatch.context() as patch:
        # Another process had this number before, as happens in containers again and again.
        patch.setattr(temporary, "_OWN", "0" * 8)
        earlier = tmp_path / temporary_name("earlier.json")
    with monkeypatch.context() as patch:
        patch.setattr(temporary, "_HERE", "1" * 8)
        elsewhere, forgotten = tmp_path / temporary_name("elsewhere"), tmp_path / temporary_name("forgotten")
    foreign = tmp_path / ".notes.tmp"
    for path in (own, earlier, elsewhere, forgotten, foreign):
        path.write_text("half")
    then = time.time() - FORGOTTEN - 60
    os.utime(forgotten, (then, then))
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([own, elsewhere, foreign])
