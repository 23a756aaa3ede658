"""Dot products by forward-mode differentiation, which takes little memory and much time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from npi_jax.gradients.batches import MicroBatches
from npi_jax.gradients.objectives import objective_of, objectives
from npi_jax.gradients.stacks import Grams, ParameterLayout, roots_of
from npi_jax.models import Model


def make_forward(model: Model, layout: ParameterLayout) -> Callable[[Any, Any, tuple[MicroBatches, ...]], Grams]:
    """Make a function of parameters, second moment and micro-batches that computes all products.

    The function pushes each gradient as a tangent through the objectives of all micro-batches, one parameter group
    after another.
    """
    names = layout.names
    numbers = [names.index(group) for group in layout.groups]

    def apply(params: Any, second_moment: Any, families: tuple[MicroBatches, ...]) -> Grams:
        tree = jax.tree.structure(params)
        roots = roots_of(second_moment)
        kinds: dict[str, list[Array] | None] = {"gram": None} | ({} if roots is None else {"gram_adam": roots})

        def of_group(gradient: list[Array], group: Array, weights: list[Array] | None) -> Array:
            tangents = [jnp.where(group == number, leaf, 0.0) for number, leaf in zip(numbers, gradient, strict=True)]
            if weights is not None:
                tangents = [leaf * root * root for leaf, root in zip(tangents, weights, strict=True)]
            vector = jax.tree.unflatten(tree, tangents)
            return jax.jvp(lambda at: objectives(model, at, families), (params,), (vector,))[1]

        def of_batch(batch: MicroBatches) -> dict[str, Array]:
            gradient = jax.tree.leaves(jax.grad(lambda at: objective_of(model, at, batch))(params))
            return {
                kind: jax.lax.map(lambda group, w=weights: of_group(gradient, group, w), jnp.arange(len(names)))
                for kind, weights in kinds.items()
            }

        with jax.default_matmul_precision("highest"):
            rows = [jax.lax.map(of_batch, family) for family in families]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts).swapaxes(0, 1), *rows)

    return apply
