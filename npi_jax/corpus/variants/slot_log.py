"""What was done to the slots of a corpus, as tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Integer

from npi_jax.corpus.variants.edits import Edited
from npi_jax.corpus.variants.layout import Pieces

REMOVED, EDITED, INJECTED = "removed", "edited", "injected"
SLOT_SCHEMA = {
    "variant": pl.String,
    "action": pl.String,
    "slot": pl.Int64,
    "donor": pl.Int64,
    "start": pl.Int64,
    "tokens": pl.Int64,
    "seed": pl.Int64,
    "step": pl.Int64,
}
"""Columns of the table of slots: what was done to which slot; `donor` is the sentence that stands there now (null where
there is none), from its token `start`, `tokens` long; seed and step are those of an injection."""


EXAMPLE_SCHEMA = {"variant": pl.String, "action": pl.String, "slot": pl.Int64, "before": pl.String, "after": pl.String}
"""Columns of `SlotLog.examples`."""


class SlotLog:
    """Collects what was done to which slot, variant by variant."""

    def __init__(self) -> None:
        self._frames = [pl.DataFrame(schema=SLOT_SCHEMA)]
        self._edited: dict[tuple[str, int], str] = {}

    def removed(self, variant: str, slots: Integer[np.ndarray, " slots"], pieces: Pieces) -> None:
        """Sentences were taken out; `pieces` stand there now."""
        self._add(variant, REMOVED, _columns(pieces))
        self._add(variant, REMOVED, {"slot": np.setdiff1d(slots, pieces.slot)})

    def edited(self, variant: str, edits: Mapping[int, Edited]) -> None:
        """Words were replaced."""
        self._add(variant, EDITED, {"slot": np.array(sorted(edits), np.int64)})
        self._edited.update({(variant, slot): edit.text for slot, edit in edits.items()})

    def injected(self, variant: str, pieces: Pieces, seed: int, step: int) -> None:
        """Sentences were put into the batch of a seed and a step."""
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
        fixed = {"variant": variant, "action": action, "seed": seed, "step": step}
        absent = dict.fromkeys(SLOT_SCHEMA.keys() - columns.keys() - fixed.keys())
        frame = pl.DataFrame(dict(columns)).with_columns(pl.lit(v).alias(name) for name, v in (fixed | absent).items())
        self._frames.append(frame.select(list(SLOT_SCHEMA)).cast(SLOT_SCHEMA))  # type: ignore[arg-type]

    def table(self) -> pl.DataFrame:
        """All of it, with the columns of `SLOT_SCHEMA`."""
        return pl.concat(self._frames)

    def examples(self, text: Sequence[str], *, per_action: int = 20, seed: int = 0) -> pl.DataFrame:
        """Some changed slots of each variant and kind of change, drawn at random, as text before and after.

        Args:
            text: the sentences of the corpus.
            per_action: at most so many; of edited sentences, all.
            seed: of the draw.

        Returns:
            columns of `EXAMPLE_SCHEMA`.
        """
        rows = []
        for _, changed in self.table().group_by("variant", "action", maintain_order=True):
            edited = changed["action"][0] == EDITED
            chosen = changed if edited else changed.sample(min(per_action, len(changed)), seed=seed)
            for row in chosen.iter_rows(named=True):
                variant, slot, donor = row["variant"], row["slot"], row["donor"]
                after = "" if donor is None else text[donor]
                if row["action"] == EDITED:
                    after = self._edited[variant, slot]
                rows.append((variant, row["action"], slot, text[slot], after))
        return pl.DataFrame(rows, schema=EXAMPLE_SCHEMA, orient="row")


def _columns(pieces: Pieces) -> dict[str, np.ndarray]:
    return {"slot": pieces.slot, "donor": pieces.sentence, "start": pieces.start, "tokens": pieces.length}
