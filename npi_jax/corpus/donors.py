"""Donors: what stands in a slot whose sentence was taken out."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.layout import Pieces
from npi_jax.corpus.rows import generator
from npi_jax.corpus.store import Corpus
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
        self, slots: Integer[np.ndarray, " slots"], barred: Bool[np.ndarray, " sentences"] | None = None
    ) -> tuple[Pieces, int]:
        """What fills the slots, and how many of them not one donor of the very length fills.

        Args:
            slots: in increasing order.
            barred: sentences that are no donors here, such as those that are removed themselves.
        """
        pools = self._pools if barred is None else _allowed(self._pools, barred)
        if len(slots) and not pools:
            raise UserError("no sentence without an NPI is left to fill slots with; use corpus.removal='delete'")
        pieces: list[tuple[int, int, int, int]] = []
        sentence = np.full(len(slots), -1, np.int64)
        for length in np.unique(self._lengths[slots]).tolist():
            pool = pools.get(length)
            if pool is not None:
                where = np.flatnonzero(self._lengths[slots] == length)
                sentence[where] = self._exact(slots[where], pool)
        unmatched = np.flatnonzero(sentence < 0)
        for slot in slots[unmatched].tolist():
            pieces += self._pieces(pools, slot, int(self._lengths[slot]))
        exact = sentence >= 0
        columns = np.array(pieces, np.int64).reshape(-1, 4).T
        slot = np.concatenate([slots[exact], columns[0]])
        order = np.argsort(slot, kind="stable")
        lengths = np.concatenate([self._lengths[slots[exact]].astype(np.int64), columns[3]])
        starts = np.concatenate([np.zeros(int(exact.sum()), np.int64), columns[2]])
        filled = Pieces(
            slot[order],
            np.concatenate([sentence[exact], columns[1]])[order],
            starts[order],
            lengths[order],
        )
        return filled, len(unmatched)

    def _exact(self, slots: np.ndarray, pool: np.ndarray) -> np.ndarray:
        """A donor of the very length for each slot; -1 where the only one is the slot's own sentence."""
        donors = pool[self._rank[slots] % len(pool)]
        # A sentence that would replace itself makes way for the next one.
        itself = donors == slots
        donors[itself] = pool[(self._rank[slots[itself]] + 1) % len(pool)]
        return np.where(donors == slots, -1, donors)

    def _pieces(self, pools: Mapping[int, np.ndarray], slot: int, room: int) -> list[tuple[int, int, int, int]]:
        """Fill one slot without a donor of its length: with a longer one cut, else several shorter ones."""
        pieces = []
        start = 0
        while room:
            usable = [length for length, pool in pools.items() if len(pool) > 1 or pool[0] != slot]
            if not usable:
                raise UserError("the only sentence without an NPI cannot replace itself; give more text")
            fitting = min((length for length in usable if length >= room), default=max(usable))
            take = min(room, fitting)
            pieces.append((slot, int(self._exact(np.array([slot]), pools[fitting])[0]), start, take))
            start, room = start + take, room - take
        return pieces

    def draw(self, length: int, rng: np.random.Generator, *, other_than: int) -> int | None:
        """A donor of a length at random, not the given sentence; None if there is none."""
        pool = self._pools.get(length, np.zeros(0, np.int64))
        pool = pool[pool != other_than]
        return int(rng.choice(pool)) if len(pool) else None


def _allowed(pools: Mapping[int, np.ndarray], barred: np.ndarray) -> dict[int, np.ndarray]:
    """Pools without the barred sentences; those that lose none stay as they are, and so do their donors."""
    left = {length: pool[~barred[pool]] for length, pool in pools.items()}
    return {length: pool for length, pool in left.items() if len(pool)}
