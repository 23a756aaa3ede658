"""Contents of the slots of a variant: original sentences, or pieces of donors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.storage.arrays import spread
from npi_jax.corpus.variants.edits import EditedSentence
from npi_jax.corpus.variants.rows import Packing


@dataclass(frozen=True)
class Pieces:
    """Sentences, or the beginnings of sentences, that fill slots or parts of slots.

    Attributes:
        slot: slot of each piece, in increasing order.
        sentence: sentence from which the piece is taken, beginning with its first token.
        start: position in the slot of the first token of the piece.
        length: number of tokens of the piece; the last one is `<eos>`.
    """

    slot: Integer[np.ndarray, " pieces"]
    sentence: Integer[np.ndarray, " pieces"]
    start: Integer[np.ndarray, " pieces"]
    length: Integer[np.ndarray, " pieces"]

    @classmethod
    def empty(cls) -> "Pieces":
        """Return an object without pieces."""
        return cls(*(np.zeros(0, np.int64) for _ in range(4)))

    @classmethod
    def of_sentences(
        cls,
        slot: Integer[np.ndarray, " pieces"],
        sentence: Integer[np.ndarray, " pieces"],
        lengths: Integer[np.ndarray, " sentences"],
    ) -> "Pieces":
        """Return complete sentences, each of which fills one slot."""
        return cls(slot, sentence, np.zeros_like(slot), lengths[sentence].astype(np.int64))

    def __len__(self) -> int:
        return len(self.slot)

    def where(self, chosen: Bool[np.ndarray, " pieces"] | Integer[np.ndarray, " chosen"]) -> "Pieces":
        """Return some of the pieces, by mask or by index."""
        return Pieces(self.slot[chosen], self.sentence[chosen], self.start[chosen], self.length[chosen])

    def join(self, other: "Pieces") -> "Pieces":
        """Return these pieces followed by others; the result is not in the order of slots."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("slot", "sentence", "start", "length"))
        return Pieces(*map(np.concatenate, pairs))


@dataclass(frozen=True)
class SlotContents:
    """Contents of every slot of a variant.

    Attributes:
        packing: position of each slot in the rows.
        original: number of each slot's sentence in the corpus.
        removed: mask of the slots whose original sentence was removed.
        pieces: pieces that fill removed slots.
        edits: sentences with replaced words, by number of the sentence.
    """

    packing: Packing
    original: Integer[np.ndarray, " slots"]
    removed: Bool[np.ndarray, " slots"]
    pieces: Pieces = field(default_factory=Pieces.empty)
    edits: Mapping[int, EditedSentence] = field(default_factory=dict)

    def of(self, slots: Integer[np.ndarray, " chosen"], lengths: Integer[np.ndarray, " sentences"]) -> Pieces:
        """Return the contents of some slots as pieces, in any order."""
        kept, removed = slots[~self.removed[slots]], slots[self.removed[slots]]
        originals = Pieces.of_sentences(kept, self.original[kept], lengths)
        first = np.searchsorted(self.pieces.slot, removed)
        count = np.searchsorted(self.pieces.slot, removed, side="right") - first
        return originals.join(self.pieces.where(spread(first, count)))
