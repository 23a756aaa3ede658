"""Log of the changes to the slots of a corpus, as tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Integer

from npi_jax.corpus.variants.edits import EditedSentence
from npi_jax.corpus.variants.slot_contents import Pieces
from npi_jax.results.names import EDITED, INJECTED, REMOVED
from npi_jax.results.schema import empty
from npi_jax.results.tables_preparation import Examples, Slots


class SlotLog:
    """Collects the changes to slots, variant by variant."""

    def __init__(self) -> None:
        self._frames = [empty(Slots)]
        self._edited: dict[tuple[str, int], str] = {}

    def removed(self, variant: str, slots: Integer[np.ndarray, " slots"], pieces: Pieces) -> None:
        """Log removed sentences, and the pieces that fill their slots."""
        self._add(variant, REMOVED, _columns(pieces))
        self._add(variant, REMOVED, {Slots.slot: np.setdiff1d(slots, pieces.slot)})

    def edited(self, variant: str, edits: Mapping[int, EditedSentence]) -> None:
        """Log sentences in which words were replaced."""
        self._add(variant, EDITED, {Slots.slot: np.array(sorted(edits), np.int64)})
        self._edited.update({(variant, slot): edit.text for slot, edit in edits.items()})

    def injected(self, variant: str, pieces: Pieces, seed: int, step: int) -> None:
        """Log sentences that were injected into the batch of a seed and a step."""
        self._add(variant, INJECTED, _columns(pieces), seed=seed, step=step)

    def _add(
        self,
        variant: str,
        action: str,
        columns: Mapping[str, np.ndarray],
        *,
        seed: int | None = None,
        step: int | None = None,
    ) -> None:
        schema = Slots.schema()
        constants = {Slots.variant: variant, Slots.action: action, Slots.seed: seed, Slots.step: step}
        absent = dict.fromkeys(schema.keys() - columns.keys() - constants.keys())
        literals = (pl.lit(value).alias(name) for name, value in (constants | absent).items())
        frame = pl.DataFrame(dict(columns)).with_columns(literals)
        self._frames.append(frame.select(list(schema)).cast(schema))  # type: ignore[arg-type]

    def table(self) -> pl.DataFrame:
        """Return the table `npi_jax.results.tables_preparation.Slots`."""
        return pl.concat(self._frames)

    def examples(self, text: Sequence[str], *, per_action: int = 20, seed: int = 0) -> pl.DataFrame:
        """Return random examples of each variant and action, as text before and after the change.

        Args:
            text: the sentences of the corpus.
            per_action: maximum number of examples per variant and action; edited sentences are all returned.
            seed: random seed.

        Returns:
            the table `npi_jax.results.tables_preparation.Examples`.
        """
        rows = []
        for _, changed in self.table().group_by(Slots.variant, Slots.action, maintain_order=True):
            edited = changed[Slots.action][0] == EDITED
            chosen = changed if edited else changed.sample(min(per_action, len(changed)), seed=seed)
            for row in chosen.iter_rows(named=True):
                variant, slot, donor = row[Slots.variant], row[Slots.slot], row[Slots.donor]
                after = "" if donor is None else text[donor]
                if edited:
                    after = self._edited[variant, slot]
                rows.append((variant, row[Slots.action], slot, text[slot], after))
        return pl.DataFrame(rows, schema=Examples.schema(), orient="row")


def _columns(pieces: Pieces) -> dict[str, np.ndarray]:
    return {
        Slots.slot: pieces.slot,
        Slots.donor: pieces.sentence,
        Slots.start: pieces.start,
        Slots.tokens: pieces.length,
    }
