"""The scorer: one compiled function from parameters to the log-probabilities of every sentence of a suite."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from npi_jax.scoring.encoded import ABSENT, Encodable, EncodedSentences
from npi_jax.scoring.normalization import Affine, normalization
from npi_jax.scoring.packing import Packed, pack
from npi_jax.scoring.scores import Scores, TokenScores
from npi_jax.scoring.spec import ScoreSpec

Params = Any
SequenceFn = Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]
OutputFn = Callable[[Params], tuple[jax.Array, jax.Array]]
PredictFn = Callable[[Params, Mapping[str, jax.Array]], jax.Array]

MAX_LOGITS = 1 << 22
"""Most logits that exist at a time (16 MiB); more were slower on CPU, where fresh memory has to be paged in."""

CHUNKED = ("rows", "contexts", "predictions")
"""Those of a scorer's arrays whose first axis counts chunks, each scored on its own: all that `predictions` needs."""

SEPARATE = 1e-3
"""Most nats by which a sentence may differ beside another one, for `Scorer.check`."""


class HiddenOutput(NamedTuple):
    """A model in two parts, so that logits of all positions never exist at once.

    Attributes:
        hidden: ``(params, tokens, segment_ids, positions)``, all int32 [R, L], to hidden states [R, L, D].
        output: ``params`` to the output layer's weights [D, V] and bias [V].
    """

    hidden: SequenceFn
    output: OutputFn


def log_normalizers(hidden: jax.Array, weights: jax.Array, bias: jax.Array) -> jax.Array:
    """log sum exp over the vocabulary of ``hidden @ weights + bias``, never more than `MAX_LOGITS` at a time.

    Args:
        hidden: [N, D], any float dtype.
        weights: [D, V].
        bias: [V].

    Returns:
        float32 [N], nats.
    """
    return _over_vocabulary(lambda logits: jax.nn.logsumexp(logits, axis=-1), hidden, weights, bias)


def _over_vocabulary(
    reduce: Callable[[jax.Array], jax.Array], hidden: jax.Array, weights: jax.Array, bias: jax.Array
) -> jax.Array:
    """`reduce` of every row's float32 logits, a part of the rows at a time."""
    n = hidden.shape[0]
    n_chunks = -(-n * weights.shape[1] // MAX_LOGITS)
    chunk = -(-n // n_chunks)
    padded = jnp.pad(hidden, ((0, n_chunks * chunk - n), (0, 0))).reshape(n_chunks, chunk, -1)

    def of_chunk(rows: jax.Array) -> jax.Array:
        logits = jnp.dot(rows, weights, preferred_element_type=jnp.float32) + bias
        return reduce(logits.astype(jnp.float32))

    return jax.lax.map(of_chunk, padded).reshape(-1)[:n]


class Scorer:
    """A suite made ready for one model architecture; see `make_scorer`.

    ``scorer(params)`` is jitted. To map it over stacked parameters there is `stacked`; `apply` is the pure
    function behind both, for transformations of your own.

    Attributes:
        spec: the conventions.
        sentences: what is scored.
        packed: how it lies in rows.
        arrays: what `apply` needs of it.
        affine: for each region the scale and the shift that normalize it.
    """

    def __init__(
        self,
        sentences: EncodedSentences,
        packed: Packed,
        spec: ScoreSpec,
        predict: PredictFn,
        greedy: PredictFn,
        affine: Mapping[str, Affine],
    ):
        self.spec, self.sentences, self.packed, self.affine = spec, sentences, packed, affine
        self.arrays: dict[str, Any] = {
            "rows": np.stack([packed.tokens, packed.segment_ids, packed.positions], axis=1),
            "contexts": packed.contexts,
            "predictions": packed.predictions,
            "table": packed.table,
            "spans": dict(packed.spans),
        }
        self._predict, self._greedy = predict, greedy
        self._jitted = jax.jit(self.apply)
        self._jitted_predictions = jax.jit(self.predictions)
        self._mapped: dict[Any, Any] = {}

    def __call__(self, params: Params) -> Scores:
        """Score the suite with one model's parameters."""
        return Scores(self._jitted(params, self.arrays), self)

    def stacked(self, params: Params) -> Scores:
        """Score the suite with parameters stacked along axis 0; results have a leading axis of members.

        On CPU members are taken in turn, elsewhere at once (`jax.vmap`). Where the parameters are sharded along
        axis 0, each device scores its own members and none waits for another.
        """
        sharding = getattr(jax.tree.leaves(params)[0], "sharding", None)
        key = None
        if isinstance(sharding, NamedSharding) and sharding.spec and sharding.spec[0] is not None:
            key = (sharding.mesh, sharding.spec[0])
        if key not in self._mapped:
            self._mapped[key] = jax.jit(self._over_members(key))
        return Scores(self._mapped[key](params, self.arrays), self)

    def _over_members(self, key: tuple[Any, Any] | None) -> Callable[..., Any]:
        devices = jax.devices() if key is None else key[0].devices.flat
        if devices[0].platform == "cpu":

            def local(params: Params, arrays: Any) -> Any:
                return jax.lax.map(lambda one: self.apply(one, arrays), params)
        else:
            local = jax.vmap(self.apply, (0, None))
        if key is None:
            return local
        mesh, axis = key
        return jax.shard_map(local, mesh=mesh, in_specs=(P(axis), P()), out_specs=P(axis), check_vma=False)

    def tokens(self, params: Params) -> TokenScores:
        """The log-probability of every scored token, with one model's parameters."""
        return TokenScores(self._jitted_predictions(params, self.arrays), self)

    def check(self, params: Params) -> None:
        """Make sure that the model keeps sentences of one row apart; worth doing once with a model of your own.

        Raises:
            ValueError: if another first sentence in a row changes what is predicted in the sentences after it.
        """
        chunk = {name: self.arrays[name][0] for name in CHUNKED}
        tokens, segment_ids, positions = chunk["rows"]
        other = np.where(segment_ids == 1, tokens.max() - tokens, tokens)
        later = segment_ids.reshape(-1)[chunk["contexts"][chunk["predictions"][0]]] > 1
        before, after = (
            np.asarray(jax.jit(self._predict)(params, {**chunk, "rows": np.stack([read, segment_ids, positions])}))
            for read in (tokens, other)
        )
        if later.any() and (change := np.abs(before - after)[later].max()) > SEPARATE:
            raise ValueError(
                f"the model lets the sentences of a row see each other: another first sentence changes what is "
                f"predicted in later ones by {change:.2g} nats. Attend only where segment_ids are equal, and start "
                "anew where positions == 0"
            )

    def greedy(self, params: Params) -> np.ndarray:
        """Whether every token of a sentence's first region is the likeliest one there, bool [S]."""
        best = np.asarray(jax.jit(self._all_chunks, static_argnums=0)(self._greedy, params, self.arrays))
        table, (start, end) = self.packed.table, self.packed.spans[self.spec.regions[0]].T[:, :, None]
        column = np.arange(table.shape[1])
        return np.asarray(np.where((column >= start) & (column < end), best[table], True).all(axis=1))

    def apply(self, params: Params, arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Each region's summed log-probability, float32 [S], nats; `arrays` is `self.arrays`.

        0 where a sentence has no such region: `Scores` makes NaN of it, which on devices `jax_debug_nans` would refuse.
        """
        return self.sums(self.predictions(params, arrays), arrays)

    def sums(self, predicted: jax.Array, arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
        """The second half of `apply`: from what `predictions` gives to the regions' sums."""
        table = jnp.asarray(arrays["table"])
        # Gathering and masking, not a segment sum: scatters are not deterministic on every accelerator.
        values = jnp.where(table == ABSENT, 0.0, predicted[table])
        column = jnp.arange(table.shape[1])

        def total(span: jax.Array) -> jax.Array:
            inside = (column >= span[:, :1]) & (column < span[:, 1:])
            return jnp.where(inside, values, 0.0).sum(axis=1)

        return {name: total(jnp.asarray(span)) for name, span in arrays["spans"].items()}

    def predictions(self, params: Params, arrays: Mapping[str, Any]) -> jax.Array:
        """The log-probability of every distinct prediction, float32 [C * P], nats; what `packed.table` points to."""
        return self._all_chunks(self._predict, params, arrays)

    def _all_chunks(self, function: PredictFn, params: Params, arrays: Mapping[str, Any]) -> jax.Array:
        chunks = {name: jnp.asarray(arrays[name]) for name in CHUNKED}
        with jax.default_matmul_precision(self.spec.precision):
            return jax.lax.map(lambda chunk: function(params, chunk), chunks).reshape(-1)


def make_scorer(
    model: Any,
    suite: Encodable,
    spec: ScoreSpec | None = None,
    *,
    unigram: np.ndarray | None = None,
    row_length: int | None = None,
    rows_per_chunk: int = 32,
    max_length: int | None = None,
) -> Scorer:
    """Make a scorer for a model given as pure functions.

    Args:
        model: a function ``(params, tokens, segment_ids, positions)``, all int32 [R, L], to logits [R, L, V]; or
            anything with such a function ``hidden`` that gives hidden states [R, L, D], and a function ``output``
            from ``params`` to weights [D, V] and bias [V] (`HiddenOutput`, `npi_jax.models.Model`): logits of all
            positions then never exist at once. The model must keep segments apart: where ``positions == 0``
            another sentence begins; where ``segment_ids`` differ nothing may be seen.
        suite: sentences as token ids (`encode_pairs`, `EncodedSentences`), or a suite's ``encode(tokenizer)``.
        spec: the conventions of the score; by default ``ScoreSpec()``.
        unigram: log-probability of every token type under a unigram model, [V], nats; for slor and normlp.
        row_length: see `pack`.
        rows_per_chunk: rows that the model sees at a time; bounds the memory whatever the number of sentences.
        max_length: most tokens of a sentence that the model can read; by default its ``max_positions``, if any.

    Raises:
        ValueError: if something is asked for that the sentences, the tokenizer or the model do not have; the
            message names the item.
    """
    spec = spec or ScoreSpec()
    sentences = suite.sentences(spec)
    if max_length is None:
        max_length = getattr(model, "max_positions", None)
    packed = pack(sentences, spec, row_length=row_length, rows_per_chunk=rows_per_chunk, max_length=max_length)
    affine = {name: normalization(name, sentences, packed, spec.normalization, unigram) for name in spec.regions}
    return Scorer(sentences, packed, spec, *_predict_fns(model, packed), affine)


def _output_layer(found: Any, width: int) -> tuple[jax.Array, jax.Array]:
    """The weights and the bias that a model's ``output`` gives.

    Raises:
        ValueError: if it gives something else.
    """
    shapes = [getattr(part, "shape", None) for part in found] if isinstance(found, tuple | list) else []
    if len(shapes) != 2 or not shapes[0] or len(shapes[0]) != 2 or shapes[1] != shapes[0][1:] or shapes[0][0] != width:
        given = f"arrays of shapes {shapes}" if shapes else f"a {type(found).__name__}"
        raise ValueError(
            f"the model's output gives {given}, not weights [D, V] and a bias [V]; its hidden states have D = {width}"
        )
    weights, bias = found
    return weights, bias


def _predict_fns(model: Any, packed: Packed) -> tuple[PredictFn, PredictFn]:
    """Two functions of ``(params, chunk)``: the log-probabilities of its predictions, float32 [P], and whether each
    is of the likeliest token, bool [P].
    """
    largest = int(max(packed.tokens.max(), packed.predictions[:, 1].max()))

    def check(n_types: int) -> None:
        # An index beyond the end of an array is not an error in JAX.
        if largest >= n_types:
            raise ValueError(f"token id {largest} occurs, but the model has {n_types} token types: another tokenizer?")

    def check_shape(name: str, array: Any, chunk: Mapping[str, jax.Array]) -> None:
        rows = chunk["rows"].shape[1:]
        if not isinstance(array, jax.Array | np.ndarray):
            raise ValueError(
                f"the model gives a {type(array).__name__}, not {name} [R, L, ...] as one array; if it returns more "
                "than these, wrap it: lambda params, *rows: model(params, *rows)[0]"
            )
        if array.ndim != 3 or array.shape[:2] != rows:
            raise ValueError(
                f"the model gives {name} of shape {array.shape} for tokens of shape {rows}, not [R, L, ...]"
            )

    if hasattr(model, "hidden") and hasattr(model, "output"):
        if isinstance(n_types := getattr(model, "vocab_size", None), int):
            check(n_types)

        def run(params: Params, chunk: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            hidden = model.hidden(params, *chunk["rows"])
            check_shape("hidden states", hidden, chunk)
            weights, bias = _output_layer(model.output(params), hidden.shape[-1])
            check(weights.shape[1])
            return hidden.reshape(-1, hidden.shape[-1])[chunk["contexts"]], weights, bias

        def predict(params: Params, chunk: Mapping[str, jax.Array]) -> jax.Array:
            hidden, weights, bias = run(params, chunk)
            context, target = chunk["predictions"]
            products = hidden[context].astype(jnp.float32) * weights.T[target].astype(jnp.float32)
            return products.sum(axis=1) + bias[target] - log_normalizers(hidden, weights, bias)[context]

        def greedy(params: Params, chunk: Mapping[str, jax.Array]) -> jax.Array:
            context, target = chunk["predictions"]
            return _over_vocabulary(lambda logits: logits.argmax(axis=-1), *run(params, chunk))[context] == target

        return predict, greedy
    if not callable(model):
        raise TypeError(f"make_scorer: {type(model).__name__} is neither a function nor has it hidden and output")

    def run_logits(params: Params, chunk: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        logits = model(params, *chunk["rows"])
        check_shape("logits", logits, chunk)
        check(logits.shape[-1])
        context, target = chunk["predictions"]
        return logits.reshape(-1, logits.shape[-1]).astype(jnp.float32), chunk["contexts"][context], target

    def predict_logits(params: Params, chunk: Mapping[str, jax.Array]) -> jax.Array:
        logits, position, target = run_logits(params, chunk)
        return logits[position, target] - jax.nn.logsumexp(logits, axis=-1)[position]

    def greedy_logits(params: Params, chunk: Mapping[str, jax.Array]) -> jax.Array:
        logits, position, target = run_logits(params, chunk)
        return logits.argmax(axis=-1)[position] == target

    return predict_logits, greedy_logits
