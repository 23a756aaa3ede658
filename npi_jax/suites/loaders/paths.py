"""Checks of a suite's path before a loader reads it."""

import os
from pathlib import Path

from npi_jax.suites.schema import SuiteError

ENDINGS = {
    **dict.fromkeys(("blimp", "blimp_npi", "supplement", "warstadt2019", "warstadt2019_cells"), (".jsonl",)),
    "syntaxgym": (".json",),
    "zorro": (".txt",),
    "table": (".jsonl", ".csv", ".tsv"),
}
"""File endings that each loader reads."""

READERS = {".csv": "table", ".tsv": "table", ".txt": "zorro", ".json": "syntaxgym", ".jsonl": "blimp"}
"""Loader to suggest for each file ending."""


def unpacked_name(path: Path) -> Path:
    """Return a file's name without .gz or .zst: ``x.jsonl`` for ``x.jsonl.gz``."""
    return Path(path.name.removesuffix(".gz").removesuffix(".zst"))


def check_path(path: Path, *, file: str = "") -> Path:
    """Return the path of a suite if it is a file or a folder.

    Args:
        path: path as the user gave it.
        file: description of the file if a folder is not valid, such as ``"one file ending in .csv"``; "" otherwise.

    Raises:
        SuiteError: if the path is neither, or a folder where `file` is given.
    """
    try:
        path.stat()
    except FileNotFoundError as error:
        fault = f"there is no such file{'' if file else ' or folder'}"
        if path.is_symlink():
            fault = f"a link to {path.readlink()}, which does not exist"
        raise SuiteError(f"{path}: {fault}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SuiteError(f"{str(path)[:200]}: cannot be read: {reason}") from error
    if path.is_dir() and file:
        raise SuiteError(f"{path}: a folder; give {file}")
    if not path.is_dir() and not path.is_file():
        raise SuiteError(f"{path}: neither a file nor a folder")
    return path


def ending_fault(name: str, path: Path) -> str:
    """Return an explanation if the path is a file whose ending the loader does not read, otherwise an empty string."""
    ending, valid = unpacked_name(path).suffix, ENDINGS[name]
    if ending in valid or not os.path.isfile(path):
        return ""
    other = f"; files ending in {ending} are read by {READERS[ending]!r}" if ending in READERS else ""
    return f"{name!r} reads files ending in {' or '.join(valid)}{other}"
