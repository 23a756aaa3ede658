"""Sentences put into the batches of certain training steps, slot by slot."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.variants.donors import Donors
from npi_jax.corpus.variants.interventions import Step
from npi_jax.corpus.variants.layout import Layout, Pieces, Renderer
from npi_jax.corpus.variants.rows import RowOrder


@dataclass
class Injections:
    """What was put in.

    Attributes:
        overrides: by (seed, step), the pool rows that take the place of the batch's own.
        pieces: by (seed, step), which sentence stands in which slot.
        unplaced: sentences that found no slot of their length.
    """

    overrides: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    pieces: dict[tuple[int, int], Pieces] = field(default_factory=dict)
    unplaced: int = 0

    @property
    def placed(self) -> int:
        """Sentences put in, over all seeds and steps."""
        return sum(map(len, self.pieces.values()))


@dataclass(frozen=True)
class Injector:
    """Puts sentences into the batches of one variant.

    Args:
        renderer: of the corpus.
        layout: what stands in the variant's slots.
        rows: the pool rows of the layout's rows.
        donors: for a random control, which puts in sentences without items; None for the selected ones.
        seed: of the draw of sentences and slots; a control draws the same slots as what it controls.
    """

    renderer: Renderer
    layout: Layout
    rows: np.ndarray
    donors: Donors | None
    seed: int

    def inject(self, steps: Sequence[Step], *, batch_size: int, seeds: Sequence[int]) -> Injections:
        """Put in what the steps of an intervention say, for each seed of training."""
        found = Injections()
        order = RowOrder(len(self.rows), batch_size)
        for seed in seeds:
            for at in sorted({at for step in steps for at in step.at}):
                wanted = [step for step in steps if at in step.at]
                batch = order.rows(seed, at)
                put = self._choose(batch, wanted, generator(self.seed, f"inject {seed} {at}"))
                found.pieces[seed, at] = put
                found.unplaced += sum(step.count for step in wanted) - len(put)
                found.overrides[seed, at] = self._render(batch, put)
        return found

    def _choose(self, batch: np.ndarray, steps: Sequence[Step], rng: np.random.Generator) -> Pieces:
        """Which sentences take which slots of a batch: those of the same length, drawn at random."""
        corpus, lengths = self.renderer.corpus, self.renderer.lengths
        table = corpus.annotations
        # Slots whose own sentence holds no item: nothing else is then taken out, and a control finds the same slots.
        slots = np.flatnonzero(np.isin(self.layout.packing.row, batch))
        holding = np.isin(self.layout.own[slots], table.sentence[table.holds_item])
        slots = rng.permutation(slots[~holding])
        room = lengths[self.layout.own[slots]]
        free = np.ones(len(slots), bool)
        pairs: list[tuple[int, int]] = []
        for step in steps:
            chosen = table.sentence[step.selection.mask(table, corpus.phenomenon)]
            last = len(pairs) + step.count
            for sentence in rng.permutation(np.unique(chosen)).tolist():
                if len(pairs) == last:
                    break
                fitting = np.flatnonzero(free & (room == lengths[sentence]))
                if len(fitting):
                    free[fitting[0]] = False
                    pairs.append((int(slots[fitting[0]]), sentence))
        if self.donors is not None:
            pairs = self._without_items(pairs, rng)
        slot, sentence = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
        return Pieces.whole(slot, sentence, lengths)

    def _without_items(self, pairs: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[tuple[int, int]]:
        """The same slots, with item-free sentences of the same lengths; a slot for which there is none is left out."""
        assert self.donors is not None
        found = []
        barred = np.zeros(len(self.renderer.corpus), bool)
        barred[self.layout.own[self.layout.removed]] = True
        barred[list(self.layout.edits)] = True
        for slot, sentence in pairs:
            own = int(self.layout.own[slot])
            was, barred[own] = barred[own], True
            donor = self.donors.draw(int(self.renderer.lengths[sentence]), rng, barred=barred)
            barred[own] = was
            if donor is not None:
                found.append((slot, donor))
                barred[donor] = True  # none twice in a batch
        return found

    def _render(self, batch: np.ndarray, put: Pieces) -> np.ndarray:
        """Pool rows of a batch, those that something was put into rendered anew."""
        packing = self.layout.packing
        touched = np.unique(packing.row[put.slot])
        if not len(touched):
            return self.rows[batch]
        slots = np.flatnonzero(np.isin(packing.row, touched))
        tokens, used = self.renderer.rows(self.layout, touched, slots)
        self.renderer.overwrite(tokens, packing, touched, put)
        places = self.renderer.append(tokens, used)
        at = np.minimum(np.searchsorted(touched, batch), len(touched) - 1)
        return np.where(touched[at] == batch, places[at], self.rows[batch])
