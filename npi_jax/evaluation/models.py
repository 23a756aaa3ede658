"""Trained models on disk: members of a run at its checkpoints, and Hugging Face directories."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.config.schema import Config
from npi_jax.corpus.text.hf_tokenizer import load_hf_tokenizer
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.errors import UserError
from npi_jax.evaluation.origin import learned_ends
from npi_jax.models import CustomConfig, Model, load_hf, load_hf_stack, make_model
from npi_jax.models.hf.load import config_notes
from npi_jax.results.directory import Run, open_run
from npi_jax.results.folder import TOKENIZER
from npi_jax.results.manifest import is_run
from npi_jax.results.tables_training import HYPERPARAMETERS
from npi_jax.training.checkpoints.checkpoints import Checkpoints
from npi_jax.training.checkpoints.checksum import member_checksum
from npi_jax.training.devices.data_axis import DataAxis
from npi_jax.training.member.step import init_member

BATCH_BYTES = 2 << 30
"""Largest size of a batch of Hugging Face models, in bytes of parameters; more models are scored in several calls."""


class EvaluateError(UserError):
    """A model that cannot be scored as requested."""


Batch = tuple[Any, list[dict[str, Any]]]
"""Parameters of several models, stacked along axis 0; and for each model its names, the first columns of tables."""


@dataclass(frozen=True, kw_only=True)
class ModelSet:
    """Models of one architecture with one tokenizer.

    Attributes:
        model: the architecture.
        tokenizer: the tokenizer of all models.
        batches: reads the parameters, a batch of models at a time. Names are ``model`` (the directory); for members
            of a run also ``member``, ``variant``, ``seed``, each hyper-parameter of which `train` lists several values,
            and ``step``.
        size: number of models.
        config: configuration of the run; None for Hugging Face directories.
        score_end: whether the models were trained to predict the end of sentences, like members of runs and their
            exports.
        notes: remarks about settings in the models' files that have no effect, as sentences for the user.
    """

    model: Model
    tokenizer: Tokenizer
    batches: Callable[[], Iterator[Batch]]
    size: int
    config: Config | None = None
    score_end: bool = False
    notes: tuple[str, ...] = ()


def open_models(
    paths: Sequence[str | Path],
    *,
    steps: str | Sequence[int] = "last",
    members: Sequence[int] | None = None,
    run_code: bool = False,
) -> ModelSet:
    """Open a run directory, or one or more Hugging Face directories of one architecture.

    Args:
        paths: a run directory, or directories that `npi_jax.models.load_hf` reads.
        steps: checkpoints of a run: ``"last"``, ``"all"``, or step numbers.
        members: member numbers of a run; None for all.
        run_code: allow a run with a custom model to run the file or module that its ``config.json`` names.

    Raises:
        UserError: if a directory, step or member does not exist or is damaged, or if the run needs `run_code`.
    """
    if not paths:
        raise EvaluateError("no model was given; give a run directory, or Hugging Face directories")
    for path in paths:
        _check_directory(Path(path))
    runs = [path for path in paths if is_run(Path(path))]
    if runs and len(paths) > 1:
        raise EvaluateError(f"{runs[0]} is a run directory; score runs one at a time")
    if runs:
        return _open_run(Path(runs[0]), steps, members, run_code=run_code)
    if steps != "last" or members is not None:
        raise EvaluateError(f"{paths[0]}: a Hugging Face checkpoint, not a run; only runs have steps and members")
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise EvaluateError("a directory is given twice; models are distinguished by their directories")
    return _open_hf([Path(path) for path in paths])


def _check_directory(path: Path) -> None:
    wanted = "give the directory of a run, or of a Hugging Face checkpoint; nothing is downloaded"
    if not path.is_dir():
        raise EvaluateError(
            f"{path}: {'a file, not a directory' if path.exists() else 'there is no such directory'}; {wanted}"
        )
    # The reader of config.json refuses one that is not a plain file, such as a pipe.
    if not is_run(path) and not (path / "config.json").exists():
        raise EvaluateError(f"{path}: the directory has no config.json; {wanted}")


def _open_hf(paths: Sequence[Path]) -> ModelSet:
    first = load_hf(paths[0])
    tokenizer = load_hf_tokenizer(paths[0])
    if tokenizer is None:
        raise EvaluateError(
            f"{paths[0]}: the directory has no tokenizer (tokenizer.json, or vocab.json and merges.txt)"
        )
    for path in paths[1:]:
        other = load_hf_tokenizer(path)
        # Checkpoints of one training run are often published with a tokenizer in the first directory only.
        if other is not None and other.fingerprint != tokenizer.fingerprint:
            raise EvaluateError(
                f"{path}: its tokenizer differs from the tokenizer of {paths[0]}; score them one at a time"
            )
    at_once = max(1, BATCH_BYTES // sum(leaf.nbytes for leaf in jax.tree.leaves(first.params)))

    def batches() -> Iterator[Batch]:
        for start in range(0, len(paths), at_once):
            chosen = paths[start : start + at_once]
            _, stack = load_hf_stack(chosen)
            yield stack, [{"model": str(path)} for path in chosen]

    return ModelSet(
        model=first.model,
        tokenizer=tokenizer,
        batches=batches,
        size=len(paths),
        score_end=all(map(learned_ends, paths)),
        notes=(*config_notes(paths), *tokenizer.notes),
    )


def _open_run(path: Path, steps: str | Sequence[int], members: Sequence[int] | None, *, run_code: bool) -> ModelSet:
    config = config_of(path)
    if isinstance(config.model, CustomConfig) and not run_code:
        raise EvaluateError(
            f"{path / 'config.json'}: opening this run executes its model's code {config.model.factory!r}. "
            "If you trust it: npi-jax score --run-code, or run_code=True in Python and in --model_args"
        )
    run = Run(path)
    for name in TOKENIZER:
        run.check_written(path / name)
    tokenizer = Tokenizer.load(path / "tokenizer")
    model = make_model(config.model, tokenizer.vocab_size)
    checkpoints = Checkpoints(path / "checkpoints", config.checkpoints, read_only=True)
    wanted = _chosen_steps(checkpoints, steps)
    chosen = list(range(len(config.members))) if members is None else list(members)
    _check_numbers(path, wanted, chosen, len(config.members))

    def batches() -> Iterator[Batch]:
        seeds = jax.ShapeDtypeStruct((len(config.members),), np.uint32)
        like = jax.eval_shape(jax.vmap(init_member(DataAxis(model), config.train)), seeds)
        for step in wanted:
            params = _restore_verified(checkpoints, step, like).params
            names = [{"model": str(path), "member": m, **member_columns(config, m), "step": step} for m in chosen]
            yield jax.tree.map(lambda leaf: leaf[np.array(chosen)], params), names

    return ModelSet(
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        size=len(wanted) * len(chosen),
        config=config,
        score_end=True,
    )


def _check_numbers(path: Path, steps: list[int], members: list[int], n_members: int) -> None:
    if outside := [member for member in members if not 0 <= member < n_members]:
        raise EvaluateError(f"{path}: there is no member {outside[0]}; members are 0 to {n_members - 1}")
    for kind, numbers in (("step", steps), ("member", members)):
        if twice := [number for number in numbers if numbers.count(number) > 1]:
            raise EvaluateError(f"{path}: {kind} {twice[0]} is given twice")


def _chosen_steps(checkpoints: Checkpoints, steps: str | Sequence[int]) -> list[int]:
    kept, faulty = checkpoints.steps(), checkpoints.faulty()
    existing = sorted({*kept, *faulty})
    if not existing:
        raise EvaluateError(f"{checkpoints.directory}: there is no checkpoint; train first (npi-jax run)")
    wanted = (existing if steps == "all" else existing[-1:]) if isinstance(steps, str) else list(steps)
    rest = f"there are {', '.join(map(str, kept))}" if kept else "there is no other"
    for step in wanted:
        if step in faulty:
            raise EvaluateError(f"{checkpoints.directory / str(step)} {faulty[step]}; {rest} (--steps)")
        if step not in kept:
            raise EvaluateError(f"{checkpoints.directory}: no checkpoint of step {step}; {rest}")
    return wanted


def config_of(path: Path) -> Config:
    """Return the configuration of a run.

    Raises:
        UserError: naming the file and the field, if it is missing or damaged.
    """
    run = open_run(path)
    try:
        return make_config(run.config)
    except ConfigError as error:
        raise EvaluateError(f"{path / 'config.json'}: {error}") from error


def _restore_verified(checkpoints: Checkpoints, step: int, like: Any) -> Any:
    """Read a checkpoint's members into host memory, and compare them with the checksums that training stored."""
    size = jax.tree.leaves(like)[0].shape[0]
    state = jax.tree.map(lambda leaf: leaf[:size], checkpoints.restore(step, like))
    checksum = jax.jit(member_checksum)
    # One member at a time, because all of them may not fit on one device.
    checksums = [np.asarray(checksum(jax.tree.map(lambda leaf, n=n: leaf[n], state))) for n in range(size)]
    checkpoints.verify(step, np.stack(checksums))
    return state


def member_columns(config: Config, member: int) -> dict[str, Any]:
    """Return a member's variant, its seed, and the hyper-parameters in which members differ."""
    spec = config.members[member]
    differing = [name for name in HYPERPARAMETERS if len({getattr(other, name) for other in config.members}) > 1]
    return {"variant": spec.variant, "seed": spec.seed} | {name: getattr(spec, name) for name in differing}
