"""All dot products between the gradients of micro-batches, for one model, without ever holding all gradients.

Two ways to the same numbers. *Reverse* (`reverse.py`): the gradients of all micro-batches with respect to some
parameters are stacked, multiplied with each other and forgotten, then the next parameters follow; the output layer is
taken a slice of the vocabulary at a time, and the embedding only in the rows of words that are read, so that a large
vocabulary costs little. *Forward* (`forward.py`): one gradient at a time is pushed through all objectives as a
tangent (`jax.jvp`); that takes memory for two sets of parameters, whatever the number of micro-batches, and far more
time.
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
from npi_jax.gradients.stacks import Grams, Layout
from npi_jax.models import Model

Method = Literal["auto", "reverse", "forward"]

MIN_BUDGET = 128 << 20
"""Stacks may be this large where nothing is said, bytes."""
LENIENCE = 4
"""Where nothing is said, a single parameter's stack may exceed the budget by this: the forward way is far slower."""


@dataclass(frozen=True)
class Products:
    """The dot products of a set of micro-batches as a function of one model's parameters; see `make_products`.

    Attributes:
        batches: the micro-batches; batch k of task t is vector ``t * K + k``.
        groups: names of the parameter groups.
        method: ``reverse`` or ``forward``.
        apply: ``(params, second_moment, arrays)`` to a dict of float32 [groups, vectors, vectors]: ``gram``, the dot
            products; with a ``second_moment`` (a pytree like params; None for none) ``gram_adam``, the products
            weighted by 1 / (sqrt(v) + eps), or 0 where v is 0; where asked for ``gram_abs``, those of absolute values.
        arrays: what it needs of the micro-batches.
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
    """Make the function of one model's parameters that gives all dot products.

    It is pure and can be mapped over members. Matrix products are float32 of the highest precision, whatever the
    model is trained in.

    Args:
        model: the architecture. Of a `LanguageModel` embedding and output layer are treated as said above; of a model
            of your own all parameters are stacked.
        params: parameters, or their shapes.
        batches: what to take gradients of.
        budget: most bytes of stacked gradients; by default about as many as the model's parameters take (at least
            128 MiB; a single large parameter may take four times that).
        method: ``auto`` is ``reverse`` unless the stack of a single parameter would take more.
        absolute: whether ``gram_abs`` is computed; ``forward`` cannot.
    """
    found = jax.tree_util.tree_leaves_with_path(params)
    lenience = LENIENCE if budget is None else 1
    budget = max(MIN_BUDGET, sum(leaf.size * 4 for _, leaf in found)) if budget is None else budget
    share = budget // (4 * batches.n_items.size)
    layout = Layout.of(model, [path for path, _ in found])
    if method == "auto":
        largest = max((leaf.size for index, (_, leaf) in enumerate(found) if index not in layout.ends), default=0)
        method = "reverse" if largest <= lenience * share else "forward"
    if method == "forward":
        arrays = tuple(jax.tree.map(jnp.asarray, family) for family in batches.families)
        return Products(batches, layout.names, method, make_forward(analysis_model(model, plain=True), layout), arrays)
    kinds = ("gram", "gram_adam", "gram_abs") if absolute else ("gram", "gram_adam")
    reverse = Reverse(analysis_model(model), layout, share, kinds)
    return Products(batches, layout.names, method, reverse.apply, reverse.arrays(batches.families))
