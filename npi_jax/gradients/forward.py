"""Dot products by forward differentiation: little memory, whatever the number of micro-batches, and much time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from npi_jax.gradients.batches import MicroBatches
from npi_jax.gradients.objectives import objective_of, objectives
from npi_jax.gradients.stacks import Grams, Layout, roots_of
from npi_jax.models import Model


def make_forward(model: Model, layout: Layout) -> Callable[[Any, Any, tuple[MicroBatches, ...]], Grams]:
    """Each gradient pushed through all objectives as a tangent, one parameter group at a time."""
    names = layout.names
    numbers = [names.index(group) for group in layout.groups]

    def apply(params: Any, second_moment: Any, families: tuple[MicroBatches, ...]) -> Grams:
        with jax.default_matmul_precision("highest"):
            tree = jax.tree.structure(params)
            roots = roots_of(second_moment)

            def push(tangents: list[Array]) -> Array:
                """The products of all gradients with a vector."""
                vector = jax.tree.unflatten(tree, tangents)
                return jax.jvp(lambda at: objectives(model, at, families), (params,), (vector,))[1]

            def of_group(gradient: list[Array], group: Array, weights: list[Array] | None) -> Array:
                chosen = [jnp.where(group == its, leaf, 0.0) for its, leaf in zip(numbers, gradient, strict=True)]
                if weights is not None:
                    chosen = [leaf * root * root for leaf, root in zip(chosen, weights, strict=True)]
                return push(chosen)

            def of_batch(batch: MicroBatches) -> dict[str, Array]:
                gradient = jax.tree.leaves(jax.grad(lambda at: objective_of(model, at, batch))(params))
                kinds: dict[str, list[Array] | None] = {"gram": None} | ({} if roots is None else {"gram_adam": roots})
                return {
                    kind: jax.lax.map(lambda group, w=weights: of_group(gradient, group, w), jnp.arange(len(names)))
                    for kind, weights in kinds.items()
                }

            rows = [jax.lax.map(of_batch, family) for family in families]
            return jax.tree.map(lambda *parts: jnp.concatenate(parts).swapaxes(0, 1), *rows)

    return apply
