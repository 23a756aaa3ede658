import polars as pl
import pytest
from facts import facts

from npi_jax.errors import UserError
from npi_jax.files.writing import atomic_path, read_json, write_json, write_table, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError("no space left")

    with pytest.raises(UserError, match=facts("file.txt", "written", "no space")):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_json_and_tables_come_back(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, "ü"], "a": None})
    assert read_json(tmp_path / "a.json") == {"b": [1, "ü"], "a": None}
    frame = pl.DataFrame({"x": [1, 2]})
    write_table(tmp_path / "t.parquet", frame)
    assert pl.read_parquet(tmp_path / "t.parquet").equals(frame)


def test_bad_json_names_the_file_and_line(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text('{"a": 1,\n x}')
    with pytest.raises(ValueError, match=facts("bad.json:2", "JSON")):
        read_json(path)
