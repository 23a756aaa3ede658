"""All dot products between the gradients of micro-batches, for one model, without ever holding all gradients.

Two ways to the same numbers. *Reverse*: the gradients of all micro-batches with respect to some parameters are
stacked, multiplied with each other and forgotten, then the next parameters follow; the output layer is taken a slice
of the vocabulary at a time, and the embedding only in the rows of words that are read, so that a large vocabulary
costs little. *Forward*: one gradient at a time is pushed through all objectives as a tangent (`jax.jvp`); that takes
memory for two sets of parameters, whatever the number of micro-batches, and far more time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from npi_jax.gradients.batches import Batches, MicroBatches
from npi_jax.gradients.objectives import analysis_model, at_once, hidden_states, objective, objective_of, objectives
from npi_jax.models import LanguageModel, Model, make_model
from npi_jax.scoring import log_normalizers

Method = Literal["auto", "reverse", "forward"]
Path = tuple[Any, ...]
Grams = dict[str, Float[Array, "groups vectors vectors"]]
Apply = Callable[[Any, Any, Any], Grams]
Part = tuple[str, dict[str, Array]]
"""A parameter group and the products, of each kind, of some of its parameters' gradients."""

MIN_BUDGET = 64 << 20
"""Stacks may always be this large, bytes."""
ADAM_EPS = 1e-8
"""As in `optax.scale_by_adam`."""
SLICES = 8
"""A slice of the output layer takes this part of what may be stacked, since it is held beside the rest."""
CACHED = 8192
"""Columns of a stack that are multiplied at a time: few enough to stay in a processor's cache."""


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
    apply: Apply
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
        budget: most bytes of stacked gradients; by default as many as the model's parameters take (at least 64 MiB).
        method: ``auto`` is ``reverse`` unless a stack of a single parameter would exceed the budget.
        absolute: whether ``gram_abs`` is computed; ``forward`` cannot.
    """
    found = jax.tree_util.tree_leaves_with_path(params)
    budget = max(MIN_BUDGET, sum(leaf.size * 4 for _, leaf in found)) if budget is None else budget
    share = budget // (4 * batches.n_items.size)
    layout = _Layout.of(model, [path for path, _ in found])
    if method == "auto":
        largest = max((leaf.size for index, (_, leaf) in enumerate(found) if index not in layout.ends), default=0)
        method = "reverse" if largest <= share else "forward"
    groups = tuple(dict.fromkeys(layout.groups))
    if method == "forward":
        arrays = tuple(jax.tree.map(jnp.asarray, family) for family in batches.families)
        return Products(batches, groups, method, _forward(analysis_model(model, plain=True), layout), arrays)
    kinds = ("gram", "gram_adam", "gram_abs") if absolute else ("gram", "gram_adam")
    reverse = _Reverse(analysis_model(model), layout, share, kinds)
    return Products(batches, groups, method, reverse.apply, reverse.arrays(batches.families))


@dataclass(frozen=True)
class _Layout:
    """The leaves of a model's parameters by number: each one's group, and which are embedding and output layer."""

    groups: tuple[str, ...]
    ends: dict[int, str]

    @classmethod
    def of(cls, model: Model, paths: Sequence[Path]) -> "_Layout":
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
    """The group of a parameter of a model of the user's own: the first part of its path."""
    part = path[0] if path else "all"
    return str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part))))


def _roots(second_moment: Any) -> list[Array] | None:
    """For each leaf the square root of Adam's weight 1 / (sqrt(v) + eps): gradients are multiplied with it.

    Where no update has been, v is 0 and the weight would be 1 / eps; such parameters are left out instead.
    """
    if second_moment is None:
        return None
    return [
        jnp.where(moment > 0, jax.lax.rsqrt(jnp.sqrt(moment) + ADAM_EPS), 0.0)
        for moment in jax.tree.leaves(second_moment)
    ]


def _grams(
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

    return _sum_over(of_columns, -(-size // width))


def _add(grams: Iterable[Array]) -> Array:
    first, *rest = grams
    return sum(rest, first)


def _sum_over(part: Callable[[Array], Any], n_parts: int) -> Any:
    """The sum of ``part(0)`` to ``part(n_parts - 1)``, one after another."""
    shapes = jax.eval_shape(part, jnp.int32(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.fori_loop(0, n_parts, lambda number, total: jax.tree.map(jnp.add, total, part(number)), zeros)


@dataclass(frozen=True)
class _Reverse:
    """Gradients of all micro-batches, stacked some parameters at a time; `share` floats of each are held at once."""

    model: Model
    layout: _Layout
    share: int
    kinds: tuple[str, ...]

    def arrays(self, families: Sequence[MicroBatches]) -> dict[str, Any]:
        """Micro-batches; of a `LanguageModel` with the words that are read numbered from 0."""
        if not isinstance(self.model, LanguageModel):
            return {"families": tuple(jax.tree.map(jnp.asarray, family) for family in families)}
        read = np.unique(np.concatenate([family.rows[:, 0].ravel() for family in families]))
        place = np.full(self.model.vocab_size, len(read), np.int32)
        place[read] = np.arange(len(read))
        numbered = []
        for family in families:
            rows = family.rows.copy()
            rows[:, 0] = place[rows[:, 0]]
            numbered.append(family._replace(rows=rows))
        return jax.tree.map(jnp.asarray, {"families": tuple(numbered), "read": read.astype(np.int32), "place": place})

    def apply(self, params: Any, second_moment: Any, arrays: dict[str, Any]) -> Grams:
        with jax.default_matmul_precision("highest"):
            leaves, tree = jax.tree.flatten(params)
            roots = _roots(second_moment)
            if not self.layout.ends:
                parts, _ = self._passes(self.model, leaves, tree, roots, range(len(leaves)), arrays["families"], None)
            else:
                parts = self._of_language_model(leaves, tree, roots, arrays)
            names = tuple(dict.fromkeys(self.layout.groups))
            return {
                kind: jnp.stack([_add(grams[kind] for group, grams in parts if group == name) for name in names])
                for kind in parts[0][1]
            }

    def _passes(
        self,
        model: Model,
        leaves: list[Array],
        tree: Any,
        roots: list[Array] | None,
        wanted: Sequence[int],
        families: Sequence[MicroBatches],
        output: tuple[Array, Array] | None,
    ) -> tuple[list[Part], list[Array]]:
        """The products of the wanted leaves' gradients, as many leaves at a time as there is room for.

        Also the families' hidden states [batches, contexts, features], which the passes compute anyway.
        """
        parts: list[Part] = []
        hidden: list[Array] = []
        rooms = self._rooms(leaves, wanted)
        n = sum(family.weights.shape[0] for family in families)
        # One stack for all passes: each overwrites what the one before has left.
        stack = jnp.zeros((n, max(sum(leaves[index].size for index in chosen) for chosen in rooms)))
        for chosen in rooms:
            stack, hidden = self._fill(stack, model, leaves, tree, chosen, families, output)
            start, grams = 0, []
            for index in chosen:
                root = None if roots is None else roots[index]
                grams.append(_grams(stack, start, leaves[index].size, root, self.kinds))
                start += leaves[index].size
            # It must be read before it is overwritten.
            stack, grams = jax.lax.optimization_barrier((stack, grams))
            parts += [(self.layout.groups[index], its) for index, its in zip(chosen, grams, strict=True)]
        return parts, hidden

    def _rooms(self, leaves: list[Array], wanted: Sequence[int]) -> list[list[int]]:
        rooms: list[list[int]] = []
        left = -1
        for index in wanted:
            if leaves[index].size > left:
                rooms.append([])
                left = self.share
            rooms[-1].append(index)
            left -= leaves[index].size
        return rooms

    def _fill(
        self,
        stack: Float[Array, "vectors width"],
        model: Model,
        leaves: list[Array],
        tree: Any,
        chosen: Sequence[int],
        families: Sequence[MicroBatches],
        output: tuple[Array, Array] | None,
    ) -> tuple[Array, list[Array]]:
        """Write the gradients of some leaves into the stack, side by side; also the families' hidden states."""
        vocab_size = (model.output(jax.tree.unflatten(tree, leaves)) if output is None else output)[1].shape[0]

        def of_batch(batch: MicroBatches) -> tuple[list[Array], Array]:
            def of_chosen(values: list[Array]) -> tuple[Array, Array]:
                merged = list(leaves)
                for index, value in zip(chosen, values, strict=True):
                    merged[index] = value
                params = jax.tree.unflatten(tree, merged)
                hidden = hidden_states(model, params, batch)
                return objective(hidden, model.output(params) if output is None else output, batch), hidden

            gradients, hidden = jax.grad(of_chosen, has_aux=True)([leaves[index] for index in chosen])
            return [gradient.reshape(-1) for gradient in gradients], hidden

        first, states = 0, []
        for family in families:
            n_batches, step = family.weights.shape[0], at_once(family, vocab_size)
            turns = jax.tree.map(lambda leaf, step=step: leaf.reshape(-1, step, *leaf.shape[1:]), family)

            def take(
                number: Array, carried: tuple[Array, Array], turns: Any = turns, first: int = first, step: int = step
            ) -> tuple[Array, Array]:
                gradients, hidden = jax.vmap(of_batch)(jax.tree.map(lambda leaf: leaf[number], turns))
                stack, states = carried
                start = 0
                for gradient in gradients:
                    stack = jax.lax.dynamic_update_slice(stack, gradient, (first + number * step, start))
                    start += gradient.shape[1]
                return stack, jax.lax.dynamic_update_slice_in_dim(states, hidden, number * step, 0)

            shape = jax.eval_shape(of_batch, jax.tree.map(lambda leaf: leaf[0], family))[1].shape
            stack, hidden = jax.lax.fori_loop(0, n_batches // step, take, (stack, jnp.zeros((n_batches, *shape))))
            states.append(hidden)
            first += n_batches
        return stack, states

    def _of_language_model(
        self, leaves: list[Array], tree: Any, roots: list[Array] | None, arrays: dict[str, Any]
    ) -> list[Part]:
        assert isinstance(self.model, LanguageModel)
        families, read = arrays["families"], arrays["read"]
        output = self.model.output(jax.tree.unflatten(tree, leaves))
        # A model of the words that are read alone; its output layer, of that size too, is never used.
        small_model = make_model(self.model.config, read.shape[0])
        small, embedding = list(leaves), self.layout.end("embedding")
        for index, name in self.layout.ends.items():
            small[index] = leaves[index][:, read] if name == "output_kernel" else leaves[index][read]
        small_roots = None if roots is None else list(roots)
        if small_roots is not None:
            small_roots[embedding] = small_roots[embedding][read]
        core = [index for index in range(len(leaves)) if index not in self.layout.ends]
        wanted = core if self.model.config.tie else [embedding, *core]
        parts, hidden = self._passes(small_model, small, tree, small_roots, wanted, families, output)
        looked_up = None
        if self.model.config.tie:
            n = sum(family.weights.shape[0] for family in families)
            stack = jnp.zeros((n, small[embedding].size))
            stack, hidden = self._fill(stack, small_model, small, tree, [embedding], families, output)
            # A row of zeros for all words that are not read.
            looked_up = jnp.pad(stack.reshape(n, *small[embedding].shape), ((0, 0), (0, 1), (0, 0)))
        return parts + self._of_output(leaves, roots, output, hidden, families, looked_up, arrays["place"])

    def _of_output(
        self,
        leaves: list[Array],
        roots: list[Array] | None,
        output: tuple[Array, Array],
        hidden: list[Array],
        families: Sequence[MicroBatches],
        looked_up: Array | None,
        place: Array,
    ) -> list[Part]:
        """The products of the output layer's gradients (of a tied one together with those of the embedding)."""
        weights, bias = output
        features, vocab_size = weights.shape
        width = max(1, min(vocab_size, self.share // features // SLICES))
        n_slices = -(-vocab_size // width)
        normalizers = [
            log_normalizers(states.reshape(-1, features), weights, bias).reshape(states.shape[:2]) for states in hidden
        ]
        tied = looked_up is not None
        kernel = self.layout.end("embedding" if tied else "output_kernel")
        has_bias = "output_bias" in self.layout.ends.values()

        def of_slice(number: Array) -> tuple[dict[str, Array], dict[str, Array]]:
            first = number * width
            start = jnp.minimum(first, vocab_size - width)
            # The last slice begins earlier than its turn; what was there before counts no more.
            new = start + jnp.arange(width) >= first

            def cut(array: Array, axis: int) -> Array:
                return jax.lax.dynamic_slice_in_dim(array, start, width, axis)

            errors = [
                jnp.where(new, _errors(states, normalizer, family, cut(weights, 1), cut(bias, 0), start), 0.0)
                for states, normalizer, family in zip(hidden, normalizers, families, strict=True)
            ]
            stack = jnp.concatenate(
                [jnp.einsum("mcd,mcv->mvd", states, error) for states, error in zip(hidden, errors, strict=True)]
            )
            if looked_up is not None:
                stack = stack + jnp.where(new[:, None], looked_up[:, cut(place, 0)], 0.0)
            of_bias = jnp.concatenate([error.sum(axis=1) for error in errors])
            root = bias_root = None
            if roots is not None:
                root = cut(roots[kernel], 0) if tied else cut(roots[kernel], 1).T
                bias_root = cut(roots[self.layout.end("output_bias")], 0) if has_bias else None
            flat = stack.reshape(stack.shape[0], -1)
            of_kernel = _grams(flat, 0, flat.shape[1], root, self.kinds)
            return of_kernel, _grams(of_bias, 0, width, bias_root, self.kinds) if has_bias else {}

        of_kernel, of_bias = _sum_over(of_slice, n_slices)
        parts = [(self.layout.groups[kernel], of_kernel)]
        return [*parts, (self.layout.groups[self.layout.end("output_bias")], of_bias)] if has_bias else parts


def _errors(
    hidden: Float[Array, "batches contexts features"],
    normalizer: Float[Array, "batches contexts"],
    family: MicroBatches,
    weights: Float[Array, "features slice"],
    bias: Float[Array, " slice"],
    start: Array,
) -> Float[Array, "batches contexts slice"]:
    """The objectives' derivatives with respect to a slice of the logits: what was predicted less what was expected."""
    width = weights.shape[1]
    batch = jnp.arange(hidden.shape[0])[:, None]
    context, target = family.predictions[:, 0], family.predictions[:, 1]
    total = jnp.zeros(hidden.shape[:2]).at[batch, context].add(family.weights)
    expected = jnp.exp(hidden @ weights + bias - normalizer[..., None]) * total[..., None]
    column = target - start
    # An index outside is dropped; a negative one would count from the end.
    column = jnp.where(column < 0, width, column)
    return (-expected).at[batch, context, column].add(family.weights, mode="drop")


def _forward(model: Model, layout: _Layout) -> Apply:
    """Each gradient pushed through all objectives as a tangent, one parameter group at a time."""
    names = tuple(dict.fromkeys(layout.groups))
    numbers = [names.index(group) for group in layout.groups]

    def apply(params: Any, second_moment: Any, families: tuple[MicroBatches, ...]) -> Grams:
        with jax.default_matmul_precision("highest"):
            leaves, tree = jax.tree.flatten(params)
            roots = _roots(second_moment)

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
