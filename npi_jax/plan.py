"""What an experiment would take: its real training step, compiled from shapes alone."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console
from rich.table import Table

from npi_jax.config import Config, ConfigError
from npi_jax.corpus.pipeline import sentences_of
from npi_jax.models import make_model
from npi_jax.prepare import make_pipeline, make_tokenizer, texts
from npi_jax.training.checkpoints import scheduled_steps
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.mesh import MEMBERS, SHARED, make_mesh
from npi_jax.training.step import Pool


@dataclass(frozen=True)
class Plan:
    """The cost of an experiment on the devices at hand.

    Attributes:
        parameters: of one member.
        members: in the ensemble.
        devices: number and platform of the devices, and how the mesh splits them.
        bytes_per_device: by kind: parameters, optimizer state, corpus rows, scratch memory of the compiled call.
        tokens_per_step: of one member, and of all.
        steps: optimizer steps.
        tokens: that one member is trained on in all (positions; a few percent are padding).
        checkpoints: how often members are scored.
    """

    parameters: int
    members: int
    devices: str
    bytes_per_device: dict[str, int]
    tokens_per_step: tuple[int, int]
    steps: int
    tokens: int
    checkpoints: int


def make_plan(config: Config) -> Plan:
    """Compile the training call for the devices at hand; no text is read, no parameter made.

    Raises:
        ConfigError: if the size of the vocabulary or of the corpus is not known from the configuration.
    """
    vocabulary, rows = _sizes(config)
    model = make_model(config.model, vocabulary, remat=config.train.remat)
    mesh = make_mesh(config.mesh.ens, config.mesh.data, n_members=len(config.members))
    ensemble = Ensemble(config, model, 0, mesh)
    arguments = _shapes(ensemble, config, vocabulary, rows)
    compiled = ensemble.train_call.lower(*arguments).compile()
    state, pool = arguments[0], arguments[4]
    places = ensemble.places // mesh.shape["ens"]
    memory = compiled.memory_analysis()
    train = config.train
    return Plan(
        parameters=_elements(state.params) // ensemble.places,
        members=ensemble.size,
        devices=f"{mesh.size} x {mesh.devices.flat[0].device_kind}, {places} members each",
        bytes_per_device={
            "parameters": _bytes(state.params) // mesh.shape["ens"],
            "optimizer state": _bytes(state.opt_state) // mesh.shape["ens"],
            "corpus rows": _bytes(pool),
            "scratch of a call": int(memory.temp_size_in_bytes),
        },
        tokens_per_step=(
            train.batch_size * train.row_length,
            train.batch_size * train.row_length * ensemble.size,
        ),
        steps=train.steps,
        tokens=train.steps * train.batch_size * train.row_length,
        checkpoints=len(scheduled_steps(train.steps, config.score.every)),
    )


def print_plan(config: Config, console: Console) -> None:
    """Print the plan as a table."""
    plan = make_plan(config)
    table = Table(title=f"plan for {config.name}", title_justify="left", show_header=False)
    table.add_row("members", f"{plan.members:,}")
    table.add_row("parameters of a member", f"{plan.parameters:,}")
    table.add_row("devices", plan.devices)
    for kind, size in plan.bytes_per_device.items():
        table.add_row(f"bytes per device: {kind}", f"{size:,} ({size / 2**30:.2f} GiB)")
    total = sum(plan.bytes_per_device.values())
    table.add_row("bytes per device: all", f"{total:,} ({total / 2**30:.2f} GiB)")
    table.add_row("tokens per step, one member", f"{plan.tokens_per_step[0]:,}")
    table.add_row("tokens per step, all members", f"{plan.tokens_per_step[1]:,}")
    table.add_row("steps", f"{plan.steps:,}")
    table.add_row("tokens a member is trained on", f"{plan.tokens:,}")
    table.add_row("checkpoints scored", f"{plan.checkpoints:,}")
    console.print(table)


def _sizes(config: Config) -> tuple[int, int]:
    """Entries in the vocabulary and rows of the corpus, without reading text."""
    size, tokens = config.tokenizer.size, config.corpus.planned_tokens
    if config.corpus.source == "grammar" and None in (size, tokens):
        # The grammar writes its text in a second: no need to be told.
        pipeline = make_pipeline(config.corpus, lambda _: None)
        train, _ = texts(config.corpus, pipeline)
        size = make_tokenizer(config, train, pipeline).vocab_size
        tokens = sum(sentence.count(" ") + 2 for sentence in sentences_of(train.text))
    if size is None:
        raise ConfigError("plan reads no text, so the vocabulary must be known beforehand: set tokenizer.size")
    if tokens is None:
        raise ConfigError("plan reads no text: set corpus.planned_tokens to the tokens of the training text")
    return size, -(-tokens // config.train.row_length)


def _shapes(ensemble: Ensemble, config: Config, vocabulary: int, rows: int) -> tuple[Any, ...]:
    """The training call's arguments as shapes; half of the rows are taken to change in some variant."""
    mesh, train = ensemble.mesh, config.train
    state = _sharded(jax.eval_shape(ensemble.init_call, ensemble.seeds), NamedSharding(mesh, MEMBERS))
    pool_rows = rows if len(config.variants) == 1 else rows + rows // 2
    token = np.uint16 if vocabulary <= 1 << 16 else np.uint32
    pool = Pool(
        jax.ShapeDtypeStruct((pool_rows, train.row_length + 1), token),  # type: ignore[arg-type]
        jax.ShapeDtypeStruct((pool_rows,), jnp.int32),  # type: ignore[arg-type]
    )
    index = jax.ShapeDtypeStruct((ensemble.places, train.steps_per_call, train.batch_size), jnp.int32)
    return (
        state,
        ensemble.hyper,
        ensemble.seeds,
        _sharded(index, NamedSharding(mesh, P("ens", None, "data"))),
        _sharded(pool, NamedSharding(mesh, SHARED)),
        np.int32(0),
        np.int32(1),
        np.bool_(True),
    )


def _sharded(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def _elements(tree: Any) -> int:
    return int(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree)))


def _bytes(tree: Any) -> int:
    return int(sum(np.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))
