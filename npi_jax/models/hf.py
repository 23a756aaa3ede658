"""Hugging Face checkpoints of GPT-2, GPT-NeoX, OPT and LLaMA form, into the Flax transformer and back.

Only data is read: ``config.json`` and safetensors. What is where in them is said by the tables of `hf_families`.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from npi_jax.models.config import ModelConfig, TransformerConfig
from npi_jax.models.custom import Model
from npi_jax.models.hf_families import FAMILIES, Family, HFError, Linear, Place
from npi_jax.models.language_model import LanguageModel, Params, make_model

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DEFAULT_POSITIONS = 2048
"""What is written for a model without a limit to its positions, for transformers wants one."""

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class HFModel:
    """A checkpoint in our form.

    Attributes:
        model: the architecture.
        params: its parameters, float32 on the host.
        path: where they come from.
    """

    model: LanguageModel
    params: Params
    path: Path


@dataclass(frozen=True)
class _Entry:
    """One parameter here and the tensors that hold it there.

    Attributes:
        place: its path.
        names: of the tensors, without the prefix.
        shapes: theirs.
        read, write: from their arrays to ours, and back.
    """

    place: Place
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    read: Callable[[Sequence[np.ndarray]], np.ndarray]
    write: Callable[[np.ndarray], Sequence[np.ndarray]]


def _as_is(name: str, place: Place, shape: tuple[int, ...]) -> _Entry:
    return _Entry(place, (name,), (shape,), lambda parts: parts[0], lambda array: [array])


def _entries(family: Family, config: TransformerConfig, vocab_size: int) -> Iterator[_Entry]:
    """Every parameter of the body; the output layer is `_output_entry`."""
    yield _as_is(f"{family.embedding}.weight", ("embedding",), (vocab_size, config.width))
    if family.positions is not None:
        skipped, width = family.position_offset, config.width
        shape = ((config.max_positions or 0) + skipped, width)
        yield _Entry(
            ("embedding_positions",),
            (f"{family.positions}.weight",),
            (shape,),
            lambda parts: parts[0][skipped:],
            lambda array: [np.concatenate([np.zeros((skipped, width), array.dtype), array])],
        )
    for place, name in family.norms.items():
        for at, named in _in_layers(config, place, name):
            yield _as_is(f"{named}.weight", (*at, "scale"), (config.width,))
            if config.norm == "layer":
                yield _as_is(f"{named}.bias", (*at, "bias"), (config.width,))
    for linear in family.linears:
        for at, *named in _in_layers(config, linear.place, *linear.names):
            yield from _linear_entries(linear, config, at, named)


def _output_entry(family: Family, config: TransformerConfig, vocab_size: int) -> _Entry:
    shape = ((vocab_size, config.width),)
    name = (f"{family.output}.weight",)
    return _Entry(("output_kernel",), name, shape, lambda parts: parts[0].T, lambda array: [array.T])


def _in_layers(config: TransformerConfig, place: Place, *names: str) -> Iterator[tuple[Any, ...]]:
    layers = range(config.layers) if "{layer}" in names[0] else [0]
    for layer in layers:
        at = tuple(part.format(layer=layer) for part in place)
        yield (at, *(name.format(layer=layer) for name in names))


def _linear_entries(linear: Linear, config: TransformerConfig, at: Place, names: Sequence[str]) -> Iterator[_Entry]:
    rows, sizes = _sizes(config, linear.place[-1])
    if len(names) == 1:
        sizes = [sum(sizes)]
    cuts = np.cumsum(sizes)[:-1]
    shapes = tuple((size, rows) if linear.transposed else (rows, size) for size in sizes)
    heads = config.heads if linear.interleaved else None

    def read(parts: Sequence[np.ndarray]) -> np.ndarray:
        whole = np.concatenate([part.T if linear.transposed else part for part in parts], axis=1)
        return _by_part(whole, heads)

    def write(array: np.ndarray) -> list[np.ndarray]:
        parts = np.split(_by_head(array, heads), cuts, axis=1)
        return [part.T if linear.transposed else part for part in parts]

    *block, name = at
    yield _Entry((*block, f"{name}_kernel"), tuple(f"{n}.weight" for n in names), shapes, read, write)
    if linear.bias(config):
        yield _Entry(
            (*block, f"{name}_bias"),
            tuple(f"{n}.bias" for n in names),
            tuple((size,) for size in sizes),
            lambda parts: _by_part(np.concatenate(parts)[None], heads)[0],
            lambda array: np.split(_by_head(array[None], heads)[0], cuts),
        )


def _sizes(config: TransformerConfig, name: str) -> tuple[int, list[int]]:
    """Rows of a kernel here, and the columns of each of its parts."""
    width, kv = config.width, (config.kv_heads or config.heads) * config.head_size
    return {
        "qkv": (width, [width, kv, kv]),
        "mix": (width, [width]),
        "expand": (width, [config.mlp] * (2 if config.gated else 1)),
        "contract": (config.mlp, [width]),
    }[name]


def _by_part(columns: np.ndarray, heads: int | None) -> np.ndarray:
    """Columns (head, q|k|v, feature) as (q|k|v, head, feature)."""
    if heads is None:
        return columns
    return columns.reshape(len(columns), heads, 3, -1).swapaxes(1, 2).reshape(columns.shape)


def _by_head(columns: np.ndarray, heads: int | None) -> np.ndarray:
    """The inverse of `_by_part`."""
    if heads is None:
        return columns
    return columns.reshape(len(columns), 3, heads, -1).swapaxes(1, 2).reshape(columns.shape)


def load_hf(path: str | Path) -> HFModel:
    """Read a checkpoint of GPT-2, GPT-NeoX (Pythia), OPT or LLaMA form from a local directory.

    Needs ``config.json`` and ``model.safetensors``, or its parts with their index. Half precision becomes float32.
    Its tokenizer is read by `npi_jax.corpus.hf_tokenizer.load_hf_tokenizer`.

    Raises:
        HFError: naming the file and the field or tensor, if anything is missing, damaged or not supported.
    """
    path = Path(path)
    family, config, vocab_size = _read_config(path)
    with _Weights(path) as weights:
        params = _read_params(weights, family, config, vocab_size)
    model = make_model(config, vocab_size)
    assert isinstance(model, LanguageModel)
    return HFModel(model, params, path)


def load_hf_stack(paths: Sequence[str | Path]) -> tuple[LanguageModel, Params]:
    """Read several checkpoints of one architecture, stacked along axis 0 (host arrays, one stack in memory).

    Raises:
        HFError: if one differs from the first, with the directory and the field; and as `load_hf`.
    """
    if not paths:
        raise HFError("no checkpoints to stack")
    first = load_hf(paths[0])
    stack = jax.tree.map(lambda leaf: np.empty((len(paths), *leaf.shape), leaf.dtype), first.params)
    for index, path in enumerate(paths):
        one = first if index == 0 else _load_like(path, first)
        jax.tree.map(lambda places, leaf, index=index: places.__setitem__(index, leaf), stack, one.params)
    return first.model, stack


def _load_like(path: str | Path, first: HFModel) -> HFModel:
    _, config, vocab_size = _read_config(Path(path))
    mine = {**dataclasses.asdict(config), "vocab_size": vocab_size}
    theirs = {**dataclasses.asdict(first.model.config), "vocab_size": first.model.vocab_size}
    if differing := [name for name in mine if mine[name] != theirs[name]]:
        name = differing[0]
        raise HFError(
            f"{path}: {name} is {mine[name]!r}, but {theirs[name]!r} in {first.path}; only checkpoints of one "
            "architecture can be stacked"
        )
    return load_hf(path)


def _read_config(path: Path) -> tuple[Family, TransformerConfig, int]:
    file = path / CONFIG_FILE
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HFError(f"{file}: no such file; give the directory of a Hugging Face checkpoint") from error
    except (OSError, ValueError) as error:
        raise HFError(f"{file}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise HFError(f"{file}: a JSON {type(fields).__name__}, not an object")
    model_type = fields.get("model_type")
    family = next((one for one in FAMILIES if one.model_type == model_type), None)
    if family is None:
        known = ", ".join(one.model_type for one in FAMILIES)
        raise HFError(f"{file}: model_type is {model_type!r}; {known} are supported")
    try:
        return family, family.read(fields), _vocab_size(fields)
    except KeyError as error:
        raise HFError(f"{file}: no field {error.args[0]!r}") from error
    except (HFError, ValueError, TypeError, ZeroDivisionError, OverflowError, AttributeError) as error:
        raise HFError(f"{file}: {error}") from error


def _vocab_size(fields: Mapping[str, Any]) -> int:
    value = fields["vocab_size"]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise HFError(f"vocab_size is {value!r}; it must be a whole number above 0")
    return value


class _Weights:
    """The tensors of a checkpoint's safetensors files, read when asked for."""

    def __init__(self, path: Path):
        self.path = path
        self.files = dict(self._list())
        self._open: dict[str, Any] = {}

    def __enter__(self) -> "_Weights":
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._open.values():
            handle.__exit__(None, None, None)

    def _list(self) -> Iterator[tuple[str, str]]:
        if (self.path / WEIGHTS_FILE).is_file():
            with self._opened(WEIGHTS_FILE) as handle:
                yield from ((name, WEIGHTS_FILE) for name in handle.keys())  # noqa: SIM118
            return
        index = self.path / INDEX_FILE
        if not index.is_file():
            pickled = sorted(file.name for file in self.path.glob("*.bin"))
            advice = (
                f" ({pickled[0]} is a pickle, which could run anything and is not read; write safetensors with "
                "transformers: AutoModelForCausalLM.from_pretrained(...).save_pretrained(..., safe_serialization=True))"
                if pickled
                else ""
            )
            raise HFError(f"{self.path}: neither {WEIGHTS_FILE} nor {INDEX_FILE} is there{advice}")
        try:
            places = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise HFError(f"{index}: not an index of safetensors: {error!r}") from error
        for name, file in places:
            # The index must not lead out of the directory.
            if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
                raise HFError(f"{index}: {name} is in {file!r}, which is no safetensors file of the directory")
            yield name, file

    def _opened(self, file: str) -> Any:
        try:
            return safetensors.safe_open(str(self.path / file), framework="flax")
        except (safetensors.SafetensorError, OSError) as error:
            raise HFError(f"{self.path / file}: cannot be read: {error}") from error

    def tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A tensor, as float32.

        Raises:
            HFError: it is not there, or has another shape or no floating dtype.
        """
        if name not in self.files:
            raise HFError(f"{self.path}: the tensor {name!r} is missing")
        file = self.files[name]
        if file not in self._open:
            self._open[file] = self._opened(file)
        try:
            found = self._open[file].get_slice(name)
            if tuple(found.get_shape()) != shape:
                raise HFError(
                    f"{self.path / file}: {name!r} has shape {tuple(found.get_shape())}; config.json makes it {shape}"
                )
            array = np.asarray(self._open[file].get_tensor(name))
        except safetensors.SafetensorError as error:
            raise HFError(f"{self.path / file}: {name!r} cannot be read: {error}") from error
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise HFError(f"{self.path / file}: {name!r} is {array.dtype}, not floating")
        return array.astype(np.float32)


def _read_params(weights: _Weights, family: Family, config: TransformerConfig, vocab_size: int) -> Params:
    prefix = _prefix(weights, family)
    params: Params = {}
    used = set()
    for entry in _entries(family, config, vocab_size):
        names = [prefix + name for name in entry.names]
        parts = [weights.tensor(name, shape) for name, shape in zip(names, entry.shapes, strict=True)]
        _set(params, entry.place, np.ascontiguousarray(entry.read(parts)))
        used.update(names)
    output = _output_entry(family, config, vocab_size)
    (name,), (shape,) = output.names, output.shapes
    used.add(name)
    if not config.tie:
        _set(params, output.place, np.ascontiguousarray(output.read([weights.tensor(name, shape)])))
    elif name in weights.files and not np.array_equal(weights.tensor(name, shape), params["embedding"]):
        raise HFError(f"{weights.path}: tie_word_embeddings is true, but {name!r} differs from the embedding")
    unknown = sorted(n for n in weights.files if n not in used and not n.endswith(family.ignored or ("\0",)))
    if unknown:
        raise HFError(
            f"{weights.path}: {len(unknown)} tensors are not of a {family.model_type}, such as {unknown[0]!r}"
        )
    return params


def _prefix(weights: _Weights, family: Family) -> str:
    name = f"{family.embedding}.weight"
    parts = family.prefix.split(".")
    candidates = [".".join(parts[start:]) for start in range(len(parts))]
    return next((prefix for prefix in candidates if prefix + name in weights.files), family.prefix)


def _set(params: Params, place: Place, value: np.ndarray) -> None:
    for part in place[:-1]:
        params = params.setdefault(part, {})
    params[place[-1]] = value


def _get(params: Params, place: Place) -> np.ndarray:
    for part in place:
        params = params[part]
    return np.asarray(params, np.float32)


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
    tensors: Tensors = {}
    for entry in _entries(family, model.config, model.vocab_size):
        arrays = entry.write(_get(params, entry.place))
        tensors |= {family.prefix + name: array for name, array in zip(entry.names, arrays, strict=True)}
    if not model.config.tie:
        output = _output_entry(family, model.config, model.vocab_size)
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
