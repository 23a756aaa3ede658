"""The cache of compiled programs, whose entries are executed: one that is damaged is never given to the compiler.

JAX reads an entry without looking whether it is what was written, and a program with a flipped bit may end the process
without a word. Here each entry carries its SHA-256, and appears complete or not at all, also where several processes
write at once.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from npi_jax.errors import UserError, first_line
from npi_jax.files.writing import atomic_path

FOLDER = "npi_jax"
"""Inside the cache's folder, which other programs may use too: theirs have no checksums."""

_MARK = b"npi_jax 1\n"
_DIGEST = 32

Say = Callable[[str], None]


def sealed(program: bytes) -> bytes:
    """Return an entry: a mark, the digest, the program."""
    return _MARK + hashlib.sha256(program).digest() + program


def opened(entry: bytes) -> bytes | None:
    """Return the program of an entry; None if it is not what was written."""
    mark, digest, program = entry[: len(_MARK)], entry[len(_MARK) :][:_DIGEST], entry[len(_MARK) + _DIGEST :]
    return program if mark == _MARK and hashlib.sha256(program).digest() == digest else None


def verify_compile_cache(say: Say) -> None:
    """Have JAX verify every program that it reads from its persistent cache; call before anything is compiled.

    Args:
        say: gets a line where an entry is damaged, or cannot be written.
    """
    from jax._src import compilation_cache  # noqa: PLC0415

    if not hasattr(compilation_cache, "get_file_cache"):
        # JAX has no public way to put another cache in the place of its own: without a check there is none.
        say("npi-jax: programs will be compiled again each time: this version of JAX lets nobody check its cache")
        jax.config.update("jax_enable_compilation_cache", False)
        return
    compilation_cache.get_file_cache = lambda path: (_checked_cache(path, say), path)


def _checked_cache(path: str, say: Say) -> Any:
    """A cache of JAX's own kind in a folder of ours."""
    from jax._src.lru_cache import LRUCache  # noqa: PLC0415

    class CheckedCache(LRUCache):
        """JAX's cache with checksums."""

        def get(self, key: str) -> bytes | None:
            """Return a program; None if there is none, or it is damaged: it is compiled, and kept again."""
            entry = super().get(key)
            if entry is None or (program := opened(entry)) is not None:
                return None if entry is None else program
            damaged = self.path / f"{key}-cache"
            damaged.unlink(missing_ok=True)
            say(f"npi-jax: {damaged} was damaged and is removed; the program is compiled again")
            return None

        def put(self, key: str, value: bytes) -> None:
            """Keep a program."""
            if self.eviction_enabled or "://" in path:
                # Under a lock that readers take too, or where objects are whole or absent by themselves.
                super().put(key, sealed(value))
                return
            try:
                with atomic_path(Path(self.path) / f"{key}-cache") as file:
                    file.write_bytes(sealed(value))
            except UserError as error:
                say(f"npi-jax: a compiled program is not kept: {first_line(error)}")

    size: int = jax.config.values["jax_compilation_cache_max_size"]
    return CheckedCache(f"{path.rstrip('/')}/{FOLDER}", max_size=size)
