"""Rows of fixed length into which sentences are packed, and the order of the rows for each seed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from npi_jax.corpus.storage.arrays import generator
from npi_jax.errors import UserError


@dataclass(frozen=True)
class Packing:
    """Positions of slots in rows.

    Attributes:
        row: row of each slot.
        start: first token of each slot in its row, from 0. A stored row begins with `<eos>`, so the tokens of a slot
            are stored from ``start + 1``.
        n_rows: number of rows.
        row_length: number of predicted tokens of a full row.
    """

    row: Integer[np.ndarray, " slots"]
    start: Integer[np.ndarray, " slots"]
    n_rows: int
    row_length: int


def pack(lengths: Integer[np.ndarray, " slots"], row_length: int) -> Packing:
    """Pack slots into rows in order, each into the fullest open row with enough free tokens (online best fit).

    The sentences of most rows are close to each other in the text. No slot is split, and few tokens stay unused.

    Args:
        lengths: number of tokens of each slot, from 1 to `row_length`.
        row_length: number of tokens of a row.

    Raises:
        UserError: if a slot is empty or longer than a row.
    """
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= row_length:
        raise UserError(f"slot lengths run from {lengths.min()} to {lengths.max()}; rows hold 1 to {row_length}")
    row = np.empty(len(lengths), np.int32)
    start = np.empty(len(lengths), np.int32)
    open_rows = _OpenRows(row_length)
    n_rows = 0
    for slot, length in enumerate(lengths.tolist()):
        index, free = open_rows.take(length)
        if index < 0:
            index, free = n_rows, row_length
            n_rows += 1
        row[slot], start[slot] = index, row_length - free
        open_rows.add(index, free - length)
    return Packing(row, start, n_rows, row_length)


class _OpenRows:
    """Rows with free tokens, by their number of free tokens."""

    def __init__(self, row_length: int) -> None:
        self._by_free: list[list[int]] = [[] for _ in range(row_length + 1)]
        self._bits = 0  # bit n is 1 while a row with n free tokens is open

    def take(self, length: int) -> tuple[int, int]:
        """Remove the fullest row with enough free tokens; return its index and number of free tokens, or -1, -1."""
        fitting = self._bits >> length
        if not fitting:
            return -1, -1
        free = length + ((fitting & -fitting).bit_length() - 1)
        index = self._by_free[free].pop()
        if not self._by_free[free]:
            self._bits &= ~(1 << free)
        return index, free

    def add(self, index: int, free: int) -> None:
        """Add a row, unless it is full."""
        if free:
            self._by_free[free].append(index)
            self._bits |= 1 << free


def epoch_order(seed: int, epoch: int, n_rows: int) -> Integer[np.ndarray, " rows"]:
    """Return the order of the rows in an epoch; equal arguments give equal orders."""
    return generator(seed, f"epoch {epoch}").permutation(n_rows)


class RowOrder:
    """Rows of each seed and step; the orders of recent epochs are kept in memory.

    The rows of a batch are a pure function of seed and step, so that resuming needs no saved state. Members that share
    a seed read rows in the same order in all variants with equal numbers of rows. Each epoch omits its last rows if
    they do not fill a batch.

    Args:
        n_rows: number of rows of the variant.
        batch_size: number of rows of a batch.

    Raises:
        UserError: if the rows do not fill a batch.
    """

    def __init__(self, n_rows: int, batch_size: int) -> None:
        if n_rows < batch_size:
            raise UserError(
                f"the corpus fills {n_rows} rows, fewer than one batch of {batch_size}: "
                "give more text, or lower train.batch_size or train.row_length"
            )
        self.n_rows = n_rows
        self.batch_size = batch_size
        self.steps_per_epoch = n_rows // batch_size
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    def rows(self, seed: int, step: int) -> Integer[np.ndarray, " batch"]:
        """Return the rows of the batch of a step; steps are counted from 0."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        key = (seed, epoch)
        if key not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k[1] >= epoch - 1}
            self._orders[key] = epoch_order(seed, epoch, self.n_rows)
        return self._orders[key][batch * self.batch_size : (batch + 1) * self.batch_size]
