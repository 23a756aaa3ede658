"""Normalization of scores by length or frequency.

Every rule is affine: score = scale * summed log-probability + shift. Scale and shift do not depend on the model.
"""

from typing import NamedTuple

import numpy as np

from npi_jax.scoring.encoded import ABSENT, EncodedSentences
from npi_jax.scoring.packing import Bucket, Packed
from npi_jax.scoring.shapes import Float
from npi_jax.scoring.spec import ScoreSpec

PENLP_EXPONENT = 0.8
_LENGTHS = {
    "word": lambda text: len(text.split()),
    "character": len,
    "byte": lambda text: len(text.encode()),
}


class Affine(NamedTuple):
    """``scale * LP + shift`` for each sentence, float64."""

    scale: Float[np.ndarray, " sentences"]
    shift: Float[np.ndarray, " sentences"]


def resolve_auto(spec: ScoreSpec, sentences: EncodedSentences, packed: Packed) -> ScoreSpec:
    """Return the spec with ``"auto"`` replaced: by ``"matched"`` if a pair has unequal regions, else by ``"sum"``."""
    if spec.normalization != "auto":
        return spec
    unequal = sentences.is_pairs and any(unequal_pairs(region, packed) for region in spec.regions)
    return ScoreSpec.from_dict({**spec.to_dict(), "normalization": "matched" if unequal else "sum"})


def unequal_pairs(region: str, packed: Packed) -> int:
    """Count the pairs in which both sentences have the region, but with different numbers of tokens."""
    good, bad = packed.counts(region).reshape(-1, 2).T
    present = (packed.spans[region][:, 0] != ABSENT).reshape(-1, 2).all(axis=1)
    return int((present & (good != bad)).sum())


def normalization(
    region: str,
    sentences: EncodedSentences,
    packed: Packed,
    kind: str,
    unigram: Float[np.ndarray, " vocabulary"] | None,
) -> Affine:
    """Return scale and shift of a region under one rule of `ScoreSpec.normalization`; NaN if the rule divides by 0.

    The formulas are those of Lau, Armendariz, Lappin, Purver & Shu (TACL 2020), table 2, except ``matched``.

    Raises:
        ValueError: if the rule needs texts or unigram log-probabilities that were not given.
    """
    n = packed.counts(region).astype(np.float64)
    zero = np.zeros_like(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        match kind:
            case "sum":
                return Affine(np.ones_like(n), zero)
            case "matched":
                return Affine(_matched(n, sentences), zero)
            case "token":
                scale, shift = 1 / n, zero
            case "penlp":
                scale, shift = ((5 + 1) / (5 + n)) ** PENLP_EXPONENT, zero
            case "slor":
                scale, shift = 1 / n, -_unigram(region, packed, unigram, kind) / n
            case "normlp":
                scale, shift = -1 / _unigram(region, packed, unigram, kind), zero
            case _:
                scale, shift = 1 / _lengths(region, sentences, packed, kind), zero
    counted = n > 0
    return Affine(np.where(counted, scale, np.nan), np.where(counted, shift, np.nan))


def _matched(n: np.ndarray, sentences: EncodedSentences) -> np.ndarray:
    """Return the factors [S] that turn a sum into the mean over tokens times the pair's mean number of tokens."""
    if not sentences.is_pairs:
        raise ValueError("normalization 'matched' is defined for pairs; these sentences come in other groups")
    pairs = n.reshape(-1, 2)
    # The sum stays as it is if a sentence of the pair lacks the region or has no scored token in it.
    both = (pairs > 0).all(axis=1, keepdims=True)
    return np.where(both, pairs.mean(axis=1, keepdims=True) / pairs, 1.0).reshape(-1)


def _unigram(region: str, packed: Packed, unigram: np.ndarray | None, kind: str) -> np.ndarray:
    """Return the log-probability of each sentence's region under the unigram model, [S]."""
    if unigram is None:
        raise ValueError(f"normalization {kind!r} needs the unigram log-probabilities (unigram=...)")
    unigram = np.asarray(unigram, np.float64)
    largest = max(int(bucket.predictions[:, 1].max()) for bucket in packed.buckets)
    if unigram.ndim != 1 or len(unigram) <= largest:
        raise ValueError(f"unigram has shape {unigram.shape}; it must be 1-D and cover token id {largest}")
    if not np.isfinite(unigram).all() or (unigram > 0).any():
        raise ValueError("unigram contains a value that is not a log-probability: all must be finite and at most 0")
    return packed.in_order([_bucket_unigram(bucket, packed.spans[region], unigram) for bucket in packed.buckets])


def _bucket_unigram(bucket: Bucket, spans: np.ndarray, unigram: np.ndarray) -> np.ndarray:
    types = bucket.predictions[:, 1].reshape(-1)
    column = np.arange(bucket.table.shape[1])
    start, end = spans[bucket.sentences].T[:, :, None]
    inside = (column >= start) & (column < end) & (bucket.table != ABSENT)
    return np.asarray(np.where(inside, unigram[types[bucket.table]], 0.0).sum(axis=1))


def _lengths(region: str, sentences: EncodedSentences, packed: Packed, unit: str) -> np.ndarray:
    """Count the words, characters or bytes of each region's text, [S]."""
    if sentences.texts is None or sentences.offsets is None:
        raise ValueError(
            f"normalization {unit!r} needs the sentences' texts and offsets; with ids alone {unit}s cannot be counted"
        )
    measure = _LENGTHS[unit]
    lengths = np.zeros(len(sentences.ids))
    for index, (text, offsets) in enumerate(zip(sentences.texts, sentences.offsets, strict=True)):
        # The end token is not part of the text.
        start, end = np.clip(packed.spans[region][index] + packed.first[index], 0, len(offsets))
        if packed.spans[region][index, 0] != ABSENT and start < end:
            lengths[index] = measure(text[offsets[start][0] : offsets[end - 1][1]])
    return lengths
