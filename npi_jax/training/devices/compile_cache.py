"""The cache of compiled programs, with checksums: a damaged program must not run.

JAX does not verify the entries of its cache. A program with a flipped bit may end the process without a message. Here
each entry contains the SHA-256 of its program. It is complete or absent, even if several processes write at once.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from npi_jax.errors import UserError, first_line
from npi_jax.files.writing import atomic_path

FOLDER = "npi_jax"
"""Subfolder of the cache; entries that other programs write to the cache folder have no checksums."""

_MARK = b"npi_jax 1\n"
_DIGEST = 32

Say = Callable[[str], None]


def sealed(program: bytes) -> bytes:
    """Return the cache entry of a program: a mark, the digest and the program."""
    return _MARK + hashlib.sha256(program).digest() + program


def opened(entry: bytes) -> bytes | None:
    """Return the program of a cache entry; None if the entry is damaged."""
    mark, digest, program = entry[: len(_MARK)], entry[len(_MARK) :][:_DIGEST], entry[len(_MARK) + _DIGEST :]
    return program if mark == _MARK and hashlib.sha256(program).digest() == digest else None


def verify_compile_cache(say: Say) -> None:
    """Make JAX verify every program that it reads from its persistent cache; call before anything is compiled.

    Args:
        say: gets a line if an entry is damaged or cannot be written.
    """
    from jax._src import compilation_cache  # noqa: PLC0415

    if not hasattr(compilation_cache, "get_file_cache"):
        # JAX has no public function that replaces its cache. A cache that cannot be verified is not used.
        say("npi-jax: programs will be compiled again each time: this version of JAX does not allow to check its cache")
        jax.config.update("jax_enable_compilation_cache", False)
        return
    compilation_cache.get_file_cache = lambda path: (_checked_cache(path, say), path)


def _checked_cache(path: str, say: Say) -> Any:
    """Return a cache with checksums in a subfolder of the cache's folder."""
    from jax._src.lru_cache import LRUCache  # noqa: PLC0415

    class CheckedCache(LRUCache):
        """JAX's cache with checksums."""

        def get(self, key: str) -> bytes | None:
            """Return a program, or None if it is absent or damaged; JAX then compiles and writes it again."""
            entry = super().get(key)
            if entry is None or (program := opened(entry)) is not None:
                return None if entry is None else program
            damaged = self.path / f"{key}-cache"
            damaged.unlink(missing_ok=True)
            say(f"npi-jax: {damaged} was damaged and is removed; the program is compiled again")
            return None

        def put(self, key: str, value: bytes) -> None:
            """Write a program."""
            if self.eviction_enabled or "://" in path:
                # These entries are complete or absent: JAX holds a lock, or writes to an object store.
                super().put(key, sealed(value))
                return
            try:
                with atomic_path(Path(self.path) / f"{key}-cache") as file:
                    file.write_bytes(sealed(value))
            except UserError as error:
                say(f"npi-jax: a compiled program is not kept: {first_line(error)}")

    size: int = jax.config.values["jax_compilation_cache_max_size"]
    return CheckedCache(f"{path.rstrip('/')}/{FOLDER}", max_size=size)
