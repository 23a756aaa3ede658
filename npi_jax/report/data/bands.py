"""Bands around the typical seed."""

from typing import Final

import numpy as np
import polars as pl

from npi_jax.analysis.statistics import LEVEL
from npi_jax.analysis.typical import fewest_seeds, order_ends

FEW_SEEDS: Final = fewest_seeds(LEVEL) - 1
"""Up to this number of seeds there is no interval, and a band is the range of the seeds."""


def band(frame: pl.DataFrame, value: str) -> pl.DataFrame:
    """Summarize ``value`` over seeds by label and step: the median, with a band around it.

    The band is the interval of the median over seeds (`typical.order_ends`); with `FEW_SEEDS` or fewer, it extends from
    the lowest to the highest seed. Both stay within the range of the seeds.

    Returns:
        columns label, step, typical, low, high, n_seeds.
    """
    column = pl.col(value).cast(pl.Float64)
    table = frame.group_by("label", "step", maintain_order=True).agg(
        column.median().alias("typical"), column.alias("seeds"), pl.len().cast(pl.Int64).alias("n_seeds")
    )
    ends = [order_ends(np.array(seeds), LEVEL) for seeds in table["seeds"]]
    low, high = (pl.Series(name, [pair[place] for pair in ends]) for place, name in enumerate(("low", "high")))
    return (
        table.with_columns(low, high).select("label", "step", "typical", "low", "high", "n_seeds").sort("label", "step")
    )
