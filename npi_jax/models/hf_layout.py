"""Parameters of a model here, and the tensors of a Hugging Face checkpoint that hold them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npi_jax.models.config import TransformerConfig
from npi_jax.models.hf_family import Family, Linear, Place


@dataclass(frozen=True)
class Entry:
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


def _as_is(name: str, place: Place, shape: tuple[int, ...]) -> Entry:
    return Entry(place, (name,), (shape,), lambda parts: parts[0], lambda array: [array])


def entries(family: Family, config: TransformerConfig, vocab_size: int) -> Iterator[Entry]:
    """Every parameter of the body; the output layer is `output_entry`."""
    yield _as_is(f"{family.embedding}.weight", ("embedding",), (vocab_size, config.width))
    if family.positions is not None:
        skipped, width = family.position_offset, config.width
        shape = ((config.max_positions or 0) + skipped, width)
        yield Entry(
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


def output_entry(family: Family, config: TransformerConfig, vocab_size: int) -> Entry:
    """The output layer's kernel, where it is not the embedding."""
    shape = ((vocab_size, config.width),)
    name = (f"{family.output}.weight",)
    return Entry(("output_kernel",), name, shape, lambda parts: parts[0].T, lambda array: [array.T])


def _in_layers(config: TransformerConfig, place: Place, *names: str) -> Iterator[tuple[Any, ...]]:
    layers = range(config.layers) if "{layer}" in names[0] else [0]
    for layer in layers:
        at = tuple(part.format(layer=layer) for part in place)
        yield (at, *(name.format(layer=layer) for name in names))


def _linear_entries(linear: Linear, config: TransformerConfig, at: Place, names: Sequence[str]) -> Iterator[Entry]:
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
    yield Entry((*block, f"{name}_kernel"), tuple(f"{n}.weight" for n in names), shapes, read, write)
    if linear.bias(config):
        yield Entry(
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
