"""Disjoint halves of the seeds: alignment is taken from one, and effects from the other.

Alignment and effects that come from the same models share what is special about these models. That would be a link even
if, over seeds, alignment and effects were unrelated.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float

from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_transfer import TransferBySeed

FEWEST: Final = 4
"""Minimum number of seeds to split; with fewer, a half would be a single seed."""

Matrix = Float[np.ndarray, "tasks tasks"]
"""Values of pairs [removed, task], with NaN for missing ones."""


@dataclass(frozen=True)
class Seeded:
    """Values of pairs of tasks, as means over seeds.

    Attributes:
        all_seeds: means over all seeds.
        halves: means over the seeds of each half; empty if seeds are not split.
    """

    all_seeds: Matrix
    halves: tuple[Matrix, ...] = ()

    def directions(self, effects: "Seeded") -> list[tuple[Matrix, Matrix]]:
        """Return predictor and effects, from different halves in both directions, or from all seeds if not split.

        A pair is observed in both directions or in none.
        """
        if not self.halves or not effects.halves:
            return [(self.all_seeds, effects.all_seeds)]
        return list(zip(_common(self.halves), reversed(_common(effects.halves)), strict=True))


def split_seeds(aligned: pl.DataFrame, by_seed: pl.DataFrame) -> tuple[list[int], ...]:
    """Return two halves of the seeds that have alignment and effects; nothing if there are fewer than `FEWEST`.

    Args:
        aligned: rows of `Alignment` in the variant from which it is taken.
        by_seed: rows of `TransferBySeed`.
    """
    both = sorted(set(aligned[Alignment.seed]) & set(by_seed[TransferBySeed.seed]))
    return (both[0::2], both[1::2]) if len(both) >= FEWEST else ()


def _common(halves: tuple[Matrix, ...]) -> list[Matrix]:
    """Return the matrices with NaN wherever one of them has NaN."""
    there = np.isfinite(np.stack(halves)).all(axis=0)
    return [np.where(there, half, np.nan) for half in halves]
