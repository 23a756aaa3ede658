"""Lookahead affinity: the effect of a step along one task's gradient on every task, on other items.

The method is that of Fifty et al. (2021), Efficiently identifying task groupings for multi-task learning, with two
differences. The effect is measured on items that did not enter the gradient. The step follows the gradient alone,
without momentum.
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
"""Length of the step, as a share of the norm of the parameters."""

Lookahead = tuple[Float[Array, "tasks tasks"], Float[Array, ""]]
"""Changes of objectives, nats, and the norm of the parameters.

Entry [i, j] is the change of task j's objective by a step along task i's gradient.
"""


def make_lookahead(model: Model, batches: Batches) -> Callable[[Any, Any], Lookahead]:
    """Make a function of ``(params, families)`` that computes the lookahead affinity.

    The gradient of task i is computed on one half of its micro-batches. The change of task j is measured on the other
    half of its micro-batches. Then the halves are exchanged, and the result is the mean of both. The length of the step
    is `LOOKAHEAD_STEP` times the norm of the parameters.
    """
    model = analysis_model(model)
    n_tasks, n_batches = batches.n_items.shape
    half = n_batches // 2
    order = np.arange(n_batches)
    # If the number of micro-batches is odd, the last one is in neither half.
    halves = jnp.asarray(np.stack([order[:half], order[half : 2 * half]]))

    def apply(params: Any, families: tuple[MicroBatches, ...]) -> Lookahead:
        by_task = [
            jax.tree.map(lambda leaf: leaf.reshape(-1, n_batches, *leaf.shape[1:]), family) for family in families
        ]
        size = _norm(params)

        def changes_by(task: MicroBatches, one: Array, other: Array) -> Array:
            def mean(at: Any) -> Array:
                return jax.lax.map(lambda batch: objective_of(model, at, batch), _take(task, one, 0)).mean()

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
                    lambda pair, family=family: jax.lax.map(lambda task: changes_by(task, pair[0], pair[1]), family),
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
