"""Summary of variants: a table of their changes, and warnings about variants with few changes."""

from collections.abc import Callable, Sequence

import polars as pl

from npi_jax.corpus.variants.variant import Variant
from npi_jax.errors import UserError
from npi_jax.results.tables_preparation import Corpus

RARE = 1000
"""A variant that changes fewer than one in this many sentences causes a warning."""


def check_changes(
    variants: Sequence[Variant], sentences: int, say: Callable[[str], None], *, allow_empty: bool = False
) -> None:
    """Reject variants without any change, and warn about variants with very few changes.

    Args:
        variants: the variants of an experiment.
        sentences: number of sentences in the corpus.
        say: receives the warnings.
        allow_empty: True to warn about variants without a change instead of rejecting them.

    Raises:
        UserError: if a variant changes nothing; names the variants.
    """
    interventions = [one for one in variants if one.intervention.steps or one.intervention.control_of]
    empty = [str(variant.intervention) for variant in interventions if not variant.changed]
    if empty and not allow_empty:
        raise UserError(
            f"variants: {', '.join(empty)} {'changes' if len(empty) == 1 else 'change'} 0 of {sentences:,} sentences, "
            "and would be the same as 'full'; remove them from the config, or set corpus.allow_empty=True"
        )
    for variant in interventions:
        if variant.changed * RARE < sentences:
            changed = f"{variant.changed:,} of {sentences:,} sentences"
            say(f"warning: variant {variant.intervention} changes {changed}; effects of so few are hard to detect")


def variant_table(variants: Sequence[Variant], labels: Sequence[str]) -> pl.DataFrame:
    """Return a table of the content and the changes of each variant, one row per variant."""
    rows = [
        {
            Corpus.variant: str(variant.intervention),
            Corpus.control_of: str(variant.intervention.control_of) if variant.intervention.control_of else None,
            Corpus.sentences: variant.sentences,
            Corpus.tokens: variant.tokens,
            Corpus.slots_changed: variant.removed + variant.edited,
            Corpus.slots_unmatched: variant.unmatched,
            Corpus.edited: variant.edited,
            Corpus.injected: variant.injected,
            **{Corpus.npi.of(name): int(n) for name, n in zip(labels, variant.items, strict=True)},
            **{Corpus.contexts.of(name): int(n) for name, n in zip(labels, variant.contexts, strict=True)},
        }
        for variant in variants
    ]
    return pl.DataFrame(rows, schema_overrides={Corpus.control_of: Corpus.control_of.dtype})
