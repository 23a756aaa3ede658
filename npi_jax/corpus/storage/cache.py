"""Folders of prepared data, each named by a digest of all that it depends on.

A folder is complete or absent, and only one process at a time writes it. Every file has a checksum: arrays in
``columns.json``, all other files in ``checksums.json``. Opening a folder verifies them; a damaged folder is rebuilt.
"""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import filelock

from npi_jax.corpus.storage.stage import Stage, key_digest
from npi_jax.errors import UserError
from npi_jax.files.checksums import SUMS, DamagedError, damaged, note

Say = Callable[[str], None]
Make = Callable[[Path], object]
Opened = TypeVar("Opened")


def cache_folder(given: str = "") -> Path:
    """Return the cache folder: the argument, else ``$NPI_JAX_CACHE``, else the user's default."""
    if given or (given := os.environ.get("NPI_JAX_CACHE", "")):
        try:
            return Path(given).expanduser()
        except RuntimeError as error:
            raise UserError(f"the cache {given!r} (corpus.cache or NPI_JAX_CACHE): {error}") from error
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "npi_jax"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npi_jax"


def cached(root: Path, stage: Stage, inputs: Mapping[str, Any], make: Make, say: Say) -> Path:
    """Return the folder with a stage's output for some inputs; build a missing folder.

    The folder is built under a temporary name and renamed when it is complete. A process that is killed therefore
    leaves no incomplete folder under the final name. The next process that builds the folder removes the remains. A
    second process that needs the folder waits until the first has built it.

    Args:
        root: the cache, see `cache_folder`.
        stage: the stage whose output it is.
        inputs: all that the output depends on besides the stage, as plain values.
        make: writes the output to the folder that it receives.
        say: receives a message if this process has to wait.

    Raises:
        UserError: if the cache cannot be written.
    """
    key = stage.key(inputs)
    folder = root / stage.name / key_digest(key)[:24]
    if not folder.is_dir():
        with _locked(root, folder, say):
            if not folder.is_dir():
                _make(root, folder, key, make)
    return folder


def open_cached(
    root: Path, stage: Stage, inputs: Mapping[str, Any], make: Make, open_: Callable[[Path], Opened], say: Say
) -> Opened:
    """Open a stage's output for some inputs; build a missing folder, and rebuild a damaged one.

    Args:
        root, stage, inputs, make, say: as for `cached`; `say` also receives a message if the folder is rebuilt.
        open_: opens a folder; raises `DamagedError` if an array in it has other content than was written.

    Raises:
        UserError: if the cache cannot be written.
    """
    folder = cached(root, stage, inputs, make, say)
    try:
        return _open(folder, open_)
    except DamagedError as error:
        say(f"{error}; {folder} is rebuilt")
    with _locked(root, folder, say):
        try:
            # Another process may have rebuilt the folder while this one waited for the lock.
            return _open(folder, open_)
        except DamagedError:
            _discard(root, folder)
            _make(root, folder, stage.key(inputs), make)
        return _open(folder, open_)


def _open(folder: Path, open_: Callable[[Path], Opened]) -> Opened:
    try:
        faulty = damaged(folder)
    except UserError as error:
        raise DamagedError(str(error)) from error
    if not (folder / SUMS).is_file():
        raise DamagedError(f"{folder / SUMS} is missing")
    if faulty:
        raise DamagedError(f"{faulty[0]} is missing or does not match its checksum")
    return open_(folder)


@contextmanager
def _locked(root: Path, folder: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a folder; `say` receives a message if another process holds it."""
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
        # `ColumnWriter` computed the digests of arrays (.bin) while it wrote them.
        note(temporary, [file for file in temporary.rglob("*") if file.is_file() and file.suffix != ".bin"])
        temporary.rename(folder)
    except OSError as error:
        # Only these errors concern the cache; others concern the text that is read.
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise _unwritable(root, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _discard(root: Path, folder: Path) -> None:
    """Remove a folder; a process that has mapped its arrays into memory keeps them."""
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
        f"the cache {root} cannot be written ({error.strerror or error}); free some space, or set NPI_JAX_CACHE or "
        "corpus.cache to a folder that can be written"
    )
