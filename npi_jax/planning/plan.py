"""The plan of an experiment: the devices, memory, time and disk that it takes, from its compiled programs."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from npi_jax.config.schema import Config
from npi_jax.errors import UserError
from npi_jax.models import make_model
from npi_jax.models.flops import train_flops
from npi_jax.planning.collectives import Collective, collectives
from npi_jax.planning.footprint import Footprint, footprint
from npi_jax.planning.programs import all_rows, plan_all_programs, plan_training_program
from npi_jax.planning.progress import Progress, Say, silent
from npi_jax.planning.text_sizes import text_sizes
from npi_jax.training.arrangement import STEPS_PER_CALL
from npi_jax.training.checkpoints.checkpoints import scheduled_steps
from npi_jax.training.devices.chips import Chip, chip_of
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.feed import is_streamed
from npi_jax.training.programs import TRAINING, Program


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cost of an experiment on given devices.

    Attributes:
        config: the experiment, with the arrangement that was chosen for it.
        ensemble: its members.
        vocabulary: entries of the vocabulary.
        training: the training program.
        parameters: number of parameters of one member.
        device_kind: JAX's name of the devices.
        chip: memory and peak rate of a device; None if unknown.
        bytes_per_device: memory that a device holds throughout the run, bytes, by content: parameters, optimizer state,
            rows, suites.
        scratch: further memory that each program takes on a device while it runs, bytes.
        left_out: notes on what is not counted.
        exchanges: exchanges between devices in the training program, those in a loop once; None if the compiler refused
            the program.
        tokens_per_step: number of tokens in one member's batch.
        flops_per_step: floating-point operations of all members in the matrix products of one step
            (`npi_jax.models.flops`).
        scored: the steps at which members are scored.
        saved: the steps at which a checkpoint is saved.
        checkpoint_bytes: size of one checkpoint of all members on disk, uncompressed.
    """

    config: Config
    ensemble: Ensemble
    vocabulary: int
    training: Program
    parameters: int
    device_kind: str
    chip: Chip | None
    bytes_per_device: dict[str, int]
    scratch: dict[str, int]
    left_out: list[str]
    exchanges: list[Collective] | None
    tokens_per_step: int
    flops_per_step: float
    scored: list[int]
    saved: list[int]
    checkpoint_bytes: int

    @property
    def members(self) -> int:
        """Number of members."""
        return self.ensemble.size

    @property
    def padded_size(self) -> int:
        """Number of members, including padding members."""
        return self.ensemble.padded_size

    @property
    def mesh(self) -> dict[str, int]:
        """Number of devices along each axis of the mesh."""
        return dict(self.ensemble.mesh.shape)

    @property
    def devices(self) -> int:
        """Number of devices in the mesh."""
        return self.ensemble.mesh.size

    @property
    def tokens(self) -> int:
        """Tokens that each member trains on in all steps, including a few percent of padding."""
        return self.config.train.steps * self.tokens_per_step

    @property
    def members_per_device(self) -> int:
        """Number of members, including padding members, on each device or group of devices along ``data``."""
        return self.padded_size // self.mesh["ens"]

    @property
    def peak_program(self) -> str:
        """The program with the most scratch memory."""
        return max(self.scratch, key=lambda name: self.scratch[name])

    @property
    def peak_bytes(self) -> int:
        """Memory that a device needs, bytes: one program runs at a time."""
        return sum(self.bytes_per_device.values()) + self.scratch[self.peak_program]

    @property
    def fits(self) -> bool | None:
        """True if a device has enough memory; None if its memory is unknown."""
        return None if self.chip is None else self.peak_bytes <= self.chip.memory

    @property
    def kept_checkpoints(self) -> int:
        """Largest number of checkpoints on disk at once, including the one that is being written."""
        policy = self.config.checkpoints
        permanent = sum(step % policy.keep_period == 0 for step in self.saved) if policy.keep_period else 0
        return min(len(self.saved), policy.keep + permanent + 1)

    def hours(self, peak: float, utilization: float) -> float:
        """Hours of training, without scoring.

        Args:
            peak: peak rate of each device, floating-point operations per second.
            utilization: share of the peak that training reaches.
        """
        return self.config.train.steps * self.flops_per_step / (self.devices * peak * utilization) / 3600


def make_plan(
    config: Config, devices: Sequence[Any] | None = None, *, memory: int | None = None, say: Say = silent
) -> Plan:
    """Plan an experiment: compile the programs of the run, without reading its text or making parameters.

    Suites are read. The text of the built-in grammar is generated if its size is not known otherwise.

    Args:
        config: the experiment.
        devices: the devices to compile for; the default is the devices of this machine.
        memory: memory of a device, bytes; the default is that of its kind.
        say: gets a line whenever the compilation of a program starts or ends.

    Raises:
        ConfigError: if the size of the vocabulary or of the corpus cannot be determined.
        UserError: if a program exchanges data between members, or a suite cannot be read.
    """
    return with_all_programs(plan_training(config, devices, memory=memory, say=say), say=say)


def plan_training(
    config: Config, devices: Sequence[Any] | None = None, *, memory: int | None = None, say: Say = silent
) -> Plan:
    """Plan an experiment from its training program only; see `make_plan`."""
    vocabulary, rows = text_sizes(config)
    # A benchmark may choose another number of steps, which changes only the memory of streamed rows.
    steps_per_call = config.train.steps_per_call or STEPS_PER_CALL
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps_per_call=steps_per_call))
    model = make_model(config.model, vocabulary, remat=config.train.remat)
    mesh = make_mesh(config.mesh.ens, config.mesh.data, n_members=len(config.members), devices=devices)
    ensemble = Ensemble(config, model, mesh)
    streamed = is_streamed(config, mesh, _bytes(all_rows(config, vocabulary, rows)), memory)
    training = plan_training_program(ensemble, vocabulary, rows, streamed=streamed)
    compiled = footprint(training, Progress(say))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(ensemble.member_shapes.params))
    train, state = config.train, ensemble.state_shapes
    tokens = train.batch_size * train.row_length
    flops = train_flops(config.model, vocabulary, train.row_length, parameters=parameters)
    scored = scheduled_steps(train.steps, config.score.every)
    return Plan(
        config=config,
        ensemble=ensemble,
        vocabulary=vocabulary,
        training=training,
        parameters=parameters,
        device_kind=mesh.devices.flat[0].device_kind,
        chip=chip_of(mesh.devices.flat[0], memory),
        bytes_per_device=_bytes_of_training(training, streamed=streamed),
        scratch={TRAINING: compiled.scratch},
        left_out=[],
        exchanges=_exchanges(compiled, TRAINING, mesh),
        tokens_per_step=tokens,
        flops_per_step=float(flops * tokens * ensemble.size),
        scored=scored,
        saved=_saved_steps(config, scored),
        checkpoint_bytes=_bytes(state) // ensemble.padded_size * ensemble.size,
    )


def with_all_programs(plan: Plan, only: str | None = None, *, say: Say = silent) -> Plan:
    """Add the remaining programs to a plan: initialization, and the programs that run at checkpoints.

    Args:
        plan: the result of `plan_training`.
        only: name of the only program to compile; None for all.
        say: gets a line whenever the compilation of a program starts or ends.
    """
    programs, notes = plan_all_programs(plan.ensemble, plan.vocabulary, plan.training)
    others = [programs.init, programs.checksum, *programs.at_checkpoints()]
    footprints = _footprints([program for program in others if only in (None, program.name)], Progress(say))
    for name, one in footprints.items():
        _exchanges(one, name, plan.ensemble.mesh)
    suites = {"suites and validation": sum(_device_bytes(constant.shapes) for constant in programs.constants())}
    return dataclasses.replace(
        plan,
        bytes_per_device=plan.bytes_per_device | suites,
        scratch=plan.scratch | {name: one.scratch for name, one in footprints.items()},
        left_out=notes,
    )


def _bytes_of_training(training: Program, *, streamed: bool) -> dict[str, int]:
    state, pool = training.inputs[0], training.inputs[4]
    return {
        "parameters": _device_bytes(state.params),
        "optimizer state": _device_bytes(state.opt_state),
        "rows of a call" if streamed else "corpus rows": _device_bytes(pool),
    }


def _saved_steps(config: Config, scored: Sequence[int]) -> list[int]:
    every = config.checkpoints.every or config.score.every
    return [step for step in scored if step and (step % every == 0 or step == config.train.steps)]


def _footprints(programs: Sequence[Program], progress: Progress) -> dict[str, Footprint]:
    """Compile programs, several at once, and return their footprints by name."""
    with ThreadPoolExecutor() as threads:
        footprints = threads.map(lambda program: footprint(program, progress), programs)
        return {program.name: one for program, one in zip(programs, footprints, strict=True)}


def _exchanges(compiled: Footprint, name: str, mesh: Mesh) -> list[Collective] | None:
    """Return the exchanges of a program, None if it was not compiled; refuse exchanges between members."""
    if compiled.text is None:
        return None
    exchanges = collectives(compiled.text, mesh)
    for exchange in exchanges:
        if "ens" in exchange.axes:
            raise UserError(
                f"the program of {name} exchanges {exchange.bytes:,} bytes between members ({exchange.kind} along "
                f"{' and '.join(exchange.axes)}); members must not depend on one another. A model of your own must not "
                "use the axis `ens`; otherwise this is a bug of npi_jax"
            )
    return exchanges


def _bytes(tree: Any) -> int:
    return int(sum(np.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))


def _device_bytes(tree: Any) -> int:
    """Return the bytes of sharded arrays on one device."""
    shards = ((np.prod(leaf.sharding.shard_shape(leaf.shape)), leaf.dtype.itemsize) for leaf in jax.tree.leaves(tree))
    return int(sum(elements * size for elements, size in shards))
