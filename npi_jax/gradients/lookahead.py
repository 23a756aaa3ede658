"""Lookahead affinity: what a step along one task's gradient does to every task, on other items.

After Fifty et al. (2021), Efficiently identifying task groupings for multi-task learning, with two differences: the
effect is measured on items that the gradient has not seen, and the step is the gradient's alone, without momentum.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from npi_jax.gradients.batches import Batches, MicroBatches
from npi_jax.gradients.objectives import analysis_model, objective_of, objectives
from npi_jax.models import Model

LOOKAHEAD_STEP = 1e-3
"""Length of the step, as a share of the parameters' norm."""


Lookahead = tuple[Float[Array, "tasks tasks"], Float[Array, ""]]


def make_lookahead(model: Model, batches: Batches) -> Callable[[Any, Any], Lookahead]:
    """A function of ``(params, families)``: the change [i, j] of task j's objective, nats, and the parameters' norm.

    The step goes along task i's gradient on one half of its micro-batches, and the change is measured on the other
    half of task j's; the mean of both assignments of the halves. The step's length is `LOOKAHEAD_STEP` times the norm
    of the parameters.
    """
    model = analysis_model(model)
    n_tasks, n_batches = batches.n_items.shape
    half = n_batches // 2
    order = np.arange(n_batches)
    # Where the number is odd, the last micro-batch is in neither half.
    halves = jnp.asarray(np.stack([order[:half], order[half : 2 * half]]))

    def apply(params: Any, families: tuple[MicroBatches, ...]) -> Lookahead:
        by_task = [
            jax.tree.map(lambda leaf: leaf.reshape(-1, n_batches, *leaf.shape[1:]), family) for family in families
        ]
        size = _norm(params)

        def of_task(own: MicroBatches, one: Array, other: Array) -> Array:
            def mean(at: Any) -> Array:
                return jax.lax.map(lambda batch: objective_of(model, at, batch), _take(own, one, 0)).mean()

            def tested(at: Any) -> Array:
                flat = [
                    jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), _take(family, other, 1))
                    for family in by_task
                ]
                return objectives(model, at, flat).reshape(n_tasks, half).mean(axis=1)

            gradient = jax.grad(mean)(params)
            length = LOOKAHEAD_STEP * size / _norm(gradient)
            moved = jax.tree.map(lambda leaf, step: leaf + length * step, params, gradient)
            return tested(moved) - before[:, other].mean(axis=1)

        with jax.default_matmul_precision("highest"):
            before = objectives(model, params, families).reshape(n_tasks, n_batches)
            changes = [
                jax.lax.map(
                    lambda pair, family=family: jax.lax.map(lambda own: of_task(own, pair[0], pair[1]), family),
                    (halves, halves[::-1]),
                ).mean(axis=0)
                for family in by_task
            ]
            return jnp.concatenate(changes), size

    return apply


def _take(batches: MicroBatches, index: Array, axis: int) -> MicroBatches:
    return jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=axis), batches)


def _norm(tree: Any) -> Array:
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))
