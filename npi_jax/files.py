"""Files that are whole or absent: everything the project writes goes through here."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import polars as pl
import pydantic

from npi_jax.errors import UserError, first_line


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success flush it to disk and rename it to `path`.

    Where the body raises, the temporary file is removed and `path` stays as it was.

    Raises:
        UserError: naming `path`, where it cannot be written, as on a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: cannot be written ({first_line(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal values give equal files."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a `UserError` names the file where it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error


Checked = TypeVar("Checked")

Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
"""The name of a file that another file gives: it does not lead out of the folder."""


def read_checked(path: Path, validate: Callable[..., Checked], *, advice: str = "") -> Checked:
    """Read JSON of a form, strictly.

    Args:
        path: the file.
        validate: ``TypeAdapter(FORM).validate_json``.
        advice: what to do where the file is damaged, for the end of the message.

    Raises:
        UserError: naming the file, and the field that is of another form.
    """
    try:
        return validate(path.read_bytes(), strict=True)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise UserError(f"{path}: {f'{place}: ' if place else ''}{fault['msg']}{advice}") from error


LARGEST = 256 << 20
"""Most bytes of a file that is read as a whole, where its reader states no other limit."""


def read_plain(path: Path, *, most: int = LARGEST) -> bytes:
    """Read a plain file of limited size: a pipe or a device may never end, or never begin.

    Raises:
        UserError: naming the file, if it is something else or larger.
        OSError: if it cannot be read.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise UserError(f"{path}: not a plain file")
    if about.st_size > most:
        raise UserError(f"{path}: {about.st_size:,} bytes; at most {most:,} are read")
    return path.read_bytes()


def read_table(path: Path) -> pl.DataFrame:
    """Read a Parquet table; a `UserError` names the file where it is not one, or is cut off."""
    try:
        return pl.read_parquet(path)
    except FileNotFoundError as error:
        # Polars' own names no file in the way that Python's does.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UserError(f"{path}: not a whole Parquet file ({first_line(error)})") from error


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet table atomically."""
    with atomic_path(path) as temporary:
        frame.write_parquet(temporary, compression="zstd")


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed NumPy archive atomically; equal arrays give equal files."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
