"""Packing: what has to be run and predicted to score a suite, in rows and chunks of few static shapes.

Every distinct context of a bucket is looked at once. Two sentences that begin alike share the predictions of what they
have in common, so that these cancel exactly; a sentence is run only as far as one of its predictions is its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npi_jax.scoring.encoded import ABSENT, EncodedSentences
from npi_jax.scoring.rows import RowOptions, bucket_numbers, fill
from npi_jax.scoring.spec import ScoreSpec
from npi_jax.scoring.streams import region_spans, scored_ends, sentence_streams


@dataclass(frozen=True)
class Bucket:
    """Some of the sentences, B of them, in C chunks of R rows of L positions, with P predictions in each; all int32.

    Attributes:
        sentences: [B] their numbers, ascending.
        tokens, segment_ids, positions: [C, R, L] what the model reads; its segments, numbered 1, 2, ... in a row
            (0 is padding); the place in the segment, from 0.
        contexts: [C, K] the flat positions (``row * L + column``) of a chunk after which something is predicted.
        predictions: [C, 2, P] for each prediction which of the chunk's contexts it follows, and its token.
        table: [B, W] the prediction (``chunk * P + prediction``) of each scored token, `ABSENT` elsewhere.
        n_positions: positions that hold a token, of all C * R * L.
        n_contexts, n_predictions: how many there are without padding.
    """

    sentences: np.ndarray
    tokens: np.ndarray
    segment_ids: np.ndarray
    positions: np.ndarray
    contexts: np.ndarray
    predictions: np.ndarray
    table: np.ndarray
    n_positions: int
    n_contexts: int
    n_predictions: int


@dataclass(frozen=True)
class Packed:
    """S sentences in buckets, each of which has rows of its own length; mostly there is one.

    Attributes:
        buckets: that of the shortest sentences first.
        spans: by region [S, 2] the columns ``[start, end)`` of the table of a sentence's bucket; `ABSENT` twice where
            there is none.
        first: [S] which token of the sentence column 0 is (-1: the first of several before it).
        one_per_row: whether every sentence has a row of its own.
    """

    buckets: tuple[Bucket, ...]
    spans: Mapping[str, np.ndarray]
    first: np.ndarray
    one_per_row: bool = False

    @property
    def utilization(self) -> float:
        """Share of positions that hold a token."""
        return sum(bucket.n_positions for bucket in self.buckets) / sum(bucket.tokens.size for bucket in self.buckets)

    def counts(self, region: str) -> np.ndarray:
        """Tokens scored in a region, [S]; 0 where it is absent."""
        return np.diff(self.spans[region], axis=1)[:, 0]

    def in_order(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Put together what there is for each sentence of each bucket, [B, ...], in the order of sentences."""
        found = np.empty((len(self.first), *values[0].shape[1:]), values[0].dtype)
        for bucket, part in zip(self.buckets, values, strict=True):
            found[bucket.sentences] = part
        return found

    def place(self, index: int) -> tuple[int, np.ndarray]:
        """The number of a sentence's bucket, and its row of the table there."""
        for number, bucket in enumerate(self.buckets):
            row = int(np.searchsorted(bucket.sentences, index))
            if row < len(bucket.sentences) and bucket.sentences[row] == index:
                return number, bucket.table[row]
        raise IndexError(f"there is no sentence {index}; there are {len(self.first)}")


def pack(
    sentences: EncodedSentences,
    spec: ScoreSpec,
    *,
    row_length: int | None = None,
    rows_per_chunk: int = 32,
    max_length: int | None = None,
    one_per_row: bool = False,
) -> Packed:
    """Pack sentences into rows, the longest group first, each into the fullest row that has room.

    If any group has more than 128 positions there are several buckets, each with rows as long as its longest group;
    lengths in a bucket differ by at most a factor of two, but for that of the shortest.

    Args:
        sentences: what to pack.
        spec: what is scored.
        row_length: positions of every row; by default 64 to 128, whichever is filled well, or as many as the longest
            group of a bucket needs.
        rows_per_chunk: at most so many rows in a chunk, and fewer where they have more than 256 positions; chunks
            are made as equal as can be.
        max_length: most tokens that the model can read in one sentence, if it has such a limit.
        one_per_row: give every sentence a row of its own, from the row's first position on, in rows of at most 16
            positions, 32, 64 and so on.

    Raises:
        ValueError: if a token or region that the spec asks for is not given, no sentence has anything to score in
            one of the regions, a sentence is longer than `max_length`, or a group longer than `row_length`.
    """
    streams, before = sentence_streams(sentences, spec)
    spans = region_spans(sentences, spec, streams, before)
    low, high = scored_ends(spans)
    if high.max() == 1:
        raise ValueError("the ScoreSpec scores nothing of these sentences: those of every pair are equal")
    _check_lengths(sentences, high - 1, max_length)
    options = RowOptions(row_length, rows_per_chunk, one_per_row)
    groups = np.unique(sentences.groups, return_inverse=True)[1]
    number = bucket_numbers(groups, high - 1, options)
    buckets = tuple(
        _bucket(np.flatnonzero(number == n), streams, groups, spans, options, sentences)
        for n in range(int(number.max()) + 1)
    )
    shifted = {
        name: np.where(span == ABSENT, ABSENT, span - low[:, None]).astype(np.int32) for name, span in spans.items()
    }
    return Packed(buckets, shifted, (low - before).astype(np.int32), one_per_row)


def _bucket(
    own: np.ndarray,
    every_stream: Sequence[np.ndarray],
    every_group: np.ndarray,
    every_span: Mapping[str, np.ndarray],
    options: RowOptions,
    sentences: EncodedSentences,
) -> Bucket:
    """The sentences of the numbers `own` in rows."""
    streams, spans = [every_stream[index] for index in own], {name: span[own] for name, span in every_span.items()}
    groups = np.unique(every_group[own], return_inverse=True)[1]
    low, high = scored_ends(spans)
    nodes, targets = _contexts(streams, int(high.max()) - 1)
    needed = _needed(spans, nodes.shape)
    unique, first_at, context = np.unique(nodes[needed], return_index=True, return_inverse=True)
    sentence, depth = np.nonzero(needed)
    rows = fill(
        streams, groups, sentence[first_at], depth[first_at], options, lambda index: sentences.where(int(own[index]))
    )

    n_types = int(targets.max()) + 1
    keys, prediction = np.unique(context * n_types + targets[needed], return_inverse=True)
    key_context, key_target = np.divmod(keys, n_types)
    contexts, context_slot = _by_chunk(rows.chunk, rows.position, len(rows.arrays[0]))
    in_chunk, slot = _by_chunk(rows.chunk[key_context], np.arange(len(keys)), len(contexts))
    predictions = np.stack([context_slot[key_context[in_chunk]], key_target[in_chunk]], axis=1)
    table = np.full((len(streams), max(int((high - low).max()), 1)), ABSENT, np.int32)
    table[sentence, depth + 1 - low[sentence]] = (rows.chunk[key_context] * in_chunk.shape[1] + slot)[prediction]
    tokens, segment_ids, positions = (array.astype(np.int32) for array in rows.arrays)
    return Bucket(
        own.astype(np.int32),
        tokens,
        segment_ids,
        positions,
        contexts.astype(np.int32),
        predictions.astype(np.int32),
        table,
        rows.n_positions,
        len(unique),
        len(keys),
    )


def _check_lengths(sentences: EncodedSentences, lengths: np.ndarray, max_length: int | None) -> None:
    if max_length is not None and lengths.max() > max_length:
        raise ValueError(
            f"{sentences.where(int(lengths.argmax()))} takes {lengths.max()} positions, the model has {max_length} "
            f"({(lengths > max_length).sum()} sentences are too long); leave them out"
        )


def _contexts(streams: Sequence[np.ndarray], depth: int) -> tuple[np.ndarray, np.ndarray]:
    """[S, depth] a number for what has been read up to each token (equal where equal), and the token after it."""
    padded = np.full((len(streams), depth + 1), ABSENT, np.int64)
    for row, stream in zip(padded, streams, strict=True):
        row[: len(stream)] = stream[: depth + 1]
    nodes = np.empty((len(streams), depth), np.int64)
    parent, total = np.zeros(len(streams), np.int64), 0
    n_types = int(padded.max()) + 2
    for column in range(depth):
        _, parent = np.unique(parent * n_types + padded[:, column] + 1, return_inverse=True)
        nodes[:, column] = parent + total
        total += int(parent.max()) + 1
    return nodes, padded[:, 1:]


def _needed(spans: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """[S, depth] whether the token after each context is scored."""
    target = np.arange(1, shape[1] + 1)
    needed = np.zeros(shape, bool)
    for span in spans.values():
        needed |= (target >= span[:, :1]) & (target < span[:, 1:])
    return needed


def _by_chunk(chunk: np.ndarray, values: np.ndarray, n_chunks: int) -> tuple[np.ndarray, np.ndarray]:
    """`values` sorted into [C, most in a chunk], short chunks filled with 0, and the column that each has there."""
    order = np.argsort(chunk, kind="stable")
    counts = np.bincount(chunk, minlength=n_chunks)
    slot = np.empty(len(chunk), np.int64)
    slot[order] = np.arange(len(chunk)) - np.repeat(np.cumsum(counts) - counts, counts)
    sorted_values = np.zeros((n_chunks, counts.max()), np.int64)
    sorted_values[chunk, slot] = values
    return sorted_values, slot
