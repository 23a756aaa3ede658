"""Streams, which are sentences with the special tokens of a spec; and the scored span of each stream."""

from collections.abc import Mapping, Sequence

import numpy as np

from npi_jax.scoring.encoded import ABSENT, EncodedSentences
from npi_jax.scoring.shapes import Int
from npi_jax.scoring.spec import ScoreSpec


def sentence_streams(sentences: EncodedSentences, spec: ScoreSpec) -> tuple[list[Int[np.ndarray, " _"]], int]:
    """Return each sentence with its context and special tokens, and the number of such tokens before it.

    Raises:
        ValueError: if the spec needs a start or an end token and the tokenizer has none.
    """
    before: tuple[int, ...] = ()
    if spec.beginning == "token":
        if sentences.start is None:
            raise ValueError("the ScoreSpec needs the start token, but none was given (start=None)")
        before = (*sentences.context, sentences.start)
    elif spec.beginning in ("tokenizer", "special"):
        before = (*sentences.context, *sentences.prefix)
    else:
        before = sentences.context
    after = sentences.tokens_after(spec)
    return [np.concatenate([before, ids, after]).astype(np.int64) for ids in sentences.ids], len(before)


def region_spans(
    sentences: EncodedSentences, spec: ScoreSpec, streams: Sequence[Int[np.ndarray, " _"]], before: int
) -> dict[str, Int[np.ndarray, "sentences 2"]]:
    """Return for each region the scored span ``[start, end)`` of each stream.

    Both ends are `ABSENT` in a stream without the region, or with a region that cannot be scored.

    Args:
        sentences: the sentences as they were encoded.
        spec: the conventions, which name the regions.
        streams: from `sentence_streams`.
        before: number of tokens before each sentence, from `sentence_streams`.

    Raises:
        ValueError: if the sentences lack a region, or no token of it can be scored.
    """
    lengths = np.array([len(ids) for ids in sentences.ids])
    # The model cannot predict the first token that it reads.
    start = max(before + (not spec.score_first), 1)
    if spec.beginning == "special" and spec.score_first:
        start = max(len(sentences.context), 1)
    after = len(sentences.tokens_after(spec))
    full = np.stack([np.full(len(lengths), start), np.maximum(before + lengths + after, start)], axis=1)
    return {name: _span(name, sentences, full, before, streams) for name in spec.regions}


def _span(
    name: str, sentences: EncodedSentences, full: np.ndarray, before: int, streams: Sequence[np.ndarray]
) -> np.ndarray:
    if name == "sentence":
        if (full[:, 0] == full[:, 1]).any():
            index = int(np.flatnonzero(full[:, 0] == full[:, 1])[0])
            raise ValueError(f"{sentences.where(index)}: its one token cannot be scored without a start token")
        return full
    if name == "difference":
        if not sentences.is_pairs:
            raise ValueError("the region 'difference' is defined for pairs; these sentences come in other groups")
        shared = np.repeat([_shared(a, b) for a, b in zip(streams[::2], streams[1::2], strict=True)], 2)
        # If a sentence is the beginning of the other, its span is empty, and its sum is 0.
        return np.stack([np.clip(shared, full[:, 0], full[:, 1]), full[:, 1]], axis=1)
    region = "critical" if name == "critical_last" else name
    if region not in sentences.regions:
        known = ", ".join(["sentence", "difference", *sentences.regions])
        raise ValueError(f"the ScoreSpec scores the region {name!r}; these sentences have {known}")
    given = np.asarray(sentences.regions[region])
    span = given + before
    if name == "critical_last":
        span = np.stack([span[:, 1] - 1, span[:, 1]], axis=1)
    scorable = (given[:, 0] != ABSENT) & (span[:, 0] >= full[:, 0])
    if not scorable.any():
        raise ValueError(f"no sentence has a region {name!r} that the ScoreSpec can score")
    return np.where(scorable[:, None], span, ABSENT)


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    """Return the number of equal tokens at the beginning of two streams."""
    n = min(len(one), len(other))
    different = np.flatnonzero(one[:n] != other[:n])
    return int(different[0]) if len(different) else n


def scored_ends(
    spans: Mapping[str, Int[np.ndarray, "sentences 2"]],
) -> tuple[Int[np.ndarray, " sentences"], Int[np.ndarray, " sentences"]]:
    """Return where each stream's scored tokens begin and where they end; both are equal if no token is scored."""
    stacked = np.stack(list(spans.values()))
    scored = stacked[..., 0] < stacked[..., 1]
    high = np.where(scored, stacked[..., 1], 1).max(axis=0)
    return np.where(scored, stacked[..., 0], high).min(axis=0), high
