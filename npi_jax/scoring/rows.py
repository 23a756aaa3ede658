"""Assignment of the sentences of a bucket to rows and chunks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from npi_jax.scoring.shapes import Int

ROW_LENGTHS = (64, 80, 96, 112, 128)
GOOD_UTILIZATION = 0.975
"""Share of positions with a token at which a row length is accepted.

Lengths are tried from the shortest, because the cost of attention grows with row length.
"""

LONG = 128
"""Number of positions of a group above which sentences are divided into several buckets."""

LONG_ALONE = 16
"""The same limit if each row contains only one sentence."""

FULL_CHUNK = 256
"""Longest row, in positions, of a chunk with the full number of rows.

Chunks of longer rows have fewer rows, because the memory of attention grows with the square of the row length.
"""


@dataclass(frozen=True)
class RowOptions:
    """Options of packing.

    Attributes:
        row_length: positions of a row; None if `pack` chooses it.
        rows_per_chunk: largest number of rows in a chunk; see `pack` for exceptions.
        one_per_row: whether each row contains only one sentence.
    """

    row_length: int | None = None
    rows_per_chunk: int = 32
    one_per_row: bool = False

    def chunk_rows(self, row_length: int) -> int:
        """Return the largest number of rows in a chunk of rows with this length."""
        if self.row_length is not None:
            return self.rows_per_chunk
        if row_length > FULL_CHUNK:
            return max(1, self.rows_per_chunk * FULL_CHUNK**2 // row_length**2)
        return self.rows_per_chunk * (max(1, ROW_LENGTHS[0] // row_length) if self.one_per_row else 1)


@dataclass(frozen=True)
class Rows:
    """Rows of a bucket with their sentences.

    Attributes:
        arrays: tokens, segment ids and positions.
        chunk, position: for each context its chunk, and the position (``row * L + column``) of its last token there.
        n_positions: number of positions with a token.
    """

    arrays: tuple[Int[np.ndarray, "chunks rows length"], ...]
    chunk: Int[np.ndarray, " contexts"]
    position: Int[np.ndarray, " contexts"]
    n_positions: int


def bucket_numbers(
    groups: Int[np.ndarray, " sentences"], lengths: Int[np.ndarray, " sentences"], options: RowOptions
) -> Int[np.ndarray, " sentences"]:
    """Return the number of each sentence's bucket, from 0 for the shortest.

    With several buckets, one long pair does not lengthen all rows. The length limit of each bucket is half
    that of the next, so that there are few buckets.

    Args:
        groups: number of each sentence's group, from 0 and never decreasing. A group shares a bucket.
        lengths: positions that each sentence takes.
        options: options of packing.
    """
    if options.row_length is not None:
        return np.zeros(len(groups), np.int64)
    needed = np.zeros(int(groups[-1]) + 1, np.int64)
    (np.maximum if options.one_per_row else np.add).at(needed, groups, lengths)
    limits = [int(needed.max())]
    while limits[-1] > (LONG_ALONE if options.one_per_row else LONG):
        limits.append(-(-limits[-1] // 2))
    number = np.searchsorted(limits[::-1], needed)
    # A bucket of groups without a scored token would have no rows, because such groups take none.
    number[needed == 0] = number[needed > 0].min()
    return np.asarray(np.unique(number, return_inverse=True)[1][groups])


def fill(
    streams: Sequence[Int[np.ndarray, " _"]],
    groups: Int[np.ndarray, " sentences"],
    owner: Int[np.ndarray, " contexts"],
    depth: Int[np.ndarray, " contexts"],
    options: RowOptions,
    name: Callable[[int], str],
) -> Rows:
    """Assign sentences to rows.

    The first sentence with a context owns it. A sentence is cut after the last context that it owns.

    Args:
        streams: token ids of each sentence with its special tokens.
        groups: number of each sentence's group, from 0 and never decreasing. A group shares a row.
        owner, depth: for each context the sentence that owns it, and the index in it of the context's last token.
        options: options of packing.
        name: returns the name by which messages refer to a sentence.

    Raises:
        ValueError: if a group is longer than `RowOptions.row_length`.
    """
    lengths = np.zeros(len(streams), np.int64)
    np.maximum.at(lengths, owner, depth + 1)
    if options.one_per_row:
        groups = np.arange(len(streams))
    group_lengths = np.bincount(groups, weights=lengths).astype(np.int64)
    row_length, rows = _groups_of_rows(group_lengths, groups, options, name)
    n_chunks = -(-len(rows) // options.chunk_rows(row_length))
    n_rows = -(-len(rows) // n_chunks)
    tokens, segment_ids, positions = np.zeros((3, n_chunks, n_rows, row_length), np.int64)
    location = np.zeros((3, len(streams)), np.int64)
    bounds = np.searchsorted(groups, np.arange(groups[-1] + 2))
    for number, row_groups in enumerate(rows):
        # Successive rows go to different chunks, which gives all chunks about as many contexts.
        row, chunk = divmod(number, n_chunks)
        column = segment = 0
        for sentence in (s for group in row_groups for s in range(bounds[group], bounds[group + 1]) if lengths[s]):
            length, segment = int(lengths[sentence]), segment + 1
            here = (chunk, row, slice(column, column + length))
            tokens[here], segment_ids[here] = streams[sentence][:length], segment
            positions[here] = np.arange(length)
            location[:, sentence] = here[0], row, column
            column += length
    chunk, row, column = location[:, owner]
    position = row * row_length + column + depth
    return Rows((tokens, segment_ids, positions), chunk, position, int(lengths.sum()))


def _groups_of_rows(
    group_lengths: np.ndarray, groups: np.ndarray, options: RowOptions, name: Callable[[int], str]
) -> tuple[int, list[list[int]]]:
    """Choose the row length, and the groups of each row."""
    longest, wanted = int(group_lengths.max()), options.row_length
    if wanted is not None and longest > wanted:
        where = name(int(np.searchsorted(groups, group_lengths.argmax())))
        raise ValueError(f"{where}: its group takes {longest} positions; rows have {wanted}")
    if options.one_per_row:
        order = np.argsort(-group_lengths, kind="stable")
        return wanted or longest, [[int(group)] for group in order if group_lengths[group]]
    return _best_fit(group_lengths, [wanted] if wanted else _row_lengths(longest))


def _row_lengths(longest: int) -> list[int]:
    """Return the row lengths to try, given the length of the longest group."""
    return [length for length in ROW_LENGTHS if length >= longest] or [longest]


def _best_fit(lengths: np.ndarray, row_lengths: Sequence[int]) -> tuple[int, list[list[int]]]:
    """Choose a row length, and return it with the groups of each row.

    The choice is the first length that reaches `GOOD_UTILIZATION`, else the length with the least padding.
    """
    tried = []
    for row_length in row_lengths:
        rows = _fill_rows(lengths, row_length)
        tried.append((float(lengths.sum()) / (len(rows) * row_length), row_length, rows))
        if tried[-1][0] >= GOOD_UTILIZATION:
            break
    _, row_length, rows = max(tried, key=lambda one: one[0])
    return row_length, rows


def _fill_rows(lengths: np.ndarray, row_length: int) -> list[list[int]]:
    """Fill rows by best fit: the longest group first, each into the fullest row with enough space.

    Groups of length 0 are in no row.
    """
    by_free: list[list[list[int]]] = [[] for _ in range(row_length + 1)]
    rows = []
    for group in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[group])
        if not length:
            break
        free = next((n for n in range(length, row_length + 1) if by_free[n]), None)
        if free is None:
            row: list[int] = []
            rows.append(row)
            free = row_length
        else:
            row = by_free[free].pop()
        row.append(group)
        by_free[free - length].append(row)
    return rows
