"""Dot products of gradients that are stacked: of themselves, preconditioned, and of their absolute values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from npi_jax.models import LanguageModel, Model
from npi_jax.results.names import ALL

Path = tuple[Any, ...]
Grams = dict[str, Float[Array, "groups vectors vectors"]]
"""By kind, see `npi_jax.gradients.Products`."""
Part = tuple[str, dict[str, Array]]
"""A parameter group and the products, of each kind, of some of its parameters' gradients."""

ADAM_EPS = 1e-8
"""As in `optax.scale_by_adam`."""
CACHED = 8192
"""Columns of a stack that are multiplied at a time: few enough to stay in a processor's cache."""


@dataclass(frozen=True)
class Layout:
    """The leaves of a model's parameters by number: each one's group, and which are embedding and output layer."""

    groups: tuple[str, ...]
    ends: dict[int, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The groups, each once."""
        return tuple(dict.fromkeys(self.groups))

    @classmethod
    def of(cls, model: Model, paths: Sequence[Path]) -> "Layout":
        """The layout of a model whose parameters have these paths; only a `LanguageModel`'s ends are known."""
        if not isinstance(model, LanguageModel):
            return cls(tuple(_top_level(path) for path in paths), {})
        ends = {
            index: path[0].key
            for index, path in enumerate(paths)
            if path[0].key in ("embedding", "output_kernel", "output_bias")
        }
        return cls(tuple(model.group(path) for path in paths), ends)

    def end(self, name: str) -> int:
        """The number of the leaf with this name."""
        return next(index for index, its in self.ends.items() if its == name)


def _top_level(path: Path) -> str:
    """The group of a parameter of a model of the user's own: the first part of its path.

    Raises:
        ValueError: if it has the name of the sum over all groups.
    """
    if not path:
        return "parameters"
    part = path[0]
    name = str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part))))
    if name == ALL:
        raise ValueError(
            f"the model has parameters named {ALL!r}, which stands for the sum of all; name them otherwise"
        )
    return name


def roots_of(second_moment: Any) -> list[Array] | None:
    """For each leaf the square root of Adam's weight 1 / (sqrt(v) + eps): gradients are multiplied with it.

    Where no update has been, v is 0 and the weight would be 1 / eps; such parameters are left out instead.
    """
    if second_moment is None:
        return None
    return [
        jnp.where(moment > 0, jax.lax.rsqrt(jnp.sqrt(moment) + ADAM_EPS), 0.0)
        for moment in jax.tree.leaves(second_moment)
    ]


def grams_of(
    stack: Float[Array, "vectors width"], start: int, size: int, root: Array | None, kinds: Sequence[str]
) -> dict[str, Array]:
    """The products, of each kind, of the gradients that lie in ``size`` columns of a stack from ``start``."""
    width = min(size, CACHED)
    roots = None if root is None else root.reshape(-1)

    def of_columns(number: Array) -> dict[str, Array]:
        first = jnp.minimum(number * width, size - width)
        columns = jax.lax.dynamic_slice_in_dim(stack, start + first, width, 1)
        # The last columns begin earlier than their turn; what was there before counts no more.
        columns = jnp.where(first + jnp.arange(width) >= number * width, columns, 0.0)
        variants = {"gram": columns, "gram_abs": jnp.abs(columns)}
        if roots is not None:
            variants["gram_adam"] = columns * jax.lax.dynamic_slice_in_dim(roots, first, width, 0)
        return {kind: variants[kind] @ variants[kind].T for kind in kinds if kind in variants}

    return sum_over(of_columns, -(-size // width))


def sum_over(part: Callable[[Array], Any], n_parts: int) -> Any:
    """The sum of ``part(0)`` to ``part(n_parts - 1)``, one after another."""
    shapes = jax.eval_shape(part, jnp.int32(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.fori_loop(0, n_parts, lambda number, total: jax.tree.map(jnp.add, total, part(number)), zeros)
