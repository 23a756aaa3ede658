"""Choice of donor sentences, which fill the slots of removed sentences."""

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.variants.slot_contents import Pieces
from npi_jax.errors import UserError


class Donors:
    """Donor sentences of a corpus: those without an item. The first choice for a slot is the same in all variants.

    Args:
        corpus: the corpus.
        seed: seed of the random order of donors.
    """

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self._lengths = np.asarray(corpus.lengths)
        rng = generator(seed, "donors")
        holds_item = np.zeros(len(corpus), bool)
        holds_item[corpus.annotations.sentence[corpus.annotations.holds_item]] = True
        self._by_length = self._group_by_length(rng.permutation(np.flatnonzero(~holds_item)))
        self._rank = self._rank_within_length(rng)

    def _group_by_length(self, sentences: Integer[np.ndarray, " donors"]) -> dict[int, np.ndarray]:
        """Return the donors of each length in tokens, in their random order."""
        own_lengths = self._lengths[sentences]
        order = np.argsort(own_lengths, kind="stable")
        lengths, starts = np.unique(own_lengths[order], return_index=True)
        ends = [*starts[1:].tolist(), len(sentences)][: len(lengths)]
        return {
            int(length): sentences[order[start:end]] for length, start, end in zip(lengths, starts, ends, strict=True)
        }

    def _rank_within_length(self, rng: np.random.Generator) -> Integer[np.ndarray, " sentences"]:
        """Return a random rank of each slot among the slots of its length; the rank determines the donor."""
        shuffled = rng.permutation(len(self._lengths))
        order = shuffled[np.argsort(self._lengths[shuffled], kind="stable")]
        _, starts, counts = np.unique(self._lengths[order], return_index=True, return_counts=True)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - np.repeat(starts, counts)
        return rank

    def fill(
        self,
        slots: Integer[np.ndarray, " slots"],
        barred: Bool[np.ndarray, " sentences"] | None = None,
        *,
        last_resort: Bool[np.ndarray, " sentences"] | None = None,
    ) -> tuple[Pieces, int]:
        """Fill slots; return also the number of slots without a donor of equal length.

        Args:
            slots: slots in increasing order.
            barred: sentences that may not be donors, such as removed sentences. A slot whose donor is barred gets the
                next donor of that length; the other slots keep their donors.
            last_resort: the barred sentences that may fill a slot that has no other donor of its length; None for none.
        """
        barred = np.zeros(len(self._lengths), bool) if barred is None else barred
        donors = self._equal_length_donors(slots, barred)
        if last_resort is not None:
            left = np.flatnonzero(donors < 0)
            donors[left] = self._equal_length_donors(slots[left], barred & ~last_resort)
        matched = donors >= 0
        pieces = Pieces.of_sentences(slots[matched], donors[matched], self._lengths)
        unmatched = slots[~matched]
        if len(unmatched):
            pieces = pieces.join(self._fill_in_pieces(unmatched, barred))
        return pieces.where(np.argsort(pieces.slot, kind="stable")), len(unmatched)

    def _equal_length_donors(
        self, slots: Integer[np.ndarray, " slots"], barred: Bool[np.ndarray, " sentences"]
    ) -> Integer[np.ndarray, " slots"]:
        """Return a donor of equal length for each slot; -1 for none."""
        donors = np.full(len(slots), -1, np.int64)
        for length in np.unique(self._lengths[slots]).tolist():
            if length in self._by_length:
                at = np.flatnonzero(self._lengths[slots] == length)
                donors[at] = self._next_allowed(slots[at], self._by_length[length], barred)
        return donors

    def _next_allowed(
        self,
        slots: Integer[np.ndarray, " slots"],
        pool: Integer[np.ndarray, " donors"],
        barred: Bool[np.ndarray, " sentences"],
    ) -> Integer[np.ndarray, " slots"]:
        """Return for each slot the donor at its rank in the pool, or the next allowed one; -1 for none."""
        donors = pool[self._rank[slots] % len(pool)]
        for step in range(1, len(pool) + 1):
            rejected = np.flatnonzero((donors == slots) | barred[donors])
            if not len(rejected):
                return donors
            if step < len(pool):
                donors[rejected] = pool[(self._rank[slots[rejected]] + step) % len(pool)]
        donors[rejected] = -1
        return donors

    def _fill_in_pieces(self, slots: Integer[np.ndarray, " slots"], barred: Bool[np.ndarray, " sentences"]) -> Pieces:
        """Fill each slot with the beginning of a longer donor, or with several shorter donors."""
        allowed = {length: pool[~barred[pool]] for length, pool in self._by_length.items()}
        allowed = {length: pool for length, pool in allowed.items() if len(pool)}
        if not allowed:
            raise UserError("no sentence without an item is left to fill the slots; use corpus.removal='delete'")
        pieces: list[tuple[int, int, int, int]] = []
        for slot in slots.tolist():
            start, left = 0, int(self._lengths[slot])
            while left:
                usable = [length for length, pool in allowed.items() if len(pool) > 1 or pool[0] != slot]
                if not usable:
                    raise UserError("the only sentence without an item cannot replace itself; give more text")
                length = min((length for length in usable if length >= left), default=max(usable))
                taken = min(left, length)
                donor = int(self._next_allowed(np.array([slot]), self._by_length[length], barred)[0])
                pieces.append((slot, donor, start, taken))
                start, left = start + taken, left - taken
        return Pieces(*np.array(pieces, np.int64).T)

    def draw(self, length: int, rng: np.random.Generator, *, barred: Bool[np.ndarray, " sentences"]) -> int | None:
        """Draw a random donor of a given length that is not barred; None if there is none."""
        pool = self._by_length.get(length, np.zeros(0, np.int64))
        pool = pool[~barred[pool]]
        return int(rng.choice(pool)) if len(pool) else None
