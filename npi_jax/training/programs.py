"""The programs of a run: its jitted functions, each with the shapes of its arguments.

A program is defined without any data on a device. Training compiles the programs and runs them. Planning compiles the
same programs and reads their memory use.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from npi_jax.corpus.variants.variant import RowPool
from npi_jax.scoring import Scorer
from npi_jax.scoring.scorer import CHUNKED
from npi_jax.training.devices.data_axis import DATA, DataAxis
from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, put
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.feed import ROWS, pool_spec
from npi_jax.training.member.step import Pool, init_member, make_train_call, make_valid_call
from npi_jax.training.task_gradients import TaskGradients

VALID_CHUNK_ROWS = 32
"""Maximum number of validation rows whose loss is computed at once, for each member."""

TRAINING = "training"

Tell = Callable[[int, int], None]
"""Receives the number of programs compiled so far, and the number of all programs."""


class Constant(NamedTuple):
    """Host arrays that do not change during a run, and their sharding over a mesh."""

    arrays: Any
    mesh: Mesh
    spec: P

    @property
    def shapes(self) -> Any:
        """Shapes, dtypes and shardings of the arrays."""
        return _on_mesh(self.arrays, self.mesh, self.spec)

    def put(self) -> Any:
        """Copy the arrays to the devices."""
        return put(self.arrays, self.mesh, self.spec)


@dataclass(frozen=True)
class Program:
    """A function that runs on all devices of the mesh.

    Attributes:
        name: name for messages.
        function: jitted function; in the result of `compiled` it is compiled.
        inputs: shapes of the arguments that change from call to call.
        constants: the remaining arguments, which do not change.
    """

    name: str
    function: Any
    inputs: tuple[Any, ...]
    constants: tuple[Constant, ...] = ()

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Shapes, dtypes and shardings of all arguments."""
        return (*self.inputs, *(constant.shapes for constant in self.constants))

    def compiled(self) -> "Program":
        """Compile the function for its arguments."""
        return replace(self, function=self.function.lower(*self.arguments).compile())


@dataclass(frozen=True)
class Programs:
    """All programs of a run.

    Attributes:
        init: members' states before the first step, from their seeds.
        train: several training steps in one call.
        checksum: checksums of the members' states.
        validation: validation losses.
        scoring: the scores of each suite, by the suite's name.
        gradients: comparisons of task gradients, by the time when they run (`TaskGradients.calls`).
    """

    init: Program
    train: Program
    checksum: Program
    validation: Program
    scoring: Mapping[str, Program]
    gradients: Mapping[str, Program]

    def at_checkpoints(self) -> list[Program]:
        """Return the programs that evaluate members at checkpoints."""
        return [self.validation, *self.scoring.values(), *self.gradients.values()]

    def constants(self) -> list[Constant]:
        """Return the constants of all programs; a constant that programs share is listed once."""
        return list({id(one): one for program in self.at_checkpoints() for one in program.constants}.values())

    def compiled(self, tell: Tell | None = None) -> "Programs":
        """Compile every program except `init`, several at once; the first error ends compilation.

        Args:
            tell: function that is called at the start and after each program.
        """
        compiled = iter(_in_threads([self.train, self.checksum, *self.at_checkpoints()], tell))
        return Programs(
            init=self.init,
            train=next(compiled),
            checksum=next(compiled),
            validation=next(compiled),
            scoring={name: next(compiled) for name in self.scoring},
            gradients={when: next(compiled) for when in self.gradients},
        )


def make_programs(
    ensemble: Ensemble,
    eos: int,
    train: Program,
    valid: RowPool,
    scorers: Mapping[str, Scorer],
    gradients: TaskGradients | None,
) -> Programs:
    """Build all programs of a run; nothing is compiled and nothing is copied to a device.

    Args:
        ensemble: the members.
        eos: id of `<eos>`.
        train: the result of `training_program`.
        valid: validation rows.
        scorers: scorers by the names of their suites.
        gradients: comparisons of task gradients; None to compare nothing.
    """
    return Programs(
        init=init_program(ensemble),
        train=train,
        checksum=checksum_program(ensemble),
        validation=_validation_program(ensemble, eos, valid),
        scoring={name: scoring_program(ensemble, name, scorer) for name, scorer in scorers.items()},
        gradients={} if gradients is None else _gradient_programs(ensemble, gradients),
    )


def init_program(ensemble: Ensemble) -> Program:
    """Build the program that draws the members' states before the first step."""
    init = init_member(ensemble.data_axis, ensemble.config.train)
    function = ensemble.map(init, [MEMBERS], out_specs=ensemble.state_specs)
    return Program("initialization", function, (_on_mesh(ensemble.seeds, ensemble.mesh, MEMBERS),))


def training_program(ensemble: Ensemble, eos: int, pool: Pool, *, streamed: bool) -> Program:
    """Build the program of several training steps.

    The program takes the same arguments as the function of `make_train_call`, stacked over members.

    Args:
        ensemble: the members.
        eos: id of `<eos>`.
        pool: shapes of the rows that one call reads (`npi_jax.training.feed.pool_shapes`).
        streamed: True if `pool` has only the rows of the call's batches, not all rows.
    """
    specs: list[P] = [MEMBERS, MEMBERS, ROWS, pool_spec(streamed=streamed), *[REPLICATED] * 3]
    call = make_train_call(ensemble.data_axis, ensemble.config.train, eos)
    states = ensemble.state_specs
    function = ensemble.map(call, [states, *specs], out_specs=(states, MEMBERS), update_first=True)
    rows = jax.ShapeDtypeStruct(ensemble.call_shape, jnp.int32)
    arguments = ensemble.hyper, ensemble.seeds, rows, pool, np.int32(0), np.int32(1), np.bool_(True)
    shapes = (_on_mesh(tree, ensemble.mesh, spec) for tree, spec in zip(arguments, specs, strict=True))
    return Program(TRAINING, function, (ensemble.state_shapes, *shapes))


def checksum_program(ensemble: Ensemble) -> Program:
    """Build the program that computes the checksum of each member's state."""
    data_axis, shapes = ensemble.data_axis, ensemble.member_shapes
    function = ensemble.map(lambda state: data_axis.checksum(state, shapes), [ensemble.state_specs])
    return Program("checksums", function, (ensemble.state_shapes,))


def _validation_program(ensemble: Ensemble, eos: int, valid: RowPool) -> Program:
    data_axis, spec = ensemble.data_axis, P(None, DATA)
    call = make_valid_call(data_axis, ensemble.config.train, eos)
    function = ensemble.map(
        lambda params, chunks: call(data_axis.gather_params(params), chunks), [ensemble.state_specs.params, spec]
    )
    chunks = Constant(_valid_chunks(valid, data_axis), ensemble.mesh, spec)
    return Program("validation", function, (ensemble.state_shapes.params,), (chunks,))


def scoring_program(ensemble: Ensemble, suite: str, scorer: Scorer) -> Program:
    """Build the program that scores a suite; it computes `Scorer.apply` for the parameters of all members."""
    data_axis = ensemble.data_axis

    def score(params: Any, chunks: Any, rest: Any) -> dict[str, jax.Array]:
        # Scores use the output layer without rounding, even if training casts it.
        params = data_axis.gather_params(params, keep=frozenset({"output"}))
        predicted = scorer.predictions(params, {CHUNKED: chunks})
        return scorer.sums([data_axis.concatenate(values) for values in predicted], rest)

    chunks = data_axis.pad_rows(scorer.arrays[CHUNKED])
    rest = {name: array for name, array in scorer.arrays.items() if name != CHUNKED}
    function = ensemble.map(score, [ensemble.state_specs.params, P(DATA), REPLICATED])
    constants = (
        Constant(chunks, ensemble.mesh, P(DATA)),
        Constant(rest, ensemble.mesh, REPLICATED),
    )
    return Program(f"scoring {suite}", function, (ensemble.state_shapes.params,), constants)


def _gradient_programs(ensemble: Ensemble, gradients: TaskGradients) -> dict[str, Program]:
    # Use one constant, so that the arrays are copied to the devices only once for all programs.
    arrays = Constant(jax.tree.map(np.asarray, gradients.arrays), ensemble.mesh, REPLICATED)
    data_axis, shapes = ensemble.data_axis, ensemble.member_shapes

    def program(when: str, fn: Callable[[Any, Any], Any]) -> Program:
        function = ensemble.map(
            lambda state, arrays: fn(data_axis.all_gather(state, shapes), arrays), [ensemble.state_specs, REPLICATED]
        )
        return Program(f"gradients {when}", function, (ensemble.state_shapes,), (arrays,))

    return {when: program(when, fn) for when, fn in gradients.calls.items()}


def _valid_chunks(pool: RowPool, data_axis: DataAxis) -> Pool:
    """Split validation rows into equal chunks; rows without predicted tokens pad the last chunk."""
    n_chunks = -(-len(pool.used) // VALID_CHUNK_ROWS)
    per_chunk = -(-len(pool.used) // (n_chunks * data_axis.size)) * data_axis.size
    missing = n_chunks * per_chunk - len(pool.used)
    tokens = np.pad(pool.tokens, ((0, missing), (0, 0)), mode="edge")
    used = np.pad(pool.used, (0, missing))
    return Pool(tokens.reshape(n_chunks, per_chunk, -1), used.reshape(n_chunks, per_chunk))


def _on_mesh(tree: Any, mesh: Mesh, spec: P) -> Any:
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def _in_threads(programs: Sequence[Program], tell: Tell | None) -> list[Program]:
    threads = ThreadPoolExecutor()
    try:
        futures = [threads.submit(program.compiled) for program in programs]
        for done, future in enumerate(itertools.chain([None], as_completed(futures))):
            if future is not None:
                future.result()
            if tell is not None:
                tell(done, len(programs))
        return [future.result() for future in futures]
    finally:
        # A running compilation cannot be canceled. Do not wait for it if the user interrupts.
        threads.shutdown(wait=False, cancel_futures=True)
