"""Variants that changed nothing: their models repeat those of the baseline, so their effects are meaningless."""

import polars as pl

from npi_jax.results.names import FULL
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_transfer import Transfer

_CHANGES = (Corpus.slots_changed, Corpus.edited, Corpus.injected)


def empty_variants(corpus: pl.DataFrame, baseline: str) -> list[str]:
    """Return the variants that left the text unchanged, except the baseline, "full" and controls.

    Args:
        corpus: the table `Corpus`. If it has no counts of changes, because the run is old, the result is empty.
        baseline: the variant with which others are compared; it may leave the text unchanged.
    """
    counts = [name for name in _CHANGES if name in corpus.columns]
    if Corpus.slots_changed not in counts:
        return []
    nothing = pl.all_horizontal(pl.col(name).fill_null(0) == 0 for name in counts)
    named = ~pl.col(Corpus.variant).is_in([baseline, FULL])
    if Corpus.control_of in corpus.columns:
        named &= pl.col(Corpus.control_of).is_null()
    return corpus.filter(nothing & named)[Corpus.variant].to_list()


def with_controls(variants: list[str], corpus: pl.DataFrame) -> list[str]:
    """Return the variants and their random controls."""
    if Corpus.control_of not in corpus.columns:
        return variants
    return [*variants, *corpus.filter(pl.col(Corpus.control_of).is_in(variants))[Corpus.variant].to_list()]


def without_empty(transfer: pl.DataFrame, corpus: pl.DataFrame, baseline: str) -> pl.DataFrame:
    """Return the effects of the variants that changed something."""
    empty = with_controls(empty_variants(corpus, baseline), corpus)
    return transfer.filter(~pl.col(Transfer.intervention).is_in(empty))
