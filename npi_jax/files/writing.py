"""Atomic writing of files, so that each is complete or absent; and reading with errors that name the file."""

import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import polars as pl
import pydantic
from jaxtyping import Shaped

from npi_jax.errors import UserError, first_line
from npi_jax.files.temporary import temporary_name


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success, flush the file to disk and rename it to `path`.

    If the body raises, the temporary file is removed and `path` stays unchanged.

    Raises:
        UserError: if `path` cannot be written, for example on a full disk, or is not a plain file (`check_output`).
    """
    _check_plain(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({first_line(error)})") from error
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: cannot be written ({first_line(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path: Path, *, inputs: Iterable[Path] = (), folder: bool = False) -> None:
    """Refuse an output file (or folder) that cannot be written; commands call this before they compute anything.

    Only plain files are replaced, because the atomic rename would destroy a device, a pipe or a link.

    Args:
        path: the file or folder to write.
        inputs: files that the command reads and must not overwrite.
        folder: True if the output is a folder.

    Raises:
        UserError: naming the path and the reason.
    """
    (_check_folder if folder else _check_plain)(path)
    for given in inputs:
        if path.exists() and given.exists() and path.samefile(given):
            raise UserError(f"{path} is read by this command, and would be written over; choose another name")
    above = next(parent for parent in path.absolute().parents if parent.is_symlink() or parent.exists())
    if not above.is_dir():
        raise UserError(f"{path}: cannot be written ({above} is not a folder)")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written (no permission to write in {above})")


def _check_plain(path: Path) -> None:
    kind = _kind(path)
    if kind not in ("", "plain file"):
        raise UserError(f"{path} is a {kind}; give a name that is free or that of a plain file")


def _check_folder(path: Path) -> None:
    kind = _kind(path)
    if kind not in ("", "folder") and not (kind == "link" and path.is_dir()):
        raise UserError(f"{path} is a {kind}; give a name that is free or that of a folder")


def _kind(path: Path) -> str:
    """Return the kind of file at a path; "" if there is none."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        raise UserError(f"{path!s}: cannot be written ({first_line(error)})") from error
    kinds = {stat.S_IFREG: "plain file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe"}
    return kinds.get(stat.S_IFMT(mode), "device")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with sorted keys, so that files of equal values are equal."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return a value as the text of a JSON file with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file; raise a `UserError` with the file and, if known, the line if it is not valid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8, which JSON is written in") from error
    except (ValueError, RecursionError) as error:
        # Raised for numbers of thousands of digits, and for very deep nesting.
        raise UserError(f"{path}: not valid JSON ({first_line(error)})") from error


Checked = TypeVar("Checked")

Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
"""Type of a file name that was read from another file; the name cannot refer to another folder."""


def read_checked(path: Path, validate: Callable[..., Checked]) -> Checked:
    """Read a JSON file whose content must have a given type; values are not converted.

    Args:
        path: the file.
        validate: ``TypeAdapter(TYPE).validate_json`` for the type of the content.

    Raises:
        UserError: naming the file, and the field that has another type.
    """
    try:
        return validate(path.read_bytes(), strict=True)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise UserError(f"{path}: {f'{place}: ' if place else ''}{fault['msg']}") from error


def read_table(path: Path) -> pl.DataFrame:
    """Read a Parquet table; raise a `UserError` that names the file if it is not a complete table."""
    # Polars gets the content, because it would expand a path that looks like a pattern, and read other files.
    content = io.BytesIO(path.read_bytes())
    try:
        return pl.read_parquet(content)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UserError(f"{path}: not a complete Parquet file ({first_line(error)})") from error


def write_table(path: Path, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None) -> None:
    """Write a Parquet table atomically, with `metadata` in the footer of the file."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        frame.write_parquet(file, compression="zstd", metadata=dict(metadata or {}))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
    """Write a compressed NumPy archive atomically; files of equal arrays are equal."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
