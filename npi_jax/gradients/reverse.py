"""Dot products by reverse differentiation: the gradients of all micro-batches, stacked for some parameters at a time.

The embedding and output layer of a `LanguageModel` are large, so they are treated separately. Gradients of the
embedding are computed only for the words of each micro-batch. Gradients of the output layer are computed from hidden
states (`npi_jax.gradients.output`). All parameters of a custom model are stacked.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from npi_jax.gradients.batches import MicroBatches
from npi_jax.gradients.objectives import hidden_states, micro_batches_at_once, objective
from npi_jax.gradients.output import embedding_products, output_products
from npi_jax.gradients.stacks import Grams, GroupGrams, ParameterLayout, grams_of, roots_of
from npi_jax.models import LanguageModel, Model, make_model

Gradient = Callable[[MicroBatches, Array | None], tuple[list[Array], Array | None, Array]]
"""Function of one micro-batch and its words; see `Reverse._gradient_function`."""


@dataclass(frozen=True)
class Reverse:
    """The products of the gradients of all micro-batches.

    Attributes:
        model: the architecture; a `LanguageModel` computes in float32.
        layout: layout of its parameters.
        budget: number of floats of each micro-batch's gradient that are held at once; a larger array is held alone.
        kinds: the kinds of products (`npi_jax.gradients.Products`).
    """

    model: Model
    layout: ParameterLayout
    budget: int
    kinds: tuple[str, ...]

    def arrays(self, families: Sequence[MicroBatches]) -> dict[str, Any]:
        """Return the arrays that `apply` needs besides parameters.

        For a `LanguageModel`, the words of each micro-batch are renumbered from 0. Three entries map them back:
        ``words`` has the words of each micro-batch, ``read`` all words, and ``place`` the positions of ``words`` in
        ``read``.
        """
        if not isinstance(self.model, LanguageModel):
            return {"families": tuple(jax.tree.map(jnp.asarray, family) for family in families)}
        read = np.unique(np.concatenate([family.rows[:, 0].ravel() for family in families]))
        numbered = [_number_words(family, self.model.vocab_size) for family in families]
        words = tuple(words for _, words in numbered)
        arrays = {
            "families": tuple(family for family, _ in numbered),
            "words": words,
            "read": read.astype(np.int32),
            "place": tuple(np.searchsorted(read, of_family).astype(np.int32) for of_family in words),
        }
        return jax.tree.map(jnp.asarray, arrays)

    def apply(self, params: Any, second_moment: Any, arrays: dict[str, Any]) -> Grams:
        """Compute all products for one model; see `npi_jax.gradients.Products`."""
        with jax.default_matmul_precision("highest"):
            leaves, tree = jax.tree.flatten(params)
            roots = roots_of(second_moment)
            parts, seen = self._products_of_stacks(leaves, tree, roots, arrays)
            if self.layout.vocabulary_leaves:
                parts += self._products_of_vocabulary(leaves, tree, roots, arrays, seen)
            return {
                kind: jnp.stack(
                    [_add(grams[kind] for group, grams in parts if group == name) for name in self.layout.names]
                )
                for kind in parts[0][1]
            }

    def _products_of_stacks(
        self, leaves: list[Array], tree: Any, roots: list[Array] | None, arrays: dict[str, Any]
    ) -> tuple[list[GroupGrams], "_Seen"]:
        """Compute the products of all leaves except embedding and output layer, in passes over the micro-batches."""
        parts: list[GroupGrams] = []
        passes = self._passes(leaves)
        n = sum(family.weights.shape[0] for family in arrays["families"])
        # All passes write to one stack, so that its memory is allocated once.
        stack = jnp.zeros((n, max(sum(leaves[index].size for index in chosen) for chosen in passes)))
        for chosen in passes:
            stack, seen = self._fill(stack, leaves, tree, chosen, arrays)
            start, grams = 0, []
            for index in chosen:
                root = None if roots is None else roots[index]
                grams.append(grams_of(stack, start, leaves[index].size, root, self.kinds))
                start += leaves[index].size
            # The products must be computed before the next pass overwrites the stack.
            stack, grams = jax.lax.optimization_barrier((stack, grams))
            parts += [(self.layout.groups[index], of_leaf) for index, of_leaf in zip(chosen, grams, strict=True)]
        return parts, seen

    def _passes(self, leaves: list[Array]) -> list[list[int]]:
        """Assign leaves to passes within the budget; a leaf that exceeds the budget gets a separate pass."""
        passes: list[list[int]] = []
        left = -1
        for index, leaf in enumerate(leaves):
            if index in self.layout.vocabulary_leaves:
                continue
            if leaf.size > left:
                passes.append([])
                left = self.budget
            passes[-1].append(index)
            left -= leaf.size
        return passes

    def _fill(
        self,
        stack: Float[Array, "vectors width"],
        leaves: list[Array],
        tree: Any,
        chosen: Sequence[int],
        arrays: dict[str, Any],
    ) -> tuple[Float[Array, "vectors width"], "_Seen"]:
        """Write the gradients of the chosen leaves into the stack, side by side: one row for each micro-batch."""
        output = self.model.output(jax.tree.unflatten(tree, leaves))
        first, seen = 0, _Seen([], [])
        for number, family in enumerate(arrays["families"]):
            words = arrays["words"][number] if self.layout.vocabulary_leaves else None
            gradient = self._gradient_function(leaves, tree, chosen, output, 0 if words is None else words.shape[1])
            at_once = micro_batches_at_once(family, output[1].shape[0])
            stack, rows, hidden = _stack_gradients(stack, first, gradient, (family, words), at_once)
            if rows is not None:
                seen.rows.append(rows)
            seen.hidden.append(hidden)
            first += family.weights.shape[0]
        return stack, seen

    def _gradient_function(
        self, leaves: list[Array], tree: Any, chosen: Sequence[int], output: tuple[Array, Array], n_words: int
    ) -> Gradient:
        """Make the function that differentiates the objective of one micro-batch.

        The function returns three results: the flattened gradients of the chosen leaves, the gradients of the
        embedding's rows for the words of the micro-batch, and the hidden states. The second is None for a custom model.
        """
        model, small = self._with_vocabulary(leaves, n_words)
        values = [leaves[index] for index in chosen]
        # The output layer of a custom model is among the chosen leaves.
        fixed_output = output if self.layout.vocabulary_leaves else None

        def of_values(values: list[Array], rows: Array | None, batch: MicroBatches) -> tuple[Array, Array]:
            merged = list(small)
            for index, value in zip(chosen, values, strict=True):
                merged[index] = value
            if rows is not None:
                merged[self.layout.index_of("embedding")] = rows
            params = jax.tree.unflatten(tree, merged)
            hidden = hidden_states(model, params, batch)
            return objective(hidden, model.output(params) if fixed_output is None else fixed_output, batch), hidden

        def gradient(batch: MicroBatches, words: Array | None) -> tuple[list[Array], Array | None, Array]:
            # Padding words are out of range. Clipping gives them the last row, which is never used.
            embedding = None if words is None else leaves[self.layout.index_of("embedding")]
            rows = None if embedding is None else embedding.at[words].get(mode="clip")
            (gradients, d_rows), hidden = jax.grad(of_values, (0, 1), has_aux=True)(values, rows, batch)
            return [leaf.reshape(-1) for leaf in gradients], d_rows, hidden

        return gradient

    def _with_vocabulary(self, leaves: list[Array], n_words: int) -> tuple[Model, list[Array]]:
        """Return a `LanguageModel` for `n_words` words, and its leaves; its output layer is never used."""
        if not self.layout.vocabulary_leaves:
            return self.model, leaves
        assert isinstance(self.model, LanguageModel)
        small = list(leaves)
        for index in self.layout.vocabulary_leaves:
            small[index] = small[index][..., :n_words]
        return make_model(self.model.config, n_words), small

    def _products_of_vocabulary(
        self, leaves: list[Array], tree: Any, roots: list[Array] | None, arrays: dict[str, Any], seen: "_Seen"
    ) -> list[GroupGrams]:
        """Compute the products of embedding and output layer."""
        assert isinstance(self.model, LanguageModel)
        output = self.model.output(jax.tree.unflatten(tree, leaves))
        tied = self.model.config.tie
        tied_rows = (seen.rows, list(arrays["words"])) if tied else None
        parts = output_products(
            self.layout, self.budget, self.kinds, roots, output, seen.hidden, arrays["families"], tied_rows
        )
        if tied:
            return parts
        embedding = self.layout.index_of("embedding")
        root = None if roots is None else roots[embedding][arrays["read"]]
        n_words = arrays["read"].shape[0]
        grams = embedding_products(self.budget, self.kinds, root, seen.rows, list(arrays["place"]), n_words)
        return [(self.layout.groups[embedding], grams), *parts]


class _Seen(NamedTuple):
    """Further results of a pass besides the stack, one entry for each family.

    Attributes:
        rows: gradients of the embedding's rows for the words of each micro-batch, [batches, words, features]; empty for
            a custom model.
        hidden: hidden states at the contexts, [batches, contexts, features].
    """

    rows: list[Array]
    hidden: list[Array]


def _stack_gradients(
    stack: Float[Array, "vectors width"],
    first: int,
    gradient: Gradient,
    batches: tuple[MicroBatches, Array | None],
    at_once: int,
) -> tuple[Array, Array | None, Array]:
    """Differentiate the micro-batches of a family, `at_once` at a time, and write the gradients into the stack.

    Args:
        stack: gradients of all micro-batches.
        first: row of the family's first micro-batch.
        gradient: function from `Reverse._gradient_function`.
        batches: the family and the words of its micro-batches.
        at_once: number of micro-batches that are differentiated at once.

    Returns:
        the stack, and the second and third result of `gradient` for all micro-batches.
    """
    n_batches = batches[0].weights.shape[0]
    chunks = jax.tree.map(lambda leaf: leaf.reshape(-1, at_once, *leaf.shape[1:]), batches)
    shapes = jax.eval_shape(gradient, *jax.tree.map(lambda leaf: leaf[0], batches))[1:]
    others = jax.tree.map(lambda leaf: jnp.zeros((n_batches, *leaf.shape)), shapes)

    def add_chunk(number: Array, carried: tuple[Array, Any]) -> tuple[Array, Any]:
        gradients, *results = jax.vmap(gradient)(*jax.tree.map(lambda leaf: leaf[number], chunks))
        stack, others = carried
        start = 0
        for leaf in gradients:
            stack = jax.lax.dynamic_update_slice(stack, leaf, (first + number * at_once, start))
            start += leaf.shape[1]
        return stack, jax.tree.map(
            lambda all_, part: jax.lax.dynamic_update_slice_in_dim(all_, part, number * at_once, 0),
            others,
            tuple(results),
        )

    stack, (rows, hidden) = jax.lax.fori_loop(0, n_batches // at_once, add_chunk, (stack, others))
    return stack, rows, hidden


def _number_words(family: MicroBatches, vocab_size: int) -> tuple[MicroBatches, Int[np.ndarray, "batches words"]]:
    """Number the words of each micro-batch from 0; return also the words, padded with `vocab_size`."""
    read, rows = [], family.rows.copy()
    for batch in rows:
        words, numbers = np.unique(batch[0], return_inverse=True)
        read.append(words)
        batch[0] = numbers.reshape(batch[0].shape)
    padded = np.full((len(read), max(map(len, read))), vocab_size, np.int32)
    for row, words in zip(padded, read, strict=True):
        row[: len(words)] = words
    return family._replace(rows=rows), padded


def _add(grams: Iterable[Array]) -> Array:
    first, *rest = grams
    return sum(rest, first)
