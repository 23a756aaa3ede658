"""Prepared data under a hash of all that it was made from, whole or absent, made by one process at a time."""

import errno
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock

from npi_jax.errors import UserError

Say = Callable[[str], None]


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


def cached(root: Path, kind: str, key: Mapping[str, Any], make: Callable[[Path], None], say: Say) -> Path:
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
    name = key_digest(key)[:24]
    folder = root / kind / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.parent / f".{name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            say(f"another process is preparing {folder}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        if folder.is_dir():
            return folder
        temporary = folder.with_name(f".{name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            make(temporary)
            (temporary / "key.json").write_text(json.dumps(key, indent=1, sort_keys=True), encoding="utf-8")
            temporary.rename(folder)
        except OSError as error:
            # Others are about the text that is read.
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise _unwritable(root, error) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        lock.release()
    return folder


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
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.suffix in (".py", ".toml"):
            sha.update(path.name.encode() + path.read_bytes())
    for library in ("sentencex", "tokenizers", "numpy"):
        sha.update(importlib.metadata.version(library).encode())
    return sha.hexdigest()
