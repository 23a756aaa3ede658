"""Dot products by reverse differentiation: gradients of all micro-batches, stacked some parameters at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from npi_jax.gradients.batches import MicroBatches
from npi_jax.gradients.objectives import at_once, hidden_states, objective
from npi_jax.gradients.output import embedding_products, output_products
from npi_jax.gradients.stacks import Grams, Layout, Part, grams_of, roots_of
from npi_jax.models import LanguageModel, Model, make_model


@dataclass(frozen=True)
class Reverse:
    """Gradients of all micro-batches, stacked some parameters at a time; `share` floats of each are held at once."""

    model: Model
    layout: Layout
    share: int
    kinds: tuple[str, ...]

    def arrays(self, families: Sequence[MicroBatches]) -> dict[str, Any]:
        """Micro-batches; of a `LanguageModel` with the words of each numbered from 0, and what they are."""
        if not isinstance(self.model, LanguageModel):
            return {"families": tuple(jax.tree.map(jnp.asarray, family) for family in families)}
        read = np.unique(np.concatenate([family.rows[:, 0].ravel() for family in families]))
        numbered = [_number_words(family, self.model.vocab_size) for family in families]
        words = tuple(words for _, words in numbered)
        arrays = {
            "families": tuple(family for family, _ in numbered),
            "words": words,
            "read": read.astype(np.int32),
            "place": tuple(np.searchsorted(read, its).astype(np.int32) for its in words),
        }
        return jax.tree.map(jnp.asarray, arrays)

    def apply(self, params: Any, second_moment: Any, arrays: dict[str, Any]) -> Grams:
        """All products of one model; see `npi_jax.gradients.Products`."""
        with jax.default_matmul_precision("highest"):
            leaves, tree = jax.tree.flatten(params)
            roots = roots_of(second_moment)
            parts, seen = self._passes(leaves, tree, roots, arrays)
            if self.layout.ends:
                parts += self._ends(leaves, tree, roots, arrays, seen)
            return {
                kind: jnp.stack(
                    [_add(grams[kind] for group, grams in parts if group == name) for name in self.layout.names]
                )
                for kind in parts[0][1]
            }

    def _passes(
        self, leaves: list[Array], tree: Any, roots: list[Array] | None, arrays: dict[str, Any]
    ) -> tuple[list[Part], "_Seen"]:
        """The products of all leaves but embedding and output layer, as many at a time as there is room for."""
        parts: list[Part] = []
        rooms = self._rooms(leaves)
        n = sum(family.weights.shape[0] for family in arrays["families"])
        # One stack for all passes: each overwrites what the one before has left.
        stack = jnp.zeros((n, max(sum(leaves[index].size for index in chosen) for chosen in rooms)))
        for chosen in rooms:
            stack, seen = self._fill(stack, leaves, tree, chosen, arrays)
            start, grams = 0, []
            for index in chosen:
                root = None if roots is None else roots[index]
                grams.append(grams_of(stack, start, leaves[index].size, root, self.kinds))
                start += leaves[index].size
            # It must be read before it is overwritten.
            stack, grams = jax.lax.optimization_barrier((stack, grams))
            parts += [(self.layout.groups[index], its) for index, its in zip(chosen, grams, strict=True)]
        return parts, seen

    def _rooms(self, leaves: list[Array]) -> list[list[int]]:
        """The leaves of each pass; one that is larger than there is room for goes alone."""
        rooms: list[list[int]] = []
        left = -1
        for index, leaf in enumerate(leaves):
            if index in self.layout.ends:
                continue
            if leaf.size > left:
                rooms.append([])
                left = self.share
            rooms[-1].append(index)
            left -= leaf.size
        return rooms

    def _fill(
        self,
        stack: Float[Array, "vectors width"],
        leaves: list[Array],
        tree: Any,
        chosen: Sequence[int],
        arrays: dict[str, Any],
    ) -> tuple[Array, "_Seen"]:
        """Write the gradients of some leaves into the stack, side by side."""
        output = self.model.output(jax.tree.unflatten(tree, leaves)) if self.layout.ends else None
        values = [leaves[index] for index in chosen]
        first = 0
        seen = _Seen([], [])
        for number, family in enumerate(arrays["families"]):
            words = arrays["words"][number] if self.layout.ends else None
            model, small = self._of_words(leaves, 0 if words is None else words.shape[1])

            def of_batch(
                batch: MicroBatches, words: Array | None, model: Model = model, small: list[Array] = small
            ) -> tuple[list[Array], Array | None, Array]:
                def of_chosen(values: list[Array], rows: Array | None) -> tuple[Array, Array]:
                    merged = list(small)
                    for index, value in zip(chosen, values, strict=True):
                        merged[index] = value
                    if rows is not None:
                        merged[self.layout.end("embedding")] = rows
                    params = jax.tree.unflatten(tree, merged)
                    hidden = hidden_states(model, params, batch)
                    return objective(hidden, model.output(params) if output is None else output, batch), hidden

                # What fills up a short list of words is not read, whatever it is.
                rows = None if words is None else leaves[self.layout.end("embedding")].at[words].get(mode="clip")
                (gradients, d_rows), hidden = jax.grad(of_chosen, (0, 1), has_aux=True)(values, rows)
                return [gradient.reshape(-1) for gradient in gradients], d_rows, hidden

            vocab_size = self.model.output(jax.tree.unflatten(tree, leaves))[1].shape[0]
            step = at_once(family, vocab_size)
            turns = jax.tree.map(lambda leaf, step=step: leaf.reshape(-1, step, *leaf.shape[1:]), (family, words))
            n_batches = family.weights.shape[0]
            shapes = jax.eval_shape(of_batch, *jax.tree.map(lambda leaf: leaf[0], (family, words)))[1:]
            others = jax.tree.map(lambda leaf, n=n_batches: jnp.zeros((n, *leaf.shape)), shapes)

            def take(
                number: Array,
                carried: tuple[Array, Any],
                of_batch: Any = of_batch,
                turns: Any = turns,
                first: int = first,
                step: int = step,
            ) -> tuple[Array, Any]:
                gradients, *found = jax.vmap(of_batch)(*jax.tree.map(lambda leaf: leaf[number], turns))
                stack, others = carried
                start = 0
                for gradient in gradients:
                    stack = jax.lax.dynamic_update_slice(stack, gradient, (first + number * step, start))
                    start += gradient.shape[1]
                return stack, jax.tree.map(
                    lambda all_, its: jax.lax.dynamic_update_slice_in_dim(all_, its, number * step, 0),
                    others,
                    tuple(found),
                )

            stack, (rows, hidden) = jax.lax.fori_loop(0, n_batches // step, take, (stack, others))
            seen.rows.append(rows)
            seen.hidden.append(hidden)
            first += n_batches
        return stack, seen

    def _of_words(self, leaves: list[Array], n_words: int) -> tuple[Model, list[Array]]:
        """The model with a vocabulary of `n_words`; its output layer, cut to that size, is never used."""
        if not self.layout.ends:
            return self.model, leaves
        assert isinstance(self.model, LanguageModel)
        small = list(leaves)
        for index in self.layout.ends:
            small[index] = small[index][..., :n_words]
        return make_model(self.model.config, n_words), small

    def _ends(
        self, leaves: list[Array], tree: Any, roots: list[Array] | None, arrays: dict[str, Any], seen: "_Seen"
    ) -> list[Part]:
        """The products of embedding and output layer."""
        assert isinstance(self.model, LanguageModel)
        output = self.model.output(jax.tree.unflatten(tree, leaves))
        tied = self.model.config.tie
        looked_up = (seen.rows, list(arrays["words"])) if tied else None
        parts = output_products(
            self.layout, self.share, self.kinds, roots, output, seen.hidden, arrays["families"], looked_up
        )
        if tied:
            return parts
        embedding = self.layout.end("embedding")
        root = None if roots is None else roots[embedding][arrays["read"]]
        n_words = arrays["read"].shape[0]
        grams = embedding_products(self.share, self.kinds, root, seen.rows, list(arrays["place"]), n_words)
        return [(self.layout.groups[embedding], grams), *parts]


class _Seen(NamedTuple):
    """What passes see besides gradients of core parameters, by family.

    Attributes:
        rows: gradients of the embedding in the rows of each micro-batch's own words, [batches, words, features].
        hidden: hidden states at the contexts, [batches, contexts, features].
    """

    rows: list[Array]
    hidden: list[Array]


def _number_words(family: MicroBatches, vocab_size: int) -> tuple[MicroBatches, np.ndarray]:
    """A family with each micro-batch's words numbered from 0, and the words, filled up with `vocab_size`."""
    read, rows = [], family.rows.copy()
    for batch in rows:
        words, numbers = np.unique(batch[0], return_inverse=True)
        read.append(words)
        batch[0] = numbers.reshape(batch[0].shape)
    words = np.full((len(read), max(map(len, read))), vocab_size, np.int32)
    for place, its in zip(words, read, strict=True):
        place[: len(its)] = its
    return family._replace(rows=rows), words


def _add(grams: Iterable[Array]) -> Array:
    first, *rest = grams
    return sum(rest, first)
