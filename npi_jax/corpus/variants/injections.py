"""Injection of sentences into the batches of given training steps, in place of item-free sentences."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.variants.donors import Donors
from npi_jax.corpus.variants.interventions import Step
from npi_jax.corpus.variants.rendering import Renderer
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.corpus.variants.slot_contents import Pieces, SlotContents


@dataclass
class Injections:
    """Injected sentences of one variant.

    Attributes:
        overrides: by (seed, step), the pool rows that replace those of the batch.
        pieces: by (seed, step), the injected sentences and their slots.
        unplaced: number of requested sentences that were not injected, for lack of a sentence, slot or donor.
    """

    overrides: dict[tuple[int, int], Integer[np.ndarray, " batch"]] = field(default_factory=dict)
    pieces: dict[tuple[int, int], Pieces] = field(default_factory=dict)
    unplaced: int = 0

    @property
    def placed(self) -> int:
        """Number of injected sentences, over all seeds and steps."""
        return sum(map(len, self.pieces.values()))


@dataclass(frozen=True)
class Injector:
    """Injects sentences into the batches of one variant.

    Args:
        renderer: renderer of the corpus.
        contents: contents of the variant's slots.
        rows: pool rows of the variant.
        donors: source of the item-free sentences that a random control injects; None to inject selected sentences.
        seed: seed of the choice of sentences and slots; a control uses the same slots as its intervention.
        barred: sentences that a random control may not inject.
    """

    renderer: Renderer
    contents: SlotContents
    rows: Integer[np.ndarray, " rows"]
    donors: Donors | None
    seed: int
    barred: Bool[np.ndarray, " sentences"]

    def inject(self, steps: Sequence[Step], *, batch_size: int, seeds: Sequence[int]) -> Injections:
        """Inject the sentences of an intervention's steps, for each training seed."""
        injections = Injections()
        order = RowOrder(len(self.rows), batch_size)
        for seed in seeds:
            for at in sorted({at for step in steps for at in step.at}):
                active = [step for step in steps if at in step.at]
                batch = order.rows(seed, at)
                pieces = self._choose(batch, active, generator(self.seed, f"inject {seed} {at}"))
                injections.pieces[seed, at] = pieces
                injections.unplaced += sum(step.count for step in active) - len(pieces)
                injections.overrides[seed, at] = self._render(batch, pieces)
        return injections

    def _choose(self, batch: Integer[np.ndarray, " batch"], steps: Sequence[Step], rng: np.random.Generator) -> Pieces:
        """Choose sentences, and for each a random slot of equal length in the batch."""
        corpus, lengths = self.renderer.corpus, self.renderer.lengths
        table = corpus.annotations
        slots = rng.permutation(self._item_free_slots(batch))
        slot_lengths = lengths[self.contents.original[slots]]
        free = np.ones(len(slots), bool)
        pairs: list[tuple[int, int]] = []
        for step in steps:
            selected = table.sentence[step.selection.mask(table, corpus.phenomenon)]
            most = len(pairs) + step.count
            for sentence in rng.permutation(np.unique(selected)).tolist():
                if len(pairs) == most:
                    break
                fitting = np.flatnonzero(free & (slot_lengths == lengths[sentence]))
                if len(fitting):
                    free[fitting[0]] = False
                    pairs.append((int(slots[fitting[0]]), sentence))
        if self.donors is not None:
            pairs = self._with_donors(self.donors, pairs, rng)
        slot, sentences = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
        return Pieces.of_sentences(slot, sentences, lengths)

    def _item_free_slots(self, batch: Integer[np.ndarray, " batch"]) -> Integer[np.ndarray, " slots"]:
        """Return the batch's slots whose original sentence has no item.

        An injection into these slots removes no item, and a control can use the same slots.
        """
        table = self.renderer.corpus.annotations
        slots = np.flatnonzero(np.isin(self.contents.packing.row, batch))
        holds_item = np.isin(self.contents.original[slots], table.sentence[table.holds_item])
        return slots[~holds_item]

    def _with_donors(
        self, donors: Donors, pairs: Sequence[tuple[int, int]], rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        """Replace the sentence of each slot by an item-free donor of its length; drop slots without a donor."""
        barred = self.barred.copy()
        barred[self.contents.original[self.contents.removed]] = True
        barred[list(self.contents.edits)] = True
        matched = []
        for slot, sentence in pairs:
            original = int(self.contents.original[slot])
            was_barred, barred[original] = barred[original], True
            donor = donors.draw(int(self.renderer.lengths[sentence]), rng, barred=barred)
            barred[original] = was_barred
            if donor is not None:
                matched.append((slot, donor))
                barred[donor] = True  # no sentence occurs twice in a batch
        return matched

    def _render(self, batch: Integer[np.ndarray, " batch"], pieces: Pieces) -> Integer[np.ndarray, " batch"]:
        """Render the rows with injected sentences; return the pool rows of the batch."""
        packing = self.contents.packing
        changed = np.unique(packing.row[pieces.slot])
        if not len(changed):
            return self.rows[batch]
        slots = np.flatnonzero(np.isin(packing.row, changed))
        tokens, used = self.renderer.render(self.contents, changed, slots)
        self.renderer.overwrite(tokens, packing, changed, pieces)
        new_rows = self.renderer.append(tokens, used)
        at = np.minimum(np.searchsorted(changed, batch), len(changed) - 1)
        return np.where(changed[at] == batch, new_rows[at], self.rows[batch])
