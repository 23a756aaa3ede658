"""What an experiment would take: its real programs, compiled from shapes alone."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from npi_jax.config.schema import Config, ConfigError
from npi_jax.errors import UserError
from npi_jax.models import make_model
from npi_jax.models.flops import train_flops
from npi_jax.planning.calls import TRAINING, Call, Program, other_calls, pool_shapes, training_call
from npi_jax.planning.collectives import Collective, collectives
from npi_jax.planning.progress import Progress, Say, silent
from npi_jax.planning.text_sizes import sizes_of_grammar, sizes_of_run
from npi_jax.training.arrangement import STEPS_PER_CALL
from npi_jax.training.checkpoints.checkpoints import scheduled_steps
from npi_jax.training.devices.chips import Chip, chip_of
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.feed import is_streamed


@dataclass(frozen=True)
class Plan:
    """The cost of an experiment on some devices.

    Attributes:
        config: the experiment, with whatever was chosen for it.
        parameters: of one member.
        members, padded_size: members of the ensemble, and their number with padding members.
        device_kind, devices: which devices, and how many the mesh takes.
        mesh: devices by axis.
        chip: what is known of the devices.
        bytes_per_device: what lies there all the time, by kind: parameters, optimizer state, corpus rows, suites.
        scratch: bytes that each compiled program takes beside it while it runs.
        left_out: what is not counted, and why.
        exchanges: between devices, in one call of the training step; None if that was too large to be compiled.
        tokens_per_step: of one member.
        flops_per_step: of all members, in matrix products (`npi_jax.models.flops`).
        tokens: that one member is trained on in all (positions; a few percent are padding).
        scored: the steps at which members are scored.
        saved: the steps at which a checkpoint is written.
        checkpoint_bytes: of one checkpoint on disk, all members, uncompressed.
        ensemble, vocabulary: what the programs are of.
    """

    config: Config
    parameters: int
    members: int
    padded_size: int
    device_kind: str
    devices: int
    mesh: dict[str, int]
    chip: Chip | None
    bytes_per_device: dict[str, int]
    scratch: dict[str, int]
    left_out: list[str]
    exchanges: list[Collective] | None
    tokens_per_step: int
    flops_per_step: float
    tokens: int
    scored: list[int]
    saved: list[int]
    checkpoint_bytes: int
    ensemble: Ensemble
    vocabulary: int

    @property
    def members_per_device(self) -> int:
        """Members that share a device (or, along ``data``, a group of devices)."""
        return self.padded_size // self.mesh["ens"]

    @property
    def peak_program(self) -> str:
        """The program that takes the most scratch memory."""
        return max(self.scratch, key=lambda name: self.scratch[name])

    @property
    def bytes_in_all(self) -> int:
        """Memory that a device needs: one program runs at a time."""
        return sum(self.bytes_per_device.values()) + self.scratch[self.peak_program]

    @property
    def fits(self) -> bool | None:
        """Whether a device has that much; None if its memory is not known."""
        return None if self.chip is None else self.bytes_in_all <= self.chip.memory

    @property
    def kept_checkpoints(self) -> int:
        """Most checkpoints that are on disk at once: those kept, those kept for good, the one being written."""
        policy = self.config.checkpoints
        lasting = sum(step % policy.keep_period == 0 for step in self.saved) if policy.keep_period else 0
        return min(len(self.saved), policy.keep + lasting + 1)

    def hours(self, peak: float, utilization: float) -> float:
        """Hours of training, without scoring, at a share of the devices' peak (operations a second, each)."""
        return self.config.train.steps * self.flops_per_step / (self.devices * peak * utilization) / 3600


def make_plan(
    config: Config, devices: Sequence[Any] | None = None, *, memory: int | None = None, say: Say = silent
) -> Plan:
    """Compile a run's programs from shapes; no text is read (but the grammar's, and suites), no parameter made.

    Args:
        config: the experiment.
        devices: those to compile for; by default this machine's.
        memory: bytes that programs can use on one of them; by default what is known of their kind.
        say: gets a line whenever a program begins or ends to be compiled.

    Raises:
        ConfigError: if the size of the vocabulary or of the corpus is not known from the configuration.
        UserError: if a compiled program exchanges anything between members, or a suite is none.
    """
    return with_other_programs(plan_training(config, devices, memory=memory, say=say), say=say)


def plan_training(
    config: Config, devices: Sequence[Any] | None = None, *, memory: int | None = None, say: Say = silent
) -> Plan:
    """The same of the training step alone; what the other programs take is left out."""
    vocabulary, rows = sizes(config)
    # What a benchmark would choose is no matter of memory but for the rows of a call.
    steps_per_call = config.train.steps_per_call or STEPS_PER_CALL
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps_per_call=steps_per_call))
    model = make_model(config.model, vocabulary, remat=config.train.remat)
    mesh = make_mesh(config.mesh.ens, config.mesh.data, n_members=len(config.members), devices=devices)
    streamed = is_streamed(config, mesh, _bytes(pool_shapes(config, vocabulary, rows)), memory)
    ensemble = Ensemble(config, model, 0, mesh, streamed=streamed)
    training = training_call(ensemble, vocabulary, rows)
    program = training.compile(Progress(say))
    state, pool = ensemble.state_shapes, training.arguments[4]
    train = config.train
    every = config.checkpoints.every or config.score.every
    scored = scheduled_steps(train.steps, config.score.every)
    one = jax.eval_shape(model.init, jax.random.key(0))
    tokens = train.batch_size * train.row_length
    flops = train_flops(config.model, vocabulary, train.row_length, parameters=_elements(one))
    return Plan(
        config=config,
        parameters=_elements(one),
        members=ensemble.size,
        padded_size=ensemble.padded_size,
        device_kind=mesh.devices.flat[0].device_kind,
        devices=mesh.size,
        mesh=dict(mesh.shape),
        chip=chip_of(mesh.devices.flat[0], memory),
        bytes_per_device={
            "parameters": _device_bytes(state.params),
            "optimizer state": _device_bytes(state.opt_state),
            "rows of a call" if streamed else "corpus rows": _device_bytes(pool),
        },
        scratch={TRAINING: program.scratch},
        left_out=[],
        exchanges=_exchanges(program, TRAINING, mesh),
        tokens_per_step=tokens,
        flops_per_step=float(flops * tokens * ensemble.size),
        tokens=train.steps * tokens,
        scored=scored,
        saved=[step for step in scored if step and (step % every == 0 or step == train.steps)],
        checkpoint_bytes=_bytes(state) // ensemble.padded_size * ensemble.size,
        ensemble=ensemble,
        vocabulary=vocabulary,
    )


def with_other_programs(plan: Plan, only: str | None = None, *, say: Say = silent) -> Plan:
    """A plan of training completed by what else a run computes: its beginning, and all that is done at checkpoints.

    Args:
        plan: from `plan_training`.
        only: the one program to add; by default all.
        say: gets a line whenever a program begins or ends to be compiled.
    """
    calls, left_out = other_calls(plan.ensemble, plan.vocabulary)
    programs = _compiled([call for call in calls if only in (None, call.name)], Progress(say))
    for name, program in programs.items():
        _exchanges(program, name, plan.ensemble.mesh)
    suites = {"suites and validation": sum(_device_bytes(call.resident) for call in calls)}
    return dataclasses.replace(
        plan,
        bytes_per_device=plan.bytes_per_device | suites,
        scratch=plan.scratch | {name: program.scratch for name, program in programs.items()},
        left_out=left_out,
    )


def _compiled(calls: Sequence[Call], progress: Progress) -> dict[str, Program]:
    """Programs by name, compiled side by side."""
    with ThreadPoolExecutor() as threads:
        programs = threads.map(lambda call: call.compile(progress), calls)
        return {call.name: program for call, program in zip(calls, programs, strict=True)}


def _exchanges(program: Program, name: str, mesh: Mesh) -> list[Collective] | None:
    """What the devices exchange, unless it is between members; None if it could not be compiled."""
    if program.text is None:
        return None
    found = collectives(program.text, mesh)
    for exchange in found:
        if "ens" in exchange.axes:
            raise UserError(
                f"the program of {name} exchanges {exchange.bytes:,} bytes between members ({exchange.kind} along "
                f"{' and '.join(exchange.axes)}); members must not depend on one another. A model of your own must not "
                "use the axis `ens`; otherwise this is a bug of npi_jax"
            )
    return found


def sizes(config: Config) -> tuple[int, int]:
    """Entries in the vocabulary and rows of the corpus, without reading text.

    Raises:
        ConfigError: if neither the configuration nor a prepared run directory says.
    """
    size, tokens = _known(config)
    if size is None:
        raise _unknown("tokenizer.size to the entries of the vocabulary")
    if tokens is None:
        raise _unknown("corpus.planned_tokens to the tokens of the training text")
    return size, -(-tokens // config.train.row_length)


def vocabulary_size(config: Config) -> int:
    """Entries in the vocabulary, without reading text.

    Raises:
        ConfigError: if neither the configuration nor a prepared run directory says.
    """
    size = config.tokenizer.size or _known(config)[0]
    if size is None:
        raise _unknown("tokenizer.size to the entries of the vocabulary")
    return size


def _unknown(field: str) -> ConfigError:
    return ConfigError(f"no text is read here: set {field}, or prepare the text first (npi-jax prepare)")


def _known(config: Config) -> tuple[int | None, int | None]:
    """What the configuration says of its text, then what its run directory or the grammar says."""
    size, tokens = config.tokenizer.size, config.corpus.planned_tokens
    if None not in (size, tokens):
        return size, tokens
    prepared = sizes_of_run(config) or (sizes_of_grammar(config) if config.corpus.source == "grammar" else None)
    return (size, tokens) if prepared is None else (size or prepared[0], tokens or prepared[1])


def _elements(tree: Any) -> int:
    return int(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree)))


def _bytes(tree: Any) -> int:
    return int(sum(np.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))


def _device_bytes(tree: Any) -> int:
    """Bytes of sharded arrays on one device."""
    shares = ((np.prod(leaf.sharding.shard_shape(leaf.shape)), leaf.dtype.itemsize) for leaf in jax.tree.leaves(tree))
    return int(sum(elements * size for elements, size in shares))
