"""Check that a model scores each sentence of a row as if it were alone in the row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from npi_jax.scoring.packing import Bucket, Packed
from npi_jax.scoring.shapes import Float

SENTENCES = 12
"""Largest number of sentences of a bucket that are compared."""

POSITIONS = 4096
"""Limit for long rows: the compared sentences, one in each row, take at most this many positions.

The model reads about half as many in one call.
"""

NOISE = 2e-5
"""Difference that rounding may cause, as a share of a log-probability."""

SAME_PLACE, OTHER_PLACE = 0.005, 0.02
"""Allowed differences for sentences that stay at their columns, and for sentences that move to other columns.

Both are shares of a reference: the largest change of predictions when a sentence's tokens are replaced by others.
They allow for rounding, since the order of summation can change. Rounding is largest in 16-bit arithmetic.
"""

LATER = (
    "sees later tokens: they change predictions before them by up to {:.2g} nats. Attend to no later position "
    "(a causal mask)"
)
MIXED = (
    "lets the sentences of a row see each other: another sentence beside them changes their predictions by up to "
    "{:.2g} nats. Attend only where segment_ids are equal, and reset the state where positions == 0"
)
PLACED = (
    "takes positions from the place in the row: predictions differ by up to {:.2g} nats from the same sentence "
    "alone in a row. Use positions, which count from 0 in each sentence, not columns or segment numbers"
)


class _Piece(NamedTuple):
    """A sentence: the tokens that the model reads, and for each of them the token that is predicted next."""

    tokens: np.ndarray
    targets: np.ndarray

    def reads(self, tokens: np.ndarray) -> "_Piece":
        """Return a piece in which the model reads other tokens and predicts the same targets."""
        return _Piece(tokens, np.resize(self.targets, len(tokens)))


Row = Sequence[_Piece]
Outcome = Sequence[np.ndarray]
"""Log-probabilities of the targets of each piece in a row."""


def check_model(
    predict: Callable[[Any, Mapping[str, Any]], Float[jax.Array, " predictions"]],
    params: Any,
    packed: Packed,
    precision: str,
) -> None:
    """Verify that sentences get the same scores alone in a row, next to other sentences, and before other tokens.

    Args:
        predict: jitted; maps parameters and a chunk to the log-probabilities of its predictions.
        params: the model's parameters.
        packed: the suite whose sentences are used. With one sentence a row, only tokens after a prediction are varied.
        precision: precision of matrix products.

    Raises:
        ValueError: naming the fault, if a token's log-probability depends on more than the tokens before it.
    """
    for bucket in packed.buckets:
        pieces, length = _sentences(bucket), bucket.tokens.shape[2]
        with jax.default_matmul_precision(precision):

            def run(rows: Sequence[Row], length: int = length) -> list[Outcome]:
                return _run(predict, params, rows, length)

            comparison = _Comparison(run, pieces, length, int(bucket.tokens.max()))
            faults = comparison.faults(shared_rows=not packed.one_per_row)
        if faults:
            raise ValueError(f"the model {'; and it '.join(faults)}")


@dataclass(frozen=True)
class _Comparison:
    """Sentences of a bucket to compare.

    Attributes:
        run: scores rows of pieces.
        pieces: the sentences.
        length: positions of a row.
        largest: largest token id.
    """

    run: Callable[[Sequence[Row]], list[Outcome]]
    pieces: Sequence[_Piece]
    length: int
    largest: int

    def faults(self, *, shared_rows: bool) -> list[str]:
        """Return a description of each fault; with `shared_rows`, also of faults in rows of several sentences."""
        alone = self.alone(self.pieces)
        # A difference counts as a fault relative to this: the effect of replacing a sentence's tokens.
        effect = _largest(alone, self.alone([piece.reads(self.replaced(piece.tokens)) for piece in self.pieces]))
        noise = NOISE * (1 + max(float(np.abs(values).max()) for values in alone))
        faults = []
        later = self.later_effect(alone)
        if later > noise + SAME_PLACE * effect:
            faults.append(LATER.format(later))
        if not shared_rows:
            return faults
        rows = _shared_rows(self.pieces, self.length)
        shared = self.run([[self.pieces[index] for index in row] for row in rows])
        neighbor = self.neighbor_effect(rows, shared)
        if neighbor > noise + SAME_PLACE * effect:
            return [*faults, MIXED.format(neighbor)]
        placed = max(_largest([alone[i] for i in row], values) for row, values in zip(rows, shared, strict=True))
        return [*faults, PLACED.format(placed)] if placed > noise + OTHER_PLACE * effect else faults

    def replaced(self, tokens: np.ndarray) -> np.ndarray:
        """Return other token ids of the same shape."""
        return (tokens + 1 + self.largest // 2) % (self.largest + 1)

    def alone(self, pieces: Iterable[_Piece]) -> Outcome:
        """Score each piece alone in a row."""
        return [values[0] for values in self.run([[piece] for piece in pieces])]

    def later_effect(self, alone: Outcome) -> float:
        """Replace or add tokens after predictions, and return the largest change of a prediction."""
        longest = max(len(piece.tokens) for piece in self.pieces)
        changed, cuts = [], []
        for piece in self.pieces:
            middle = len(piece.tokens) // 2
            changed.append(piece.reads(np.append(piece.tokens[:middle], self.replaced(piece.tokens[middle:]))))
            cuts.append(middle)
            # A model may be unable to read more tokens than the longest sentence has.
            longer = np.append(piece.tokens, self.replaced(piece.tokens[:2]))[:longest]
            changed.append(piece.reads(longer))
            cuts.append(len(piece.tokens))
        twice = [values for values in alone for _ in range(2)]
        return _largest(twice, self.alone(changed), cuts)

    def neighbor_effect(self, rows: Sequence[Sequence[int]], shared: Sequence[Outcome]) -> float:
        """Replace the tokens of every second sentence in a row, and return the largest change in the others."""
        effect = 0.0
        for parity in (0, 1):
            varied = [
                [
                    piece if place % 2 == parity else piece.reads(self.replaced(piece.tokens))
                    for place, piece in enumerate(self.pieces[index] for index in row)
                ]
                for row in rows
            ]
            pairs = zip(shared, self.run(varied), strict=True)
            effect = max(effect, *(_largest(one[parity::2], two[parity::2]) for one, two in pairs))
        return effect


def _sentences(bucket: Bucket) -> list[_Piece]:
    """Choose sentences of a bucket, from the shortest to the longest; each ends with the last token that is read."""
    begins = np.flatnonzero((bucket.positions.reshape(-1) == 0) & (bucket.segment_ids.reshape(-1) > 0))
    tokens, segments = bucket.tokens.reshape(-1), bucket.segment_ids.reshape(-1)
    ends = np.flatnonzero((np.append(bucket.positions.reshape(-1)[1:], 0) == 0) & (segments > 0)) + 1
    order = np.argsort(ends - begins, kind="stable")
    most = max(2, min(SENTENCES, POSITIONS // bucket.tokens.shape[2]))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(int))]
    texts = (tokens[begins[index] : ends[index]] for index in chosen)
    return [_Piece(text, np.append(text[1:], text[0])) for text in texts]


def _shared_rows(pieces: Sequence[_Piece], length: int) -> list[list[int]]:
    """Fill three rows with sentences: one with the shortest, one with the longest first, one in random order."""
    number = len(pieces)
    orders = [range(max(1, number // 4)), range(number)[::-1], np.random.default_rng(0).permutation(number)]
    rows = []
    for order in orders:
        row: list[int] = []
        free = length
        while fitting := [int(index) for index in order if len(pieces[index].tokens) <= free]:
            for index in fitting:
                if len(pieces[index].tokens) <= free:
                    row.append(index)
                    free -= len(pieces[index].tokens)
        rows.append(row)
    return rows


def _largest(one: Outcome, other: Outcome, ends: Sequence[int] | None = None) -> float:
    """Return the largest difference between two outcomes; infinite if any difference is not finite.

    With `ends`, predictions from that index on are ignored in each sentence.
    """
    largest = 0.0
    for index, (a, b) in enumerate(zip(one, other, strict=True)):
        end = min(len(a), len(b)) if ends is None else ends[index]
        difference = np.abs(a[:end] - b[:end])
        largest = max(largest, float(np.where(np.isfinite(difference), difference, np.inf).max(initial=0.0)))
    return largest


def _run(predict: Any, params: Any, rows: Sequence[Row], length: int) -> list[Outcome]:
    """Score the rows in calls of equal shape, several rows in each call."""
    at_once = max(1, min(8, POSITIONS // 2 // length))
    contexts = np.arange(at_once * length, dtype=np.int32)
    outcomes: list[Outcome] = []
    for first in range(0, len(rows), at_once):
        part = rows[first : first + at_once]
        arrays = np.zeros((4, at_once, length), np.int32)
        for number, row in enumerate(part):
            _write(arrays[:, number], row)
        predictions = np.stack([contexts, arrays[3].reshape(-1)])
        chunk = {"rows": arrays[:3], "contexts": contexts, "predictions": predictions}
        values = np.asarray(predict(params, jax.tree.map(jnp.asarray, chunk)), np.float64).reshape(at_once, length)
        for row, line in zip(part, values, strict=False):
            outcomes.append(np.split(line, np.cumsum([len(piece.tokens) for piece in row]))[:-1])
    return outcomes


def _write(arrays: np.ndarray, row: Row) -> None:
    """Write the pieces of a row one after another into tokens, segment ids, positions and targets, [4, L]."""
    column = 0
    for number, piece in enumerate(row, 1):
        here = slice(column, column + len(piece.tokens))
        arrays[:, here] = piece.tokens, np.full(len(piece.tokens), number), range(len(piece.tokens)), piece.targets
        column = here.stop
