"""Packing: all sentences of a suite in rows of one static shape, both sentences of a pair in the same row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npi_jax.scoring.spec import ScoreSpec


@dataclass(frozen=True)
class EncodedPairs:
    """Minimal pairs as token ids.

    Attributes:
        sentences: for each pair the ids of its good and its bad sentence, int32, without special tokens.
        critical: int32 [pairs, 2, 2]: for good and bad the critical region as a span ``[start, end)`` of tokens.
    """

    sentences: Sequence[tuple[np.ndarray, np.ndarray]]
    critical: np.ndarray

    def __post_init__(self) -> None:
        if len(self.sentences) == 0:
            raise ValueError("no pairs to score")
        if self.critical.shape != (len(self.sentences), 2, 2):
            raise ValueError(f"critical has shape {self.critical.shape}, not ({len(self.sentences)}, 2, 2)")
        for index, pair in enumerate(self.sentences):
            for side, ids in enumerate(pair):
                start, end = self.critical[index, side]
                if not 0 <= start < end <= len(ids):
                    raise ValueError(
                        f"pair {index}, {('good', 'bad')[side]} sentence: critical region [{start}, {end}) "
                        f"does not lie in its {len(ids)} tokens"
                    )


@dataclass(frozen=True)
class PackedPairs:
    """Pairs in C chunks of R rows of L positions; S sentences (good 0, bad 0, good 1, ...). All int32.

    Attributes:
        tokens, targets: [C, R, L] what the model reads, and what it is to predict at each position.
        segment_ids: [C, R, L] 1, 2, ... for the sentences of a row, 0 for padding.
        positions: [C, R, L] from 0 within each sentence.
        first: [S] flat position (``row * L + column``) at which the sentence's first scored token is predicted.
        n_sentence: [S] tokens scored for the whole sentence.
        critical: [S, 2] span of the critical region among the scored tokens.
    """

    tokens: np.ndarray
    targets: np.ndarray
    segment_ids: np.ndarray
    positions: np.ndarray
    first: np.ndarray
    n_sentence: np.ndarray
    critical: np.ndarray

    @property
    def utilization(self) -> float:
        """Share of positions that hold a token to predict."""
        return float((self.segment_ids > 0).mean())


def pack_pairs(
    pairs: EncodedPairs,
    spec: ScoreSpec,
    *,
    start: int | None,
    end: int | None,
    row_length: int | None = None,
    rows_per_chunk: int = 64,
) -> PackedPairs:
    """Pack pairs into rows, the longest first, each into the fullest row that has room.

    Args:
        pairs: what to pack.
        spec: its `beginning` and `score_end` decide which special tokens are put in.
        start, end: ids of the start and the end token; needed as far as `spec` asks for them.
        row_length: positions of a row; by default 64, or as many as the longest pair needs.
        rows_per_chunk: at most so many rows in a chunk; chunks are made as equal as can be.

    Raises:
        ValueError: if a token that the spec asks for is not given, a sentence has nothing to score, the critical
            region begins with an unscored token, or a pair is longer than `row_length`.
    """
    streams = [_stream(ids, spec, start, end) for pair in pairs.sentences for ids in pair]
    critical = pairs.critical.reshape(-1, 2) - (spec.beginning == "none")
    if critical.min() < 0:
        where = int(np.flatnonzero(critical.min(axis=1) < 0)[0]) // 2
        raise ValueError(f"pair {where}: its critical region starts at the first token, which is not scored")
    lengths = np.array([len(stream) - 1 for stream in streams])
    if lengths.min() < 1:
        raise ValueError(f"pair {int(lengths.argmin()) // 2}: a sentence of one token has nothing to score")
    pair_lengths = lengths.reshape(-1, 2).sum(axis=1)
    row_length = row_length or max(64, int(pair_lengths.max()))
    if pair_lengths.max() > row_length:
        where = int(pair_lengths.argmax())
        raise ValueError(f"pair {where} takes {pair_lengths[where]} positions; rows have {row_length}")
    rows = _first_fit(pair_lengths, row_length)
    return _fill(streams, lengths, critical, rows, row_length, rows_per_chunk)


def _stream(ids: np.ndarray, spec: ScoreSpec, start: int | None, end: int | None) -> np.ndarray:
    before = [_given(start, "start")] if spec.beginning == "token" else []
    after = [_given(end, "end")] if spec.score_end else []
    return np.concatenate([before, ids, after]).astype(np.int32)


def _given(token: int | None, name: str) -> int:
    if token is None:
        raise ValueError(f"the ScoreSpec asks for a {name} token, but none was given ({name}=None)")
    return token


def _first_fit(lengths: np.ndarray, row_length: int) -> list[list[int]]:
    by_room: list[list[list[int]]] = [[] for _ in range(row_length + 1)]
    rows = []
    for pair in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[pair])
        room = next((r for r in range(length, row_length + 1) if by_room[r]), None)
        if room is None:
            row: list[int] = []
            rows.append(row)
            room = row_length
        else:
            row = by_room[room].pop()
        row.append(pair)
        by_room[room - length].append(row)
    return rows


def _fill(
    streams: list[np.ndarray],
    lengths: np.ndarray,
    critical: np.ndarray,
    rows: list[list[int]],
    row_length: int,
    rows_per_chunk: int,
) -> PackedPairs:
    n_chunks = -(-len(rows) // rows_per_chunk)
    n_rows = n_chunks * -(-len(rows) // n_chunks)
    tokens, targets, segment_ids, positions = np.zeros((4, n_rows, row_length), np.int32)
    first = np.zeros(len(streams), np.int32)
    for row, members in enumerate(rows):
        column = 0
        for segment, sentence in enumerate([2 * pair + side for pair in members for side in (0, 1)], start=1):
            length = int(lengths[sentence])
            place = slice(column, column + length)
            tokens[row, place] = streams[sentence][:-1]
            targets[row, place] = streams[sentence][1:]
            segment_ids[row, place] = segment
            positions[row, place] = np.arange(length)
            first[sentence] = row * row_length + column
            column += length

    def in_chunks(array: np.ndarray) -> np.ndarray:
        return array.reshape(n_chunks, -1, row_length)

    return PackedPairs(
        in_chunks(tokens),
        in_chunks(targets),
        in_chunks(segment_ids),
        in_chunks(positions),
        first,
        lengths.astype(np.int32),
        critical.astype(np.int32),
    )
