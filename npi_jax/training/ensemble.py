"""The ensemble: all members of an experiment on a mesh, with their compiled calls."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import UInt

from npi_jax.config.schema import Config, Member
from npi_jax.corpus.variants.builder import RowPool, Variant
from npi_jax.corpus.variants.row_files import RowRecords
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.errors import UserError
from npi_jax.models import CustomConfig, Model
from npi_jax.scoring import Encodable, Scorer, make_scorer
from npi_jax.scoring.scorer import CHUNKED
from npi_jax.training.devices.data_axis import NAME, DataAxis
from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, fetch, map_members, padded_size, put, replicate
from npi_jax.training.feed import ROWS, RowIndex, make_feed, pool_spec
from npi_jax.training.member.optimizer import HyperParameters
from npi_jax.training.member.step import (
    MemberState,
    Pool,
    Progress,
    init_member,
    make_train_call,
    make_valid_call,
)
from npi_jax.training.task_gradients import AT_CHECKPOINT, TaskGradients

VALID_CHUNK_ROWS = 32

Placed = tuple[Any, tuple[Any, ...]]
"""A call, and what it takes after the members' states, on the devices."""


Job = tuple[Any, tuple[Any, ...]]
"""A call, and its arguments."""

Tell = Callable[[int, int], None]
"""Gets how many of how many are done."""


class OnMesh(NamedTuple):
    """Host arrays that belong to no member, and how they lie on the mesh."""

    arrays: Any
    spec: P


class Evaluation(NamedTuple):
    """Something computed of all members at checkpoints: its call, and what that takes after their states."""

    call: Any
    others: tuple[OnMesh, ...]


class Ensemble:
    """Members stacked along a leading axis, sharded over the mesh, each trained by the same member step.

    Where the members do not fill the devices evenly, copies of the last one fill the places; they never show.

    Args:
        config: the experiment.
        model: the architecture.
        eos: id of `<eos>`.
        mesh: from `make_mesh`.
        streamed: each call is given the rows that it trains on, which come from disk (`npi_jax.training.feed`);
            otherwise it gets their numbers, and all rows lie on the devices.

    Raises:
        UserError: if a parameter of the model is not float32.
    """

    def __init__(self, config: Config, model: Model, eos: int, mesh: Mesh, *, streamed: bool = False):
        self.config, self.model, self.mesh, self.streamed = config, model, mesh, streamed
        self.members = config.members
        self.size = len(self.members)
        self.padded_size = padded_size(self.size, mesh)
        self._padded: Sequence[Member] = self.members + (self.members[-1],) * (self.padded_size - self.size)
        self.data = DataAxis(model, mesh.shape["data"], config.mesh.fsdp)
        self.shapes = jax.eval_shape(init_member(DataAxis(model), config.train), jax.ShapeDtypeStruct((), jnp.uint32))
        _check_parameters(self.shapes.params)
        self.specs: MemberState = self.data.specs(self.shapes)
        self.init_call = self._mapped(init_member(self.data, config.train), [MEMBERS], out_specs=self.specs)
        self.train_call = self._mapped(
            make_train_call(self.data, config.train, eos),
            [self.specs, MEMBERS, MEMBERS, ROWS, pool_spec(streamed=streamed), REPLICATED, REPLICATED, REPLICATED],
            out_specs=(self.specs, MEMBERS),
            update_first=True,
        )
        self._eos = eos
        self.checksum_call = self._mapped(lambda shares: self.data.checksum(shares, self.shapes), [self.specs])
        self.seeds = np.array([m.seed for m in self._padded], np.uint32)
        self.hyper = HyperParameters(
            *(np.array([getattr(m, field) for m in self._padded], np.float32) for field in HyperParameters._fields)
        )

    def _mapped(self, fn: Callable[..., Any], in_specs: Sequence[Any], **options: Any) -> Any:
        return map_members(fn, self.mesh, in_specs, mapping=self.config.mesh.mapping, **options)

    def validation(self, valid: RowPool) -> Evaluation:
        """The validation loss of all members, as a call of their parameters."""
        call = make_valid_call(self.data, self.config.train, self._eos)
        mapped = self._mapped(
            lambda shares, chunks: call(self.data.whole_params(shares), chunks), [self.specs.params, P(None, NAME)]
        )
        return Evaluation(mapped, (OnMesh(_chunks(valid, self.data), P(None, NAME)),))

    def scoring(self, scorer: Scorer) -> Evaluation:
        """What `Scorer.apply` gives, of all members, as a call of their parameters."""

        def score(shares: Any, chunks: Any, rest: Any) -> dict[str, jax.Array]:
            # Scores are of the output layer as it is, whatever training rounds it to.
            params = self.data.whole_params(shares, keep=frozenset({"output"}))
            predicted = scorer.predictions(params, {CHUNKED: chunks})
            return scorer.sums([self.data.joined(values) for values in predicted], rest)

        chunks = self.data.filled(scorer.arrays[CHUNKED])
        rest = {name: array for name, array in scorer.arrays.items() if name != CHUNKED}
        mapped = self._mapped(score, [self.specs.params, P(NAME), REPLICATED])
        return Evaluation(mapped, (OnMesh(chunks, P(NAME)), OnMesh(rest, REPLICATED)))

    def comparison(self, fn: Callable[[Any, Any], Any], arrays: Any) -> Evaluation:
        """A function of one member's whole state and of arrays, as a call of all members' states."""
        mapped = self._mapped(
            lambda shares, arrays: fn(self.data.whole(shares, self.shapes), arrays), [self.specs, REPLICATED]
        )
        return Evaluation(mapped, (OnMesh(jax.tree.map(np.asarray, arrays), REPLICATED),))

    def load(
        self,
        variants: Sequence[Variant],
        orders: Sequence[RowOrder],
        pool: RowPool | RowRecords,
        valid: RowPool,
        scorers: Mapping[str, Scorer],
        gradients: TaskGradients | None = None,
    ) -> None:
        """Put the data on the devices, but for rows that are read from disk."""
        place = {str(variant.intervention): index for index, variant in enumerate(variants)}
        own = [place[member.variant] for member in self._padded]
        index = RowIndex(self.config.train, self._padded, [variants[at] for at in own], [orders[at] for at in own])
        self.feed = make_feed(index, self.mesh, pool)
        self._seeds, self._hyper = put((self.seeds, self.hyper), self.mesh, MEMBERS)
        self._validation = self._placed(self.validation(valid))
        self._scorers = {name: self._placed(self.scoring(scorer)) for name, scorer in scorers.items()}
        self._gradients: dict[str, Placed] = {}
        if gradients is not None:
            # All take the same arrays.
            made = {when: self.comparison(fn, gradients.arrays) for when, fn in gradients.calls.items()}
            _, arrays = self._placed(next(iter(made.values())))
            self._gradients = {when: (comparison.call, arrays) for when, comparison in made.items()}

    def _placed(self, evaluation: Evaluation) -> Placed:
        return evaluation.call, tuple(put(arrays, self.mesh, spec) for arrays, spec in evaluation.others)

    def init(self) -> MemberState:
        """The members' states before the first step: a pure function of their seeds."""
        state: MemberState = self.init_call(self._seeds)
        return state

    def compile(self, state: MemberState, tell: Tell | None = None) -> None:
        """Compile every call for states like `state`, side by side; later calls only run.

        Args:
            state: of the members.
            tell: gets how many of how many programs are compiled, at first and whenever one more is.
        """
        scalars = (np.int32(0), np.int32(1), np.bool_(True))
        train_arguments = (state, self._hyper, self._seeds, *self.feed.take((0, 0)), *scalars)
        jobs = [(self.train_call, train_arguments), (self.checksum_call, (state,))]
        jobs += [(call, (state.params, *arrays)) for call, arrays in (self._validation, *self._scorers.values())]
        jobs += [(call, (state, *arrays)) for call, arrays in self._gradients.values()]
        compiled = iter(_compiled(jobs, tell))
        self.train_call, self.checksum_call = next(compiled), next(compiled)
        self._validation = next(compiled), self._validation[1]
        self._scorers = {name: (next(compiled), arrays) for name, (_, arrays) in self._scorers.items()}
        self._gradients = {when: (next(compiled), arrays) for when, (_, arrays) in self._gradients.items()}

    def train(
        self, state: MemberState, first_step: int, n_steps: int, *, restart: bool
    ) -> tuple[MemberState, Progress]:
        """Start `n_steps` steps of all members (at most `steps_per_call`); does not wait for them."""
        rows, pool = self.feed.take((first_step, n_steps))
        scalars = (np.int32(first_step), np.int32(n_steps), np.bool_(restart))
        state, progress = self.train_call(state, self._hyper, self._seeds, rows, pool, *scalars)
        # Exchanged at once, not when it is read: by then the next call would stand before it.
        return state, replicate(progress)

    def valid_loss(self, state: MemberState) -> jax.Array:
        """Validation loss of each place, nats a token; does not wait."""
        call, arrays = self._validation
        result: jax.Array = call(state.params, *arrays)
        return result

    def score(self, state: MemberState) -> dict[str, dict[str, jax.Array]]:
        """All suites, all members: what `Scorer.apply` gives, with a leading axis of places; does not wait."""
        return {name: call(state.params, *arrays) for name, (call, arrays) in self._scorers.items()}

    def gradients(self, state: MemberState, *, end: bool) -> dict[str, jax.Array]:
        """What `TaskGradients` computes at a checkpoint, and at the end too; does not wait. Empty if nothing is."""
        found: dict[str, jax.Array] = {}
        for when, (call, arrays) in self._gradients.items():
            if end or when == AT_CHECKPOINT:
                found |= call(state, *arrays)
        return found

    @property
    def state_shapes(self) -> MemberState:
        """The state as shapes, each with its place on the mesh."""
        return jax.tree.map(
            lambda leaf, spec: jax.ShapeDtypeStruct(
                (self.padded_size, *leaf.shape), leaf.dtype, sharding=NamedSharding(self.mesh, spec)
            ),
            self.shapes,
            self.specs,
        )

    def checksums(self, state: MemberState) -> UInt[np.ndarray, "members words"]:
        """Of every member's state: the same on all devices that it may lie on."""
        found: np.ndarray = self.fetch(self.checksum_call(state))
        return found

    def fetch(self, tree: Any) -> Any:
        """Per-member results on the host, without the filled-up places."""
        return jax.tree.map(lambda leaf: leaf[: self.size], fetch(tree))


def _compile(job: Job) -> Any:
    call, arguments = job
    return call.lower(*arguments).compile()


def _compiled(jobs: Sequence[Job], tell: Tell | None) -> list[Any]:
    """Compile calls for their arguments in threads; the first error ends all."""
    threads = ThreadPoolExecutor()
    try:
        futures = [threads.submit(_compile, job) for job in jobs]
        for done, future in enumerate(itertools.chain([None], as_completed(futures))):
            if future is not None:
                future.result()
            if tell is not None:
                tell(done, len(jobs))
        return [future.result() for future in futures]
    finally:
        # A program that is being compiled cannot be given up; whoever asked for an end does not wait for it.
        threads.shutdown(wait=False, cancel_futures=True)


def make_scorers(config: Config, model: Model, suites: Mapping[str, Encodable]) -> dict[str, Scorer]:
    """A scorer for each suite, with the conventions that the configuration gives it.

    Raises:
        UserError: naming the suite, if it does not go with its conventions or with the model.
    """
    scorers = {}
    for name, suite in suites.items():
        try:
            scorers[name] = make_scorer(model, suite, config.score.suites[name].spec)
        except ValueError as error:
            raise UserError(f"score.suites.{name}: {error}") from error
    return scorers


def check_custom_model(config: Config, model: Model, scorers: Mapping[str, Scorer]) -> None:
    """Make sure that a model of the user's own scores each sentence of a row as if it were alone.

    With parameters drawn at random: fresh ones may be so small, or zero, that no fault shows. The model sees a few
    dozen rows, and one program is compiled.

    Raises:
        UserError: saying what the model sees that it must not see.
    """
    if not isinstance(config.model, CustomConfig):
        return
    longest = max(scorers.values(), key=lambda scorer: max(len(ids) for ids in scorer.sentences.ids))
    with jax.default_device(_roomy_device(config)):
        params = _shaken(jax.jit(model.init)(jax.random.key(0, impl="threefry2x32")))
        try:
            longest.check(params)
        except ValueError as error:
            raise UserError(f"model.factory = {config.model.factory!r}: {error}") from error


def _roomy_device(config: Config) -> jax.Device:
    """Where a whole member fits: one that is split over devices may be too large for each of them."""
    if config.mesh.fsdp:
        try:
            return jax.local_devices(backend="cpu")[0]
        except RuntimeError:
            # JAX_PLATFORMS may leave it out.
            pass
    return jax.local_devices()[0]


def _shaken(params: Any) -> Any:
    """Parameters plus noise: of matrices such that products keep their size, of others a tenth."""
    rng = np.random.default_rng(0)

    def shaken(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        scale = max(leaf.shape[-2:]) ** -0.5 if leaf.ndim > 1 else 0.1
        # Drawn here: a program that draws for every parameter takes long to compile.
        return leaf + jnp.asarray(scale * rng.standard_normal(leaf.shape, np.float32), leaf.dtype)

    return jax.tree.map(shaken, params)


def _check_parameters(params: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if leaf.dtype != np.float32:
            raise UserError(
                f"the model's parameter {jax.tree_util.keystr(path)} is {leaf.dtype}: parameters must be float32. To "
                "compute in another precision, convert them where they are used, as our models do (compute_dtype)"
            )


def _chunks(pool: RowPool, data: DataAxis) -> Pool:
    """Validation rows in equal chunks, the last filled up with rows of which nothing is predicted."""
    n_chunks = -(-len(pool.used) // VALID_CHUNK_ROWS)
    per_chunk = -(-len(pool.used) // (n_chunks * data.size)) * data.size
    missing = n_chunks * per_chunk - len(pool.used)
    tokens = np.pad(pool.tokens, ((0, missing), (0, 0)), mode="edge")
    used = np.pad(pool.used, (0, missing))
    return Pool(tokens.reshape(n_chunks, per_chunk, -1), used.reshape(n_chunks, per_chunk))
