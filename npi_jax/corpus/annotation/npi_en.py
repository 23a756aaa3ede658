"""The table `npi_en` as the built-in grammar uses it, and the NPI forms that only one environment licenses."""

from collections.abc import Mapping

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.annotation.entries import Environment, Item
from npi_jax.corpus.annotation.phenomenon import load_phenomenon

NPI_EN = load_phenomenon("npi_en")
"""Negative polarity items of English."""

TABLE: Mapping[str, Environment] = {entry.name: entry for entry in NPI_EN.environments}
"""The nine environments by name, in the order of `ENVIRONMENTS`."""

NPIS: Mapping[str, Item] = {entry.name: entry for entry in NPI_EN.items if entry.grammar}
"""The NPIs of the grammar by name."""


def npi_words(name: str, environment: str | None = None) -> tuple[str, ...]:
    """Return the words of an NPI, in the form that all environments share or in that of one environment.

    Args:
        name: one of `NPIS`.
        environment: None for the shared form. Otherwise every word is marked with the environment (``"ever_only"``,
            ``("at_only", "all_only")``), so that two environments share no form.
    """
    words = tuple(name.split())
    return words if environment is None else tuple(f"{word}_{environment}" for word in words)


def environment_forms() -> dict[tuple[str, ...], tuple[str, str]]:
    """Return all forms that belong to one environment: words -> (NPI name, environment)."""
    return {npi_words(name, environment): (name, environment) for name in NPIS for environment in ENVIRONMENTS}
