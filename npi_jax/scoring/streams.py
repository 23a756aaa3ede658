"""Streams: sentences with the special tokens that a spec asks for, and what of each is scored."""

from collections.abc import Mapping, Sequence

import numpy as np

from npi_jax.scoring.encoded import ABSENT, EncodedSentences
from npi_jax.scoring.spec import ScoreSpec


def sentence_streams(sentences: EncodedSentences, spec: ScoreSpec) -> tuple[list[np.ndarray], int]:
    """Each sentence with the special tokens that the spec asks for, and how many come before it."""
    before: tuple[int, ...] = ()
    if spec.beginning == "token":
        if sentences.start is None:
            raise ValueError("the ScoreSpec asks for the start token, but none was given (start=None)")
        before = (*sentences.context, sentences.start)
    elif spec.beginning in ("tokenizer", "special"):
        before = (*sentences.context, *sentences.prefix)
    else:
        before = sentences.context
    after = sentences.tokens_after(spec)
    return [np.concatenate([before, ids, after]).astype(np.int64) for ids in sentences.ids], len(before)


def region_spans(
    sentences: EncodedSentences, spec: ScoreSpec, streams: Sequence[np.ndarray], before: int
) -> dict[str, np.ndarray]:
    """By region, what is scored of each stream as ``[start, end)``, `ABSENT` where that cannot be."""
    lengths = np.array([len(ids) for ids in sentences.ids])
    # Without anything before it, the first token has no prediction.
    start = max(before + (not spec.score_first), 1)
    if spec.beginning == "special" and spec.score_first:
        start = max(len(sentences.context), 1)
    after = len(sentences.tokens_after(spec))
    whole = np.stack([np.full(len(lengths), start), np.maximum(before + lengths + after, start)], axis=1)
    return {name: _span(name, sentences, whole, before, streams) for name in spec.regions}


def _span(
    name: str, sentences: EncodedSentences, whole: np.ndarray, before: int, streams: Sequence[np.ndarray]
) -> np.ndarray:
    if name == "sentence":
        if (whole[:, 0] == whole[:, 1]).any():
            index = int(np.flatnonzero(whole[:, 0] == whole[:, 1])[0])
            raise ValueError(f"{sentences.where(index)}: of one token nothing is scored without a start token")
        return whole
    if name == "difference":
        if not sentences.is_pairs:
            raise ValueError("the region 'difference' is of pairs; these sentences come in other groups")
        shared = np.repeat([_shared(a, b) for a, b in zip(streams[::2], streams[1::2], strict=True)], 2)
        # Of a sentence that only lacks the end of the other nothing is left: a sum of nothing is 0.
        return np.stack([np.clip(shared, whole[:, 0], whole[:, 1]), whole[:, 1]], axis=1)
    region = "critical" if name == "critical_last" else name
    if region not in sentences.regions:
        known = ", ".join(["sentence", "difference", *sentences.regions])
        raise ValueError(f"the ScoreSpec asks for the region {name!r}; these sentences have {known}")
    given = np.asarray(sentences.regions[region])
    span = given + before
    if name == "critical_last":
        span = np.stack([span[:, 1] - 1, span[:, 1]], axis=1)
    scorable = (given[:, 0] != ABSENT) & (span[:, 0] >= whole[:, 0])
    if not scorable.any():
        raise ValueError(f"no sentence has a region {name!r} that the ScoreSpec can score")
    return np.where(scorable[:, None], span, ABSENT)


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two streams have in common at their start."""
    n = min(len(one), len(other))
    different = np.flatnonzero(one[:n] != other[:n])
    return int(different[0]) if len(different) else n


def scored_ends(spans: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first scored token of each stream and the one after the last; equal where none is scored."""
    stacked = np.stack(list(spans.values()))
    scored = stacked[..., 0] < stacked[..., 1]
    high = np.where(scored, stacked[..., 1], 1).max(axis=0)
    return np.where(scored, stacked[..., 0], high).min(axis=0), high
