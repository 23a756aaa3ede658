"""Reading of files that other users may have written; only plain files up to a size limit are accepted.

Reading a pipe could block forever, and reading a huge file could exhaust memory.
"""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from npi_jax.errors import UserError

JSON_LIMIT = 64 << 20
"""Largest size of a JSON file with settings or an index, in bytes; normal ones have kilobytes."""

LARGEST = 256 << 20
"""Largest size of a file that is read at once, in bytes, unless its reader states another limit."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class PlainFileError(OSError):
    """A file that is not plain, is too large, or is not UTF-8 or JSON; the message does not name the file."""


def read_plain(path: Path, limit: int) -> bytes:
    """Return the content of a plain file of at most `limit` bytes.

    Raises:
        FileNotFoundError: if there is no such file.
        PlainFileError: if it is a pipe, device or folder, or exceeds the limit.
        OSError: if it cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe that has no writer would block.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PlainFileError("not a plain file")
        if status.st_size > limit:
            raise PlainFileError(f"{status.st_size:,} bytes; at most {limit:,} are read")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def read_named(path: Path, *, most: int = LARGEST) -> bytes:
    """Return the content of a plain file, with an error that names the file.

    Raises:
        UserError: if it is not a plain file or is larger than `most` bytes.
        OSError: if it cannot be read.
    """
    try:
        return read_plain(path, most)
    except PlainFileError as error:
        raise UserError(f"{path}: {error}") from error


def read_text_plain(path: Path, limit: int) -> str:
    """Return the text of a plain file; raise the errors of `read_plain`, and `PlainFileError` if it is not UTF-8."""
    try:
        return read_plain(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PlainFileError(f"byte {error.start} is not UTF-8") from error


def read_json_object(path: Path, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """Return the JSON object in a plain file; raise as `read_text_plain`, and `PlainFileError` without one."""
    text = read_text_plain(path, limit)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlainFileError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise PlainFileError(f"a JSON {type(value).__name__}, not an object")
    if _SURROGATE.search(text) and not _is_text(value):
        raise PlainFileError("a string has half of a surrogate pair, which is no character")
    return value


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
