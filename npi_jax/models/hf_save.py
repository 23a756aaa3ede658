"""Our transformers as Hugging Face directories."""

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
from npi_jax.models.hf_families import FAMILIES
from npi_jax.models.hf_family import Family, Place
from npi_jax.models.hf_fields import HFError
from npi_jax.models.hf_layout import entries, output_entry
from npi_jax.models.hf_weights import WEIGHTS_FILE
from npi_jax.models.language_model import LanguageModel, Params

CONFIG_FILE = "config.json"
DEFAULT_POSITIONS = 2048
"""What is written for a model without a limit to its positions, for transformers wants one."""


def save_hf(
    directory: str | Path,
    model: Model,
    params: Params,
    *,
    start: int | None = None,
    end: int | None = None,
    files: Mapping[str, bytes] | None = None,
) -> str:
    """Write a model as a directory that `transformers.AutoModelForCausalLM.from_pretrained` opens.

    Args:
        directory: must not exist, or be empty; it appears complete or not at all.
        model: a transformer.
        params: of one model.
        start, end: ids for config.json.
        files: more files by name, such as the tokenizer's.

    Returns:
        the name of its class in transformers.

    Raises:
        HFError: if transformers has no class for the architecture, or the directory holds something.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise HFError(f"{directory} is there already; choose a name that is free")
    family = exportable(model.config)
    assert isinstance(model, LanguageModel)
    assert isinstance(model.config, TransformerConfig)
    tensors: dict[str, np.ndarray] = {}
    for entry in entries(family, model.config, model.vocab_size):
        arrays = entry.write(_get(params, entry.place))
        tensors |= {family.prefix + name: array for name, array in zip(entry.names, arrays, strict=True)}
    if not model.config.tie:
        output = output_entry(family, model.config, model.vocab_size)
        tensors[output.names[0]] = output.write(_get(params, output.place))[0]
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
    directory.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".tmp", dir=directory.parent))
    try:
        contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        safetensors.numpy.save_file(contiguous, half / WEIGHTS_FILE, metadata={"format": "pt"})
        (half / CONFIG_FILE).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        for name, content in (files or {}).items():
            (half / name).write_bytes(content)
        if directory.exists():
            directory.rmdir()
        half.chmod(0o755)
        half.rename(directory)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return family.architecture


def _with_limit(config: TransformerConfig) -> TransformerConfig:
    return dataclasses.replace(config, max_positions=config.max_positions or DEFAULT_POSITIONS)


def exportable(config: ModelConfig) -> Family:
    """The family as which a model of this configuration can be written.

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
    """The family that can say all of a configuration."""
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


def _get(params: Params, place: Place) -> np.ndarray:
    for part in place:
        params = params[part]
    return np.asarray(params, np.float32)
