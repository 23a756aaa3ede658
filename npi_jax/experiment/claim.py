"""Opening a run directory for writing: one process at a time, one configuration for good."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from npi_jax.config.schema import ConfigError, make_config
from npi_jax.errors import UserError
from npi_jax.files import checksums
from npi_jax.files.temporary import remove_abandoned
from npi_jax.files.writing import file_digest, json_text, read_json, write_json
from npi_jax.results import manifest
from npi_jax.results.directory import Run
from npi_jax.results.folder import CONFIG, FILES, FOLDERS, LOCK, TABLES, TOKENIZER, RunError, check_usable, has_trained

Say = Callable[[str], None]

_NO_MATTER = (
    *("corpus.processes", "corpus.cache", "corpus.allow_repeats", "corpus.allow_empty"),
    *("monitor", "monitor.sinks", "monitor.project", "monitor.watchdog"),
    *("mesh.ens", "mesh.data", "mesh.fsdp", "mesh.mapping", "mesh.rows"),
    *("train.accumulate", "train.remat", "train.steps_per_call", "train.loss_chunk"),
)
"""Fields that say how a run is made, not what is in it; some change the last digits, and the manifest says so."""

_BEGUN = {LOCK, manifest.FILE, CONFIG, checksums.SUMS}
"""All that is there before anything is prepared."""


@contextmanager
def claim_run(path: Path, config: Mapping[str, Any], say: Say = lambda _: None) -> Iterator[Run]:
    """Open a run directory for writing, made if need be; nobody else may write to it meanwhile.

    A configuration that is damaged or lost is rewritten if it is the one that is given; for other files there is
    `npi_jax.experiment.mending.mend`. Where the body fails before anything is prepared, or refuses before anything is
    trained, a folder that was new is gone again.

    Args:
        path: the run directory.
        config: the configuration as plain values.
        say: gets a line about what was damaged or lost.

    Raises:
        RunError: if another process holds it, if it belongs to another configuration (with what differs), or if
            the folder holds something that is not a run.
    """
    check_usable(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunError(f"{path} is in use by another process; wait for it, or give this run another run_dir") from None
    try:
        remove_abandoned(path)
        new = not (path / manifest.FILE).exists() and not (path / CONFIG).exists()
        try:
            _mark(path, say)
            _check_config(path, config, say)
            yield Run(path)
        except BaseException as error:
            if new:
                refused = isinstance(error, UserError) and not has_trained(path)
                _unmake(path, made, {*FILES, *FOLDERS} if refused else _BEGUN)
            raise
    finally:
        lock.release()


def _unmake(path: Path, made: list[Path], ours: set[str]) -> None:
    """Remove what is ours in a run directory in which nothing else is, and the folders that were made for it."""
    if {entry.name for entry in path.iterdir()} - ours:
        return
    for name in ours:
        if (path / name).is_dir():
            shutil.rmtree(path / name)
        else:
            (path / name).unlink(missing_ok=True)
    for folder in made:
        if any(folder.iterdir()):
            return
        folder.rmdir()


def _mark(path: Path, say: Say) -> None:
    """Make the folder a run directory before anything else is in it; or one of before there was a marker."""
    values = manifest.read_manifest(path)
    if not manifest.has_marker(path) and (path / CONFIG).exists():
        # Of before there were checksums of all files; that those of others are missing is then no news.
        checksums.note(path, [path / CONFIG])
    if not (path / manifest.FILE).exists() and has_trained(path):
        say(f"{path / manifest.FILE} was lost and is rewritten; when the run began, and on what data, is not known")
    manifest.write_manifest(path, values)


def _check_config(path: Path, config: Mapping[str, Any], say: Say) -> None:
    file = path / CONFIG
    # Through JSON, so that tuples and lists do not differ.
    wanted = json.loads(json.dumps({**config, "run_dir": ""}))
    stored, noted = _stored(file), _noted(path).get(CONFIG)
    whole = stored is not None and noted in (None, file_digest(file))
    changes = None if stored is None else [c for c in _differences(stored, wanted) if _matters(*c)]
    if whole and not changes:
        return
    if not whole and (changes == [] or noted == hashlib.sha256(json_text(wanted).encode()).hexdigest()):
        say(f"{file} was damaged or lost, and is rewritten")
    elif has_trained(path):
        _refuse(path, changes if whole else None)
    else:
        # Only prepared: nothing is there that another configuration would spoil, but what it made has to go.
        for name in (checksums.SUMS, *TABLES, *TOKENIZER):
            (path / name).unlink(missing_ok=True)
        manifest.write_manifest(path, {})
    write_json(file, wanted)
    checksums.note(path, [file])


def _matters(field: str, stored: Any, wanted: Any) -> bool:
    """Whether a difference makes another run; what "auto" stands for is known, and compared, once pairs are encoded."""
    left_open = field.endswith(".spec.normalization") and wanted == "auto" and stored is not None
    return field not in _NO_MATTER and not left_open


def _refuse(path: Path, changes: list[tuple[str, Any, Any]] | None) -> None:
    if changes is None:
        raise RunError(
            f"{path / CONFIG} is damaged or lost, and the configuration given now is not the one that was there. Run "
            "with the configuration that the run was started with to rewrite it, or bring the file back from a copy"
        )
    raise RunError(
        f"{path} was started with another configuration:\n"
        + "\n".join(f"  {field}: {old!r} there, {new!r} now" for field, old, new in changes)
        + "\nRun with the old values to continue it, or choose another run_dir."
    )


def _stored(file: Path) -> dict[str, Any] | None:
    try:
        found = read_json(file)
    except (FileNotFoundError, UserError):
        return None
    return _completed(found) if isinstance(found, dict) else None


def _completed(stored: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the defaults of fields that versions after the one that wrote it have."""
    try:
        completed: dict[str, Any] = json.loads(json.dumps(make_config(stored).to_dict()))
    except ConfigError:
        # Of a version that knew other fields: what differs is named as it stands.
        return stored
    return completed


def _noted(path: Path) -> dict[str, str]:
    try:
        return checksums.noted(path)
    except UserError:
        return {}


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    elif old != new:
        yield prefix, old, new
