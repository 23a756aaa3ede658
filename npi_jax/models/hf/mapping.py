"""Mapping between our parameters and the tensors of a Hugging Face checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from npi_jax.models.config import TransformerConfig
from npi_jax.models.hf.family import Family, Linear, ParameterPath


@dataclass(frozen=True)
class TensorMapping:
    """One of our parameters, and the tensors of the checkpoint that contain it.

    Attributes:
        path: path of the parameter.
        names: names of the tensors, without the prefix.
        shapes: shapes of the tensors.
        read, write: functions that convert the tensors' arrays to the parameter and back.
    """

    path: ParameterPath
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    read: Callable[[Sequence[Float[np.ndarray, "..."]]], Float[np.ndarray, "..."]]
    write: Callable[[Float[np.ndarray, "..."]], Sequence[Float[np.ndarray, "..."]]]


def _identity(name: str, path: ParameterPath, shape: tuple[int, ...]) -> TensorMapping:
    return TensorMapping(path, (name,), (shape,), lambda parts: parts[0], lambda array: [array])


def tensor_mappings(family: Family, config: TransformerConfig, vocab_size: int) -> Iterator[TensorMapping]:
    """Yield the mapping of every parameter except the output layer (see `output_tensors`)."""
    yield _identity(f"{family.embedding}.weight", ("embedding",), (vocab_size, config.width))
    if family.positions is not None:
        skipped, width = family.position_offset, config.width
        shape = ((config.max_positions or 0) + skipped, width)
        yield TensorMapping(
            ("embedding_positions",),
            (f"{family.positions}.weight",),
            (shape,),
            lambda parts: parts[0][skipped:],
            lambda array: [np.concatenate([np.zeros((skipped, width), array.dtype), array])],
        )
    for path, name in family.norms.items():
        for at, named in _in_layers(config, path, name):
            yield _identity(f"{named}.weight", (*at, "scale"), (config.width,))
            if config.norm == "layer":
                yield _identity(f"{named}.bias", (*at, "bias"), (config.width,))
    for linear in family.linears:
        for at, *named in _in_layers(config, linear.path, *linear.names):
            yield from _linear_mappings(linear, config, at, named)


def output_tensors(family: Family, config: TransformerConfig, vocab_size: int) -> TensorMapping:
    """Return the mapping of the output layer's kernel, for models whose weights are not tied."""
    shape = ((vocab_size, config.width),)
    name = (f"{family.output}.weight",)
    return TensorMapping(("output_kernel",), name, shape, lambda parts: parts[0].T, lambda array: [array.T])


def _in_layers(config: TransformerConfig, path: ParameterPath, *names: str) -> Iterator[tuple[Any, ...]]:
    layers = range(config.layers) if "{layer}" in names[0] else [0]
    for layer in layers:
        at = tuple(part.format(layer=layer) for part in path)
        yield (at, *(name.format(layer=layer) for name in names))


def _linear_mappings(
    linear: Linear, config: TransformerConfig, at: ParameterPath, names: Sequence[str]
) -> Iterator[TensorMapping]:
    rows, sizes = _sizes(config, linear.path[-1])
    if len(names) == 1:
        sizes = [sum(sizes)]
    cuts = np.cumsum(sizes)[:-1]
    shapes = tuple((size, rows) if linear.transposed else (rows, size) for size in sizes)
    heads = config.heads if linear.interleaved else None

    def read(parts: Sequence[np.ndarray]) -> np.ndarray:
        joined = np.concatenate([part.T if linear.transposed else part for part in parts], axis=1)
        return _by_part(joined, heads)

    def write(array: np.ndarray) -> list[np.ndarray]:
        parts = np.split(_by_head(array, heads), cuts, axis=1)
        return [part.T if linear.transposed else part for part in parts]

    *block, name = at
    yield TensorMapping((*block, f"{name}_kernel"), tuple(f"{n}.weight" for n in names), shapes, read, write)
    if linear.bias(config):
        yield TensorMapping(
            (*block, f"{name}_bias"),
            tuple(f"{n}.bias" for n in names),
            tuple((size,) for size in sizes),
            lambda parts: _by_part(np.concatenate(parts)[None], heads)[0],
            lambda array: np.split(_by_head(array[None], heads)[0], cuts),
        )


def _sizes(config: TransformerConfig, name: str) -> tuple[int, list[int]]:
    """Return the rows of one of our kernels, and the columns of each of its parts."""
    width, kv = config.width, (config.kv_heads or config.heads) * config.head_size
    return {
        "qkv": (width, [width, kv, kv]),
        "mix": (width, [width]),
        "expand": (width, [config.mlp] * (2 if config.gated else 1)),
        "contract": (config.mlp, [width]),
    }[name]


def _by_part(columns: np.ndarray, heads: int | None) -> np.ndarray:
    """Reorder columns from (head, q|k|v, feature) to (q|k|v, head, feature)."""
    if heads is None:
        return columns
    return columns.reshape(len(columns), heads, 3, -1).swapaxes(1, 2).reshape(columns.shape)


def _by_head(columns: np.ndarray, heads: int | None) -> np.ndarray:
    """Invert `_by_part`."""
    if heads is None:
        return columns
    return columns.reshape(len(columns), 3, heads, -1).swapaxes(1, 2).reshape(columns.shape)
