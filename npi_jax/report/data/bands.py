"""Bands around means over seeds."""

import math
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import special

from npi_jax.analysis.bounds import above, within
from npi_jax.analysis.statistics import LEVEL

FEW_SEEDS: Final = 3


def band(
    frame: pl.DataFrame,
    value: str,
    *,
    bounds: tuple[float, float] | None = None,
) -> pl.DataFrame:
    """Average ``value`` over seeds by label and step, with a band around the mean.

    The band is the t interval over seeds; with three seeds or fewer, it extends from the lowest to the highest. For
    bounded values, the interval stays within the bounds (`bounds.within`, or `bounds.above` without an upper bound).

    Returns:
        columns label, step, mean, low, high, n_seeds.
    """
    column = pl.col(value)
    table = frame.group_by("label", "step", maintain_order=True).agg(
        column.mean().alias("mean"),
        column.min().alias("min"),
        column.max().alias("max"),
        column.std().fill_null(0.0).alias("std"),
        pl.len().cast(pl.Int64).alias("n_seeds"),
    )
    low, high = _ends(table, bounds)
    few = pl.col("n_seeds") <= FEW_SEEDS
    return table.select(
        "label",
        "step",
        "mean",
        pl.when(few).then("min").otherwise(pl.Series(low)).alias("low"),
        pl.when(few).then("max").otherwise(pl.Series(high)).alias("high"),
        "n_seeds",
    ).sort("label", "step")


def _ends(table: pl.DataFrame, bounds: tuple[float, float] | None) -> Float[np.ndarray, "ends rows"]:
    """Return both ends of the t intervals over seeds."""
    mean = table["mean"].cast(pl.Float64).to_numpy()
    arm = np.array([_reach(n) for n in table["n_seeds"]]) * table["std"].cast(pl.Float64).to_numpy()
    if bounds is None:
        return np.stack([mean - arm, mean + arm])
    if math.isinf(bounds[1]):
        return above(mean, np.stack([arm, arm]), bounds[0])
    return within(mean, np.stack([arm, arm]), *bounds)


def _reach(n_seeds: int) -> float:
    """Return the half-width of the t interval of a mean, in standard deviations of single values."""
    return 0.0 if n_seeds < 2 else float(special.stdtrit(n_seeds - 1, (1 + LEVEL) / 2)) / n_seeds**0.5
