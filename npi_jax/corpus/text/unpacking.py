"""The content of files that may be packed (.gz, .zst), a megabyte at a time, with a digest of what was read."""

import gzip
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import zstandard

from npi_jax.errors import UserError

PACKINGS = ("", ".gz", ".zst")
"""Endings of files that are read."""

CHUNK = 1 << 20
MOST_TIMES = 200
"""A packed file that unpacks to more than so many times its size is no text; text shrinks to a third or a tenth."""

_SURE = 32 << 20  # bytes that may come of anything: unpackers read ahead
_PACKED = 1 << 10  # of so many packed bytes of Zstandard come at most 32 MiB


class PackingError(UserError):
    """A packed file that unpacks to more than text would."""


class Reader:
    """Reads a file, and knows how much was read of it.

    Args:
        file: the file, opened.
        digest: whether to take the SHA-256 of what is read.
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
        """Read what is left, and return the digest; "" if none is taken."""
        while self.read(CHUNK):
            pass
        return "" if self._sha is None else self._sha.hexdigest()


def unpacked(reader: Reader, path: Path) -> Iterator[bytes]:
    """Yield the content of a file, unpacked as the ending of its path says, in pieces of at most `CHUNK` bytes.

    Raises:
        PackingError: if it unpacks to more than text would (`MOST_TIMES`).
        EOFError, OSError, zlib.error, zstandard.ZstdError: if it is cut short or damaged.
    """
    match path.suffix:
        case ".gz":
            with gzip.GzipFile(fileobj=reader) as file:  # type: ignore[call-overload]
                yield from _bounded(iter(partial(file.read, CHUNK), b""), reader, path)
        case ".zst":
            yield from _bounded(_of_zstandard(reader), reader, path)
        case _:
            yield from iter(partial(reader.read, CHUNK), b"")


def _bounded(pieces: Iterator[bytes], reader: Reader, path: Path) -> Iterator[bytes]:
    """Yield pieces as long as they may be text; the first ones only when that is sure."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _SURE and size > MOST_TIMES * reader.count:
            raise PackingError(
                f"{path}: unpacks to more than {MOST_TIMES} times its size ({size:,} bytes from {reader.count:,}), "
                "which no text does; unpack it if it is what you want"
            )
        held.append(piece)
        if size > _SURE:
            yield from held
            held = []
    yield from held


def _of_zstandard(reader: Reader) -> Iterator[bytes]:
    # Not stream_reader, which takes the end of a file cut short for the end of its text.
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    while packed := reader.read(_PACKED):
        while packed:
            if unpacker.eof:
                unpacker = zstandard.ZstdDecompressor().decompressobj()
            content = unpacker.decompress(packed)
            yield from (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))
            packed = unpacker.unused_data if unpacker.eof else b""
    if not unpacker.eof:
        raise EOFError("the last frame has no end")


def is_packed(path: Path) -> bool:
    """Whether a file is packed, by its name."""
    return path.suffix in PACKINGS[1:]


def stated_size(path: Path) -> int | None:
    """Return the bytes that a file unpacks to, as it states itself; None where it does not.

    Of files put one after the other only one is stated.
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
