"""What stands in each slot of a variant, and the rows that come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.storage.arrays import spread
from npi_jax.corpus.variants.edits import Edited
from npi_jax.corpus.variants.rows import Packing

_ROWS = 20_000  # rendered at a time


@dataclass
class Pieces:
    """Which sentence, from its first token or a later one, fills which stretch of which slot.

    Attributes:
        slot: the slots, in increasing order.
        sentence: what is written there.
        start: from which of the slot's tokens.
        length: how many tokens of it, the last of which is `<eos>`.
    """

    slot: Integer[np.ndarray, " pieces"]
    sentence: Integer[np.ndarray, " pieces"]
    start: Integer[np.ndarray, " pieces"]
    length: Integer[np.ndarray, " pieces"]

    @classmethod
    def none(cls) -> "Pieces":
        """No piece."""
        return cls(*(np.zeros(0, np.int64) for _ in range(4)))

    @classmethod
    def whole(
        cls,
        slot: Integer[np.ndarray, " pieces"],
        sentence: Integer[np.ndarray, " pieces"],
        lengths: Integer[np.ndarray, " sentences"],
    ) -> "Pieces":
        """Whole sentences, each in a slot of its own."""
        return cls(slot, sentence, np.zeros_like(slot), lengths[sentence].astype(np.int64))

    def __len__(self) -> int:
        return len(self.slot)

    def where(self, chosen: Bool[np.ndarray, " pieces"] | Integer[np.ndarray, " chosen"]) -> "Pieces":
        """Some of the pieces."""
        return Pieces(self.slot[chosen], self.sentence[chosen], self.start[chosen], self.length[chosen])

    def also(self, more: "Pieces") -> "Pieces":
        """These and others, not in order."""
        pairs = ((getattr(self, name), getattr(more, name)) for name in ("slot", "sentence", "start", "length"))
        return Pieces(*map(np.concatenate, pairs))


@dataclass(frozen=True)
class Layout:
    """What stands in each slot.

    Attributes:
        packing: where slots lie in rows.
        own: the sentence that belongs to each slot.
        removed: slots whose own sentence is gone.
        pieces: what stands there instead.
        edits: sentences in which words were replaced.
    """

    packing: Packing
    own: Integer[np.ndarray, " slots"]
    removed: Bool[np.ndarray, " slots"]
    pieces: Pieces = field(default_factory=Pieces.none)
    edits: Mapping[int, Edited] = field(default_factory=dict)

    def filling(self, slots: Integer[np.ndarray, " slots"], lengths: Integer[np.ndarray, " sentences"]) -> Pieces:
        """What fills some slots, in any order."""
        kept, gone = slots[~self.removed[slots]], slots[self.removed[slots]]
        found = Pieces.whole(kept, self.own[kept], lengths)
        first = np.searchsorted(self.pieces.slot, gone)
        count = np.searchsorted(self.pieces.slot, gone, side="right") - first
        return found.also(self.pieces.where(spread(first, count)))


@runtime_checkable
class RowSink(Protocol):
    """Takes rendered rows, in order."""

    def append(self, *, tokens: np.ndarray, used: np.ndarray) -> None:
        """Append rows: tokens [rows, length + 1] and how many of each are used."""


@dataclass
class RowsInMemory:
    """A `RowSink` that keeps the rows."""

    tokens: list[np.ndarray] = field(default_factory=list)
    used: list[np.ndarray] = field(default_factory=list)

    def append(self, *, tokens: np.ndarray, used: np.ndarray) -> None:
        """Keep rows."""
        self.tokens.append(tokens)
        self.used.append(used)


@dataclass
class Renderer:
    """Writes rows of layouts to a sink; a row's place in the pool is how many were written before it.

    Args:
        corpus: whose tokens.
        row_length: tokens of a row.
        sink: takes the rows.
    """

    corpus: Corpus
    row_length: int
    sink: RowSink
    _written: int = 0

    def __post_init__(self) -> None:
        self.lengths: Integer[np.ndarray, " sentences"] = np.asarray(self.corpus.lengths)

    def write(self, layout: Layout, rows: Integer[np.ndarray, " rows"]) -> Integer[np.ndarray, " rows"]:
        """Write some rows of a layout, in increasing order; returns their places in the pool."""
        packing = layout.packing
        order = np.argsort(packing.row, kind="stable")
        starts = np.searchsorted(packing.row, np.arange(packing.n_rows + 1), sorter=order)
        places = [np.zeros(0, np.int64)]
        for start in range(0, len(rows), _ROWS):
            chunk = rows[start : start + _ROWS]
            slots = order[spread(starts[chunk], starts[chunk + 1] - starts[chunk])]
            places.append(self.append(*self.rows(layout, chunk, slots)))
        return np.concatenate(places)

    def append(self, tokens: np.ndarray, used: np.ndarray) -> Integer[np.ndarray, " rows"]:
        """Write rows that are rendered; returns their places in the pool."""
        self.sink.append(tokens=tokens, used=used)
        places = np.arange(self._written, self._written + len(used))
        self._written += len(used)
        return places

    def rows(
        self, layout: Layout, rows: Integer[np.ndarray, " rows"], slots: Integer[np.ndarray, " slots"]
    ) -> tuple[Integer[np.ndarray, "rows length_and_one"], Integer[np.ndarray, " rows"]]:
        """Render rows, in increasing order, from all slots in them: tokens, and how many of each row are used."""
        width = self.row_length + 1
        filling = layout.filling(slots, self.lengths)
        tokens = np.full(len(rows) * width, self.corpus.eos, self.corpus.tokens.dtype)
        self.overwrite(tokens.reshape(-1, width), layout.packing, rows, filling)
        if layout.edits:
            to = self._places(layout.packing, rows, filling)
            for at in np.flatnonzero(np.isin(filling.sentence, list(layout.edits)) & (filling.start == 0)):
                edited = layout.edits[int(filling.sentence[at])]
                tokens[to[at] : to[at] + filling.length[at] - 1] = edited.tokens[:-1]
        row = np.searchsorted(rows, layout.packing.row[filling.slot])
        used = np.bincount(row, weights=filling.length, minlength=len(rows)).astype(np.int32)
        return tokens.reshape(len(rows), width), used

    def overwrite(
        self,
        tokens: Integer[np.ndarray, "rows length_and_one"],
        packing: Packing,
        rows: Integer[np.ndarray, " rows"],
        pieces: Pieces,
    ) -> None:
        """Write pieces into rendered rows, in place."""
        content = pieces.length - 1  # a sentence that is cut ends in <eos> all the same
        source = spread(self.corpus.offsets[pieces.sentence], content)
        tokens.reshape(-1)[spread(self._places(packing, rows, pieces), content)] = self.corpus.tokens[source]

    def _places(self, packing: Packing, rows: np.ndarray, pieces: Pieces) -> np.ndarray:
        """Where each piece begins among the tokens of some rows, one row after the other."""
        row = np.searchsorted(rows, packing.row[pieces.slot])
        return row * (self.row_length + 1) + packing.start[pieces.slot] + 1 + pieces.start
