"""Donors: what stands in a slot whose sentence was taken out."""

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.variants.layout import Pieces
from npi_jax.errors import UserError


class Donors:
    """For every slot the sentence that would replace it, chosen without regard to the variant."""

    def __init__(self, corpus: Corpus, seed: int):
        self._lengths = np.asarray(corpus.lengths)
        rng = generator(seed, "donors")
        holding = np.zeros(len(corpus), bool)
        holding[corpus.annotations.sentence[corpus.annotations.holds_item]] = True
        free = rng.permutation(np.flatnonzero(~holding))
        of_free = self._lengths[free]
        order = np.argsort(of_free, kind="stable")
        lengths, starts = np.unique(of_free[order], return_index=True)
        ends = [*starts[1:].tolist(), len(free)][: len(lengths)]
        self._pools = {
            int(length): free[order[start:end]] for length, start, end in zip(lengths, starts, ends, strict=True)
        }
        self._rank = self._rank_within_length(rng)

    def _rank_within_length(self, rng: np.random.Generator) -> np.ndarray:
        """A random rank of each slot among the slots of its length: donors are handed out in turn."""
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
        strict: bool = True,
    ) -> tuple[Pieces, int]:
        """What fills the slots, and how many of them not one donor of the very length fills.

        Args:
            slots: in increasing order.
            barred: sentences that are no donors here, such as those that are removed themselves. A slot whose donor is
                one of them gets the next donor of that length; other slots keep theirs.
            strict: whether a barred sentence is no donor even if a slot finds no other of its length.
        """
        barred = np.zeros(len(self._lengths), bool) if barred is None else barred
        sentence = np.full(len(slots), -1, np.int64)
        for length in np.unique(self._lengths[slots]).tolist():
            pool = self._pools.get(length)
            if pool is None:
                continue
            where = np.flatnonzero(self._lengths[slots] == length)
            sentence[where] = self._exact(slots[where], pool, barred)
            left = where[sentence[where] < 0]
            if len(left) and not strict:
                sentence[left] = self._exact(slots[left], pool, np.zeros_like(barred))
        exact = sentence >= 0
        found = Pieces.whole(slots[exact], sentence[exact], self._lengths)
        unmatched = slots[~exact]
        if len(unmatched):
            found = found.also(self._in_pieces(unmatched, barred))
        return found.where(np.argsort(found.slot, kind="stable")), len(unmatched)

    def _exact(self, slots: np.ndarray, pool: np.ndarray, barred: np.ndarray) -> np.ndarray:
        """A donor of the very length for each slot: the one of its rank, or the next that may be one; -1 for none."""
        donors = pool[self._rank[slots] % len(pool)]
        for step in range(1, len(pool) + 1):
            wrong = np.flatnonzero((donors == slots) | barred[donors])
            if not len(wrong):
                return donors
            if step < len(pool):
                donors[wrong] = pool[(self._rank[slots[wrong]] + step) % len(pool)]
        donors[wrong] = -1
        return donors

    def _in_pieces(self, slots: np.ndarray, barred: np.ndarray) -> Pieces:
        """Slots without a donor of their length, each filled by a longer one cut, else by several shorter ones."""
        allowed = {length: pool[~barred[pool]] for length, pool in self._pools.items()}
        allowed = {length: pool for length, pool in allowed.items() if len(pool)}
        if not allowed:
            raise UserError("no sentence without an NPI is left to fill slots with; use corpus.removal='delete'")
        pieces: list[tuple[int, int, int, int]] = []
        for slot in slots.tolist():
            start, room = 0, int(self._lengths[slot])
            while room:
                usable = [length for length, pool in allowed.items() if len(pool) > 1 or pool[0] != slot]
                if not usable:
                    raise UserError("the only sentence without an NPI cannot replace itself; give more text")
                fitting = min((length for length in usable if length >= room), default=max(usable))
                take = min(room, fitting)
                donor = int(self._exact(np.array([slot]), self._pools[fitting], barred)[0])
                pieces.append((slot, donor, start, take))
                start, room = start + take, room - take
        return Pieces(*np.array(pieces, np.int64).T)

    def draw(self, length: int, rng: np.random.Generator, *, barred: Bool[np.ndarray, " sentences"]) -> int | None:
        """A donor of a length at random that is not barred; None if there is none."""
        pool = self._pools.get(length, np.zeros(0, np.int64))
        pool = pool[~barred[pool]]
        return int(rng.choice(pool)) if len(pool) else None
