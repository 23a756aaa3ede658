"""Rendering of slot contents as rows of tokens."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer

from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.storage.arrays import spread
from npi_jax.corpus.variants.rows import Packing
from npi_jax.corpus.variants.slot_contents import Pieces, SlotContents

_ROWS_AT_ONCE = 20_000


@runtime_checkable
class RowSink(Protocol):
    """Receives rendered rows in order."""

    def append(self, *, tokens: Integer[np.ndarray, "rows length_and_one"], used: Integer[np.ndarray, " rows"]) -> None:
        """Append rows, given as tokens and numbers of used tokens."""


class RowsInMemory:
    """A `RowSink` that keeps the rows in memory."""

    def __init__(self) -> None:
        self.tokens: list[np.ndarray] = []
        self.used: list[np.ndarray] = []

    def append(self, *, tokens: Integer[np.ndarray, "rows length_and_one"], used: Integer[np.ndarray, " rows"]) -> None:
        """Keep rows."""
        self.tokens.append(tokens)
        self.used.append(used)


class Renderer:
    """Renders rows and writes them to a sink. The index of a row in the pool is the number of rows before it.

    Args:
        corpus: the corpus with the tokens.
        row_length: number of tokens per row.
        sink: receives the rows.
    """

    def __init__(self, corpus: Corpus, row_length: int, sink: RowSink) -> None:
        self.corpus, self.row_length, self.sink = corpus, row_length, sink
        self.lengths: Integer[np.ndarray, " sentences"] = np.asarray(corpus.lengths)
        self._written = 0

    def write(self, contents: SlotContents, rows: Integer[np.ndarray, " rows"]) -> Integer[np.ndarray, " rows"]:
        """Render and write some rows, given in increasing order; return their indices in the pool."""
        packing = contents.packing
        order = np.argsort(packing.row, kind="stable")
        starts = np.searchsorted(packing.row, np.arange(packing.n_rows + 1), sorter=order)
        indices = [np.zeros(0, np.int64)]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            chunk = rows[start : start + _ROWS_AT_ONCE]
            slots = order[spread(starts[chunk], starts[chunk + 1] - starts[chunk])]
            indices.append(self.append(*self.render(contents, chunk, slots)))
        return np.concatenate(indices)

    def append(
        self, tokens: Integer[np.ndarray, "rows length_and_one"], used: Integer[np.ndarray, " rows"]
    ) -> Integer[np.ndarray, " rows"]:
        """Write rendered rows; return their indices in the pool."""
        self.sink.append(tokens=tokens, used=used)
        indices = np.arange(self._written, self._written + len(used))
        self._written += len(used)
        return indices

    def render(
        self, contents: SlotContents, rows: Integer[np.ndarray, " rows"], slots: Integer[np.ndarray, " slots"]
    ) -> tuple[Integer[np.ndarray, "rows length_and_one"], Integer[np.ndarray, " rows"]]:
        """Render rows, given in increasing order, and all their slots; return tokens and numbers of used tokens."""
        width = self.row_length + 1
        pieces = contents.of(slots, self.lengths)
        tokens = np.full(len(rows) * width, self.corpus.eos, self.corpus.tokens.dtype)
        self.overwrite(tokens.reshape(-1, width), contents.packing, rows, pieces)
        if contents.edits:
            starts = self._starts(contents.packing, rows, pieces)
            for at in np.flatnonzero(np.isin(pieces.sentence, list(contents.edits)) & (pieces.start == 0)):
                edited = contents.edits[int(pieces.sentence[at])]
                tokens[starts[at] : starts[at] + pieces.length[at] - 1] = edited.tokens[:-1]
        row = np.searchsorted(rows, contents.packing.row[pieces.slot])
        used = np.bincount(row, weights=pieces.length, minlength=len(rows)).astype(np.int32)
        return tokens.reshape(len(rows), width), used

    def overwrite(
        self,
        tokens: Integer[np.ndarray, "rows length_and_one"],
        packing: Packing,
        rows: Integer[np.ndarray, " rows"],
        pieces: Pieces,
    ) -> None:
        """Write pieces into rendered rows, in place."""
        n_tokens = pieces.length - 1  # the <eos> is in place already, also after a truncated sentence
        source = spread(self.corpus.offsets[pieces.sentence], n_tokens)
        tokens.reshape(-1)[spread(self._starts(packing, rows, pieces), n_tokens)] = self.corpus.tokens[source]

    def _starts(
        self, packing: Packing, rows: Integer[np.ndarray, " rows"], pieces: Pieces
    ) -> Integer[np.ndarray, " pieces"]:
        """Return the start of each piece in the concatenated tokens of the rows."""
        row = np.searchsorted(rows, packing.row[pieces.slot])
        return row * (self.row_length + 1) + packing.start[pieces.slot] + 1 + pieces.start
