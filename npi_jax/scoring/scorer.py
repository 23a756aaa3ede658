"""The scorer: one compiled function from parameters to the log-probabilities of every sentence of a suite."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from npi_jax.scoring.packing import EncodedPairs, PackedPairs, pack_pairs
from npi_jax.scoring.spec import ScoreSpec

Params = Any
SequenceFn = Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]
OutputFn = Callable[[Params], tuple[jax.Array, jax.Array]]


class Scores(NamedTuple):
    """Log-probabilities in nats, float32 [pairs, 2]: column 0 the good sentence, column 1 the bad one.

    Attributes:
        sentence: of the whole sentence.
        critical: of the critical region, given what comes before it.
    """

    sentence: jax.Array
    critical: jax.Array


def token_log_probs(
    hidden: jax.Array, weights: jax.Array, bias: jax.Array, targets: jax.Array, *, chunk: int = 1024
) -> jax.Array:
    """Log-probability of each target under a softmax over ``hidden @ weights + bias``.

    Rows are taken in chunks, so that at most [chunk, V] logits exist at a time.

    Args:
        hidden: [N, D], any float dtype.
        weights: [D, V].
        bias: [V].
        targets: int [N].
        chunk: most rows at a time; chunks are made as equal as can be.

    Returns:
        float32 [N], nats.
    """
    n = hidden.shape[0]
    chunk = -(-n // -(-n // chunk))
    padding = -n % chunk
    hidden = jnp.pad(hidden, ((0, padding), (0, 0))).reshape(-1, chunk, hidden.shape[1])
    targets = jnp.pad(targets, (0, padding)).reshape(-1, chunk)

    def of_chunk(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
        logits = jnp.dot(rows[0], weights, preferred_element_type=jnp.float32) + bias
        return _pick(logits, rows[1])

    return jax.lax.map(of_chunk, (hidden, targets)).reshape(-1)[:n]


def _pick(logits: jax.Array, targets: jax.Array) -> jax.Array:
    logits = logits.astype(jnp.float32)
    target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return target_logits - jax.nn.logsumexp(logits, axis=-1)


class Scorer:
    """A suite made ready for one model architecture; see `make_scorer`.

    ``scorer(params)`` is jitted. To map it over stacked parameters, map `apply` with the second argument, the
    arrays of the suite, shared: ``jax.vmap(scorer.apply, (0, None))(stacked, scorer.arrays)``.
    """

    def __init__(self, packed: PackedPairs, spec: ScoreSpec, log_probs: SequenceFn):
        self.spec = spec
        self.packed = packed
        self.n_sentence = packed.n_sentence.reshape(-1, 2)
        self.n_critical = np.diff(packed.critical, axis=1).reshape(-1, 2)
        self.arrays = {
            "rows": np.stack([packed.tokens, packed.targets, packed.segment_ids, packed.positions], axis=1),
            "spans": np.column_stack([packed.first, packed.n_sentence, packed.critical]),
        }
        self._longest = int(packed.n_sentence.max())
        self._log_probs = log_probs
        self._jitted = jax.jit(self.apply)

    def __call__(self, params: Params) -> Scores:
        """Score the suite with one model's parameters."""
        return self._jitted(params, self.arrays)

    def apply(self, params: Params, arrays: dict[str, Any]) -> Scores:
        """The pure function behind `__call__`; `arrays` is `self.arrays`."""
        chunks = jnp.asarray(arrays["rows"])
        with jax.default_matmul_precision(self.spec.precision):
            log_probs = jax.lax.map(lambda rows: self._log_probs(params, *rows), chunks).reshape(-1)
        first, n_sentence, critical_start, critical_end = jnp.asarray(arrays["spans"]).T[:, :, None]
        index = jnp.arange(self._longest)
        # Gathering and masking, not a segment sum: scatters are not deterministic on every accelerator.
        values = log_probs.at[first + index].get(mode="fill", fill_value=0.0)
        inside = (index >= critical_start) & (index < critical_end)
        return Scores(
            jnp.where(index < n_sentence, values, 0.0).sum(axis=1).reshape(-1, 2),
            jnp.where(inside, values, 0.0).sum(axis=1).reshape(-1, 2),
        )


def make_scorer(
    pairs: EncodedPairs,
    spec: ScoreSpec,
    *,
    hidden_fn: SequenceFn | None = None,
    output_fn: OutputFn | None = None,
    logits_fn: SequenceFn | None = None,
    start: int | None = None,
    end: int | None = None,
    row_length: int | None = None,
    rows_per_chunk: int = 64,
) -> Scorer:
    """Make a scorer for a model given as a pure function.

    Args:
        pairs: the suite, encoded with the model's tokenizer.
        spec: the conventions of the score.
        hidden_fn: ``(params, tokens, segment_ids, positions)``, all int32 [R, L], to hidden states [R, L, D].
            The model must keep segments apart: where ``positions == 0`` a new sentence begins.
        output_fn: ``params`` to the output layer's weights [D, V] and bias [V].
        logits_fn: instead of the two above: same arguments as `hidden_fn`, gives logits [R, L, V].
        start, end: ids of the start and end token, as far as `spec` asks for them.
        row_length: see `pack_pairs`.
        rows_per_chunk: rows that the model sees at a time; bounds the memory whatever the number of pairs.

    Raises:
        ValueError: if neither a `logits_fn` nor `hidden_fn` with `output_fn` is given, and as `pack_pairs`.
    """
    packed = pack_pairs(pairs, spec, start=start, end=end, row_length=row_length, rows_per_chunk=rows_per_chunk)
    return Scorer(packed, spec, _log_prob_fn(hidden_fn, output_fn, logits_fn))


def _log_prob_fn(hidden_fn: SequenceFn | None, output_fn: OutputFn | None, logits_fn: SequenceFn | None) -> Any:
    if logits_fn is not None and hidden_fn is None and output_fn is None:

        def from_logits(params: Params, *rows: jax.Array) -> jax.Array:
            tokens, targets, segment_ids, positions = rows
            return _pick(logits_fn(params, tokens, segment_ids, positions), targets)

        return from_logits
    if hidden_fn is None or output_fn is None or logits_fn is not None:
        raise ValueError("make_scorer needs either logits_fn, or hidden_fn together with output_fn")

    def from_hidden(params: Params, *rows: jax.Array) -> jax.Array:
        tokens, targets, segment_ids, positions = rows
        hidden = hidden_fn(params, tokens, segment_ids, positions)
        weights, bias = output_fn(params)
        flat = hidden.reshape(-1, hidden.shape[-1])
        return token_log_probs(flat, weights, bias, targets.reshape(-1)).reshape(targets.shape)

    return from_hidden
