import os
import random
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from npi_jax.training.devices.compile_cache import FOLDER, opened, sealed, verify_compile_cache

# Compiles one program and prints its result: 0 + 1 + ... + 99 = 4950.
COMPILES = """
import jax, sys
from npi_jax.training.devices.compile_cache import verify_compile_cache
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
verify_compile_cache(lambda line: print(line, file=sys.stderr))
print(int(jax.jit(lambda x: (x * jax.numpy.arange(100)).sum())(1)))
"""


def compile_with(folder: Path) -> tuple[int, str, str]:
    environ = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", COMPILES], capture_output=True, text=True, check=False, env=environ)
    return done.returncode, done.stdout, done.stderr


def damaged(content: bytes, how: str, rng: random.Random) -> bytes:
    if how == "flipped":
        place = rng.randrange(len(content))
        return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
    return content[: {"cut": rng.randrange(len(content)), "empty": 0}[how]]


@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_what_is_not_what_was_written_is_no_program(how):
    rng = random.Random(0)
    program = rng.randbytes(300)
    assert opened(sealed(program)) == program
    assert all(opened(damaged(sealed(program), how, rng)) is None for _ in range(200))


def test_what_jax_keeps_without_a_checksum_is_no_program():
    assert opened(b"\x28\xb5\x2f\xfd a compressed program") is None


def test_damaged_entries_are_named_and_compiled_again(tmp_path):
    assert compile_with(tmp_path) == (0, "4950\n", "")
    entries = sorted((tmp_path / FOLDER).glob("*-cache"))
    whole = {entry: entry.read_bytes() for entry in entries}
    assert whole
    # Nothing else is in the folder, which other programs use too.
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]
    rng = random.Random(1)
    for entry, content in whole.items():
        entry.write_bytes(damaged(content, rng.choice(["flipped", "cut", "empty"]), rng))
    status, out, error = compile_with(tmp_path)
    assert (status, out) == (0, "4950\n")
    assert error.count("was damaged and is removed; the program is compiled again") == len(entries)
    # They are kept again.
    assert all(opened(entry.read_bytes()) is not None for entry in entries)


def test_a_version_of_jax_whose_cache_cannot_be_checked_gets_none(monkeypatch):
    from jax._src import compilation_cache  # noqa: PLC0415

    monkeypatch.delattr(compilation_cache, "get_file_cache")
    said: list[str] = []
    before = jax.config.jax_enable_compilation_cache
    try:
        verify_compile_cache(said.append)
        assert not jax.config.jax_enable_compilation_cache
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
    assert len(said) == 1
    assert "compiled again" in said[0]
