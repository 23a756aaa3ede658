"""The compiled calls of a run, with their arguments as shapes."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from npi_jax.config.schema import Config
from npi_jax.corpus.encoded import token_dtype
from npi_jax.corpus.variants.builder import RowPool
from npi_jax.errors import UserError, first_line
from npi_jax.planning.progress import QUIET, Progress
from npi_jax.preparation.inputs import open_gradient_suite, open_suite, stand_in
from npi_jax.training.devices.mesh import MEMBERS, REPLICATED
from npi_jax.training.ensemble import VALID_CHUNK_ROWS, Ensemble, Evaluation, make_scorers
from npi_jax.training.feed import ROWS, pool_spec
from npi_jax.training.member.step import Pool
from npi_jax.training.task_gradients import AT_CHECKPOINT, make_task_gradients

TRAINING = "training"


@dataclass(frozen=True)
class Call:
    """A function that runs on all devices.

    Attributes:
        name: for people.
        function: from `npi_jax.training.devices.mesh.map_members`.
        arguments: as shapes, each with its place on the devices.
        resident: those of them that lie on the devices all the time and that no other call counts.
    """

    name: str
    function: Any
    arguments: tuple[Any, ...]
    resident: tuple[Any, ...] = ()

    def compile(self, progress: Progress = QUIET) -> "Program":
        """The program for the devices of its mesh.

        Raises:
            UserError: if the compiler gives up for lack of memory, and does not say how much it needs.
        """
        try:
            with progress.compiling(self.name):
                compiled = self.function.lower(*self.arguments).compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return Program(_needed(self.name, error), None)
        return Program(int(compiled.memory_analysis().temp_size_in_bytes), compiled.as_text())


@dataclass(frozen=True)
class Program:
    """What is known of a compiled call.

    Attributes:
        scratch: bytes that it takes on a device while it runs, beside its arguments.
        text: in XLA's language; None where the compiler refused it because no device has so much memory.
    """

    scratch: int
    text: str | None


# As the compiler for TPUs says it, in one of two ways; that for GPUs compiles whatever does not fit.
_NEEDED = re.compile(r"(?:memory required for HLO temporaries \(|Used )([\d.]+)([KMGT]?)")


def _needed(name: str, error: Exception) -> int:
    found = _NEEDED.search(str(error))
    if found is None:
        raise UserError(f"the compiler has not enough memory for {name}: {first_line(error)}")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


def training_call(ensemble: Ensemble, vocabulary: int, rows: int) -> Call:
    """The training step, several times over.

    Args:
        ensemble: the members.
        vocabulary: entries in it.
        rows: of the corpus.
    """
    config, mesh, streamed = ensemble.config, ensemble.mesh, ensemble.streamed
    train = config.train
    seeds, hyper = _sharded((ensemble.seeds, ensemble.hyper), mesh, MEMBERS)
    axes = ensemble.padded_size, train.steps_per_call, train.batch_size
    pool = _rows(config, vocabulary, *axes) if streamed else pool_shapes(config, vocabulary, rows)
    scalars = _sharded((np.int32(0), np.int32(1), np.bool_(True)), mesh, REPLICATED)
    arguments = (
        ensemble.state_shapes,
        hyper,
        seeds,
        _sharded(jax.ShapeDtypeStruct(axes, jnp.int32), mesh, ROWS),
        _sharded(pool, mesh, pool_spec(streamed=streamed)),
        *scalars,
    )
    return Call(TRAINING, ensemble.train_call, arguments)


def other_calls(ensemble: Ensemble, vocabulary: int) -> tuple[list[Call], list[str]]:
    """What runs but training: a run's beginning, and at checkpoints validation, scores, gradients and checksums.

    Suites are read, not the text: a word stands for a token.

    Args:
        ensemble: the members.
        vocabulary: entries in it.

    Returns:
        The calls, and what they leave out because it is not known here.

    Raises:
        UserError: if a suite cannot be read, or does not go with the model or the configuration.
    """
    config, mesh = ensemble.config, ensemble.mesh
    state = ensemble.state_shapes
    absent = {
        name: wanted.path
        for name, wanted in config.score.suites.items()
        if wanted.path and not Path(wanted.path).exists()
    }
    notes = [f"scoring {name}: there is no {path}" for name, path in absent.items()]
    compared = config.gradients.enabled and config.gradient_suite not in absent
    if config.gradients.enabled and not compared:
        notes.append(f"gradients: they are of suite {config.gradient_suite}")
    suites = {name: open_suite(config, name) for name in config.score.suites if name not in absent}
    of_gradients = open_gradient_suite(config) if compared else None
    tokenizer = stand_in([*suites.values(), *([of_gradients] if of_gradients else [])], size=vocabulary)

    if config.tokenizer.kind == "bpe" and suites:
        notes.append("words of suites that are several tokens: each is taken for one")
    text = _text(config, vocabulary)
    notes.append(f"validation rows beyond {len(text.used)}: how many there are is not known here")

    def planned(name: str, evaluation: Evaluation, state: Any) -> Call:
        others = tuple(_sharded(arrays, mesh, spec) for arrays, spec in evaluation.others)
        return Call(name, evaluation.call, (state, *others), others)

    # However many chunks of rows there are, one is in work at a time.
    calls = [
        Call("initialization", ensemble.init_call, (_sharded(ensemble.seeds, mesh, MEMBERS),)),
        Call("checksums", ensemble.checksum_call, (state,)),
        planned("validation", ensemble.validation(text), state.params),
    ]
    encoded = {name: suite.encode(tokenizer) for name, suite in suites.items()}
    for name, scorer in make_scorers(config, ensemble.model, encoded).items():
        calls.append(planned(f"scoring {name}", ensemble.scoring(scorer), state.params))
    pairs = None if of_gradients is None else of_gradients.encode(tokenizer)
    gradients = make_task_gradients(config, ensemble.model, pairs, text, tokenizer.eos)
    if gradients is not None:
        for when, function in gradients.calls.items():
            call = planned(f"gradients {when}", ensemble.comparison(function, gradients.arrays), state)
            # All take the same arrays.
            calls.append(call if when == AT_CHECKPOINT else dataclasses.replace(call, resident=()))
    return calls, notes


def pool_shapes(config: Config, vocabulary: int, rows: int) -> Pool:
    """All rows as shapes; half of the rows are taken to change in some variant."""
    return _rows(config, vocabulary, rows if len(config.variants) == 1 else rows + rows // 2)


def _rows(config: Config, vocabulary: int, *axes: int) -> Pool:
    return Pool(
        jax.ShapeDtypeStruct((*axes, config.train.row_length + 1), token_dtype(vocabulary)),  # type: ignore[arg-type]
        jax.ShapeDtypeStruct(axes, jnp.int32),  # type: ignore[arg-type]
    )


def _text(config: Config, vocabulary: int) -> RowPool:
    """Full rows of nothing in particular: chunks of validation, and what gradients of text are taken of."""
    rows, length = max(2 * VALID_CHUNK_ROWS, config.gradients.text_rows), config.train.row_length
    return RowPool(np.zeros((rows, length + 1), token_dtype(vocabulary)), np.full(rows, length, np.int32))


def _sharded(tree: Any, mesh: Mesh, spec: P) -> Any:
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
