"""The table `npi_en` as the built-in grammar and its suite read it, and the grammar's own forms of NPIs."""

from collections.abc import Mapping

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.annotation.phenomenon import Environment, Item, load_phenomenon

NPI_EN = load_phenomenon("npi_en")
"""Negative polarity items of English."""

TABLE: Mapping[str, Environment] = {entry.name: entry for entry in NPI_EN.environments}
"""The nine environments by name, in the order of `ENVIRONMENTS`."""

NPIS: Mapping[str, Item] = {entry.name: entry for entry in NPI_EN.items if entry.grammar}
"""The NPIs that the grammar writes, by name."""

AUXILIARIES: tuple[str, ...] = tuple(TABLE["simple_question"].contrasts)
"""The auxiliaries that open the grammar's questions."""

SUPERLATIVES: Mapping[str, str] = {word: plain for word, (plain,) in TABLE["superlative"].contrasts.items()}
"""Superlatives with the plain adjective, most frequent first."""


def npi_words(name: str, environment: str | None = None) -> tuple[str, ...]:
    """The words of an NPI: the form all environments share, or the one of an environment's own.

    Args:
        name: one of `NPIS`.
        environment: None for the shared form; otherwise every word is marked as that environment's own
            (``"ever_only"``, ``("at_only", "all_only")``), so that two environments have no form in common.
    """
    words = tuple(name.split())
    return words if environment is None else tuple(f"{word}_{environment}" for word in words)


def own_forms() -> dict[tuple[str, ...], tuple[str, str]]:
    """Every form of an environment's own: its words -> (NPI name, the environment)."""
    return {npi_words(name, environment): (name, environment) for name in NPIS for environment in ENVIRONMENTS}
