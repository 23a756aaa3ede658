"""Rows: where each sentence of a bucket is run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

ROW_LENGTHS = (64, 80, 96, 112, 128)
GOOD_UTILIZATION = 0.975
"""Rows are made no longer than is needed to fill this share of them, since attention looks at whole rows."""

LONG = 128
"""Groups of more positions than this get rows of their own lengths."""

LONG_ALONE = 16
"""The same for sentences that have a row each."""

FULL_CHUNK = 256
"""Of longer rows a chunk has fewer, since attention takes memory for every two positions of a row."""


@dataclass(frozen=True)
class RowOptions:
    """How rows are made.

    Attributes:
        row_length: positions of a row; None to choose.
        rows_per_chunk: at most so many rows in a chunk.
        one_per_row: whether every sentence has a row of its own.
    """

    row_length: int | None = None
    rows_per_chunk: int = 32
    one_per_row: bool = False

    def chunk_rows(self, row_length: int) -> int:
        """Most rows of a chunk, where rows have so many positions."""
        if self.row_length is not None:
            return self.rows_per_chunk
        if row_length > FULL_CHUNK:
            return max(1, self.rows_per_chunk * FULL_CHUNK**2 // row_length**2)
        return self.rows_per_chunk * (max(1, ROW_LENGTHS[0] // row_length) if self.one_per_row else 1)


@dataclass(frozen=True)
class Rows:
    """Filled rows, [C, R, L] each of (tokens, segment_ids, positions), and for each context its chunk and place."""

    arrays: tuple[np.ndarray, np.ndarray, np.ndarray]
    chunk: np.ndarray
    position: np.ndarray
    n_positions: int


def bucket_numbers(groups: np.ndarray, lengths: np.ndarray, options: RowOptions) -> np.ndarray:
    """Return the number of each sentence's bucket, int [S], from 0 for the shortest.

    One long pair must not lengthen all rows. Lengths in a bucket differ by at most a factor of two (but in the first,
    which takes all that are short), so buckets are few, whatever the lengths.

    Args:
        groups: int [S], the number of each sentence's group, from 0 and not decreasing; a group shares a bucket.
        lengths: int [S], positions that each sentence takes.
        options: how rows are made.
    """
    if options.row_length is not None:
        return np.zeros(len(groups), np.int64)
    needed = np.zeros(int(groups[-1]) + 1, np.int64)
    (np.maximum if options.one_per_row else np.add).at(needed, groups, lengths)
    limits = [int(needed.max())]
    while limits[-1] > (LONG_ALONE if options.one_per_row else LONG):
        limits.append(-(-limits[-1] // 2))
    number = np.searchsorted(limits[::-1], needed)
    # Groups of which nothing is scored take no row and make no bucket.
    number[needed == 0] = number[needed > 0].min()
    return np.asarray(np.unique(number, return_inverse=True)[1][groups])


def fill(
    streams: Sequence[np.ndarray],
    groups: np.ndarray,
    owner: np.ndarray,
    depth: np.ndarray,
    options: RowOptions,
    name: Callable[[int], str],
) -> Rows:
    """Place each sentence as far as it owns contexts.

    Args:
        streams: what is read.
        groups: int [S], the number of each sentence's group, from 0 and not decreasing; a group shares a row.
        owner, depth: int [K], for each context its sentence and how many tokens come before its last.
        options: how rows are made.
        name: gives a sentence's name, for messages.

    Raises:
        ValueError: if a group is longer than the row length asked for.
    """
    lengths = np.zeros(len(streams), np.int64)
    np.maximum.at(lengths, owner, depth + 1)
    if options.one_per_row:
        groups = np.arange(len(streams))
    row_length, members = _members(np.bincount(groups, weights=lengths).astype(np.int64), groups, options, name)
    n_chunks = -(-len(members) // options.chunk_rows(row_length))
    n_rows = -(-len(members) // n_chunks)
    tokens, segment_ids, positions = np.zeros((3, n_chunks, n_rows, row_length), np.int64)
    place = np.zeros((3, len(streams)), np.int64)
    bounds = np.searchsorted(groups, np.arange(groups[-1] + 2))
    for number, row_groups in enumerate(members):
        # One row after another goes to another chunk: all chunks get about as many contexts.
        row, chunk = divmod(number, n_chunks)
        column = segment = 0
        for sentence in (s for group in row_groups for s in range(bounds[group], bounds[group + 1]) if lengths[s]):
            length, segment = int(lengths[sentence]), segment + 1
            here = (chunk, row, slice(column, column + length))
            tokens[here], segment_ids[here] = streams[sentence][:length], segment
            positions[here] = np.arange(length)
            place[:, sentence] = here[0], row, column
            column += length
    chunk, row, column = place[:, owner]
    position = row * row_length + column + depth
    return Rows((tokens, segment_ids, positions), chunk, position, int(lengths.sum()))


def _members(
    group_lengths: np.ndarray, groups: np.ndarray, options: RowOptions, name: Callable[[int], str]
) -> tuple[int, list[list[int]]]:
    """The rows' length, and the groups of each row."""
    longest, wanted = int(group_lengths.max()), options.row_length
    if wanted is not None and longest > wanted:
        where = name(int(np.searchsorted(groups, group_lengths.argmax())))
        raise ValueError(f"{where}: its group takes {longest} positions; rows have {wanted}")
    if options.one_per_row:
        order = np.argsort(-group_lengths, kind="stable")
        return wanted or longest, [[int(group)] for group in order if group_lengths[group]]
    return _best_fit(group_lengths, [wanted] if wanted else _row_lengths(longest))


def _row_lengths(longest: int) -> list[int]:
    """The row lengths to try where the longest group takes so many positions."""
    return [length for length in ROW_LENGTHS if length >= longest] or [longest]


def _best_fit(lengths: np.ndarray, row_lengths: Sequence[int]) -> tuple[int, list[list[int]]]:
    """The first of the row lengths that is filled well, or the one that is filled best, and the groups of its rows."""
    tried = []
    for row_length in row_lengths:
        rows = _fill_rows(lengths, row_length)
        tried.append((float(lengths.sum()) / (len(rows) * row_length), row_length, rows))
        if tried[-1][0] >= GOOD_UTILIZATION:
            break
    _, row_length, rows = max(tried, key=lambda one: one[0])
    return row_length, rows


def _fill_rows(lengths: np.ndarray, row_length: int) -> list[list[int]]:
    """Groups for each row: the longest first, each into the fullest row that has room; those of length 0 in none."""
    by_room: list[list[list[int]]] = [[] for _ in range(row_length + 1)]
    rows = []
    for group in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[group])
        if not length:
            break
        room = next((r for r in range(length, row_length + 1) if by_room[r]), None)
        if room is None:
            row: list[int] = []
            rows.append(row)
            room = row_length
        else:
            row = by_room[room].pop()
        row.append(group)
        by_room[room - length].append(row)
    return rows
