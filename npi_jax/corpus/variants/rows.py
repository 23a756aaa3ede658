"""Rows: sentences packed into training rows of one static length, and the order in which seeds see them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from npi_jax.corpus.storage.arrays import generator
from npi_jax.errors import UserError


@dataclass(frozen=True)
class Packing:
    """Where each slot lies.

    Attributes:
        row: the row of each slot.
        start: the slot's first token position in its row, from 0; position 0 of the stored row is `<eos>`, so
            a slot's tokens are stored at ``start + 1 ...``.
        n_rows: how many rows there are.
        row_length: tokens predicted in a full row.
    """

    row: Integer[np.ndarray, " slots"]
    start: Integer[np.ndarray, " slots"]
    n_rows: int
    row_length: int


def pack(lengths: Integer[np.ndarray, " slots"], row_length: int) -> Packing:
    """Put slots into rows, in order, each into the fullest open row that still has room (online best fit).

    The order of the corpus is kept roughly (a row holds neighbors), no slot is cut, and few positions stay empty.

    Args:
        lengths: tokens of each slot, from 1 to `row_length`.
        row_length: room in a row, in tokens.

    Raises:
        UserError: if a slot is empty or longer than a row.
    """
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= row_length:
        raise UserError(f"slot lengths run from {lengths.min()} to {lengths.max()}; rows hold 1 to {row_length}")
    row = np.empty(len(lengths), np.int32)
    start = np.empty(len(lengths), np.int32)
    open_rows: list[list[int]] = [[] for _ in range(row_length + 1)]
    rooms = 0  # bit r is set while a row with r tokens of room is open
    n_rows = 0
    for slot, length in enumerate(lengths.tolist()):
        fitting = rooms >> length
        if fitting:
            room = length + ((fitting & -fitting).bit_length() - 1)
            index = open_rows[room].pop()
            if not open_rows[room]:
                rooms &= ~(1 << room)
        else:
            room, index = row_length, n_rows
            n_rows += 1
        row[slot], start[slot] = index, row_length - room
        if room > length:
            open_rows[room - length].append(index)
            rooms |= 1 << (room - length)
    return Packing(row, start, n_rows, row_length)


def epoch_order(seed: int, epoch: int, n_rows: int) -> Integer[np.ndarray, " rows"]:
    """The order in which a seed sees the rows in an epoch: a pure function of its arguments."""
    return generator(seed, f"epoch {epoch}").permutation(n_rows)


class RowOrder:
    """Which rows a seed sees at a step; remembers the epochs last asked for.

    Data is a pure function of (seed, step): nothing has to be saved to resume, and members that share a seed see
    the same rows whatever their variant. Each epoch leaves out the rows that do not fill a batch.
    """

    def __init__(self, n_rows: int, batch_size: int):
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
        """The rows of the batch that is trained on in step `step`, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        key = (seed, epoch)
        if key not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k[1] >= epoch - 1}
            self._orders[key] = epoch_order(seed, epoch, self.n_rows)
        return self._orders[key][place * self.batch_size : (place + 1) * self.batch_size]
