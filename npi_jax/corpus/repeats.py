"""How many sentences of one text are in another, word for word."""

import numpy as np
from jaxtyping import Integer, UInt64

from npi_jax.corpus.annotation.stored_text import Text
from npi_jax.corpus.storage.cache import Say

LEAST = 40
"""Bytes of a sentence that counts: shorter ones repeat by chance ("Yes, he said.")."""
MUCH = 0.1
"""The share from which validation text is said to be in the training text."""

_STRETCH = 1 << 20


def warn_of_shared(training: Text, validation: Text, say: Say) -> None:
    """Say so where much of the validation text is training text, as where one file was cut from a copy of the other."""
    shared, total = shared_sentences(training, validation)
    if shared > MUCH * total:
        say(
            f"warning: {shared:,} of {total:,} validation sentences of {LEAST} bytes and more are in the training text "
            "word for word; validation losses tell little of other text"
        )


def shared_sentences(training: Text, validation: Text) -> tuple[int, int]:
    """Return how many of the validation sentences that count are in the training text, and how many count.

    Memory is that of a stretch of sentences, whatever the size of the training text.
    """
    wanted = [validation[int(at)] for at in _long(validation, 0, len(validation))]
    marks = np.unique(_marks(validation, _long(validation, 0, len(validation))))
    missing = set(wanted)
    for start in range(0, len(training), _STRETCH):
        at = _long(training, start, min(start + _STRETCH, len(training)))
        likely = at[np.isin(_marks(training, at), marks)]
        missing.difference_update(training[int(one)] for one in likely)
    return sum(sentence not in missing for sentence in wanted), len(wanted)


def _bounds(text: Text, at: Integer[np.ndarray, " some"]) -> tuple[np.ndarray, np.ndarray]:
    """Where sentences begin and end among the bytes of all."""
    number = at if text.chosen is None else np.asarray(text.chosen)[at]
    starts = np.where(number > 0, np.asarray(text.ends)[np.maximum(number - 1, 0)], 0)
    return starts, np.asarray(text.ends)[number]


def _long(text: Text, start: int, stop: int) -> Integer[np.ndarray, " long"]:
    """The sentences that count, of a stretch."""
    at = np.arange(start, stop)
    starts, ends = _bounds(text, at)
    return at[ends - starts >= LEAST]


def _marks(text: Text, at: Integer[np.ndarray, " some"]) -> UInt64[np.ndarray, " some"]:
    """A number that equal sentences share: of their length, first and last eight bytes."""
    starts, ends = _bounds(text, at)
    head, tail = (
        np.ascontiguousarray(text.content[places[:, None] + np.arange(8)]).view(np.uint64).reshape(-1)
        for places in (starts, ends - 8)
    )
    return head * np.uint64(0x9E3779B97F4A7C15) ^ tail + (ends - starts).astype(np.uint64)
