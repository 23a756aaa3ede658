"""Checksums of files, in ``checksums.json`` of their folder, so that damaged files are not used."""

from collections.abc import Iterable
from pathlib import Path

import pydantic

from npi_jax.errors import UserError
from npi_jax.files.writing import file_digest, read_checked, write_json

SUMS = "checksums.json"
"""Name of the file with the SHA-256 of the other files in its folder, by path relative to the folder."""

_FORM = pydantic.TypeAdapter(dict[str, str]).validate_json


class DamagedError(UserError):
    """A file whose content has changed since it was written."""


def noted(folder: Path) -> dict[str, str]:
    """Return the stored checksums of a folder's files, by relative path; empty if none are stored.

    Raises:
        UserError: if ``checksums.json`` itself is damaged.
    """
    path = folder / SUMS
    return read_checked(path, _FORM) if path.exists() else {}


def note(folder: Path, files: Iterable[Path]) -> None:
    """Add the checksums of files to a folder's ``checksums.json``.

    Args:
        folder: the folder with ``checksums.json``.
        files: existing files in the folder or below it.
    """
    new = {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
    write_json(folder / SUMS, {**noted(folder), **new})


def damaged(folder: Path) -> list[Path]:
    """Return the files of a folder that are missing or have changed since they were written, sorted.

    Raises:
        UserError: if ``checksums.json`` itself is damaged.
    """
    return sorted(folder / name for name, wanted in noted(folder).items() if not _is_intact(folder / name, wanted))


def check(folder: Path, file: Path, advice: str = "") -> None:
    """Refuse a file that has changed since it was written; accept a file without a checksum.

    Args:
        folder: the folder with ``checksums.json``.
        file: a file in the folder or below it.
        advice: advice to the user, appended to the message.

    Raises:
        DamagedError: naming the file.
    """
    wanted = noted(folder).get(file.relative_to(folder).as_posix())
    if wanted is not None and not _is_intact(file, wanted):
        raise DamagedError(f"{file} is damaged: its content does not match its checksum in {folder / SUMS}{advice}")


def _is_intact(file: Path, wanted: str) -> bool:
    return file.is_file() and file_digest(file) == wanted
