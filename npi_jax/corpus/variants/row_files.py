"""Rows in ArrayRecord files, for pools larger than memory; Grain reads them in any order and ahead of time."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from jaxtyping import Integer
from pydantic import Field, TypeAdapter

from npi_jax.corpus.variants.variant import RowPool
from npi_jax.errors import UserError, first_line
from npi_jax.files.checksums import DamagedError
from npi_jax.files.writing import Name, read_checked, write_json

ROWS_PER_FILE = 1 << 22
"""Default number of rows per file."""

PREFETCHED = 2
"""Default number of requests that are read ahead, besides the one that is being read."""

_INDEX = "records.json"
_COUNT = np.dtype("<i4")  # number of used tokens, at the start of each record
_CHUNK = 1 << 14  # rows

Request = TypeVar("Request")
Rows = TypeVar("Rows")


def write_records(
    folder: Path,
    pool: RowPool,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
    *,
    rows_per_file: int = ROWS_PER_FILE,
) -> None:
    """Write the rows of a pool. Each row is a record: the number of used tokens, then the tokens.

    Args:
        folder: output folder; should be a temporary one that is renamed afterwards.
        pool: the rows; can be mapped from disk.
        track: wraps the iteration over chunks of rows, to show progress.
        rows_per_file: largest number of rows per file, a multiple of `_CHUNK`.

    Raises:
        UserError: if Grain is not installed, or the files cannot be written.
    """
    check_grain()
    try:
        files = _write_files(folder, pool, track, rows_per_file)
    except (OSError, RuntimeError) as error:
        # ArrayRecord does not raise OSError when the disk is full.
        raise UserError(
            f"{folder}: rows cannot be written ({first_line(error)}); free disk space, or set NPI_JAX_CACHE or "
            "corpus.cache to another folder"
        ) from error
    sizes = [(folder / name).stat().st_size for name in files]
    facts = {"rows": len(pool.used), "width": pool.tokens.shape[1], "dtype": pool.tokens.dtype.newbyteorder("<").str}
    write_json(folder / _INDEX, {**facts, "files": dict(zip(files, sizes, strict=True))})


def _write_files(
    folder: Path, pool: RowPool, track: Callable[[Iterable[int]], Iterable[int]], rows_per_file: int
) -> list[str]:
    writer_class = _grain("array_record.python.array_record_module").ArrayRecordWriter
    files: list[str] = []
    writer = None
    for start in track(range(0, len(pool.used), _CHUNK)):
        if start % rows_per_file == 0:
            if writer is not None:
                writer.close()
            files.append(f"{len(files):05}.array_record")
            # Rows are read in random order, and ArrayRecord reads entire groups: a group is one row.
            writer = writer_class(str(folder / files[-1]), "group_size:1,uncompressed")
        assert writer is not None
        used, tokens = pool.used[start : start + _CHUNK], pool.tokens[start : start + _CHUNK]
        rows = np.empty(len(used), _record(tokens.dtype, tokens.shape[1]))
        rows["used"], rows["tokens"] = used, tokens
        for row in rows:
            writer.write(row.tobytes())
    if writer is not None:
        writer.close()
    return files


@dataclass(frozen=True)
class _Facts:
    rows: int
    width: Annotated[int, Field(ge=1)]
    dtype: Literal["<u2", "<u4"]
    files: dict[Name, int]


class RowRecords:
    """Rows that `write_records` wrote, read on demand.

    Args:
        folder: folder of the records.

    Raises:
        UserError: if Grain is not installed, or a file is missing or truncated.
    """

    def __init__(self, folder: Path) -> None:
        grain = _grain("grain")
        facts = read_checked(folder / _INDEX, TypeAdapter(_Facts).validate_json)
        for name, size in facts.files.items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                raise self._damaged(folder / name, "missing, or of another length than was written")
        self.folder = folder
        self.width, self.dtype = facts.width, np.dtype(facts.dtype)
        self._record = _record(self.dtype, self.width)
        try:
            self._source = grain.sources.ArrayRecordDataSource([str(folder / name) for name in facts.files])
        except (OSError, RuntimeError, ValueError) as error:
            raise self._damaged(folder, f"cannot be opened ({first_line(error)})") from error
        if len(self._source) != facts.rows:
            raise self._damaged(folder, f"contains {len(self._source):,} rows instead of {facts.rows:,}")

    def read(
        self, rows: Integer[np.ndarray, "*rows"]
    ) -> tuple[Integer[np.ndarray, "*rows length_and_one"], Integer[np.ndarray, "*rows"]]:
        """Read some rows; a row that is requested several times is read once.

        Args:
            rows: indices of the rows in the pool.

        Returns:
            tokens of the rows, and the number of used tokens of each.

        Raises:
            UserError: if a row cannot be read; every record has a checksum.
        """
        distinct, inverse = np.unique(rows, return_inverse=True)
        try:
            records = self._source.__getitems__(distinct.tolist()) if len(distinct) else []
        except (OSError, RuntimeError, ValueError) as error:
            advice = "run again: damaged rows are detected when they are opened, and rebuilt"
            raise self._damaged(self.folder, f"cannot be read ({first_line(error)}); {advice}") from error
        content = np.frombuffer(b"".join(records), self._record)[inverse.reshape(rows.shape)]
        return content["tokens"], content["used"]

    @staticmethod
    def _damaged(path: Path, what: str) -> DamagedError:
        return DamagedError(f"{path}: {what}")


def read_ahead(
    requests: Sequence[Request], read: Callable[[Request], Rows], *, ahead: int = PREFETCHED
) -> Iterator[Rows]:
    """Yield ``map(read, requests)``, computed ahead of time in another thread.

    Args:
        requests: arguments of `read`, in order.
        read: reads the rows of one request; its exceptions are raised when the result is requested.
        ahead: maximum number of results that are kept until they are requested.
    """
    grain = _grain("grain")
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=ahead)
    results: Iterator[Rows] = iter(grain.MapDataset.source(requests).map(read).to_iter_dataset(options))
    return results


def _record(tokens: np.dtype[Any], width: int) -> np.dtype[Any]:
    return np.dtype([("used", _COUNT), ("tokens", tokens.newbyteorder("<"), (width,))])


def check_grain() -> None:
    """Raise a `UserError` with the command that installs Grain, if Grain is not installed."""
    _grain("grain")
    _grain("array_record.python.array_record_module")


def _grain(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"reading rows from disk needs Grain, which is not installed: pip install 'npi-jax[grain]' ({error})"
        ) from error
