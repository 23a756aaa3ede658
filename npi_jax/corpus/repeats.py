"""Validation sentences that also occur in the training text."""

import numpy as np
from jaxtyping import Integer, UInt64

from npi_jax.corpus.annotation.stored_text import Text
from npi_jax.corpus.storage.cache import Say

LEAST = 40
"""Minimum size of a compared sentence, bytes; shorter sentences repeat by chance ("Yes, he said.")."""
MUCH = 0.1
"""Share of shared sentences above which the user is warned."""

_STRETCH = 1 << 20


def warn_of_shared(training: Text, validation: Text, say: Say) -> None:
    """Warn if much of the validation text is in the training text, for example because a file was copied."""
    shared, total = shared_sentences(training, validation)
    if shared > MUCH * total:
        say(
            f"warning: {shared:,} of {total:,} validation sentences of {LEAST} bytes and more are in the training text "
            "word for word; validation losses will not show how well the models predict unseen text"
        )


def shared_sentences(training: Text, validation: Text) -> tuple[int, int]:
    """Count the validation sentences of at least `LEAST` bytes: first those in the training text, then all.

    The training text is read in stretches, so that memory does not grow with the text.
    """
    long = _long(validation, 0, len(validation))
    wanted = [validation[int(at)] for at in long]
    hashes = np.unique(_hashes(validation, long))
    missing = set(wanted)
    for start in range(0, len(training), _STRETCH):
        at = _long(training, start, min(start + _STRETCH, len(training)))
        likely = at[np.isin(_hashes(training, at), hashes)]
        missing.difference_update(training[int(one)] for one in likely)
    return sum(sentence not in missing for sentence in wanted), len(wanted)


def _bounds(
    text: Text, at: Integer[np.ndarray, " some"]
) -> tuple[Integer[np.ndarray, " some"], Integer[np.ndarray, " some"]]:
    """Return the first byte of some sentences, and the byte after the last."""
    number = at if text.chosen is None else np.asarray(text.chosen)[at]
    starts = np.where(number > 0, np.asarray(text.ends)[np.maximum(number - 1, 0)], 0)
    return starts, np.asarray(text.ends)[number]


def _long(text: Text, start: int, stop: int) -> Integer[np.ndarray, " long"]:
    """Return the indices of the sentences from `start` to `stop` that have at least `LEAST` bytes."""
    at = np.arange(start, stop)
    starts, ends = _bounds(text, at)
    return at[ends - starts >= LEAST]


def _hashes(text: Text, at: Integer[np.ndarray, " some"]) -> UInt64[np.ndarray, " some"]:
    """Return a hash of each sentence's length, first eight bytes and last eight bytes."""
    starts, ends = _bounds(text, at)
    head, tail = (
        np.ascontiguousarray(text.content[first[:, None] + np.arange(8)]).view(np.uint64).reshape(-1)
        for first in (starts, ends - 8)
    )
    return head * np.uint64(0x9E3779B97F4A7C15) ^ tail + (ends - starts).astype(np.uint64)
