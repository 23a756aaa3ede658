"""Arrays on disk: written piece by piece, and mapped into memory for reading."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
from jaxtyping import Shaped
from pydantic import Field, TypeAdapter

from npi_jax.files.checksums import DamagedError
from npi_jax.files.writing import Name, read_checked, write_json

_INDEX = "columns.json"


class ColumnWriter:
    """Writes one-dimensional arrays to a folder, piece by piece.

    The arrays can be read only after `close`. The folder should have a temporary name until then.

    Args:
        folder: where to write; created if it is missing.
        columns: names and dtypes of the arrays.
    """

    def __init__(self, folder: Path, columns: Mapping[str, np.dtype[Any] | type]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._dtypes = {name: np.dtype(dtype) for name, dtype in columns.items()}
        self._files: dict[str, BinaryIO] = {name: (folder / f"{name}.bin").open("wb") for name in columns}
        self._lengths = dict.fromkeys(columns, 0)
        self._digests = {name: hashlib.sha256() for name in columns}

    def append(self, **arrays: Shaped[np.ndarray, "..."]) -> None:
        """Append a piece to some of the arrays; a piece of several dimensions is flattened."""
        for name, array in arrays.items():
            content = np.ascontiguousarray(array, self._dtypes[name]).tobytes()
            self._files[name].write(content)
            self._digests[name].update(content)
            self._lengths[name] += array.size

    def close(self, **facts: Any) -> None:
        """Close the files; write an index with their lengths, dtypes and digests, and with the caller's facts."""
        for file in self._files.values():
            file.close()
        columns = {
            name: {
                "dtype": self._dtypes[name].str,
                "length": self._lengths[name],
                "sha256": self._digests[name].hexdigest(),
            }
            for name in self._files
        }
        write_json(self.folder / _INDEX, {"columns": columns, "facts": facts})

    def abandon(self) -> None:
        """Close the files without writing the index."""
        for file in self._files.values():
            file.close()

    def __enter__(self) -> "ColumnWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()


@dataclass(frozen=True)
class _Column:
    dtype: str
    length: Annotated[int, Field(ge=0)]
    sha256: str


@dataclass(frozen=True)
class _Index:
    columns: dict[Name, _Column]
    facts: dict[str, Any]


class Columns(Mapping[str, Shaped[np.ndarray, " _"]]):
    """The arrays of a folder, mapped into memory. Opening the folder reads all of them once to check their digests.

    Args:
        folder: a folder that a `ColumnWriter` wrote.

    Raises:
        UserError: naming the file that is missing, or whose length or digest is wrong (`DamagedError`).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / _INDEX).is_file():
            raise DamagedError(f"{folder / _INDEX}: missing")
        index = read_checked(folder / _INDEX, TypeAdapter(_Index).validate_json)
        self.facts = index.facts
        self.digests = {name: entry.sha256 for name, entry in index.columns.items()}
        self._arrays = {name: _map(folder / f"{name}.bin", entry) for name, entry in index.columns.items()}
        self._verify()

    def __getitem__(self, name: str) -> Shaped[np.ndarray, " _"]:
        if name not in self._arrays:
            raise DamagedError(f"{self.folder / _INDEX}: has no array {name!r}")
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Any:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def _verify(self) -> None:
        for name, digest in self.digests.items():
            path = self.folder / f"{name}.bin"
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise DamagedError(f"{path} does not match its checksum")


def _map(path: Path, entry: _Column) -> Shaped[np.ndarray, " _"]:
    length = entry.length
    try:
        dtype = np.dtype(entry.dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise DamagedError(f"{path}: no dtype is called {entry.dtype!r}") from error
    if dtype.hasobject or not path.is_file() or path.stat().st_size != length * dtype.itemsize:
        raise DamagedError(f"{path}: missing, or of the wrong length")
    # An empty file cannot be mapped.
    return np.memmap(path, dtype, "r", shape=(length,)) if length else np.zeros(0, dtype)
