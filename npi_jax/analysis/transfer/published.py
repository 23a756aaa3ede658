"""Comparison of a run with published accuracies, by direction and rank only, if it repeats their experiment."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import special

from npi_jax.analysis.ranks import ranks, spearman
from npi_jax.analysis.transfer.outcomes import CELL
from npi_jax.results.columns import Row
from npi_jax.results.names import (
    ACCURACY,
    FULL,
    NO_CONTROL,
    OPEN_DIRECTION,
    OPPOSITE_DIRECTION,
    SAME_DIRECTION,
)
from npi_jax.results.tables_learning import FinalResults, Published
from npi_jax.results.tables_training import HYPERPARAMETERS
from npi_jax.results.tables_transfer import Transfer

_FILE: Final = Path(__file__).with_suffix(".toml")
_FEWEST: Final = 4
"""Minimum number of environments for a rank correlation."""


def published_table(final: pl.DataFrame, transfer: pl.DataFrame) -> pl.DataFrame:
    """Return the table `Published`: accuracies of environments with and without their NPIs, beside published ones.

    Ranks are those of the accuracies without the NPIs. Spearman's correlation is over all environments of a suite, kind
    and region, and is repeated in each of their rows. Its interval is that of Bonett and Wright (2000).

    Args:
        final: the table `FinalResults`.
        transfer: the table `Transfer`.

    Returns:
        the table. It is empty if no variant removes the NPIs of one environment. It is also empty with several settings
        of hyper-parameters, because it is unclear which one to compare.
    """
    entries = tomllib.loads(_FILE.read_text(encoding="utf-8"))["results"]
    one_setting = final.select(HYPERPARAMETERS).unique().height == 1
    rows = [row for entry in entries for row in _rows(entry, final, transfer)] if one_setting else []
    return pl.DataFrame(rows, schema=Published.schema())


def _rows(entry: Mapping[str, Any], final: pl.DataFrame, transfer: pl.DataFrame) -> list[Row]:
    found: dict[tuple[str, ...], list[Row]] = {}
    place = (FinalResults.variant, FinalResults.task, *CELL)
    by_place = {tuple(row[name] for name in place): row for row in final.iter_rows(named=True)}
    effects = transfer.filter(
        (pl.col(Transfer.outcome) == ACCURACY)
        & (pl.col(Transfer.control) == NO_CONTROL)
        & (pl.col(Transfer.baseline) == FULL)
        & (pl.col(Transfer.removed) == pl.col(Transfer.task))
        & pl.col(Transfer.task).is_in(list(entry["held_out"]))
    )
    for effect in effects.iter_rows(named=True):
        task, cell = effect[Transfer.task], tuple(effect[name] for name in CELL)
        variants = (FULL, effect[Transfer.intervention])
        full, held_out = (by_place.get((variant, task, *cell)) for variant in variants)
        if full is not None and held_out is not None:
            found.setdefault(cell, []).append(_row(entry, full, held_out, effect))
    for rows in found.values():
        _rank(rows)
    return [row for rows in found.values() for row in rows]


def _row(
    entry: Mapping[str, Any], full: Mapping[str, Any], held_out: Mapping[str, Any], effect: Mapping[str, Any]
) -> Row:
    task = effect[Transfer.task]
    published = entry["held_out"][task] - entry["full"][task]
    return {
        Published.source: entry["source"],
        **{name: effect[name] for name in CELL},
        Published.task: task,
        Published.full: full[FinalResults.accuracy],
        Published.full_low: full[FinalResults.low],
        Published.full_high: full[FinalResults.high],
        Published.held_out: held_out[FinalResults.accuracy],
        Published.held_out_low: held_out[FinalResults.low],
        Published.held_out_high: held_out[FinalResults.high],
        Published.effect: effect[Transfer.effect],
        Published.effect_low: effect[Transfer.low],
        Published.effect_high: effect[Transfer.high],
        Published.published_full: entry["full"][task],
        Published.published_held_out: entry["held_out"][task],
        Published.published_effect: published,
        Published.direction: _direction(effect, published),
    }


def _direction(effect: Mapping[str, Any], published: float) -> str:
    """Return the column ``direction``: open if the interval includes 0, else same as or opposite to the published."""
    if not (effect[Transfer.low] > 0 or effect[Transfer.high] < 0):
        return OPEN_DIRECTION
    return SAME_DIRECTION if effect[Transfer.effect] * published > 0 else OPPOSITE_DIRECTION


def _rank(rows: Sequence[Row]) -> None:
    """Add ranks and their correlation to the rows of one suite, kind and region."""
    ours, theirs = ([row[name] for row in rows] for name in (Published.held_out, Published.published_held_out))
    names = (Published.rank_correlation, Published.rank_low, Published.rank_high)
    correlation = tuple(zip(names, _spearman(ours, theirs), strict=True))
    for row, rank, published in zip(rows, _ranks(ours), _ranks(theirs), strict=True):
        row.update({Published.rank: rank, Published.published_rank: published})
        row.update(correlation)


def _ranks(values: Sequence[float]) -> Float[np.ndarray, " values"]:
    return ranks(-np.array([values]))[0]


def _spearman(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Return Spearman's correlation with its 95 % interval (Bonett and Wright 2000, equation 4)."""
    if len(one) < _FEWEST or min(np.ptp(one), np.ptp(other)) == 0:
        return None, None, None
    found = spearman(np.array(one), np.array(other))
    if math.isclose(abs(found), 1.0):
        return found, None, None
    arm = float(special.ndtri(0.975)) * math.sqrt((1 + found**2 / 2) / (len(one) - 3))
    return found, math.tanh(math.atanh(found) - arm), math.tanh(math.atanh(found) + arm)
