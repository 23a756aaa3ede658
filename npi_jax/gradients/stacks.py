"""Dot products of stacked gradients: plain products, products weighted as by Adam, and products of absolute values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from npi_jax.models import LanguageModel, Model
from npi_jax.results.names import ALL

Path = tuple[Any, ...]
Grams = dict[str, Float[Array, "groups vectors vectors"]]
"""Products by kind; see `npi_jax.gradients.Products`."""

GroupGrams = tuple[str, dict[str, Float[Array, "vectors vectors"]]]
"""A parameter group, and the products of some of its parameters' gradients by kind."""

ADAM_EPS = 1e-8
"""The epsilon of `optax.scale_by_adam`."""

CACHED_COLUMNS = 8192
"""Number of columns of a stack that are multiplied at once; they fit into the cache of a CPU."""


@dataclass(frozen=True)
class ParameterLayout:
    """The leaves of a model's parameters, by index.

    Attributes:
        groups: the parameter group of each leaf.
        vocabulary_leaves: names of the leaves of embedding and output layer, by index; empty for a custom model.
    """

    groups: tuple[str, ...]
    vocabulary_leaves: dict[int, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, each once."""
        return tuple(dict.fromkeys(self.groups))

    @classmethod
    def of(cls, model: Model, paths: Sequence[Path]) -> "ParameterLayout":
        """Return the layout of a model whose parameters have these paths.

        Raises:
            ValueError: if a group of a custom model has the name that is reserved for all groups.
        """
        if not isinstance(model, LanguageModel):
            return cls(tuple(_top_level(path) for path in paths), {})
        vocabulary_leaves = {
            index: path[0].key
            for index, path in enumerate(paths)
            if path[0].key in ("embedding", "output_kernel", "output_bias")
        }
        return cls(tuple(model.group(path) for path in paths), vocabulary_leaves)

    def index_of(self, name: str) -> int:
        """Return the index of the leaf of embedding or output layer with this name."""
        return next(index for index, other in self.vocabulary_leaves.items() if other == name)


def _top_level(path: Path) -> str:
    """Return the group of a custom model's parameter: the first part of its path."""
    if not path:
        return "parameters"
    part = path[0]
    name = str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part))))
    if name == ALL:
        raise ValueError(
            f"the model has parameters named {ALL!r}, which stands for all parameters together; rename them"
        )
    return name


def roots_of(second_moment: Any) -> list[Float[Array, "..."]] | None:
    """Return the square roots of Adam's weights 1 / (sqrt(v) + eps) for each leaf; None without a second moment.

    If both gradients are multiplied by these roots, their product is weighted as by Adam. Before a parameter's first
    update v is 0 and the weight would be 1 / eps; the root is 0 instead.
    """
    if second_moment is None:
        return None
    return [
        jnp.where(moment > 0, jax.lax.rsqrt(jnp.sqrt(moment) + ADAM_EPS), 0.0)
        for moment in jax.tree.leaves(second_moment)
    ]


def grams_of(
    stack: Float[Array, "vectors width"],
    start: int,
    size: int,
    root: Float[Array, "..."] | None,
    kinds: Sequence[str],
) -> dict[str, Float[Array, "vectors vectors"]]:
    """Compute the products of each kind for some columns of a stack of gradients.

    Args:
        stack: one gradient per row.
        start, size: first column, and number of columns.
        root: square roots of Adam's weights, one for each column; None to leave out ``gram_adam``.
        kinds: the kinds of products.
    """
    width = min(size, CACHED_COLUMNS)
    roots = None if root is None else root.reshape(-1)

    def of_columns(number: Array) -> dict[str, Array]:
        first = jnp.minimum(number * width, size - width)
        columns = jax.lax.dynamic_slice_in_dim(stack, start + first, width, 1)
        # The last chunk overlaps the previous one; columns that are already counted are set to 0.
        columns = jnp.where(first + jnp.arange(width) >= number * width, columns, 0.0)
        variants = {"gram": columns, "gram_abs": jnp.abs(columns)}
        if roots is not None:
            variants["gram_adam"] = columns * jax.lax.dynamic_slice_in_dim(roots, first, width, 0)
        return {kind: variants[kind] @ variants[kind].T for kind in kinds if kind in variants}

    return sum_over(of_columns, -(-size // width))


def sum_over(part: Callable[[Int[Array, ""]], Any], n_parts: int) -> Any:
    """Return the sum of ``part(0)`` to ``part(n_parts - 1)``, computed one after another."""
    shapes = jax.eval_shape(part, jnp.int32(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.fori_loop(0, n_parts, lambda number, total: jax.tree.map(jnp.add, total, part(number)), zeros)
