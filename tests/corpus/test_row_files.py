import sys

import numpy as np
import pytest
from facts import facts

from npi_jax.corpus.variants import row_files as records
from npi_jax.corpus.variants.row_files import RowRecords, read_ahead, write_records
from npi_jax.corpus.variants.variant import RowPool
from npi_jax.errors import UserError

CHUNK = records._CHUNK


def pool(rows: int, dtype=np.uint16) -> RowPool:
    rng = np.random.default_rng(0)
    return RowPool(rng.integers(0, 60_000, (rows, 9)).astype(dtype), rng.integers(1, 9, rows).astype(np.int32))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_rows_come_back_in_any_order_from_any_file(tmp_path, dtype):
    whole = pool(2 * CHUNK + 3, dtype)
    write_records(tmp_path, whole, rows_per_file=CHUNK)
    assert len(list(tmp_path.glob("*.array_record"))) == 3
    found = RowRecords(tmp_path)
    wanted = np.array([[2 * CHUNK + 2, 0, 5], [CHUNK, CHUNK - 1, 5]])
    tokens, used = found.read(wanted)
    assert tokens.dtype == dtype
    np.testing.assert_array_equal(tokens, whole.tokens[wanted])
    np.testing.assert_array_equal(used, whole.used[wanted])
    assert found.read(np.zeros((2, 0), np.int32))[0].shape == (2, 0, 9)


def test_damage_is_named(tmp_path):
    write_records(tmp_path, pool(100))
    file = next(tmp_path.glob("*.array_record"))
    content = file.read_bytes()
    place = content.index(pool(100).tokens[50].tobytes())
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    damaged = RowRecords(tmp_path)
    with pytest.raises(UserError, match=facts("read", "rebuilt")):
        damaged.read(np.arange(100))
    file.write_bytes(content[:-1])
    with pytest.raises(UserError, match=facts("00000.array_record", "missing", "length")):
        RowRecords(tmp_path)


def test_an_exception_of_reading_ahead_is_raised_when_the_result_is_requested():
    def read(call: int) -> int:
        if call == 3:
            raise UserError("no more")
        return call * 10

    found = read_ahead(list(range(5)), read)
    assert [next(found) for _ in range(3)] == [0, 10, 20]
    with pytest.raises(UserError, match="no more"):
        next(found)


def test_without_grain_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    with pytest.raises(UserError, match=r"pip install 'npi-jax\[grain\]'"):
        write_records(tmp_path, pool(2))


def test_a_full_disk_is_reported_with_advice(monkeypatch, tmp_path):
    class Full:
        def __init__(self, *_):
            pass

        def write(self, _):
            raise RuntimeError("No space left on device")

    monkeypatch.setattr("array_record.python.array_record_module.ArrayRecordWriter", Full)
    with pytest.raises(UserError, match=facts("rows", "written", "No space left on device")):
        write_records(tmp_path, pool(2))
