"""The runner: the programs of an ensemble, applied to the data on its devices.

The parts of a run are made in this order:

1. `Ensemble`: the members, and the sharding of their arrays over the mesh.
2. `Programs`: the jitted functions, with the shapes of their arguments. `npi_jax.planning` needs nothing further.
3. `PlacedData`: the arrays that stay on the devices throughout the run.
4. `Runner`: the programs and the placed data; `Runner.compiled` compiles the programs.
5. `npi_jax.training.loop.Trainer`: the training loop, which calls the runner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Array, Float, UInt

from npi_jax.corpus.variants.row_files import RowRecords
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.corpus.variants.variant import RowPool, Variant
from npi_jax.scoring import Scorer
from npi_jax.training.devices.mesh import MEMBERS, put, replicate
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.feed import Feed, RowIndex, make_feed, pool_shapes
from npi_jax.training.member.optimizer import HyperParameters
from npi_jax.training.member.step import MemberState, Progress
from npi_jax.training.programs import Program, Programs, Tell, make_programs, training_program
from npi_jax.training.task_gradients import AT_CHECKPOINT, TaskGradients


@dataclass(frozen=True)
class PlacedData:
    """Arrays that stay on the devices throughout a run.

    Attributes:
        seeds: seeds of the members.
        hyper: hyper-parameters of the members.
        feed: supply of the rows of each training call.
        constants: the constant arguments of each program at checkpoints, by the program's name.
    """

    seeds: UInt[Array, " padded_members"]
    hyper: HyperParameters
    feed: Feed
    constants: Mapping[str, tuple[Any, ...]]


def place_data(
    ensemble: Ensemble,
    programs: Programs,
    variants: Sequence[Variant],
    orders: Sequence[RowOrder],
    rows: RowPool | RowRecords,
) -> PlacedData:
    """Copy the data of a run to the devices, except rows that are read from disk.

    Args:
        ensemble: the members.
        programs: the programs whose constants are copied.
        variants, orders: the variants of the corpus, and for each the order of its rows.
        rows: the training rows, in memory or on disk.
    """
    number = {str(variant.intervention): index for index, variant in enumerate(variants)}
    chosen = [number[member.variant] for member in ensemble.padded_members]
    index = RowIndex(
        ensemble.config.train, ensemble.padded_members, [variants[at] for at in chosen], [orders[at] for at in chosen]
    )
    seeds, hyper = put((ensemble.seeds, ensemble.hyper), ensemble.mesh, MEMBERS)
    # Compare constants by identity, so that programs share the copy of a common constant.
    copies = {id(constant): constant.put() for constant in programs.constants()}
    constants = {
        program.name: tuple(copies[id(constant)] for constant in program.constants)
        for program in programs.at_checkpoints()
    }
    return PlacedData(seeds, hyper, make_feed(index, ensemble.mesh, rows), constants)


@dataclass(frozen=True)
class Runner:
    """Runs the programs of an ensemble on its data. Only `checksums` waits for a device.

    Attributes:
        ensemble: the members.
        programs: jitted functions. Each is compiled at its first call, or all but `init` are compiled by `compiled`.
        data: arrays on the devices.
    """

    ensemble: Ensemble
    programs: Programs
    data: PlacedData

    def compiled(self, tell: Tell | None = None) -> "Runner":
        """Return the same runner with compiled programs (see `Programs.compiled`)."""
        return replace(self, programs=self.programs.compiled(tell))

    def init(self) -> MemberState:
        """Return the members' states before the first step, a pure function of their seeds."""
        state: MemberState = self.programs.init.function(self.data.seeds)
        return state

    def train(
        self, state: MemberState, first_step: int, n_steps: int, *, restart: bool
    ) -> tuple[MemberState, Progress]:
        """Start a training call.

        Args:
            state: states of the members. Their memory is reused, so that they cannot be read afterwards.
            first_step: number of the first step, from 0.
            n_steps: number of steps of the call, at most `steps_per_call`.
            restart: reset the running training loss.
        """
        rows, pool = self.data.feed.take((first_step, n_steps))
        scalars = np.int32(first_step), np.int32(n_steps), np.bool_(restart)
        state, progress = self.programs.train.function(state, self.data.hyper, self.data.seeds, rows, pool, *scalars)
        # Queue the exchange now, because later it would run only after the next training call.
        return state, replicate(progress)

    def valid_loss(self, state: MemberState) -> Float[Array, " padded_members"]:
        """Return the validation loss of each member, nats per token."""
        return self._evaluate(self.programs.validation, state.params)

    def score(self, state: MemberState) -> dict[str, dict[str, Float[Array, "padded_members ..."]]]:
        """Return the results of `Scorer.apply` for each suite, with a leading axis of padded members."""
        return {name: self._evaluate(program, state.params) for name, program in self.programs.scoring.items()}

    def gradients(self, state: MemberState, *, end: bool) -> dict[str, Float[Array, "padded_members ..."]]:
        """Return comparisons of task gradients at a checkpoint, after the last step (`end`) also the final ones.

        The result is empty if the run compares no gradients.
        """
        values: dict[str, Float[Array, "padded_members ..."]] = {}
        for when, program in self.programs.gradients.items():
            if end or when == AT_CHECKPOINT:
                values |= self._evaluate(program, state)
        return values

    def checksums(self, state: MemberState) -> UInt[np.ndarray, "members words"]:
        """Return the checksum of each member's state, which does not depend on the sharding."""
        checksums: np.ndarray = self.ensemble.fetch(self.programs.checksum.function(state))
        return checksums

    def _evaluate(self, program: Program, state: Any) -> Any:
        return program.function(state, *self.data.constants[program.name])


def make_runner(
    ensemble: Ensemble,
    eos: int,
    rows: RowPool | RowRecords,
    variants: Sequence[Variant],
    orders: Sequence[RowOrder],
    valid: RowPool,
    scorers: Mapping[str, Scorer],
    gradients: TaskGradients | None = None,
) -> Runner:
    """Build the programs of an ensemble and copy its data to the devices.

    Args:
        ensemble: the members.
        eos: id of `<eos>`.
        rows: the training rows, in memory or on disk.
        variants, orders: the variants of the corpus, and for each the order of its rows.
        valid: validation rows.
        scorers: scorers by the names of their suites.
        gradients: comparisons of task gradients; None to compare nothing.
    """
    pool = pool_shapes(rows, ensemble.call_shape)
    train = training_program(ensemble, eos, pool, streamed=isinstance(rows, RowRecords))
    programs = make_programs(ensemble, eos, train, valid, scorers, gradients)
    return Runner(ensemble, programs, place_data(ensemble, programs, variants, orders, rows))
