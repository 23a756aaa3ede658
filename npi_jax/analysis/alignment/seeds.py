"""Members of each variant, and intervals of their typical values with micro-batches resampled."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import Bounds
from npi_jax.results.columns import Row
from npi_jax.results.names import (
    ITEMS,
    MICRO_BATCHES,
    NO_INTERVAL,
    OK,
    SEEDS,
    SEEDS_AND_ITEMS,
    SEEDS_AND_MICRO_BATCHES,
)
from npi_jax.results.tables_training import GROUP, Members

DRAWS: Final = 1000
"""Number of draws of micro-batches."""
_OVER: Final = {SEEDS_AND_ITEMS: SEEDS_AND_MICRO_BATCHES, ITEMS: MICRO_BATCHES}


def variants(members: pl.DataFrame) -> Iterator[tuple[Row, Int[np.ndarray, " kept"]]]:
    """Yield each variant's values of the columns `GROUP`, and the indices of its members that have not diverged."""
    place = "place"
    kept = pl.col(place).filter(pl.col(Members.status) == OK)
    for row in members.with_row_index(place).group_by(GROUP, maintain_order=True).agg(kept).to_dicts():
        yield {name: row[name] for name in GROUP}, np.array(row[place], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class SeedInterval:
    """The 95 % interval of a median over seeds; ``low`` and ``high`` are NaN where ``reason`` says why."""

    low: float
    high: float
    interval_over: str
    reason: str

    @classmethod
    def missing(cls, reason: str) -> "SeedInterval":
        """Return what stands in place of an interval, for a reason."""
        return cls(np.nan, np.nan, NO_INTERVAL, reason)

    @classmethod
    def of(
        cls,
        values: Float[np.ndarray, " seeds"],
        draws: Float[np.ndarray, "seeds draws"] | None,
        n_batches: int,
        bounds: Bounds,
    ) -> "SeedInterval":
        """Return `statistics.seed_interval` over seeds and micro-batches, or over seeds alone without ``draws``.

        Args:
            values: one value for each seed, at least one; their median must be within the bounds.
            draws: each seed's values with micro-batches resampled, the same draws for all seeds.
            n_batches: number of micro-batches.
            bounds: range of the values.
        """
        if draws is None and len(values) < 2:
            return cls.missing("one seed")
        by_draw = np.tile(values[:, None], DRAWS) if draws is None else draws
        found = statistics.seed_interval(values, by_draw, n_items=n_batches, bounds=bounds)
        over = SEEDS if draws is None and not found.reason else _OVER.get(found.interval_over, found.interval_over)
        return cls(found.low, found.high, over, found.reason)
