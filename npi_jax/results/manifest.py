"""``manifest.json``: description of a run, with the marker that identifies its folder as a run directory."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from npi_jax.errors import UserError
from npi_jax.files.plain import read_json_object
from npi_jax.files.writing import read_checked, write_json

FORMAT = 1
"""Version of the run directory's layout. Runs without a marker are the oldest and have version 0."""

MARKER = "npi_jax"
"""Entry of the manifest that marks a run directory: ``{"format": 1, "sha256": ...}``, a digest of all other entries."""

FILE = "manifest.json"

_CONFIG_FIELDS = {"variants", "seeds", "corpus", "model", "train"}
"""Fields that distinguish the config.json of a run without a marker from that of a Hugging Face model."""


class ManifestError(UserError):
    """A manifest is damaged, or was written by a newer version."""


@pydantic.dataclasses.dataclass
class _Arrangement:
    mapping: str
    steps_per_call: int
    source: str


_Texts = dict[str, str]
_Numbers = dict[str, float]
_Anything = dict[str, Any]
_FIELDS: dict[str, pydantic.TypeAdapter[Any]] = {
    name: pydantic.TypeAdapter(form)
    for name, form in {
        "name": str,
        "started": str,
        "command": str,
        "versions": _Texts,
        "devices": _Anything,
        "model": _Anything,
        "data": _Anything,
        "perplexity": _Numbers,
        "gradients": _Anything,
        "score_specs": dict[str, _Anything],
        "suites": dict[str, _Anything],
        "seconds": _Numbers,
        "tokens_per_second": float,
        "notes": list[str],
        "arrangement": _Arrangement,
    }.items()
}
"""Types of the entries that the program reads; other entries are only printed."""

_ANY = pydantic.TypeAdapter(dict[str, Any]).validate_json


def is_run(folder: Path) -> bool:
    """Return True for a run directory: a folder with the marker, or with the configuration of an old run."""
    return has_marker(folder) or _is_configured(folder / "config.json")


def has_marker(folder: Path) -> bool:
    """Return True if a folder's manifest has the marker, even if other parts of the manifest are damaged."""
    path = folder / FILE
    try:
        return path.is_file() and f'"{MARKER}": {{'.encode() in path.read_bytes()
    except OSError:
        return False


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a run's manifest without the marker; return an empty one if there is none.

    Raises:
        ManifestError: if the manifest is damaged, or has a newer format.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        values = read_checked(path, _ANY)
    except UserError as error:
        raise ManifestError(f"{error}{_advice(path)}") from error
    marker = values.pop(MARKER, None)
    if marker is not None:
        _check_marker(path, marker, values)
    _check_fields(path, values)
    return values


def write_manifest(folder: Path, values: Mapping[str, Any]) -> None:
    """Write a manifest with the marker; its digest is in the same file, so that both are always written together."""
    write_json(folder / FILE, {**values, MARKER: {"format": FORMAT, "sha256": _digest(values)}})


def _check_fields(path: Path, values: Mapping[str, Any]) -> None:
    for name, form in _FIELDS.items():
        try:
            # Check values as JSON: strict checks of Python values would reject types that JSON lacks, such as tuples.
            if name in values:
                form.validate_json(json.dumps(values[name]), strict=True)
        except pydantic.ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, (name, *fault["loc"])))
            raise ManifestError(f"{path}: {place}: {fault['msg']}{_advice(path)}") from error


def _check_marker(path: Path, marker: Any, values: Mapping[str, Any]) -> None:
    version = marker.get("format") if isinstance(marker, dict) else None
    if not isinstance(version, int):
        raise ManifestError(f"{path}: {MARKER}: the number of the format is missing{_advice(path)}")
    if version > FORMAT:
        raise ManifestError(
            f"{path.parent} was written by a newer npi-jax (run format {version}; this one reads up to {FORMAT}): "
            "update npi-jax to open it"
        )
    if marker.get("sha256") != _digest(values):
        raise ManifestError(f"{path} is damaged: its content does not match its checksum{_advice(path)}")


def _advice(path: Path) -> str:
    return (
        f". Restore it from a copy, or rename it: npi-jax run then continues and writes a new {path.name}, without the "
        "time, versions and data with which the run began"
    )


def _digest(values: Mapping[str, Any]) -> str:
    # Convert via JSON, which makes tuples lists and keys strings, to match the values that will be read.
    plain = json.loads(json.dumps(values))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _is_configured(path: Path) -> bool:
    try:
        return read_json_object(path).keys() >= _CONFIG_FIELDS
    except OSError:
        return False
