"""Rules by which everybody reads the tables: the main kind and region, and which comparison of an effect counts."""

from collections.abc import Iterable, Sequence

import polars as pl

from npi_jax.results import names
from npi_jax.results.tables_training import Scores
from npi_jax.results.tables_transfer import Transfer


def main_kind(kinds: Sequence[str]) -> str:
    """Return the kind of pairs that results are about by default: "licensor", else the first."""
    return names.LICENSOR if names.LICENSOR in kinds else kinds[0]


def main_region(regions: Iterable[str]) -> str:
    """Return the region that results are about by default: the critical one, else the first by name."""
    found = set(regions)
    return names.CRITICAL if names.CRITICAL in found else min(found)


def in_main_region(*over: str) -> pl.Expr:
    """Return the condition that a row is of the `main_region` among the rows that agree in the columns `over`."""
    region, critical = pl.col(Scores.region), pl.lit(names.CRITICAL)
    return region == pl.when((region == critical).any()).then(critical).otherwise(region.min()).over(over)


def is_single_removal() -> pl.Expr:
    """Return the condition that an effect is of removing the NPIs of one environment."""
    return ~pl.col(Transfer.removed).is_in([names.NOT_A_REMOVAL, names.REMOVED_ALL])


def all_are_controlled(effects: pl.DataFrame) -> bool:
    """Return whether every removal has effects against a random control.

    With controls for some removals only, their effects would lie higher or lower than the others for that alone.
    """
    controlled = effects.filter(pl.col(Transfer.control) != names.NO_CONTROL)
    return set(controlled[Transfer.removed]) == set(effects[Transfer.removed])


def comparable(effects: pl.DataFrame) -> pl.DataFrame:
    """Return the effects against controls if `all_are_controlled`, else those against the baseline.

    For comparing removals with each other, which takes the same reference for all.
    """
    against_control = pl.col(Transfer.control) != names.NO_CONTROL
    return effects.filter(against_control if all_are_controlled(effects) else ~against_control)


def decisive(effects: pl.DataFrame) -> pl.DataFrame:
    """Return of each removal the effects against its control if it has one, else those against the baseline.

    For statements about one removal, where the control is the stricter reference.
    """
    against_control = pl.col(Transfer.control) != names.NO_CONTROL
    return effects.filter(against_control == against_control.any().over(Transfer.removed))
