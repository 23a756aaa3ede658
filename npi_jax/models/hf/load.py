"""Reading of Hugging Face checkpoints (GPT-2, GPT-NeoX, OPT, LLaMA) into the Flax transformer.

Only ``config.json`` and safetensors are read, so that no code of a checkpoint runs. The tables of `families` map their
fields and tensors.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from npi_jax.errors import first_line
from npi_jax.files.plain import PlainFileError, read_json_object
from npi_jax.models.config import TransformerConfig
from npi_jax.models.hf.families import FAMILIES
from npi_jax.models.hf.family import Family, ParameterPath
from npi_jax.models.hf.fields import HFError, shown
from npi_jax.models.hf.mapping import output_tensors, tensor_mappings
from npi_jax.models.hf.weights import Weights
from npi_jax.models.language_model import LanguageModel, Params, make_model

CONFIG_FILE = "config.json"
MAX_NOTED = 30
"""Maximum number of unused fields that a note lists."""


@dataclass(frozen=True)
class HFModel:
    """A checkpoint that was read.

    Attributes:
        model: the architecture.
        params: its parameters, float32 on the host.
        path: the directory.
        notes: sentences about ignored fields of ``config.json``.
    """

    model: LanguageModel
    params: Params
    path: Path
    notes: tuple[str, ...] = ()


def load_hf(path: str | Path) -> HFModel:
    """Read a checkpoint of GPT-2, GPT-NeoX (Pythia), OPT or LLaMA from a local directory.

    The directory must contain ``config.json``, and ``model.safetensors`` or its shards with their index. Half
    precision is cast to float32. `npi_jax.corpus.text.hf_tokenizer.load_hf_tokenizer` reads the tokenizer.

    Raises:
        HFError: naming the file and the field or tensor, if anything is missing, damaged or not supported.
    """
    path = Path(path)
    shape = read_hf_config(path)
    with Weights(path) as weights:
        params = _read_params(weights, shape.family, shape.config, shape.vocab_size)
    model = make_model(shape.config, shape.vocab_size)
    assert isinstance(model, LanguageModel)
    return HFModel(model, params, path, shape.notes)


def load_hf_stack(paths: Sequence[str | Path]) -> tuple[LanguageModel, Params]:
    """Read several checkpoints of one architecture, stacked along axis 0 in host memory.

    Raises:
        HFError: as `load_hf`, or naming the directory and the field if a checkpoint differs from the first.
    """
    if not paths:
        raise HFError("no checkpoints to stack")
    first = load_hf(paths[0])
    stack = jax.tree.map(lambda leaf: np.empty((len(paths), *leaf.shape), leaf.dtype), first.params)
    for index, path in enumerate(paths):
        one = first if index == 0 else _load_like(path, first)
        jax.tree.map(lambda target, leaf, index=index: target.__setitem__(index, leaf), stack, one.params)
    return first.model, stack


def _load_like(path: str | Path, first: HFModel) -> HFModel:
    shape = read_hf_config(Path(path))
    mine = {**dataclasses.asdict(shape.config), "vocab_size": shape.vocab_size}
    theirs = {**dataclasses.asdict(first.model.config), "vocab_size": first.model.vocab_size}
    if differing := [name for name in mine if mine[name] != theirs[name]]:
        name = differing[0]
        raise HFError(
            f"{path}: {name} is {mine[name]!r}, but {theirs[name]!r} in {first.path}; only checkpoints of one "
            "architecture can be stacked"
        )
    return load_hf(path)


@dataclass(frozen=True)
class HFShape:
    """Architecture that a config.json describes.

    Attributes:
        family: the model type of transformers.
        config: our configuration of the architecture.
        vocab_size: size of the vocabulary.
        notes: sentences about ignored fields.
    """

    family: Family
    config: TransformerConfig
    vocab_size: int
    notes: tuple[str, ...]


def read_hf_config(path: Path) -> HFShape:
    """Read the ``config.json`` of a directory.

    Raises:
        HFError: naming the file and the field, if it is missing or its value is not supported.
    """
    file = path / CONFIG_FILE
    try:
        fields = read_json_object(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise HFError(f"{file}: no such file; give the directory of a Hugging Face checkpoint") from error
    except PlainFileError as error:
        raise HFError(f"{file}: {error}") from error
    except OSError as error:
        raise HFError(f"{file}: cannot be read: {error.strerror}") from error
    model_type = fields.get("model_type")
    family = next((one for one in FAMILIES if one.model_type == model_type), None)
    if family is None:
        known = ", ".join(one.model_type for one in FAMILIES)
        raise HFError(f"{file}: model_type is {shown(model_type)}; supported are {known}")
    try:
        config, vocab_size = family.read(fields), _vocab_size(fields)
    except KeyError as error:
        raise HFError(f"{file}: no field {error.args[0]!r}") from error
    except (HFError, ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise HFError(f"{file}: {first_line(error)}") from error
    unused = [name if name.isprintable() else repr(name) for name in family.unused(fields)]
    named = [*(name[:80] for name in unused[:MAX_NOTED]), *(["..."] if len(unused) > MAX_NOTED else [])]
    note = f"{file}: fields without effect on a {model_type}, not used: {', '.join(named)}"
    return HFShape(family, config, vocab_size, (note,) if unused else ())


def config_notes(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the notes on the configs of directories; a note that several directories share is returned only once.

    Raises:
        HFError: as `read_hf_config`.
    """
    notes = [note for path in paths for note in read_hf_config(path).notes]
    first = {note.partition(CONFIG_FILE)[2]: note for note in reversed(notes)}
    return tuple(reversed(first.values()))


def _vocab_size(fields: Mapping[str, Any]) -> int:
    value = fields["vocab_size"]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise HFError(f"vocab_size is {shown(value)}; it must be a whole number above 0")
    return value


def _read_params(weights: Weights, family: Family, config: TransformerConfig, vocab_size: int) -> Params:
    prefix = _prefix(weights, family)
    output = output_tensors(family, config, vocab_size)
    (output_name,), (output_shape,) = output.names, output.shapes
    params: Params = {}
    used = {output_name}
    for entry in tensor_mappings(family, config, vocab_size):
        names = [prefix + name for name in entry.names]
        if config.tie and names[0] not in weights.files and entry.path == ("embedding",):
            # A tied matrix has two names, and transformers may write it under either.
            names = [output_name]
        parts = [weights.tensor(name, shape) for name, shape in zip(names, entry.shapes, strict=True)]
        _set(params, entry.path, np.ascontiguousarray(entry.read(parts)))
        used.update(names)
    if not config.tie:
        _set(params, output.path, np.ascontiguousarray(output.read([weights.tensor(output_name, output_shape)])))
    elif output_name in weights.files:
        _check_tied(weights, output_name, params["embedding"])
    unknown = sorted(n for n in weights.files if n not in used and not n.endswith(family.ignored or ("\0",)))
    if unknown:
        raise HFError(
            f"{weights.path}: {len(unknown)} tensors do not belong to a {family.model_type}, such as {unknown[0]!r}"
        )
    return params


def _check_tied(weights: Weights, name: str, embedding: np.ndarray) -> None:
    if not np.array_equal(weights.tensor(name, embedding.shape), embedding):
        raise HFError(f"{weights.path}: tie_word_embeddings is true, but {name!r} differs from the embedding")


def _prefix(weights: Weights, family: Family) -> str:
    """Return the prefix of the body's tensors; it is detected from the last norm, which every checkpoint has."""
    name = f"{family.norms[('output_norm',)]}.weight"
    parts = family.prefix.split(".")
    candidates = [".".join(parts[start:]) for start in range(len(parts))]
    return next((prefix for prefix in candidates if prefix + name in weights.files), family.prefix)


def _set(params: Params, path: ParameterPath, value: np.ndarray) -> None:
    for part in path[:-1]:
        params = params.setdefault(part, {})
    params[path[-1]] = value
