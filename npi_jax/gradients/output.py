"""Output layer and embedding, a slice of the vocabulary at a time: what is of all of it is never held."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from npi_jax.gradients.batches import MicroBatches
from npi_jax.gradients.stacks import Layout, Part, grams_of, sum_over
from npi_jax.scoring import log_normalizers

SLICES = 8
"""A slice takes this part of what may be stacked, since it is held beside the rest."""


def output_products(
    layout: Layout,
    share: int,
    kinds: Sequence[str],
    roots: list[Array] | None,
    output: tuple[Array, Array],
    hidden: list[Array],
    families: Sequence[MicroBatches],
    looked_up: tuple[list[Array], list[Array]] | None,
) -> list[Part]:
    """The products of the output layer's gradients; of a tied one, of the sums with those of the embedding.

    Args:
        layout: of the model's leaves.
        share: floats of each gradient that may be stacked.
        kinds: of products.
        roots: of each leaf the root of Adam's weights, or None.
        output: weights [features, vocabulary] and bias.
        hidden: each family's hidden states [batches, contexts, features].
        families: the micro-batches.
        looked_up: if weights are tied, by family the embedding's gradients in some rows, [batches, words, features],
            and which rows, [batches, words].
    """
    weights, bias = output
    features, vocab_size = weights.shape
    width = max(1, min(vocab_size, share // features // SLICES))
    n_slices = -(-vocab_size // width)
    normalizers = [
        log_normalizers(states.reshape(-1, features), weights, bias).reshape(states.shape[:2]) for states in hidden
    ]
    tied = looked_up is not None
    kernel = layout.end("embedding" if tied else "output_kernel")
    has_bias = "output_bias" in layout.ends.values()

    def of_slice(number: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        first = number * width
        start = jnp.minimum(first, vocab_size - width)
        # The last slice begins earlier than its turn; what was there before counts no more.
        new = start + jnp.arange(width) >= first

        def cut(array: Array, axis: int) -> Array:
            return jax.lax.dynamic_slice_in_dim(array, start, width, axis)

        errors = [
            jnp.where(new, errors_of(states, normalizer, family, cut(weights, 1), cut(bias, 0), start), 0.0)
            for states, normalizer, family in zip(hidden, normalizers, families, strict=True)
        ]
        stack = jnp.concatenate(
            [jnp.einsum("mcd,mcv->mvd", states, error) for states, error in zip(hidden, errors, strict=True)]
        )
        if looked_up is not None:
            stack = stack + jnp.where(new[:, None], spread(*looked_up, start, width), 0.0)
        of_bias = jnp.concatenate([error.sum(axis=1) for error in errors])
        root = bias_root = None
        if roots is not None:
            root = cut(roots[kernel], 0) if tied else cut(roots[kernel], 1).T
            bias_root = cut(roots[layout.end("output_bias")], 0) if has_bias else None
        flat = stack.reshape(stack.shape[0], -1)
        of_kernel = grams_of(flat, 0, flat.shape[1], root, kinds)
        return of_kernel, grams_of(of_bias, 0, width, bias_root, kinds) if has_bias else {}

    of_kernel, of_bias = sum_over(of_slice, n_slices)
    parts = [(layout.groups[kernel], of_kernel)]
    return [*parts, (layout.groups[layout.end("output_bias")], of_bias)] if has_bias else parts


def embedding_products(
    share: int, kinds: Sequence[str], root: Array | None, rows: list[Array], places: list[Array], n_words: int
) -> dict[str, Array]:
    """The products of the embedding's gradients, a slice of the words that are read at a time.

    Args:
        share: floats of each gradient that may be stacked.
        kinds: of products.
        root: the root of Adam's weights in the rows that are read, [n_words, features], or None.
        rows: by family the gradients in each micro-batch's own words, [batches, words, features].
        places: which of the words that are read these are, [batches, words].
        n_words: words that are read.
    """
    features = rows[0].shape[-1]
    width = max(1, min(n_words, share // features // SLICES))

    def of_slice(number: Array) -> dict[str, Array]:
        first = number * width
        start = jnp.minimum(first, n_words - width)
        new = start + jnp.arange(width) >= first
        stack = jnp.where(new[:, None], spread(rows, places, start, width), 0.0)
        part = None if root is None else jax.lax.dynamic_slice_in_dim(root, start, width)
        return grams_of(stack.reshape(stack.shape[0], -1), 0, width * features, part, kinds)

    return sum_over(of_slice, -(-n_words // width))


def spread(
    rows: Sequence[Array],
    places: Sequence[Array],
    start: Array,
    width: int,
) -> Float[Array, "vectors slice features"]:
    """Each family's rows at their places, as far as these lie in ``[start, start + width)``; zeros elsewhere.

    Args:
        rows: by family [batches, words, features].
        places: by family [batches, words].
        start, width: of the slice.
    """
    found = []
    for its, at in zip(rows, places, strict=True):
        # A product, since scattering is slow on CPU.
        chosen = (at[:, :, None] == start + jnp.arange(width)).astype(its.dtype)
        found.append(jnp.einsum("mwv,mwd->mvd", chosen, its))
    return jnp.concatenate(found)


def errors_of(
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
    # Arrays of the device, although micro-batches are made in NumPy.
    weight = jnp.asarray(family.weights)
    total = jnp.zeros(hidden.shape[:2]).at[batch, context].add(weight)
    expected = jnp.exp(hidden @ weights + bias - normalizer[..., None]) * total[..., None]
    column = jnp.asarray(target) - start
    # An index outside is dropped; a negative one would count from the end.
    column = jnp.where(column < 0, width, column)
    return (-expected).at[batch, context, column].add(weight, mode="drop")
