"""Content of plain and compressed files (.gz, .zst), a megabyte at a time, with a digest of the bytes read."""

import gzip
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import zstandard

from npi_jax.errors import UserError

ENDINGS = ("", ".gz", ".zst")
"""File name endings of the supported compressions; "" for none."""

CHUNK = 1 << 20
MOST_TIMES = 200
"""Maximum ratio of uncompressed to compressed size; text usually shrinks to between a third and a tenth."""

_UNCHECKED = 32 << 20
"""Uncompressed bytes up to which the ratio is not checked, since decompressors read ahead."""
_COMPRESSED = 1 << 10
"""Compressed bytes that are read at once; Zstandard expands them to at most 32 MiB."""


class CompressionError(UserError):
    """A compressed file that expands more than text does."""


class Reader:
    """Reads a file, and counts the bytes that were read.

    Args:
        file: the open file.
        digest: True to compute the SHA-256 of the bytes.
    """

    def __init__(self, file: BinaryIO, *, digest: bool = False) -> None:
        self._file, self._sha = file, hashlib.sha256() if digest else None
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes."""
        content = self._file.read(size)
        self.count += len(content)
        if self._sha is not None:
            self._sha.update(content)
        return content

    def finish(self) -> str:
        """Read the rest of the file, and return the digest; "" if it is not computed."""
        while self.read(CHUNK):
            pass
        return "" if self._sha is None else self._sha.hexdigest()


def decompressed(reader: Reader, path: Path) -> Iterator[bytes]:
    """Yield the content of a file in pieces of at most `CHUNK` bytes, decompressed according to its name.

    Raises:
        CompressionError: if the content is more than `MOST_TIMES` as large as the file.
        EOFError, OSError, zlib.error, zstandard.ZstdError: if the file is truncated or damaged.
    """
    match path.suffix:
        case ".gz":
            with gzip.GzipFile(fileobj=reader) as file:  # type: ignore[call-overload]
                yield from _bounded(iter(partial(file.read, CHUNK), b""), reader, path)
        case ".zst":
            yield from _bounded(_from_zstandard(reader), reader, path)
        case _:
            yield from iter(partial(reader.read, CHUNK), b"")


def _bounded(pieces: Iterator[bytes], reader: Reader, path: Path) -> Iterator[bytes]:
    """Yield pieces while the ratio of sizes is valid; the first pieces are held back until it is checked."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _UNCHECKED and size > MOST_TIMES * reader.count:
            raise CompressionError(
                f"{path}: decompresses to more than {MOST_TIMES} times its size ({size:,} bytes from {reader.count:,})"
                "; text does not; if the content is right, decompress the file yourself"
            )
        held.append(piece)
        if size > _UNCHECKED:
            yield from held
            held = []
    yield from held


def _from_zstandard(reader: Reader) -> Iterator[bytes]:
    # Not stream_reader: it takes the end of a truncated file for the end of the text.
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    while compressed := reader.read(_COMPRESSED):
        while compressed:
            if decompressor.eof:
                decompressor = zstandard.ZstdDecompressor().decompressobj()
            content = decompressor.decompress(compressed)
            yield from (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))
            compressed = decompressor.unused_data if decompressor.eof else b""
    if not decompressor.eof:
        raise EOFError("the last frame has no end")


def is_compressed(path: Path) -> bool:
    """Return True if the ending of a file's name is that of a compressed file."""
    return path.suffix in ENDINGS[1:]


def stated_size(path: Path) -> int | None:
    """Return the uncompressed size that a compressed file states (None without one), or the size of a plain file.

    A file of several compressed parts states the size of one part only.
    """
    with path.open("rb") as file:
        if path.suffix == ".zst":
            try:
                size = zstandard.get_frame_parameters(file.read(64)).content_size
            except zstandard.ZstdError:
                return None
            return None if size in (0, zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR) else size
        size = file.seek(0, 2)
        if path.suffix != ".gz" or size < 4:
            return size
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little")
