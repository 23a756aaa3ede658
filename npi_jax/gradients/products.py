"""Dot products between the gradients of all micro-batches of one model, computed without holding all gradients.

Two methods compute the same dot products:

- *Reverse* (`reverse.py`) stacks the gradients of all micro-batches with respect to some of the parameters. It
  multiplies the stack by its transpose, and reuses the memory for the next parameters. A large vocabulary costs little.
  Gradients of the output layer are computed for one slice of the vocabulary after another, and those of the embedding
  only for words that occur.
- *Forward* (`forward.py`) pushes one gradient after another through all objectives as a tangent (`jax.jvp`). It needs
  memory for two copies of the parameters, for any number of micro-batches. It takes far more time, and does not compute
  products of absolute values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from npi_jax.gradients.batches import Batches
from npi_jax.gradients.forward import make_forward
from npi_jax.gradients.objectives import analysis_model
from npi_jax.gradients.reverse import Reverse
from npi_jax.gradients.stacks import Grams, ParameterLayout
from npi_jax.models import Model

Method = Literal["auto", "reverse", "forward"]

MIN_BUDGET = 128 << 20
"""Default minimum budget for stacked gradients, bytes."""

LENIENCE = 4
"""Factor by which the stack of a single array may exceed the default budget, because *forward* is far slower."""


@dataclass(frozen=True)
class Products:
    """The dot products of the gradients of micro-batches, as a function of one model's parameters.

    Attributes:
        batches: the micro-batches; batch k of task t is vector ``t * K + k``.
        groups: names of the parameter groups.
        method: ``reverse`` or ``forward``.
        apply: function of ``(params, second_moment, arrays)``, where ``second_moment`` is a pytree like ``params``, or
            None. It returns a dict of float32 arrays [groups, vectors, vectors]. ``gram`` has the dot products.
            ``gram_adam`` has the products weighted by 1 / (sqrt(v) + eps), or by 0 if v is 0; it needs a second
            moment v. ``gram_abs`` has the products of absolute values; only ``reverse`` computes it, on request.
        arrays: the argument ``arrays`` of `apply`.
    """

    batches: Batches
    groups: tuple[str, ...]
    method: str
    apply: Callable[[Any, Any, Any], Grams]
    arrays: Any


def make_products(
    model: Model,
    params: Any,
    batches: Batches,
    *,
    budget: int | None = None,
    method: Method = "auto",
    absolute: bool = True,
) -> Products:
    """Choose a method, and make the function that computes all dot products of one model.

    The function is pure and can be mapped over members. Matrix products are float32 of the highest precision, even if
    training uses bfloat16. A custom model, however, keeps its casts.

    Args:
        model: the architecture. All parameters of a custom model are stacked, including embedding and output layer.
        params: parameters, or their shapes.
        batches: the micro-batches.
        budget: maximum size of stacked gradients, bytes. The default is the size of the parameters, at least 128 MiB.
            By default the stack of a single array may take four times as much.
        method: ``auto`` is ``reverse`` unless the stack of a single array would exceed the budget.
        absolute: compute ``gram_abs`` too; ``forward`` ignores this.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    lenience = LENIENCE if budget is None else 1
    budget = max(MIN_BUDGET, sum(leaf.size * 4 for _, leaf in leaves)) if budget is None else budget
    floats = budget // (4 * batches.n_items.size)
    layout = ParameterLayout.of(model, [path for path, _ in leaves])
    if method == "auto":
        largest = max(
            (leaf.size for index, (_, leaf) in enumerate(leaves) if index not in layout.vocabulary_leaves), default=0
        )
        method = "reverse" if largest <= lenience * floats else "forward"
    if method == "forward":
        arrays = tuple(jax.tree.map(jnp.asarray, family) for family in batches.families)
        return Products(batches, layout.names, method, make_forward(analysis_model(model, plain=True), layout), arrays)
    kinds = ("gram", "gram_adam", "gram_abs") if absolute else ("gram", "gram_adam")
    reverse = Reverse(analysis_model(model), layout, floats, kinds)
    return Products(batches, layout.names, method, reverse.apply, reverse.arrays(batches.families))
