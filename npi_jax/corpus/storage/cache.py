"""Prepared data under a hash of all that it was made from, whole or absent, made by one process at a time.

Every file has a checksum: arrays in their ``columns.json``, all others in ``checksums.json``. What is damaged is found
when it is opened, and rebuilt.
"""

import errno
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import filelock

from npi_jax.errors import UserError
from npi_jax.files.checksums import SUMS, DamagedError, damaged, note

Say = Callable[[str], None]
Make = Callable[[Path], None]
Opened = TypeVar("Opened")


def cache_folder(given: str = "") -> Path:
    """Where prepared data is kept: what is given, else ``$NPI_JAX_CACHE``, else the user's cache folder."""
    if given or (given := os.environ.get("NPI_JAX_CACHE", "")):
        try:
            return Path(given).expanduser()
        except RuntimeError as error:
            raise UserError(f"the cache {given!r} (corpus.cache or NPI_JAX_CACHE): {error}") from error
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "npi_jax"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npi_jax"


def cached(root: Path, kind: str, key: Mapping[str, Any], make: Make, say: Say) -> Path:
    """The folder that `make` has made for a key: one that is there, or a new one.

    It is made under a temporary name and renamed when it is whole, so that what a killed process leaves is never taken
    for whole; the next process that makes the same folder removes it. A second process that asks for a folder that is
    being made waits for the first.

    Args:
        root: of the cache, see `cache_folder`.
        kind: of data, a folder of the cache.
        key: all that the content depends on, as plain values; the version of this package's code is added.
        make: writes the content to the folder that it is given.
        say: gets a line where this process has to wait.

    Raises:
        UserError: if the cache cannot be written.
    """
    folder = root / kind / key_digest(key)[:24]
    if not folder.is_dir():
        with _locked(root, folder, say):
            if not folder.is_dir():
                _make(root, folder, key, make)
    return folder


def opened(
    root: Path, kind: str, key: Mapping[str, Any], make: Make, open_: Callable[[Path], Opened], say: Say
) -> Opened:
    """Open the folder of a key; where a file of it is damaged, it is rebuilt, and `say` gets a line about it.

    Args:
        root, kind, key, make, say: as for `cached`.
        open_: opens a folder; raises `DamagedError` where an array in it is not what was written.

    Raises:
        UserError: if the cache cannot be written.
    """
    folder = cached(root, kind, key, make, say)
    try:
        return _open(folder, open_)
    except DamagedError as error:
        say(f"{error}; {folder} is rebuilt")
    with _locked(root, folder, say):
        try:
            # Another process may have seen it too.
            return _open(folder, open_)
        except DamagedError:
            _discard(root, folder)
            _make(root, folder, key, make)
        return _open(folder, open_)


def _open(folder: Path, open_: Callable[[Path], Opened]) -> Opened:
    try:
        faulty = damaged(folder)
    except UserError as error:
        raise DamagedError(str(error)) from error
    if not (folder / SUMS).is_file():
        raise DamagedError(f"{folder / SUMS} is missing")
    if faulty:
        raise DamagedError(f"{faulty[0]} is missing, or damaged: its content is not what was written")
    return open_(folder)


@contextmanager
def _locked(root: Path, folder: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a folder, and say so where that takes waiting."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            say(f"another process is preparing {folder}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        yield
    finally:
        lock.release()


def _make(root: Path, folder: Path, key: Mapping[str, Any], make: Make) -> None:
    temporary = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        make(temporary)
        (temporary / "key.json").write_text(json.dumps(key, indent=1, sort_keys=True), encoding="utf-8")
        # The digests of arrays were taken while they were written.
        note(temporary, [file for file in temporary.rglob("*") if file.is_file() and file.suffix != ".bin"])
        temporary.rename(folder)
    except OSError as error:
        # Others are about the text that is read.
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise _unwritable(root, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _discard(root: Path, folder: Path) -> None:
    """Remove a folder; a process that has its arrays mapped keeps them."""
    aside = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(root, error) from error
    shutil.rmtree(aside, ignore_errors=True)


def _unwritable(root: Path, error: OSError) -> UserError:
    return UserError(
        f"the cache {root} cannot be written ({error.strerror or error}); make room, or set NPI_JAX_CACHE or "
        "corpus.cache to a folder that can"
    )


def key_digest(key: Mapping[str, Any]) -> str:
    """SHA-256 of a key and of the code that makes what it stands for."""
    content = json.dumps({"key": key, "code": code_digest()}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def code_digest() -> str:
    """SHA-256 of the source of `npi_jax.corpus` and of the versions of the libraries that it leaves work to."""
    sha = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*")):
        if path.suffix in (".py", ".toml"):
            sha.update(path.name.encode() + path.read_bytes())
    for library in ("sentencex", "tokenizers", "numpy"):
        sha.update(importlib.metadata.version(library).encode())
    return sha.hexdigest()
