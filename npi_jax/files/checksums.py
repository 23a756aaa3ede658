"""Checksums of files, kept beside them in ``checksums.json``, so that damage is found before a file is used."""

from collections.abc import Iterable
from pathlib import Path

import pydantic

from npi_jax.errors import UserError
from npi_jax.files.writing import file_digest, read_checked, write_json

SUMS = "checksums.json"
"""Name of the file that holds the SHA-256 of other files of its folder, by their path within it."""

_FORM = pydantic.TypeAdapter(dict[str, str]).validate_json


class DamagedError(UserError):
    """A file whose content is not what was written."""


def noted(folder: Path) -> dict[str, str]:
    """Return the checksums of a folder's files, by path within it; empty where none were kept.

    Raises:
        UserError: if the checksums themselves are damaged.
    """
    path = folder / SUMS
    return read_checked(path, _FORM) if path.exists() else {}


def note(folder: Path, files: Iterable[Path]) -> None:
    """Keep the checksums of files inside `folder`, beside those that are kept already.

    Args:
        folder: the folder that gets ``checksums.json``.
        files: existing files in it, or in folders below it.
    """
    new = {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
    write_json(folder / SUMS, {**noted(folder), **new})


def damaged(folder: Path) -> list[Path]:
    """Return the files of a folder that are missing or differ from what was written, sorted.

    Raises:
        UserError: if the checksums themselves are damaged.
    """
    return sorted(folder / name for name, wanted in noted(folder).items() if not _is_whole(folder / name, wanted))


def check(folder: Path, file: Path, advice: str = "") -> None:
    """Refuse a file that differs from what was written; a file without a checksum passes.

    Args:
        folder: the folder whose ``checksums.json`` counts.
        file: a file in it, or in a folder below it.
        advice: what to do, for the end of the message.

    Raises:
        DamagedError: naming the file.
    """
    wanted = noted(folder).get(file.relative_to(folder).as_posix())
    if wanted is not None and not _is_whole(file, wanted):
        raise DamagedError(f"{file} is damaged: its content is not what was written ({folder / SUMS}){advice}")


def _is_whole(file: Path, wanted: str) -> bool:
    return file.is_file() and file_digest(file) == wanted
