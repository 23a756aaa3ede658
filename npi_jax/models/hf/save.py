"""Writing of our transformers as Hugging Face directories."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from npi_jax.models.config import ModelConfig, TransformerConfig
from npi_jax.models.custom import Model
from npi_jax.models.hf.families import FAMILIES
from npi_jax.models.hf.family import Family, ParameterPath
from npi_jax.models.hf.fields import HFError
from npi_jax.models.hf.mapping import output_tensors, tensor_mappings
from npi_jax.models.hf.weights import WEIGHTS_FILE
from npi_jax.models.language_model import LanguageModel, Params

CONFIG_FILE = "config.json"
DEFAULT_POSITIONS = 2048
"""Limit that is written for a model without a limit of positions, because transformers requires one."""


def save_hf(
    directory: str | Path,
    model: Model,
    params: Params,
    *,
    start: int | None = None,
    end: int | None = None,
    files: Mapping[str, bytes] | None = None,
) -> str:
    """Write a model to a directory that `transformers.AutoModelForCausalLM.from_pretrained` can open.

    Args:
        directory: target directory, either new or empty. If writing fails, no partial files remain.
        model: a transformer.
        params: parameters of one model.
        start, end: ids of the start and the end token for config.json.
        files: contents of further files by name, such as the tokenizer's.

    Returns:
        name of the model's class in transformers.

    Raises:
        HFError: if transformers has no class for the architecture, or the directory is not empty.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise HFError(f"{directory} exists already; choose another name")
    family = exportable(model.config)
    assert isinstance(model, LanguageModel)
    assert isinstance(model.config, TransformerConfig)
    fields = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": model.vocab_size,
        "torch_dtype": "float32",
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": None,
        **family.write(_with_limit(model.config)),
    }
    contents = {CONFIG_FILE: (json.dumps(fields, indent=2) + "\n").encode(), **(files or {})}
    _write(directory, _tensors(family, model, params), contents)
    return family.architecture


def _tensors(family: Family, model: LanguageModel, params: Params) -> dict[str, np.ndarray]:
    """Return the tensors of the checkpoint by name."""
    assert isinstance(model.config, TransformerConfig)
    tensors: dict[str, np.ndarray] = {}
    for mapping in tensor_mappings(family, model.config, model.vocab_size):
        arrays = mapping.write(_get(params, mapping.path))
        tensors |= {family.prefix + name: array for name, array in zip(mapping.names, arrays, strict=True)}
    if not model.config.tie:
        output = output_tensors(family, model.config, model.vocab_size)
        tensors[output.names[0]] = output.write(_get(params, output.path))[0]
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def _write(directory: Path, tensors: Mapping[str, np.ndarray], contents: Mapping[str, bytes]) -> None:
    """Write all files to a temporary directory and rename it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".tmp", dir=directory.parent))
    try:
        safetensors.numpy.save_file(dict(tensors), temporary / WEIGHTS_FILE, metadata={"format": "pt"})
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        if directory.exists():
            directory.rmdir()
        temporary.chmod(0o755)
        temporary.rename(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _with_limit(config: TransformerConfig) -> TransformerConfig:
    return dataclasses.replace(config, max_positions=config.max_positions or DEFAULT_POSITIONS)


def exportable(config: ModelConfig) -> Family:
    """Return the family as which a model of this configuration can be written.

    Raises:
        HFError: if transformers has no class for it.
    """
    if not isinstance(config, TransformerConfig):
        kind = type(config).__name__.removesuffix("Config")
        raise HFError(
            f"transformers has no class for a model of kind {kind}; only transformers can be exported. To evaluate it "
            "with the lm-evaluation-harness use npi_jax.lm_eval, to open it in Python npi_jax.open_run"
        )
    return _family_of(config)


def _family_of(config: TransformerConfig) -> Family:
    """Return the first family that represents every setting of a configuration."""
    wanted = dataclasses.replace(
        _with_limit(config),
        compute_dtype="float32",
        kv_heads=None if config.kv_heads == config.heads else config.kv_heads,
    )
    closest: list[str] = []
    for family in FAMILIES:
        again = family.read(family.write(wanted))
        mine, theirs = dataclasses.asdict(wanted), dataclasses.asdict(again)
        differing = [f"{name}={mine[name]!r}" for name in mine if mine[name] != theirs[name]]
        if not differing:
            return family
        if not closest or len(differing) < len(closest) - 1:
            closest = [family.model_type, *differing]
    raise HFError(f"transformers has no class for this transformer: {closest[0]} lacks {', '.join(closest[1:])}")


def _get(params: Params, path: ParameterPath) -> np.ndarray:
    for part in path:
        params = params[part]
    return np.asarray(params, np.float32)
