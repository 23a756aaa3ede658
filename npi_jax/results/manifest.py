"""``manifest.json``: what ran, and the marker by which a folder is known as a run directory."""

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
"""Version of the run directory's layout. Runs of before there was a marker have none, and are taken for 0."""

MARKER = "npi_jax"
"""The manifest's entry that marks a run directory: ``{"format": 1, "sha256": ...}``, the digest of all the rest."""

FILE = "manifest.json"

_CONFIG_FIELDS = {"variants", "seeds", "corpus", "model", "train"}
"""What the configuration of a run without a marker has, and that of no Hugging Face model."""


class ManifestError(UserError):
    """A manifest that is damaged, or of a version that this one does not read."""


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
"""What is read again, not only printed; more may be there."""

_ANY = pydantic.TypeAdapter(dict[str, Any]).validate_json


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run directory: it has our marker, or the configuration of a run of before it."""
    return has_marker(folder) or _is_configured(folder / "config.json")


def has_marker(folder: Path) -> bool:
    """Return whether a folder's manifest has our marker, even where the rest of it is damaged."""
    path = folder / FILE
    try:
        return path.is_file() and f'"{MARKER}": {{'.encode() in path.read_bytes()
    except OSError:
        return False


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a run's manifest, without the marker; empty where there is none.

    Raises:
        ManifestError: if it is not what was written, or of a newer format.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        found = read_checked(path, _ANY)
    except UserError as error:
        raise ManifestError(f"{error}{_advice(path)}") from error
    marker = found.pop(MARKER, None)
    if marker is not None:
        _check_marker(path, marker, found)
    _check_fields(path, found)
    return found


def write_manifest(folder: Path, values: Mapping[str, Any]) -> None:
    """Write a manifest with the marker; its digest is in the same file, so that both are always of one time."""
    write_json(folder / FILE, {**values, MARKER: {"format": FORMAT, "sha256": _digest(values)}})


def _check_fields(path: Path, values: Mapping[str, Any]) -> None:
    for name, form in _FIELDS.items():
        try:
            # As JSON again: strictly, but for what JSON has no type for.
            if name in values:
                form.validate_json(json.dumps(values[name]), strict=True)
        except pydantic.ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, (name, *fault["loc"])))
            raise ManifestError(f"{path}: {place}: {fault['msg']}{_advice(path)}") from error


def _check_marker(path: Path, marker: Any, values: Mapping[str, Any]) -> None:
    version = marker.get("format") if isinstance(marker, dict) else None
    if not isinstance(version, int):
        raise ManifestError(f"{path}: {MARKER}: no format's number{_advice(path)}")
    if version > FORMAT:
        raise ManifestError(
            f"{path.parent} was written by a newer npi-jax (run format {version}; this one reads up to {FORMAT}): "
            "update npi-jax to open it"
        )
    if marker.get("sha256") != _digest(values):
        raise ManifestError(f"{path} is damaged: its content is not what was written{_advice(path)}")


def _advice(path: Path) -> str:
    return (
        f". Bring it back from a copy, or rename it: the run goes on, and {path.name} is rewritten; what is lost is "
        "when the run began, with what versions and on what data"
    )


def _digest(values: Mapping[str, Any]) -> str:
    # As they are read again: JSON has no tuples, and its keys are texts.
    plain = json.loads(json.dumps(values))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _is_configured(path: Path) -> bool:
    try:
        return read_json_object(path).keys() >= _CONFIG_FIELDS
    except OSError:
        return False
