"""Variants that changed nothing: their models are the baseline's once more, and no effect of theirs is one."""

import polars as pl


def empty_variants(corpus: pl.DataFrame, baseline: str) -> list[str]:
    """Variants other than the baseline whose text is the corpus's own; controls are named by what they control for.

    Args:
        corpus: one row a variant, with slots_changed, and edited and injected where there are such columns.
        baseline: the variant that others are compared with; it changes nothing by right.
    """
    counts = [name for name in ("slots_changed", "edited", "injected") if name in corpus.columns]
    if "slots_changed" not in counts:
        return []
    nothing = pl.all_horizontal(pl.col(name).fill_null(0) == 0 for name in counts)
    named = ~pl.col("variant").is_in([baseline, "full"])
    if "control_of" in corpus.columns:
        named &= pl.col("control_of").is_null()
    return corpus.filter(nothing & named)["variant"].to_list()


def with_controls(variants: list[str], corpus: pl.DataFrame) -> list[str]:
    """The variants and the controls that were made for them."""
    if "control_of" not in corpus.columns:
        return variants
    return [*variants, *corpus.filter(pl.col("control_of").is_in(variants))["variant"].to_list()]


def without_empty(transfer: pl.DataFrame, corpus: pl.DataFrame, baseline: str) -> pl.DataFrame:
    """The effects of those variants that changed something."""
    empty = with_controls(empty_variants(corpus, baseline), corpus)
    return transfer.filter(~pl.col("intervention").is_in(empty))
