"""Sentences of a suite as a table, in the order in which they are scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

Span = tuple[int, int]
"""Characters ``[start, end)`` of a sentence."""


@dataclass(frozen=True)
class SentenceTable:
    """Sentences of a suite. Those of one item form a group: a minimal pair, or the conditions of an item.

    Attributes:
        texts: the sentences.
        groups: for each sentence, the number of its item.
        regions: by name, each sentence's span of characters; None where the sentence lacks the region.
        labels: columns of score tables with one value per item.
        sentence_labels: columns of score tables with one value per sentence.
        pairs: True if items are minimal pairs, acceptable sentence first; False if items have several conditions.
    """

    texts: Sequence[str]
    groups: Integer[np.ndarray, " sentences"]
    regions: Mapping[str, Sequence[Span | None]]
    labels: Mapping[str, Sequence[str]]
    sentence_labels: Mapping[str, Sequence[str]]
    pairs: bool
