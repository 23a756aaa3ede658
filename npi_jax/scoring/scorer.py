"""The scorer: one compiled function from parameters to the log-probabilities of every sentence of a suite."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from npi_jax.scoring.check import check_model
from npi_jax.scoring.encoded import ABSENT, Encodable, EncodedSentences
from npi_jax.scoring.normalization import Affine, normalization, settled, unequal_pairs
from npi_jax.scoring.packing import Bucket, Packed, pack
from npi_jax.scoring.predict import Params, PredictFn, predict_fns
from npi_jax.scoring.scores import Scores, TokenScores
from npi_jax.scoring.spec import ScoreSpec

CHUNKED = "buckets"
"""Those of a scorer's arrays whose first axis counts chunks, each scored on its own: all that `predictions` needs."""


class Scorer:
    """A suite made ready for one model architecture; see `make_scorer`.

    ``scorer(params)`` is jitted. To map it over stacked parameters there is `stacked`; `apply` is the pure
    function behind both, for transformations of your own.

    Attributes:
        spec: the conventions; where they left the normalization open, with the one that was taken.
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
            "buckets": tuple(_chunks(bucket) for bucket in packed.buckets),
            "tables": tuple(
                {"table": bucket.table, "spans": {name: span[bucket.sentences] for name, span in packed.spans.items()}}
                for bucket in packed.buckets
            ),
        }
        if len(packed.buckets) > 1:
            # Where each sentence stands when those of all buckets come one after the other.
            order = np.concatenate([bucket.sentences for bucket in packed.buckets])
            self.arrays["order"] = np.argsort(order).astype(np.int32)
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
        """Make sure that the model scores each sentence of a row as if it were alone; do it once with your own model.

        The suite's shortest and longest sentences and others between, at every place in a row, are compared with the
        same sentences alone in a row, beside other sentences, and before other tokens.

        Raises:
            ValueError: saying which of three faults it looks like: a later token is seen, another sentence of the row
                is seen, or positions are taken from the place in the row.
        """
        check_model(jax.jit(self._predict), params, self.packed, self.spec.precision)

    @property
    def region(self) -> str:
        """What reports show: the critical region if it is scored, otherwise the spec's first region."""
        return "critical" if "critical" in self.spec.regions else self.spec.regions[0]

    @property
    def covered(self) -> str:
        """What `region` covers: its name, or ``"sentence"`` where it is the whole of every sentence."""
        spans = np.asarray(self.sentences.regions.get(self.region, ()))
        whole = [(0, len(ids)) for ids in self.sentences.ids]
        return "sentence" if np.array_equal(spans, whole) else self.region

    @property
    def unequal_regions(self) -> int:
        """Pairs whose sentences have different numbers of tokens in `region`."""
        return unequal_pairs(self.region, self.packed) if self.sentences.is_pairs else 0

    def notes(self) -> list[str]:
        """What is worth knowing about the scored regions, as sentences; none where there is nothing to note."""
        count, n_pairs = self.unequal_regions, len(self.sentences.ids) // 2
        if not count:
            return []
        rule = {
            "sum": "the sum favors the shorter one (normalization='matched' does not)",
            "matched": "compared by their means over tokens, times the pair's mean length",
        }.get(self.spec.normalization, f"compared as normalization {self.spec.normalization!r} has it")
        where = "sentences" if self.covered == "sentence" else f"{self.covered} regions"
        return [f"{count:,} of {n_pairs:,} pairs have {where} of different numbers of tokens: {rule}"]

    def greedy(self, params: Params) -> np.ndarray:
        """Whether every token of a sentence's first region is the likeliest one there, bool [S]."""
        best = jax.jit(self._all_chunks, static_argnums=0)(self._greedy, params, self.arrays)
        right = []
        for bucket, found, tables in zip(self.packed.buckets, best, self.arrays["tables"], strict=True):
            start, end = tables["spans"][self.spec.regions[0]].T[:, :, None]
            column = np.arange(bucket.table.shape[1])
            inside = (column >= start) & (column < end)
            right.append((~inside | np.asarray(found)[bucket.table]).all(axis=1))
        return self.packed.in_order(right)

    def apply(self, params: Params, arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Each region's summed log-probability, float32 [S], nats; `arrays` is `self.arrays`.

        0 where a sentence has no such region: `Scores` makes NaN of it, which on devices `jax_debug_nans` would refuse.
        """
        return self.sums(self.predictions(params, arrays), arrays)

    def sums(self, predicted: Sequence[jax.Array], arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
        """The second half of `apply`: from what `predictions` gives to the regions' sums."""
        parts = [_sums(values, tables) for values, tables in zip(predicted, arrays["tables"], strict=True)]
        if "order" not in arrays:
            return parts[0]
        order = jnp.asarray(arrays["order"])
        return {name: jnp.concatenate([part[name] for part in parts])[order] for name in parts[0]}

    def predictions(self, params: Params, arrays: Mapping[str, Any]) -> tuple[jax.Array, ...]:
        """The log-probability of every distinct prediction, nats, for each bucket float32 [C * P]: what its table
        points to.
        """
        return self._all_chunks(self._predict, params, arrays)

    def _all_chunks(self, function: PredictFn, params: Params, arrays: Mapping[str, Any]) -> tuple[jax.Array, ...]:
        with jax.default_matmul_precision(self.spec.precision):
            return tuple(
                jax.lax.map(lambda chunk: function(params, chunk), jax.tree.map(jnp.asarray, chunks)).reshape(-1)
                for chunks in arrays[CHUNKED]
            )


def _chunks(bucket: Bucket) -> dict[str, np.ndarray]:
    """What a model and its output layer need of a bucket."""
    return {
        "rows": np.stack([bucket.tokens, bucket.segment_ids, bucket.positions], axis=1),
        "contexts": bucket.contexts,
        "predictions": bucket.predictions,
    }


def _sums(predicted: jax.Array, tables: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The regions' sums of a bucket's sentences."""
    table = jnp.asarray(tables["table"])
    # Gathering and masking, not a segment sum: scatters are not deterministic on every accelerator.
    values = jnp.where(table == ABSENT, 0.0, predicted[table])
    column = jnp.arange(table.shape[1])

    def total(span: jax.Array) -> jax.Array:
        inside = (column >= span[:, :1]) & (column < span[:, 1:])
        return jnp.where(inside, values, 0.0).sum(axis=1)

    return {name: total(jnp.asarray(span)) for name, span in tables["spans"].items()}


def make_scorer(
    model: Any,
    suite: Encodable,
    spec: ScoreSpec | None = None,
    *,
    unigram: np.ndarray | None = None,
    row_length: int | None = None,
    rows_per_chunk: int = 32,
    max_length: int | None = None,
    one_per_row: bool = False,
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
        one_per_row: give every sentence a row of its own, for a model that does not know segments: all it must not do
            is look ahead. Rows are then filled up with padding and nothing is packed; `Packed.utilization` says how
            much of what is computed is used (of BLiMP two thirds, when packed 97 %).

    Raises:
        ValueError: if something is asked for that the sentences, the tokenizer or the model do not have; the
            message names the item.
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
    spec = settled(spec, sentences, packed)
    affine = {name: normalization(name, sentences, packed, spec.normalization, unigram) for name in spec.regions}
    return Scorer(sentences, packed, spec, *predict_fns(model, packed), affine)
