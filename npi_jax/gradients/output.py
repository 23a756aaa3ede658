"""Products of the gradients of output layer and embedding, computed for one slice of the vocabulary after another."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from npi_jax.gradients.batches import MicroBatches
from npi_jax.gradients.stacks import GroupGrams, ParameterLayout, grams_of, sum_over
from npi_jax.scoring import log_normalizers

SLICES = 8
"""The stack of a slice may take the budget divided by this number; other arrays need memory at the same time."""


def output_products(
    layout: ParameterLayout,
    budget: int,
    kinds: Sequence[str],
    roots: list[Float[Array, "..."]] | None,
    output: tuple[Float[Array, "features vocabulary"], Float[Array, " vocabulary"]],
    hidden: list[Float[Array, "_ _ features"]],
    families: Sequence[MicroBatches],
    tied_rows: tuple[list[Float[Array, "_ _ features"]], list[Int[Array, "_ _"]]] | None,
) -> list[GroupGrams]:
    """Compute the products of the output layer's gradients.

    A tied output layer shares its weights with the embedding; the gradients of both are added before the products.

    Args:
        layout: layout of the model's parameters.
        budget: maximum number of floats of each gradient that are stacked.
        kinds: the kinds of products.
        roots: square roots of Adam's weights for each leaf; None to leave out ``gram_adam``.
        output: weights and bias of the output layer.
        hidden: hidden states [batches, contexts, features] of each family.
        families: the micro-batches.
        tied_rows: None unless weights are tied. Otherwise two arrays for each family. The first has the gradients of
            the embedding's rows for the words of each micro-batch, [batches, words, features]. The second has these
            words, [batches, words].
    """
    weights, bias = output
    features, vocab_size = weights.shape
    width = max(1, min(vocab_size, budget // features // SLICES))
    n_slices = -(-vocab_size // width)
    normalizers = [
        log_normalizers(states.reshape(-1, features), weights, bias).reshape(states.shape[:2]) for states in hidden
    ]
    tied = tied_rows is not None
    kernel = layout.index_of("embedding" if tied else "output_kernel")
    has_bias = "output_bias" in layout.vocabulary_leaves.values()

    def of_slice(number: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        first = number * width
        start = jnp.minimum(first, vocab_size - width)
        # The last slice overlaps the previous one; entries that are already counted are set to 0.
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
        if tied_rows is not None:
            stack = stack + jnp.where(new[:, None], scatter_rows(*tied_rows, start, width), 0.0)
        of_bias = jnp.concatenate([error.sum(axis=1) for error in errors])
        root = bias_root = None
        if roots is not None:
            root = cut(roots[kernel], 0) if tied else cut(roots[kernel], 1).T
            bias_root = cut(roots[layout.index_of("output_bias")], 0) if has_bias else None
        flat = stack.reshape(stack.shape[0], -1)
        of_kernel = grams_of(flat, 0, flat.shape[1], root, kinds)
        return of_kernel, grams_of(of_bias, 0, width, bias_root, kinds) if has_bias else {}

    of_kernel, of_bias = sum_over(of_slice, n_slices)
    parts = [(layout.groups[kernel], of_kernel)]
    return [*parts, (layout.groups[layout.index_of("output_bias")], of_bias)] if has_bias else parts


def embedding_products(
    budget: int,
    kinds: Sequence[str],
    root: Float[Array, "read features"] | None,
    rows: list[Float[Array, "_ _ features"]],
    indices: list[Int[Array, "_ _"]],
    n_words: int,
) -> dict[str, Float[Array, "vectors vectors"]]:
    """Compute the products of the embedding's gradients, for one slice of the input words after another.

    Args:
        budget: maximum number of floats of each gradient that are stacked.
        kinds: the kinds of products.
        root: square roots of Adam's weights in the embedding's rows for the input words; None to leave out
            ``gram_adam``.
        rows: for each family the gradients of the embedding's rows for the words of each micro-batch, [batches, words,
            features].
        indices: for each family the indices of these words among all input words, [batches, words].
        n_words: number of different input words.
    """
    features = rows[0].shape[-1]
    width = max(1, min(n_words, budget // features // SLICES))

    def of_slice(number: Array) -> dict[str, Array]:
        first = number * width
        start = jnp.minimum(first, n_words - width)
        new = start + jnp.arange(width) >= first
        stack = jnp.where(new[:, None], scatter_rows(rows, indices, start, width), 0.0)
        part = None if root is None else jax.lax.dynamic_slice_in_dim(root, start, width)
        return grams_of(stack.reshape(stack.shape[0], -1), 0, width * features, part, kinds)

    return sum_over(of_slice, -(-n_words // width))


def scatter_rows(
    rows: Sequence[Float[Array, "_ _ features"]],
    indices: Sequence[Int[Array, "_ _"]],
    start: Int[Array, ""],
    width: int,
) -> Float[Array, "vectors slice features"]:
    """Scatter each family's rows to their indices within a slice; all other rows of the slice are zero.

    Args:
        rows: rows of each family, [batches, words, features].
        indices: indices of each family's rows, [batches, words]; indices outside the slice are ignored.
        start, width: first index and length of the slice.
    """
    scattered = []
    for of_family, at in zip(rows, indices, strict=True):
        # A product with a one-hot matrix, since scattering is slow on CPU.
        one_hot = (at[:, :, None] == start + jnp.arange(width)).astype(of_family.dtype)
        scattered.append(jnp.einsum("mwv,mwd->mvd", one_hot, of_family))
    return jnp.concatenate(scattered)


def errors_of(
    hidden: Float[Array, "batches contexts features"],
    normalizer: Float[Array, "batches contexts"],
    family: MicroBatches,
    weights: Float[Array, "features slice"],
    bias: Float[Array, " slice"],
    start: Int[Array, ""],
) -> Float[Array, "batches contexts slice"]:
    """Compute the derivatives of the objectives with respect to a slice of the logits.

    Each derivative is the weight of the token in the objective, minus the weight that the model expects: the token's
    probability times the weight of all predictions at the context.

    Args:
        hidden: hidden states at the contexts.
        normalizer: log of the sum of exponentials of all logits.
        family: the micro-batches.
        weights, bias: the slice of the output layer's weights and bias.
        start: first token of the slice.
    """
    width = weights.shape[1]
    batch = jnp.arange(hidden.shape[0])[:, None]
    context, target = family.predictions[:, 0], family.predictions[:, 1]
    # Micro-batches may be NumPy arrays, which traced arrays cannot index.
    weight = jnp.asarray(family.weights)
    total = jnp.zeros(hidden.shape[:2]).at[batch, context].add(weight)
    expected = jnp.exp(hidden @ weights + bias - normalizer[..., None]) * total[..., None]
    column = jnp.asarray(target) - start
    # mode="drop" drops indices beyond the end, but counts negative ones from the end.
    column = jnp.where(column < 0, width, column)
    return (-expected).at[batch, context, column].add(weight, mode="drop")
