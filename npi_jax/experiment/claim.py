"""Opening of a run directory for writing: by one process at a time, and with one configuration."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from npi_jax.errors import UserError
from npi_jax.experiment.stored_config import check_config
from npi_jax.files import checksums
from npi_jax.files.temporary import remove_abandoned
from npi_jax.results import manifest
from npi_jax.results.directory import Run
from npi_jax.results.folder import CONFIG, FILES, FOLDERS, LOCK, RunError, check_usable, has_trained

Say = Callable[[str], None]
"""Function that prints one line."""

_FIRST = {LOCK, manifest.FILE, CONFIG, checksums.SUMS}
"""Files that a run has before any data is prepared."""


@contextmanager
def claim_run(path: Path, config: Mapping[str, Any], say: Say = lambda _: None) -> Iterator[Run]:
    """Open a run directory for writing, and create it if needed; lock it for other processes during the body.

    A damaged or lost configuration file is rewritten if the same configuration is given. Other files are rebuilt by
    `npi_jax.experiment.mending.mend`. A new directory is removed again if the body fails before data is prepared, or
    raises a `UserError` before anything is trained.

    Args:
        path: the run directory.
        config: the configuration as plain values.
        say: receives a line about each damaged or lost file.

    Raises:
        RunError: if another process has locked the directory, or the directory is not that of a run. Also if a trained
            run has another configuration, with the fields that differ.
    """
    check_usable(path)
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        remove_abandoned(path)
        new = not (path / manifest.FILE).exists() and not (path / CONFIG).exists()
        try:
            _write_marker(path, say)
            check_config(path, config, say)
            yield Run(path)
        except BaseException as error:
            if new:
                refused = isinstance(error, UserError) and not has_trained(path)
                _remove_new(path, created, {*FILES, *FOLDERS} if refused else _FIRST)
            raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunError(f"{path} is in use by another process; wait for it, or give this run another run_dir") from None
    try:
        yield
    finally:
        lock.release()


def _remove_new(path: Path, created: list[Path], ours: set[str]) -> None:
    """Remove the files `ours` and the folders `created`, unless the run directory contains other files."""
    if {entry.name for entry in path.iterdir()} - ours:
        return
    for name in ours:
        if (path / name).is_dir():
            shutil.rmtree(path / name)
        else:
            (path / name).unlink(missing_ok=True)
    for folder in created:
        if any(folder.iterdir()):
            return
        folder.rmdir()


def _write_marker(path: Path, say: Say) -> None:
    """Mark a folder as a run directory before other files are written; also mark an older run that has no marker."""
    values = manifest.read_manifest(path)
    if not manifest.has_marker(path) and (path / CONFIG).exists():
        # The configuration file has no checksum, because runs without a marker are older than checksums.
        checksums.note(path, [path / CONFIG])
    if not (path / manifest.FILE).exists() and has_trained(path):
        say(
            f"{path / manifest.FILE} was lost and is rewritten; the time at which the run began, and its data, are not "
            "known"
        )
    manifest.write_manifest(path, values)
