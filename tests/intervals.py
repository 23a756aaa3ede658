"""Intervals of values by seed and item, as the analysis makes them from resampled items."""

from npi_jax.analysis.bounds import FREE
from npi_jax.analysis.statistics import LEVEL, paired_difference, resample_items, seed_interval


def level_of(values, *, bounds=FREE, level=LEVEL, draws=1000, seed=0):
    """The interval of the typical seed of values [seeds, items]."""
    by_item = resample_items(values, draws=draws, seed=seed)
    return seed_interval(values.mean(axis=1), by_item, n_items=values.shape[1], level=level, bounds=bounds)


def difference_of(values, *, bounds=FREE, level=LEVEL, draws=1000, seed=0):
    """The interval and the test of paired differences [seeds, items]."""
    by_item = resample_items(values, draws=draws, seed=seed)
    return paired_difference(values.mean(axis=1), by_item, n_items=values.shape[1], level=level, bounds=bounds)
