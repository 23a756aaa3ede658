"""A corpus variant, given by indices into a pool of rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Integer

from npi_jax.corpus.variants.interventions import Intervention
from npi_jax.corpus.variants.rows import RowOrder


@dataclass(frozen=True)
class RowPool:
    """Rows of the corpus, and the changed rows of all variants.

    Attributes:
        tokens: `<eos>`, then the row's sentences, then `<eos>` to the end.
        used: number of tokens of each row that are predicted; the rest is padding.
    """

    tokens: Integer[np.ndarray, "rows length_and_one"]
    used: Integer[np.ndarray, " rows"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The corpus after one intervention, given by indices into the rows of a pool.

    Attributes:
        intervention: the intervention.
        rows: index in the pool of each of the variant's rows.
        removed: number of removed sentences.
        unmatched: number of changes that could not be made as requested. Counted are slots without a donor of equal
            length, requested injections that are missing, and sentences without a match in a random control. Sentences
            are also counted that were removed because words in them have no replacement with as many tokens.
        sentences, tokens: number of sentences and tokens to train on.
        items: number of items by label (`Phenomenon.labels`).
        contexts: number of licensors without an item by label.
        edited: number of sentences in which words were replaced.
        injected: number of injected sentences, summed over seeds and steps.
        unreplaced: words without a replacement in the table, and the number of sentences with each.
        overrides: pool rows that replace all rows of the batch of a (seed, step).
    """

    intervention: Intervention
    rows: Integer[np.ndarray, " rows"]
    removed: int
    unmatched: int
    sentences: int
    tokens: int
    items: Integer[np.ndarray, " labels"]
    contexts: Integer[np.ndarray, " labels"]
    edited: int = 0
    injected: int = 0
    unreplaced: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[tuple[int, int], Integer[np.ndarray, " batch"]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Number of sentences that were removed, edited or injected."""
        return self.removed + self.edited + self.injected

    def batch(self, order: RowOrder, seed: int, step: int) -> Integer[np.ndarray, " batch"]:
        """Return the pool rows of one batch."""
        if (seed, step) in self.overrides:
            return self.overrides[seed, step]
        return self.rows[order.rows(seed, step)]
