"""Checksums of files: changed and missing files are named, others pass."""

import pytest
from facts import facts

from npi_jax.errors import UserError
from npi_jax.files.checksums import SUMS, DamagedError, check, damaged, note, noted


def test_a_changed_or_missing_file_is_named_and_others_pass(tmp_path):
    (tmp_path / "in").mkdir()
    one, two, other = tmp_path / "one", tmp_path / "in" / "two", tmp_path / "other"
    for file in (one, two, other):
        file.write_bytes(b"abc")
    note(tmp_path, [one])
    note(tmp_path, [two])
    # The SHA-256 of "abc", from FIPS 180-2, appendix B.1.
    assert noted(tmp_path)["in/two"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert damaged(tmp_path) == []
    two.write_bytes(b"abd")
    other.write_bytes(b"abd")
    one.unlink()
    assert damaged(tmp_path) == [two, one]
    check(tmp_path, other)
    with pytest.raises(DamagedError, match=facts("in/two", "damaged", "delete")):
        check(tmp_path, two, "; delete it")


def test_damaged_checksums_are_named(tmp_path):
    (tmp_path / SUMS).write_text('{"one": 1}')
    with pytest.raises(UserError, match=SUMS):
        noted(tmp_path)
