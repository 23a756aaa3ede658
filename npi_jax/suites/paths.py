"""Where a suite is: what a path has to be before a loader reads it."""

import os
from pathlib import Path

from npi_jax.suites.reading import SuiteError

ENDINGS = {
    **dict.fromkeys(("blimp", "blimp_npi", "supplement", "warstadt2019", "warstadt2019_cells"), (".jsonl",)),
    "syntaxgym": (".json",),
    "zorro": (".txt",),
    "table": (".jsonl", ".csv", ".tsv"),
}
"""The endings of the files that a loader reads."""

READERS = {".csv": "table", ".tsv": "table", ".txt": "zorro", ".json": "syntaxgym", ".jsonl": "blimp"}
"""The loader that reads files of an ending, for advice."""


def ending(path: Path) -> str:
    """The ending of a file's name, without that of a packed file: ``".jsonl"`` of ``"x.jsonl.gz"``."""
    return Path(path.name.removesuffix(".gz").removesuffix(".zst")).suffix


def check_path(path: Path, *, file: str = "") -> Path:
    """The path of a suite, if there is a file or a folder.

    Args:
        path: as it was given.
        file: what kind of file it must be, where a folder will not do: ``"one file ending in .csv"``.

    Raises:
        SuiteError: naming the path and what is there instead.
    """
    try:
        path.stat()
    except FileNotFoundError as error:
        there = f"there is no such file{'' if file else ' or folder'}"
        if path.is_symlink():
            there = f"a link to {path.readlink()}, where nothing is"
        raise SuiteError(f"{path}: {there}") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SuiteError(f"{str(path)[:200]}: cannot be read: {why}") from error
    if path.is_dir() and file:
        raise SuiteError(f"{path}: a folder; give {file}")
    if not path.is_dir() and not path.is_file():
        raise SuiteError(f"{path}: neither a file nor a folder")
    return path


def ending_fault(name: str, path: Path) -> str:
    """What is to be said of a file whose ending is none that a loader reads; empty for other paths."""
    found, endings = ending(path), ENDINGS[name]
    if found in endings or not os.path.isfile(path):
        return ""
    other = f"; files ending in {found} are read by {READERS[found]!r}" if found in READERS else ""
    return f"{name!r} reads files ending in {' or '.join(endings)}{other}"
