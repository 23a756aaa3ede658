"""A run's accuracies beside published ones, where it repeats a published experiment: by direction and rank only."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

_FILE = Path(__file__).with_suffix(".toml")
_CELL = ("suite", "kind", "region")
SCHEMA = {
    "source": pl.String,
    **dict.fromkeys(_CELL, pl.String),
    "task": pl.String,
    **dict.fromkeys(
        (
            "full",
            "full_low",
            "full_high",
            "held_out",
            "held_out_low",
            "held_out_high",
            "effect",
            "effect_low",
            "effect_high",
            "published_full",
            "published_held_out",
            "published_effect",
        ),
        pl.Float64,
    ),
    "direction": pl.String,
    "rank": pl.Float64,
    "published_rank": pl.Float64,
    "rank_correlation": pl.Float64,
    "rank_low": pl.Float64,
    "rank_high": pl.Float64,
}
"""Columns of `published_table`."""


def published_table(final: pl.DataFrame, transfer: pl.DataFrame) -> pl.DataFrame:
    """Held-out environments beside published results.

    A row for each environment whose own NPIs a variant lacks (``without(E)``), where there is a published accuracy: the
    accuracy with the full corpus and without the environment's NPIs, and the paired effect on accuracy, each with its
    interval. `direction` is ``"same"`` or ``"opposite"`` if the effect's interval excludes 0, otherwise ``"open"``.
    Ranks are of the held-out accuracies, 1 the highest; `rank_correlation` is Spearman's over all environments of the
    cell, repeated in each row, with the interval of Bonett and Wright (2000), null for fewer than four.

    Args:
        final: as `npi_jax.analysis.curves.final_table` gives it.
        transfer: as `npi_jax.analysis.transfer.tables.transfer_tables` gives it.

    Returns:
        columns of `SCHEMA`; empty if no variant lacks one environment's NPIs.
    """
    entries = tomllib.loads(_FILE.read_text(encoding="utf-8"))["results"]
    return pl.DataFrame([row for entry in entries for row in _rows(entry, final, transfer)], schema=SCHEMA)


def _rows(entry: Mapping[str, Any], final: pl.DataFrame, transfer: pl.DataFrame) -> list[dict[str, Any]]:
    if final.select("learning_rate", "weight_decay", "dropout").unique().height != 1:
        return []  # several settings: which of them is the one to compare is not ours to say
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    by_place = {
        (row["variant"], row["task"], *(row[name] for name in _CELL)): row for row in final.iter_rows(named=True)
    }
    effects = transfer.filter(
        (pl.col("outcome") == "accuracy") & (pl.col("control") == "") & (pl.col("removed") == pl.col("task"))
    )
    for effect in effects.iter_rows(named=True):
        task, cell = effect["task"], tuple(effect[name] for name in _CELL)
        one, other = by_place.get(("full", task, *cell)), by_place.get((effect["intervention"], task, *cell))
        if task in entry["held_out"] and one is not None and other is not None and effect["baseline"] == "full":
            found.setdefault(cell, []).append(_row(entry, task, one, other, effect))
    for rows in found.values():
        _rank(rows)
    return [row for rows in found.values() for row in rows]


def _row(
    entry: Mapping[str, Any], task: str, full: Mapping[str, Any], other: Mapping[str, Any], effect: Mapping[str, Any]
) -> dict[str, Any]:
    published = entry["held_out"][task] - entry["full"][task]
    clear = effect["low"] > 0 or effect["high"] < 0
    direction = ("same" if effect["effect"] * published > 0 else "opposite") if clear else "open"
    return {
        "source": entry["source"],
        **{name: effect[name] for name in _CELL},
        "task": task,
        "full": full["accuracy"],
        "full_low": full["low"],
        "full_high": full["high"],
        "held_out": other["accuracy"],
        "held_out_low": other["low"],
        "held_out_high": other["high"],
        "effect": effect["effect"],
        "effect_low": effect["low"],
        "effect_high": effect["high"],
        "published_full": entry["full"][task],
        "published_held_out": entry["held_out"][task],
        "published_effect": published,
        "direction": direction,
    }


def _rank(rows: Sequence[dict[str, Any]]) -> None:
    ours, theirs = ([row[name] for row in rows] for name in ("held_out", "published_held_out"))
    correlation, low, high = _spearman(ours, theirs)
    for row, rank, published in zip(rows, _ranks(ours), _ranks(theirs), strict=True):
        row |= {"rank": rank, "published_rank": published}
        row |= {"rank_correlation": correlation, "rank_low": low, "rank_high": high}


def _ranks(values: Sequence[float]) -> np.ndarray:
    return np.asarray(stats.rankdata([-value for value in values]))


def _spearman(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Spearman's correlation with its 95 % interval (Bonett and Wright 2000, equation 4)."""
    if len(one) < 4 or min(np.ptp(one), np.ptp(other)) == 0:
        return None, None, None
    found = float(stats.spearmanr(one, other).statistic)
    if math.isclose(abs(found), 1.0):
        return found, None, None
    arm = stats.norm.ppf(0.975) * math.sqrt((1 + found**2 / 2) / (len(one) - 3))
    return found, math.tanh(math.atanh(found) - arm), math.tanh(math.atanh(found) + arm)
