"""Packing: what has to be run and predicted to score a suite, in rows and chunks of one static shape.

Every distinct context is looked at once. Two sentences that begin alike share the predictions of what they have in
common, so that these cancel exactly; a sentence is run only as far as one of its predictions is its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npi_jax.scoring.encoded import ABSENT, EncodedSentences
from npi_jax.scoring.spec import ScoreSpec

ROW_LENGTHS = (64, 80, 96, 112, 128)
GOOD_UTILIZATION = 0.975
"""Rows are made no longer than is needed to fill this share of them, since attention looks at whole rows."""


@dataclass(frozen=True)
class Packed:
    """S sentences in C chunks of R rows of L positions, with P predictions in each chunk; all int32.

    Attributes:
        tokens, segment_ids, positions: [C, R, L] what the model reads; its segments, numbered 1, 2, ... in a row
            (0 is padding); the place in the segment, from 0.
        contexts: [C, K] the flat positions (``row * L + column``) of a chunk after which something is predicted.
        predictions: [C, 2, P] for each prediction which of the chunk's contexts it follows, and its token.
        table: [S, W] the prediction (``chunk * P + prediction``) of each scored token, `ABSENT` elsewhere.
        spans: by region [S, 2] the columns ``[start, end)`` of the table; `ABSENT` twice where there is none.
        first: [S] which token of the sentence column 0 is (-1: the first of several before it).
        n_positions: positions that hold a token, of all C * R * L.
        n_contexts, n_predictions: how many there are without padding.
    """

    tokens: np.ndarray
    segment_ids: np.ndarray
    positions: np.ndarray
    contexts: np.ndarray
    predictions: np.ndarray
    table: np.ndarray
    spans: Mapping[str, np.ndarray]
    first: np.ndarray
    n_positions: int
    n_contexts: int
    n_predictions: int

    @property
    def utilization(self) -> float:
        """Share of positions that hold a token."""
        return self.n_positions / self.tokens.size

    def counts(self, region: str) -> np.ndarray:
        """Tokens scored in a region, [S]; 0 where it is absent."""
        return np.diff(self.spans[region], axis=1)[:, 0]


def pack(
    sentences: EncodedSentences,
    spec: ScoreSpec,
    *,
    row_length: int | None = None,
    rows_per_chunk: int = 32,
    max_length: int | None = None,
) -> Packed:
    """Pack sentences into rows, the longest group first, each into the fullest row that has room.

    Args:
        sentences: what to pack.
        spec: what is scored.
        row_length: positions of a row; by default 64 to 128, whichever is filled well, or as many as the longest
            group needs.
        rows_per_chunk: at most so many rows in a chunk; chunks are made as equal as can be.
        max_length: most tokens that the model can read in one sentence, if it has such a limit.

    Raises:
        ValueError: if a token or region that the spec asks for is not given, no sentence has anything to score in
            one of the regions, a sentence is longer than `max_length`, or a group longer than `row_length`.
    """
    streams, before = sentence_streams(sentences, spec)
    spans = _spans(sentences, spec, streams, before)
    low, high = _ends(spans)
    _check_lengths(sentences, high - 1, max_length)
    nodes, targets = _contexts(streams, int(high.max()) - 1)
    needed = _needed(spans, nodes.shape)
    unique, first_at, context = np.unique(nodes[needed], return_index=True, return_inverse=True)
    sentence, depth = np.nonzero(needed)
    rows = _rows(sentences, streams, sentence[first_at], depth[first_at], row_length, rows_per_chunk)

    n_types = int(targets.max()) + 1
    keys, prediction = np.unique(context * n_types + targets[needed], return_inverse=True)
    key_context, key_target = np.divmod(keys, n_types)
    contexts, context_slot = _by_chunk(rows.chunk, rows.position, len(rows.arrays[0]))
    in_chunk, slot = _by_chunk(rows.chunk[key_context], np.arange(len(keys)), len(contexts))
    predictions = np.stack([context_slot[key_context[in_chunk]], key_target[in_chunk]], axis=1)
    table = np.full((len(streams), max(int((high - low).max()), 1)), ABSENT, np.int32)
    table[sentence, depth + 1 - low[sentence]] = (rows.chunk[key_context] * in_chunk.shape[1] + slot)[prediction]
    tokens, segment_ids, positions = (array.astype(np.int32) for array in rows.arrays)
    return Packed(
        tokens,
        segment_ids,
        positions,
        contexts.astype(np.int32),
        predictions.astype(np.int32),
        table,
        {name: np.where(span == ABSENT, ABSENT, span - low[:, None]).astype(np.int32) for name, span in spans.items()},
        (low - before).astype(np.int32),
        rows.n_positions,
        len(unique),
        len(keys),
    )


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


def _spans(
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


def _ends(spans: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first scored token of each stream and the one after the last; equal where none is scored."""
    stacked = np.stack(list(spans.values()))
    scored = stacked[..., 0] < stacked[..., 1]
    high = np.where(scored, stacked[..., 1], 1).max(axis=0)
    return np.where(scored, stacked[..., 0], high).min(axis=0), high


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


@dataclass(frozen=True)
class _Rows:
    """Filled rows, [C, R, L] each of (tokens, segment_ids, positions), and for each context its chunk and place."""

    arrays: tuple[np.ndarray, np.ndarray, np.ndarray]
    chunk: np.ndarray
    position: np.ndarray
    n_positions: int


def _rows(
    sentences: EncodedSentences,
    streams: Sequence[np.ndarray],
    owner: np.ndarray,
    depth: np.ndarray,
    row_length: int | None,
    rows_per_chunk: int,
) -> _Rows:
    """Place each sentence as far as it owns contexts (`owner` at `depth`, for each context)."""
    lengths = np.zeros(len(streams), np.int64)
    np.maximum.at(lengths, owner, depth + 1)
    groups = np.asarray(sentences.groups) - sentences.groups[0]
    group_lengths = np.bincount(groups, weights=lengths).astype(np.int64)
    longest = int(group_lengths.max())
    if row_length is not None and longest > row_length:
        where = sentences.where(int(np.searchsorted(groups, group_lengths.argmax())))
        raise ValueError(f"{where}: its group takes {longest} positions; rows have {row_length}")
    row_length, members = _best_fit(group_lengths, [row_length] if row_length else _row_lengths(longest))
    n_chunks = -(-len(members) // rows_per_chunk)
    n_rows = -(-len(members) // n_chunks)
    tokens, segment_ids, positions = np.zeros((3, n_chunks, n_rows, row_length), np.int64)
    place = np.zeros((3, len(streams)), np.int64)
    bounds = np.searchsorted(groups, np.arange(groups[-1] + 2))
    for number, row_groups in enumerate(members):
        # One row after another goes to another chunk: all chunks get about as many contexts.
        row, chunk = divmod(number, n_chunks)
        column = segment = 0
        for sentence in (s for group in row_groups for s in range(bounds[group], bounds[group + 1]) if lengths[s]):
            length, segment = int(lengths[sentence]), segment + 1
            here = (chunk, row, slice(column, column + length))
            tokens[here], segment_ids[here] = streams[sentence][:length], segment
            positions[here] = np.arange(length)
            place[:, sentence] = here[0], row, column
            column += length
    chunk, row, column = place[:, owner]
    position = row * row_length + column + depth
    return _Rows((tokens, segment_ids, positions), chunk, position, int(lengths.sum()))


def _row_lengths(longest: int) -> list[int]:
    """The row lengths to try where the longest group takes so many positions."""
    return [length for length in ROW_LENGTHS if length >= longest] or [longest]


def _best_fit(lengths: np.ndarray, row_lengths: Sequence[int]) -> tuple[int, list[list[int]]]:
    """The first of the row lengths that is filled well, or the one that is filled best, and the groups of its rows."""
    tried = []
    for row_length in row_lengths:
        rows = _fill_rows(lengths, row_length)
        tried.append((float(lengths.sum()) / (len(rows) * row_length), row_length, rows))
        if tried[-1][0] >= GOOD_UTILIZATION:
            break
    _, row_length, rows = max(tried, key=lambda one: one[0])
    return row_length, rows


def _fill_rows(lengths: np.ndarray, row_length: int) -> list[list[int]]:
    """Groups for each row: the longest first, each into the fullest row that has room; those of length 0 in none."""
    by_room: list[list[list[int]]] = [[] for _ in range(row_length + 1)]
    rows = []
    for group in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[group])
        if not length:
            break
        room = next((r for r in range(length, row_length + 1) if by_room[r]), None)
        if room is None:
            row: list[int] = []
            rows.append(row)
            room = row_length
        else:
            row = by_room[room].pop()
        row.append(group)
        by_room[room - length].append(row)
    return rows


def _by_chunk(chunk: np.ndarray, values: np.ndarray, n_chunks: int) -> tuple[np.ndarray, np.ndarray]:
    """`values` sorted into [C, most in a chunk], short chunks filled with 0, and the column that each has there."""
    order = np.argsort(chunk, kind="stable")
    counts = np.bincount(chunk, minlength=n_chunks)
    slot = np.empty(len(chunk), np.int64)
    slot[order] = np.arange(len(chunk)) - np.repeat(np.cumsum(counts) - counts, counts)
    sorted_values = np.zeros((n_chunks, counts.max()), np.int64)
    sorted_values[chunk, slot] = values
    return sorted_values, slot
