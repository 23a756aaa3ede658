"""A check of models: is each sentence of a row scored as if it were alone?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from npi_jax.scoring.packing import Bucket, Packed

SENTENCES = 12
"""Most sentences of a bucket that are compared."""

POSITIONS = 4096
"""Most positions of all sentences compared, where rows are long; and twice as many as the model is given at a time."""

NOISE = 2e-5
"""What rounding may change, as a share of a log-probability."""

SAME_PLACE, OTHER_PLACE = 0.005, 0.02
"""What may change, as a share of what the sentence's own words change, where nothing moved and where a sentence did.

Sums in another order round otherwise, most of all in 16-bit arithmetic.
"""

LATER = (
    "sees later tokens: they change what is predicted before them by up to {:.2g} nats. Attend to no later position "
    "(a causal mask)"
)
MIXED = (
    "lets the sentences of a row see each other: another sentence beside them changes what is predicted by up to "
    "{:.2g} nats. Attend only where segment_ids are equal, and start again where positions == 0"
)
PLACED = (
    "takes positions from the place in the row: what is predicted differs by up to {:.2g} nats from the same sentence "
    "alone in a row. Use positions, which count from 0 in each sentence, and no column or number of a segment"
)


class _Piece(NamedTuple):
    """A sentence: what is read, and the token whose log-probability is compared after each."""

    tokens: np.ndarray
    targets: np.ndarray

    def reads(self, tokens: np.ndarray) -> "_Piece":
        """Other tokens to read, the same to predict; of what comes in addition nothing is compared."""
        return _Piece(tokens, np.resize(self.targets, len(tokens)))


Row = Sequence[_Piece]
Outcome = Sequence[np.ndarray]
"""For each piece of a row the log-probabilities of its targets."""


def check_model(
    predict: Callable[[Any, Mapping[str, Any]], jax.Array], params: Any, packed: Packed, precision: str
) -> None:
    """Compare sentences beside others, and before other tokens, with the same sentences alone in a row.

    Args:
        predict: jitted; log-probabilities of a chunk's predictions, as `Scorer` has it.
        params: of the model.
        packed: where the sentences are taken from. If each has a row of its own, only later tokens are varied.
        precision: of matrix products.

    Raises:
        ValueError: if a sentence's log-probabilities depend on what they must not depend on; says on what.
    """
    for bucket in packed.buckets:
        length = bucket.tokens.shape[2]
        with jax.default_matmul_precision(precision):

            def run(rows: Sequence[Row], length: int = length) -> list[Outcome]:
                return _run(predict, params, rows, length)

            faults = _faults(run, _sentences(bucket), length, int(bucket.tokens.max()), alone=packed.one_per_row)
        if faults:
            raise ValueError(f"the model {'; and it '.join(faults)}")


def _faults(
    run: Callable[[Sequence[Row]], list[Outcome]], pieces: Sequence[_Piece], length: int, largest: int, *, alone: bool
) -> list[str]:
    """What is wrong, each as a sentence's end."""

    def other(tokens: np.ndarray) -> np.ndarray:
        return (tokens + 1 + largest // 2) % (largest + 1)

    longest = max(len(piece.tokens) for piece in pieces)
    by_itself = _single(run, pieces)
    # What another text in the same place changes: by this much anything can be seen to change.
    effect = _largest(by_itself, _single(run, [piece.reads(other(piece.tokens)) for piece in pieces]))
    level = NOISE * (1 + max(float(np.abs(values).max()) for values in by_itself))

    changed, cuts = [], []
    for piece in pieces:
        middle = len(piece.tokens) // 2
        changed.append(piece.reads(np.append(piece.tokens[:middle], other(piece.tokens[middle:]))))
        cuts.append(middle)
        # Beyond the longest sentence the model need not be able to read.
        longer = np.append(piece.tokens, other(piece.tokens[:2]))[:longest]
        changed.append(piece.reads(longer))
        cuts.append(len(piece.tokens))
    twice = [values for values in by_itself for _ in range(2)]
    found = []
    later = _largest(twice, _single(run, changed), cuts)
    if later > level + SAME_PLACE * effect:
        found.append(LATER.format(later))
    if alone:
        return found
    rows = _shared_rows(pieces, length)
    together = run([[pieces[index] for index in row] for row in rows])
    beside = 0.0
    for parity in (0, 1):
        varied = [
            [p if place % 2 == parity else p.reads(other(p.tokens)) for place, p in enumerate(pieces[i] for i in row)]
            for row in rows
        ]
        pairs = zip(together, run(varied), strict=True)
        beside = max(beside, *(_largest(one[parity::2], two[parity::2]) for one, two in pairs))
    if beside > level + SAME_PLACE * effect:
        return [*found, MIXED.format(beside)]
    placed = max(_largest([by_itself[i] for i in row], values) for row, values in zip(rows, together, strict=True))
    return [*found, PLACED.format(placed)] if placed > level + OTHER_PLACE * effect else found


def _sentences(bucket: Bucket) -> list[_Piece]:
    """The shortest and the longest sentence of a bucket, and some between, each as far as it is read."""
    begins = np.flatnonzero((bucket.positions.reshape(-1) == 0) & (bucket.segment_ids.reshape(-1) > 0))
    tokens, segments = bucket.tokens.reshape(-1), bucket.segment_ids.reshape(-1)
    ends = np.flatnonzero((np.append(bucket.positions.reshape(-1)[1:], 0) == 0) & (segments > 0)) + 1
    order = np.argsort(ends - begins, kind="stable")
    most = max(2, min(SENTENCES, POSITIONS // bucket.tokens.shape[2]))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(int))]
    texts = (tokens[begins[index] : ends[index]] for index in chosen)
    return [_Piece(text, np.append(text[1:], text[0])) for text in texts]


def _shared_rows(pieces: Sequence[_Piece], length: int) -> list[list[int]]:
    """Rows full of sentences: as many as can be of the shortest; the longest first; and in any order."""
    number = len(pieces)
    orders = [range(max(1, number // 4)), range(number)[::-1], np.random.default_rng(0).permutation(number)]
    rows = []
    for order in orders:
        row: list[int] = []
        room = length
        while fitting := [int(index) for index in order if len(pieces[index].tokens) <= room]:
            for index in fitting:
                if len(pieces[index].tokens) <= room:
                    row.append(index)
                    room -= len(pieces[index].tokens)
        rows.append(row)
    return rows


def _single(run: Callable[[Sequence[Row]], list[Outcome]], pieces: Iterable[_Piece]) -> Outcome:
    """Each in a row of its own."""
    return [values[0] for values in run([[piece] for piece in pieces])]


def _largest(one: Outcome, other: Outcome, ends: Sequence[int] | None = None) -> float:
    """The largest difference, or of each sentence that before its end; infinite where one is not finite."""
    found = 0.0
    for index, (a, b) in enumerate(zip(one, other, strict=True)):
        end = min(len(a), len(b)) if ends is None else ends[index]
        difference = np.abs(a[:end] - b[:end])
        found = max(found, float(np.where(np.isfinite(difference), difference, np.inf).max(initial=0.0)))
    return found


def _run(predict: Any, params: Any, rows: Sequence[Row], length: int) -> list[Outcome]:
    """Log-probabilities of all pieces, some rows at a time, all in one shape."""
    at_once = max(1, min(8, POSITIONS // 2 // length))
    contexts = np.arange(at_once * length, dtype=np.int32)
    found: list[Outcome] = []
    for first in range(0, len(rows), at_once):
        part = rows[first : first + at_once]
        arrays = np.zeros((4, at_once, length), np.int32)
        for number, row in enumerate(part):
            _lay(arrays[:, number], row)
        predictions = np.stack([contexts, arrays[3].reshape(-1)])
        chunk = {"rows": arrays[:3], "contexts": contexts, "predictions": predictions}
        values = np.asarray(predict(params, jax.tree.map(jnp.asarray, chunk)), np.float64).reshape(at_once, length)
        for row, line in zip(part, values, strict=False):
            found.append(np.split(line, np.cumsum([len(piece.tokens) for piece in row]))[:-1])
    return found


def _lay(arrays: np.ndarray, row: Row) -> None:
    """Write pieces one after the other: tokens, segments, positions and targets, [4, L]."""
    column = 0
    for number, piece in enumerate(row, 1):
        here = slice(column, column + len(piece.tokens))
        arrays[:, here] = piece.tokens, np.full(len(piece.tokens), number), range(len(piece.tokens)), piece.targets
        column = here.stop
