"""The ensemble: all members of an experiment on a mesh, with their compiled calls."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from npi_jax.config import Config, Member
from npi_jax.corpus.rows import RowOrder
from npi_jax.corpus.variants import RowPool, Variant
from npi_jax.models import Model
from npi_jax.scoring import Scorer
from npi_jax.training.mesh import MEMBERS, SHARED, fetch, map_members, pad_members, padded_size, put
from npi_jax.training.optimizer import HyperParameters
from npi_jax.training.step import (
    MemberState,
    Pool,
    Progress,
    init_member,
    make_train_call,
    make_valid_call,
)
from npi_jax.training.task_gradients import TaskGradients

VALID_CHUNK_ROWS = 32


class Ensemble:
    """Members stacked along a leading axis, sharded over the mesh, each trained by the same member step.

    Where the members do not fill the devices evenly, copies of the last one fill the places; they never show.

    Args:
        config: the experiment.
        model: the architecture.
        eos: id of `<eos>`.
        mesh: from `make_mesh`.
    """

    def __init__(self, config: Config, model: Model, eos: int, mesh: Mesh):
        self.config, self.model, self.mesh = config, model, mesh
        self.members = config.members
        self.size = len(self.members)
        self.places = padded_size(self.size, mesh)
        self._padded: Sequence[Member] = self.members + (self.members[-1],) * (self.places - self.size)
        mapping = config.mesh.mapping
        self.init_call = map_members(init_member(model, config.train), mesh, [MEMBERS], mapping=mapping)
        train_call = make_train_call(model, config.train, eos, data_parallel=mesh.shape["data"] > 1)
        row_spec = P("ens", None, "data")
        self.train_call = map_members(
            train_call,
            mesh,
            [MEMBERS, MEMBERS, MEMBERS, row_spec, SHARED, SHARED, SHARED, SHARED],
            mapping=mapping,
            update_first=True,
        )
        valid_call = make_valid_call(model, config.train, eos)
        self.valid_call = map_members(valid_call, mesh, [MEMBERS, SHARED], mapping=mapping)
        self.seeds = put(np.array([m.seed for m in self._padded], np.uint32), mesh, MEMBERS)
        self.hyper = put(
            HyperParameters(
                *(np.array([getattr(m, field) for m in self._padded], np.float32) for field in HyperParameters._fields)
            ),
            mesh,
            MEMBERS,
        )

    def load(
        self,
        variants: Sequence[Variant],
        orders: Sequence[RowOrder],
        pool: RowPool,
        valid: RowPool,
        scorers: Mapping[str, Scorer],
        gradients: TaskGradients | None = None,
    ) -> None:
        """Put the data on the devices."""
        place = {str(variant.intervention): index for index, variant in enumerate(variants)}
        self._variants = [variants[place[member.variant]] for member in self._padded]
        self._orders = [orders[place[member.variant]] for member in self._padded]
        self._pool = put(Pool(pool.tokens, pool.used), self.mesh, SHARED)
        self._valid = put(_chunks(valid), self.mesh, SHARED)
        self._scorers = {
            name: (
                map_members(scorer.apply, self.mesh, [MEMBERS, SHARED], mapping=self.config.mesh.mapping),
                put(scorer.arrays, self.mesh, SHARED),
            )
            for name, scorer in scorers.items()
        }
        self._gradients = {}
        if gradients is not None:
            arrays = put(jax.tree.map(np.asarray, gradients.arrays), self.mesh, SHARED)
            calls = {"checkpoint": gradients.at_checkpoint, "end": gradients.at_end}
            self._gradients = {
                when: (map_members(call, self.mesh, [MEMBERS, SHARED], mapping=self.config.mesh.mapping), arrays)
                for when, call in calls.items()
            }

    def init(self) -> MemberState:
        """The members' states before the first step: a pure function of their seeds."""
        state: MemberState = self.init_call(self.seeds)
        return state

    def compile(self, state: MemberState) -> None:
        """Compile every call for states like `state`, side by side; later calls only run."""
        rows = np.zeros((self.places, self.config.train.steps_per_call, self.config.train.batch_size), np.int32)
        scalars = (np.int32(0), np.int32(1), np.bool_(True))
        train_arguments = (state, self.hyper, self.seeds, self._placed(rows), self._pool, *scalars)
        jobs = [(self.train_call, train_arguments), (self.valid_call, (state.params, self._valid))]
        jobs += [(call, (state.params, arrays)) for call, arrays in self._scorers.values()]
        jobs += [(call, (state, arrays)) for call, arrays in self._gradients.values()]
        with ThreadPoolExecutor() as threads:
            compiled = iter(list(threads.map(lambda job: job[0].lower(*job[1]).compile(), jobs)))
        self.train_call, self.valid_call = next(compiled), next(compiled)
        self._scorers = {name: (next(compiled), arrays) for name, (_, arrays) in self._scorers.items()}
        self._gradients = {when: (next(compiled), arrays) for when, (_, arrays) in self._gradients.items()}

    def _placed(self, rows: np.ndarray) -> jax.Array:
        placed: jax.Array = put(rows, self.mesh, P("ens", None, "data"))
        return placed

    def rows(self, first_step: int, n_steps: int) -> np.ndarray:
        """Pool rows int32 [places, steps_per_call, batch] of the next steps; what lies beyond them is 0."""
        train = self.config.train
        rows = np.zeros((self.places, train.steps_per_call, train.batch_size), np.int32)
        for member, (spec, variant, order) in enumerate(zip(self._padded, self._variants, self._orders, strict=True)):
            for index in range(n_steps):
                rows[member, index] = variant.batch(order, spec.seed, first_step + index)
        return rows

    def train(
        self, state: MemberState, first_step: int, n_steps: int, *, restart: bool
    ) -> tuple[MemberState, Progress]:
        """Start `n_steps` steps of all members (at most `steps_per_call`); does not wait for them."""
        rows = self._placed(self.rows(first_step, n_steps))
        scalars = (np.int32(first_step), np.int32(n_steps), np.bool_(restart))
        result: tuple[MemberState, Progress] = self.train_call(
            state, self.hyper, self.seeds, rows, self._pool, *scalars
        )
        return result

    def valid_loss(self, state: MemberState) -> jax.Array:
        """Validation loss of each place, nats a token; does not wait."""
        result: jax.Array = self.valid_call(state.params, self._valid)
        return result

    def score(self, state: MemberState) -> dict[str, dict[str, jax.Array]]:
        """All suites, all members: what `Scorer.apply` gives, with a leading axis of places; does not wait."""
        return {name: call(state.params, arrays) for name, (call, arrays) in self._scorers.items()}

    def gradients(self, state: MemberState, *, end: bool) -> dict[str, jax.Array]:
        """What `TaskGradients` computes at a checkpoint, and at the end too; does not wait. Empty if nothing is."""
        found: dict[str, jax.Array] = {}
        for when, (call, arrays) in self._gradients.items():
            if end or when == "checkpoint":
                found |= call(state, arrays)
        return found

    def strip(self, state: MemberState) -> MemberState:
        """The state of the members alone, as checkpoints hold it: it does not depend on the devices."""
        return jax.tree.map(lambda leaf: leaf[: self.size], state) if self.places > self.size else state

    def fill(self, state: MemberState) -> MemberState:
        """A stripped state (host arrays) back on the mesh, the places filled up with copies of the last member."""
        placed: MemberState = put(pad_members(state, self.places - self.size), self.mesh, MEMBERS)
        return placed

    def fetch(self, tree: Any) -> Any:
        """Per-member results on the host, without the filled-up places."""
        return jax.tree.map(lambda leaf: leaf[: self.size], fetch(tree))


def _chunks(pool: RowPool) -> Pool:
    """Validation rows in equal chunks, the last filled up with rows of which nothing is predicted."""
    n_chunks = -(-len(pool.used) // VALID_CHUNK_ROWS)
    per_chunk = -(-len(pool.used) // n_chunks)
    missing = n_chunks * per_chunk - len(pool.used)
    tokens = np.pad(pool.tokens, ((0, missing), (0, 0)), mode="edge")
    used = np.pad(pool.used, (0, missing))
    return Pool(tokens.reshape(n_chunks, per_chunk, -1), used.reshape(n_chunks, per_chunk))
