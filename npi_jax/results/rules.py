"""Shared rules for reading the tables: the main kind and region, and the reference of an effect."""

from collections.abc import Iterable, Sequence

import polars as pl

from npi_jax.results import names
from npi_jax.results.tables_training import Scores
from npi_jax.results.tables_transfer import Transfer


def main_kind(kinds: Sequence[str]) -> str:
    """Return the kind of pairs reported by default: "licensor", else the first."""
    return names.LICENSOR if names.LICENSOR in kinds else kinds[0]


def main_region(regions: Iterable[str]) -> str:
    """Return the region reported by default: the critical one, else the first by name."""
    found = set(regions)
    return names.CRITICAL if names.CRITICAL in found else min(found)


def in_main_region(*over: str) -> pl.Expr:
    """Return a Polars condition for rows of the `main_region`, determined for each group by the columns `over`."""
    region, critical = pl.col(Scores.region), pl.lit(names.CRITICAL)
    return region == pl.when((region == critical).any()).then(critical).otherwise(region.min()).over(over)


def is_single_removal() -> pl.Expr:
    """Return a Polars condition for effects of removing the NPIs of a single environment."""
    return ~pl.col(Transfer.removed).is_in([names.NOT_A_REMOVAL, names.REMOVED_ALL])


def all_are_controlled(effects: pl.DataFrame) -> bool:
    """Return True if every removal has effects relative to a random control.

    If only some removals have controls, effects relative to controls are not comparable with the other effects.
    """
    controlled = effects.filter(pl.col(Transfer.control) != names.NO_CONTROL)
    return set(controlled[Transfer.removed]) == set(effects[Transfer.removed])


def comparable(effects: pl.DataFrame) -> pl.DataFrame:
    """Return the effects relative to controls if `all_are_controlled`, else those relative to the baseline.

    Use this to compare removals with each other, because all of them need the same kind of reference.
    """
    against_control = pl.col(Transfer.control) != names.NO_CONTROL
    return effects.filter(against_control if all_are_controlled(effects) else ~against_control)


def decisive(effects: pl.DataFrame) -> pl.DataFrame:
    """Return each removal's effects relative to its control if it has one, else those relative to the baseline.

    Use this for statements about one removal, because a control is the stricter reference.
    """
    against_control = pl.col(Transfer.control) != names.NO_CONTROL
    return effects.filter(against_control == against_control.any().over(Transfer.removed))
