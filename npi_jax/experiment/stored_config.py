"""Comparison of a run's stored configuration with the given one."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.config.schema import may_change
from npi_jax.errors import UserError
from npi_jax.files import checksums
from npi_jax.files.writing import file_digest, json_text, read_json, write_json
from npi_jax.results import manifest
from npi_jax.results.folder import CONFIG, TABLES, TOKENIZER, RunError, has_trained

Difference = tuple[str, Any, Any]
"""The dotted name of a field, its stored value, and its value in the given configuration."""


def check_config(path: Path, config: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Compare the given configuration with the stored one, and store it unless they agree.

    A run without training accepts any configuration; if the configuration changes, prepared files are removed. A
    damaged or lost ``config.json`` is rewritten if its checksum or its content matches the given configuration.

    Raises:
        RunError: if a trained run has another configuration, naming the fields that differ.
    """
    file = path / CONFIG
    # JSON turns tuples into lists, so that the two do not differ.
    given = json.loads(json.dumps({**config, "run_dir": ""}))
    stored, checksum = _stored(file), _checksums(path).get(CONFIG)
    intact = stored is not None and checksum in (None, file_digest(file))
    differences = None if stored is None else [one for one in _differences(stored, given) if _matters(*one)]
    if intact and not differences:
        return
    if not intact and (differences == [] or checksum == hashlib.sha256(json_text(given).encode()).hexdigest()):
        say(f"{file} was damaged or lost, and is rewritten")
    elif has_trained(path):
        _refuse(path, differences if intact else None)
    else:
        _forget_prepared(path)
    write_json(file, given)
    checksums.note(path, [file])


def _forget_prepared(path: Path) -> None:
    """Remove prepared files, since they were made with another configuration."""
    for name in (checksums.SUMS, *TABLES, *TOKENIZER):
        (path / name).unlink(missing_ok=True)
    manifest.write_manifest(path, {})


def _refuse(path: Path, differences: list[Difference] | None) -> None:
    if differences is None:
        raise RunError(
            f"{path / CONFIG} is damaged or lost, and the configuration given now is another one. Run with the "
            "configuration that the run was started with, which rewrites the file, or restore it from a copy"
        )
    raise RunError(
        f"{path} was started with another configuration:\n"
        + "\n".join(f"  {field}: {old!r} there, {new!r} now" for field, old, new in differences)
        + "\nRun with the old values to continue it, or choose another run_dir."
    )


def _matters(field: str, stored: Any, given: Any) -> bool:
    """Return whether a difference forbids that the run is resumed."""
    # The rule that "auto" stands for is known only after the pairs are encoded; `check_same_spec` compares it then.
    resolved_later = field.endswith(".spec.normalization") and given == "auto" and stored is not None
    return not may_change(field) and not resolved_later


def _stored(file: Path) -> dict[str, Any] | None:
    """Read the stored configuration; None if it is missing or unreadable."""
    try:
        content = read_json(file)
    except (FileNotFoundError, UserError):
        return None
    return _completed(content) if isinstance(content, dict) else None


def _completed(stored: dict[str, Any]) -> dict[str, Any]:
    """Fill in the defaults of fields that are newer than the run."""
    try:
        completed: dict[str, Any] = json.loads(json.dumps(make_config(stored).to_dict()))
    except ConfigError:
        # The run has fields that this version does not know, or values that it refuses; the comparison names them.
        return stored
    return completed


def _checksums(path: Path) -> dict[str, str]:
    try:
        return checksums.noted(path)
    except UserError:
        return {}


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    elif old != new:
        yield prefix, old, new
