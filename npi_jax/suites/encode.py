"""A suite in a tokenizer's ids: what the scorer takes."""

from dataclasses import dataclass

import numpy as np

from npi_jax.corpus.tokenizer import Tokenizer
from npi_jax.errors import UserError
from npi_jax.scoring import EncodedPairs
from npi_jax.suites.schema import Item, Span, Suite


class EncodingError(UserError):
    """An item that the tokenizer cannot put into ids together with its critical region."""


@dataclass(frozen=True)
class EncodedSuite:
    """A suite, its ids, and how well the vocabulary covers it.

    Attributes:
        suite: the items.
        pairs: their ids, in the same order.
        unknown_items: items with a word outside the vocabulary in either sentence.
        unknown_critical: items whose critical region holds such a word: their scores say little.
    """

    suite: Suite
    pairs: EncodedPairs
    unknown_items: int
    unknown_critical: int


def encode_suite(suite: Suite, tokenizer: Tokenizer) -> EncodedSuite:
    """Tokenize every sentence and carry the critical regions from characters to tokens.

    Raises:
        EncodingError: naming the item, if no token overlaps its critical region.
    """
    sentences, critical = [], []
    unknown_items = unknown_critical = 0
    for item in suite:
        sides = [
            _encode(tokenizer, item, "good", item.good, item.critical_good),
            _encode(tokenizer, item, "bad", item.bad, item.critical_bad),
        ]
        sentences.append((sides[0][0], sides[1][0]))
        critical.append([span for _, span in sides])
        unknown = [ids == tokenizer.unk if tokenizer.unk is not None else np.zeros(len(ids), bool) for ids, _ in sides]
        unknown_items += any(side.any() for side in unknown)
        unknown_critical += any(side[start:end].any() for side, (_, (start, end)) in zip(unknown, sides, strict=True))
    pairs = EncodedPairs(tuple(sentences), np.array(critical, np.int32))
    return EncodedSuite(suite, pairs, unknown_items, unknown_critical)


def _encode(tokenizer: Tokenizer, item: Item, side: str, text: str, span: Span) -> tuple[np.ndarray, Span]:
    encoding = tokenizer.encode(text)
    overlaps = (encoding.offsets[:, 0] < span[1]) & (encoding.offsets[:, 1] > span[0])
    tokens = np.flatnonzero(overlaps)
    if not len(tokens):
        raise EncodingError(
            f"item {item.item!r}: no token of its {side} sentence {text!r} lies in its critical region {span}"
        )
    return encoding.ids, (int(tokens[0]), int(tokens[-1]) + 1)
