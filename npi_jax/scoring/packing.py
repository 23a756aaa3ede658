"""Packing of sentences into rows and chunks of few static shapes, without computing any prediction twice.

A bucket contains sentences of similar length. Its rows have equal lengths. The model reads them chunk by chunk.

A context is the tokens before a predicted token. The model computes each distinct context of a bucket once. Two
sentences with a common beginning share the predictions in it, which cancel exactly in their difference. A sentence
takes positions only up to its last context that no earlier sentence has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npi_jax.scoring.encoded import ABSENT, EncodedSentences
from npi_jax.scoring.rows import RowOptions, bucket_numbers, fill
from npi_jax.scoring.shapes import Int, Shaped
from npi_jax.scoring.spec import ScoreSpec
from npi_jax.scoring.streams import region_spans, scored_ends, sentence_streams


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Sentences of similar length, packed into rows; all arrays are int32.

    A bucket contains B sentences in C chunks. A chunk has R rows of L positions, and P predictions.

    Attributes:
        sentences: number of each sentence in the suite, ascending.
        tokens: token ids that the model reads.
        segment_ids: number of each position's sentence in its row, from 1; 0 is padding.
        positions: index of each position in its sentence, from 0.
        contexts: position in the chunk (``row * L + column``) of the last token of each context.
        predictions: for each prediction the index of its context in the chunk, and the predicted token.
        table: for each sentence and column, the index (``chunk * P + prediction``) of a scored token's prediction;
            `ABSENT` for tokens that are not scored.
        n_positions: number of positions with a token, of C * R * L positions in all.
        n_contexts, n_predictions: numbers of contexts and predictions, without padding.
    """

    sentences: Int[np.ndarray, " bucket"]
    tokens: Int[np.ndarray, "chunks rows length"]
    segment_ids: Int[np.ndarray, "chunks rows length"]
    positions: Int[np.ndarray, "chunks rows length"]
    contexts: Int[np.ndarray, "chunks contexts"]
    predictions: Int[np.ndarray, "chunks 2 predictions"]
    table: Int[np.ndarray, "bucket columns"]
    n_positions: int
    n_contexts: int
    n_predictions: int


@dataclass(frozen=True)
class Packed:
    """S sentences in buckets with different row lengths; most suites need one bucket.

    Attributes:
        buckets: from the shortest sentences to the longest.
        spans: for each region the columns ``[start, end)`` of its tokens in `Bucket.table`. Both ends are `ABSENT` if
            the sentence lacks the region.
        first: index in the sentence of the token in column 0 of `Bucket.table`. It is negative for special tokens
            before the sentence: -1 is the last of them.
        one_per_row: whether each row contains only one sentence.
    """

    buckets: tuple[Bucket, ...]
    spans: Mapping[str, Int[np.ndarray, "sentences 2"]]
    first: Int[np.ndarray, " sentences"]
    one_per_row: bool = False

    @property
    def utilization(self) -> float:
        """Share of positions with a token; the others are padding."""
        return sum(bucket.n_positions for bucket in self.buckets) / sum(bucket.tokens.size for bucket in self.buckets)

    def counts(self, region: str) -> Int[np.ndarray, " sentences"]:
        """Return the number of scored tokens in a region; 0 where it is absent."""
        return np.diff(self.spans[region], axis=1)[:, 0]

    def in_order(self, values: Sequence[Shaped[np.ndarray, "..."]]) -> Shaped[np.ndarray, "..."]:
        """Merge values [B, ...] of each bucket's sentences into one array [S, ...] in the suite's order."""
        merged = np.empty((len(self.first), *values[0].shape[1:]), values[0].dtype)
        for bucket, part in zip(self.buckets, values, strict=True):
            merged[bucket.sentences] = part
        return merged

    def find(self, index: int) -> tuple[int, Int[np.ndarray, " columns"]]:
        """Return the number of a sentence's bucket, and the sentence's row in `Bucket.table`.

        Raises:
            IndexError: if there is no such sentence.
        """
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
    """Pack sentences into rows by best fit: the longest group first, each into the fullest row with enough space.

    If any group takes more than 128 positions, there are several buckets. Within every bucket but the first, the
    lengths of groups differ by at most a factor of two.

    Args:
        sentences: the sentences to pack.
        spec: the conventions, which name the regions to score.
        row_length: positions of every row, in one bucket. By default it differs by bucket: 64 to 128, chosen for
            little padding, or the length of the longest group if that is above 128.
        rows_per_chunk: largest number of rows in a chunk. Unless `row_length` is given, there are two exceptions. Rows
            of more than 256 positions have smaller chunks. With `one_per_row`, rows of at most 32 positions have
            larger chunks.
        max_length: largest number of tokens that the model can read; None if there is no limit.
        one_per_row: put only one sentence in each row. There are then several buckets if any sentence takes more than
            16 positions, and rows are as long as the bucket's longest sentence.

    Raises:
        ValueError: if the sentences lack a token or region of the spec, or no token of a region can be scored. Also
            if a sentence is longer than `max_length`, or a group longer than `row_length`.
    """
    streams, before = sentence_streams(sentences, spec)
    spans = region_spans(sentences, spec, streams, before)
    low, high = scored_ends(spans)
    if high.max() == 1:
        raise ValueError("the ScoreSpec scores no token: the two sentences of every pair are equal")
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
    numbers: np.ndarray,
    every_stream: Sequence[np.ndarray],
    every_group: np.ndarray,
    every_span: Mapping[str, np.ndarray],
    options: RowOptions,
    sentences: EncodedSentences,
) -> Bucket:
    """Pack the sentences with the given `numbers` into the rows of one bucket."""
    streams = [every_stream[index] for index in numbers]
    spans = {name: span[numbers] for name, span in every_span.items()}
    groups = np.unique(every_group[numbers], return_inverse=True)[1]
    low, high = scored_ends(spans)
    nodes, targets = _contexts(streams, int(high.max()) - 1)
    needed = _needed(spans, nodes.shape)
    unique, first_at, context = np.unique(nodes[needed], return_index=True, return_inverse=True)
    sentence, depth = np.nonzero(needed)
    name = lambda index: sentences.where(int(numbers[index]))  # noqa: E731
    rows = fill(streams, groups, sentence[first_at], depth[first_at], options, name)

    n_types = int(targets.max()) + 1
    keys, prediction = np.unique(context * n_types + targets[needed], return_inverse=True)
    key_context, key_target = np.divmod(keys, n_types)
    contexts, context_column = _by_chunk(rows.chunk, rows.position, len(rows.arrays[0]))
    in_chunk, column = _by_chunk(rows.chunk[key_context], np.arange(len(keys)), len(contexts))
    predictions = np.stack([context_column[key_context[in_chunk]], key_target[in_chunk]], axis=1)
    table = np.full((len(streams), max(int((high - low).max()), 1)), ABSENT, np.int32)
    table[sentence, depth + 1 - low[sentence]] = (rows.chunk[key_context] * in_chunk.shape[1] + column)[prediction]
    tokens, segment_ids, positions = (array.astype(np.int32) for array in rows.arrays)
    return Bucket(
        sentences=numbers.astype(np.int32),
        tokens=tokens,
        segment_ids=segment_ids,
        positions=positions,
        contexts=contexts.astype(np.int32),
        predictions=predictions.astype(np.int32),
        table=table,
        n_positions=rows.n_positions,
        n_contexts=len(unique),
        n_predictions=len(keys),
    )


def _check_lengths(sentences: EncodedSentences, lengths: np.ndarray, max_length: int | None) -> None:
    if max_length is not None and lengths.max() > max_length:
        raise ValueError(
            f"{sentences.where(int(lengths.argmax()))} takes {lengths.max()} positions, the model has {max_length} "
            f"({(lengths > max_length).sum()} sentences are too long); remove them from the suite"
        )


def _contexts(streams: Sequence[np.ndarray], depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a number for each context, equal for equal contexts, and the token after it; both [B, depth]."""
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
    """Return whether the token after each context is scored, bool [B, depth]."""
    target = np.arange(1, shape[1] + 1)
    needed = np.zeros(shape, bool)
    for span in spans.values():
        needed |= (target >= span[:, :1]) & (target < span[:, 1:])
    return needed


def _by_chunk(chunk: np.ndarray, values: np.ndarray, n_chunks: int) -> tuple[np.ndarray, np.ndarray]:
    """Arrange `values` in one row for each chunk, padded with 0; also return the column of each value."""
    order = np.argsort(chunk, kind="stable")
    counts = np.bincount(chunk, minlength=n_chunks)
    column = np.empty(len(chunk), np.int64)
    column[order] = np.arange(len(chunk)) - np.repeat(np.cumsum(counts) - counts, counts)
    sorted_values = np.zeros((n_chunks, counts.max()), np.int64)
    sorted_values[chunk, column] = values
    return sorted_values, column
