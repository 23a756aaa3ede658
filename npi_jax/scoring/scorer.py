"""The scorer: one compiled function from parameters to the log-probability of every sentence of a suite."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from npi_jax.scoring.check import check_model
from npi_jax.scoring.encoded import ABSENT, Encodable, EncodedSentences
from npi_jax.scoring.normalization import normalization, resolve_auto
from npi_jax.scoring.packed_suite import PackedSuite
from npi_jax.scoring.packing import Bucket, Packed, pack
from npi_jax.scoring.predict import Params, PredictFn, predict_fns
from npi_jax.scoring.scores import Scores
from npi_jax.scoring.shapes import Bool, Float
from npi_jax.scoring.spec import ScoreSpec
from npi_jax.scoring.token_scores import TokenScores

CHUNKED = "buckets"
"""Key in `Scorer.arrays` of the arrays whose first axis counts chunks, the only ones that `predictions` needs."""


class Scorer:
    """Compiled scoring of one suite for one model architecture; see `make_scorer`.

    ``scorer(params)`` is jitted. `stacked` maps it over stacked parameters. Both call the pure function `apply`, which
    you can transform as you need.

    Attributes:
        suite: the sentences, their rows and the conventions.
        arrays: the packed suite as arrays, for the second argument of `apply`.
    """

    def __init__(self, suite: PackedSuite, predict: PredictFn, greedy: PredictFn):
        self.suite = suite
        self.arrays = _arrays(suite.packed)
        self._predict, self._greedy = predict, greedy
        self._jitted = jax.jit(self.apply)
        self._jitted_predictions = jax.jit(self.predictions)
        self._mapped: dict[Any, Any] = {}

    def __call__(self, params: Params) -> Scores:
        """Score the suite with one model's parameters."""
        return Scores(self._jitted(params, self.arrays), self.suite)

    def stacked(self, params: Params) -> Scores:
        """Score the suite with parameters stacked along axis 0; results have a leading axis of members.

        On CPU members are scored in turn, elsewhere at once (`jax.vmap`). If the parameters are sharded along axis 0,
        each device scores the members in its shard, without communication.
        """
        sharding = getattr(jax.tree.leaves(params)[0], "sharding", None)
        key = None
        if isinstance(sharding, NamedSharding) and sharding.spec and sharding.spec[0] is not None:
            key = (sharding.mesh, sharding.spec[0])
        if key not in self._mapped:
            self._mapped[key] = jax.jit(self._over_members(key))
        return Scores(self._mapped[key](params, self.arrays), self.suite)

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
        """Return the log-probability of every scored token, with one model's parameters."""
        return TokenScores(self._jitted_predictions(params, self.arrays), self.suite)

    def check(self, params: Params) -> None:
        """Verify that a model of yours scores each sentence of a row as if it were alone; one call is enough.

        Some of the suite's sentences, among them the shortest and the longest, are scored alone in a row. They are
        scored again at other columns, next to other sentences, and before other tokens.

        Raises:
            ValueError: naming the likely fault: the model sees later tokens, sees other sentences of the row, or
                derives positions from the column.
        """
        check_model(jax.jit(self._predict), params, self.packed, self.spec.precision)

    @property
    def spec(self) -> ScoreSpec:
        """The conventions; if normalization was ``"auto"``, with the rule that was chosen."""
        return self.suite.spec

    @property
    def sentences(self) -> EncodedSentences:
        """The sentences that are scored."""
        return self.suite.sentences

    @property
    def packed(self) -> Packed:
        """The rows that the sentences are packed into."""
        return self.suite.packed

    @property
    def region(self) -> str:
        """Region that reports show; see `PackedSuite.region`."""
        return self.suite.region

    @property
    def covered(self) -> str:
        """Name of the part that `region` covers; see `PackedSuite.covered`."""
        return self.suite.covered

    @property
    def unequal_regions(self) -> int:
        """Number of pairs with different numbers of tokens in `region`."""
        return self.suite.unequal_regions

    def notes(self) -> list[str]:
        """Return remarks about the scored regions as sentences."""
        return self.suite.notes()

    def greedy(self, params: Params) -> Bool[np.ndarray, " sentences"]:
        """Return whether greedy decoding gives every token of the spec's first region, for each sentence."""
        best = jax.jit(self._all_chunks, static_argnums=0)(self._greedy, params, self.arrays)
        right = []
        for bucket, is_best, tables in zip(self.packed.buckets, best, self.arrays["tables"], strict=True):
            start, end = tables["spans"][self.spec.regions[0]].T[:, :, None]
            column = np.arange(bucket.table.shape[1])
            inside = (column >= start) & (column < end)
            right.append((~inside | np.asarray(is_best)[bucket.table]).all(axis=1))
        return self.packed.in_order(right)

    def apply(self, params: Params, arrays: Mapping[str, Any]) -> dict[str, Float[Array, " sentences"]]:
        """Return each region's summed log-probability, float32, nats; `arrays` is `self.arrays`.

        It is 0 for a sentence without the region. `Scores` replaces this by NaN; here, NaN would be an error with
        ``jax_debug_nans``.
        """
        return self.sums(self.predictions(params, arrays), arrays)

    def sums(
        self, predicted: Sequence[Float[Array, " _"]], arrays: Mapping[str, Any]
    ) -> dict[str, Float[Array, " sentences"]]:
        """Sum the log-probabilities that `predictions` returns over each region; the second half of `apply`."""
        parts = [_sums(values, tables) for values, tables in zip(predicted, arrays["tables"], strict=True)]
        if "order" not in arrays:
            return parts[0]
        order = jnp.asarray(arrays["order"])
        return {name: jnp.concatenate([part[name] for part in parts])[order] for name in parts[0]}

    def predictions(self, params: Params, arrays: Mapping[str, Any]) -> tuple[Float[Array, " _"], ...]:
        """Return the log-probability of every distinct prediction, nats: for each bucket float32 [C * P].

        `Bucket.table` contains the indices of a sentence's predictions in this array.
        """
        return self._all_chunks(self._predict, params, arrays)

    def _all_chunks(self, function: PredictFn, params: Params, arrays: Mapping[str, Any]) -> tuple[Array, ...]:
        with jax.default_matmul_precision(self.spec.precision):
            return tuple(
                jax.lax.map(lambda chunk: function(params, chunk), jax.tree.map(jnp.asarray, chunks)).reshape(-1)
                for chunks in arrays[CHUNKED]
            )


def _arrays(packed: Packed) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "buckets": tuple(_chunks(bucket) for bucket in packed.buckets),
        "tables": tuple(
            {"table": bucket.table, "spans": {name: span[bucket.sentences] for name, span in packed.spans.items()}}
            for bucket in packed.buckets
        ),
    }
    if len(packed.buckets) > 1:
        # Index of each sentence in the concatenation of all buckets.
        order = np.concatenate([bucket.sentences for bucket in packed.buckets])
        arrays["order"] = np.argsort(order).astype(np.int32)
    return arrays


def _chunks(bucket: Bucket) -> dict[str, np.ndarray]:
    """Return the inputs of the model and of its output layer for one bucket."""
    return {
        "rows": np.stack([bucket.tokens, bucket.segment_ids, bucket.positions], axis=1),
        "contexts": bucket.contexts,
        "predictions": bucket.predictions,
    }


def _sums(predicted: Array, tables: Mapping[str, Any]) -> dict[str, Array]:
    """Sum the log-probabilities of each region for the sentences of a bucket."""
    table = jnp.asarray(tables["table"])
    # A gather with a mask, because a segment sum would scatter, which is not deterministic on every accelerator.
    values = jnp.where(table == ABSENT, 0.0, predicted[table])
    column = jnp.arange(table.shape[1])

    def total(span: Array) -> Array:
        inside = (column >= span[:, :1]) & (column < span[:, 1:])
        return jnp.where(inside, values, 0.0).sum(axis=1)

    return {name: total(jnp.asarray(span)) for name, span in tables["spans"].items()}


def make_scorer(
    model: Any,
    suite: Encodable,
    spec: ScoreSpec | None = None,
    *,
    unigram: Float[np.ndarray, " vocabulary"] | None = None,
    row_length: int | None = None,
    rows_per_chunk: int = 32,
    max_length: int | None = None,
    one_per_row: bool = False,
) -> Scorer:
    """Make a scorer for a model given as pure functions.

    Args:
        model: a function of ``(params, tokens, segment_ids, positions)`` that returns logits [R, L, V]; the last three
            arguments are int32 [R, L]. Or an object with the two functions of `HiddenOutput`, such as an
            `npi_jax.models.Model`; then logits of all positions are never in memory at once. The model must keep
            segments apart: a sentence begins where ``positions == 0``, and no token may attend to another segment.
        suite: sentences as token ids (`encode_pairs`, `EncodedSentences`), or a suite's ``encode(tokenizer)``.
        spec: the conventions of the score; by default ``ScoreSpec()``.
        unigram: log-probability of every token type under a unigram model, nats; needed for slor and normlp.
        row_length: see `pack`.
        rows_per_chunk: rows that the model reads at a time, which limits memory; see `pack`.
        max_length: largest number of tokens that the model can read; by default its ``max_positions``, if any.
        one_per_row: put only one sentence in each row. Then the model may ignore segment ids, but must be causal. Rows
            contain more padding: for BLiMP, two thirds of positions have a token, instead of 97 %
            (`Packed.utilization`).

    Raises:
        ValueError: naming the item, if the sentences, the tokenizer or the model lack something that the spec needs.
    """
    spec = spec or ScoreSpec()
    sentences = suite.sentences(spec)
    if max_length is None:
        max_length = getattr(model, "max_positions", None)
    packed = pack(
        sentences,
        spec,
        row_length=row_length,
        rows_per_chunk=rows_per_chunk,
        max_length=max_length,
        one_per_row=one_per_row,
    )
    spec = resolve_auto(spec, sentences, packed)
    affine = {name: normalization(name, sentences, packed, spec.normalization, unigram) for name in spec.regions}
    return Scorer(PackedSuite(spec, sentences, packed, affine), *predict_fns(model, packed))
