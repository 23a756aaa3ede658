"""A decoder-only transformer over packed rows: pre-norm (RMSNorm), rotary positions, GELU."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from npi_jax.models.config import TransformerConfig
from npi_jax.models.numerics import dropout, matmul, site_key

SITES_PER_BLOCK = 3
ROTARY_BASE = 10_000.0


def rotate(
    values: Float[Array, "batch time heads size"], positions: Int[Array, "batch time"]
) -> Float[Array, "batch time heads size"]:
    """Rotary positions (Su et al., 2021): turns pairs of features by angles in proportion to the position.

    The product of a rotated query and a rotated key depends on the difference of their positions alone.
    """
    half = values.shape[-1] // 2
    frequencies = ROTARY_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[..., None, None].astype(jnp.float32) * frequencies
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    first, second = values[..., :half], values[..., half:]
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1)


def segment_mask(segment_ids: Int[Array, "batch time"]) -> Bool[Array, "batch 1 time time"]:
    """True where a query (third axis) may see a key (fourth): in its own segment and not after it.

    Padding is a segment too, so that no query is left without a key and no softmax divides by zero.
    """
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    causal = jnp.tril(jnp.ones(same.shape[-2:], bool))
    return (same & causal)[:, None]


def _normal(size: float) -> nn.initializers.Initializer:
    return nn.initializers.normal(size)


class Block(nn.Module):
    """Attention and MLP, each on a normalized copy of the residual stream."""

    config: TransformerConfig

    def _project(self, name: str, values: Array, columns: int, size: float = 0.02) -> Array:
        kernel = self.param(f"{name}_kernel", _normal(size), (values.shape[-1], columns))
        return matmul(values, kernel, self.config.compute_dtype)

    def _attend(
        self, stream: Array, mask: Array, positions: Array, key: Array | None, rate: Array | float | None
    ) -> Array:
        config = self.config
        batch, time, width = stream.shape
        normed = nn.RMSNorm(name="attention_norm")(stream)
        shape = (batch, time, 3, config.heads, width // config.heads)
        query, keys, value = jnp.moveaxis(self._project("qkv", normed, 3 * width).reshape(shape), 2, 0)
        query, keys = rotate(query, positions), rotate(keys, positions)
        dtype = config.compute_dtype
        scores = jnp.einsum(
            "bqhd,bkhd->bhqk", query.astype(dtype), keys.astype(dtype), preferred_element_type=jnp.float32
        )
        scores = jnp.where(mask, scores * query.shape[-1] ** -0.5, jnp.finfo(jnp.float32).min)
        weights = dropout(jax.nn.softmax(scores, axis=-1), key, rate)
        mixed = jnp.einsum(
            "bhqk,bkhd->bqhd", weights.astype(dtype), value.astype(dtype), preferred_element_type=jnp.float32
        )
        return mixed.reshape(batch, time, width)

    @nn.compact
    def __call__(
        self,
        stream: Float[Array, "batch time width"],
        mask: Bool[Array, "batch 1 time time"],
        positions: Int[Array, "batch time"],
        keys: tuple[Array | None, ...],
        rate: Float[Array, ""] | float | None,
    ) -> Float[Array, "batch time width"]:
        """The residual stream after the block; ``keys`` holds the keys of its three dropout sites."""
        config = self.config
        # What is added to the stream is scaled down with depth, as in GPT-2, so that its size does not grow.
        into_stream = 0.02 * (2 * config.layers) ** -0.5
        mixed = self._attend(stream, mask, positions, keys[0], rate)
        stream = stream + dropout(self._project("mix", mixed, config.width, into_stream), keys[1], rate)
        expanded = jax.nn.gelu(self._project("expand", nn.RMSNorm(name="mlp_norm")(stream), config.mlp))
        return stream + dropout(self._project("contract", expanded, config.width, into_stream), keys[2], rate)


class Transformer(nn.Module):
    """Embedding, blocks, final norm; the output layer's parameters lie beside them.

    Parameters: ``embedding`` [vocabulary, width]; ``blocks_0``, ``blocks_1``, ...; ``output_norm``;
    ``output_kernel`` [width, vocabulary] unless tied; ``output_bias`` [vocabulary].
    """

    config: TransformerConfig
    vocab_size: int

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        segment_ids: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        dropout_key: Key[Array, ""] | None = None,
        dropout_rate: Float[Array, ""] | float | None = None,
    ) -> Float[Array, "batch time width"]:
        """The normalized residual stream after the last block."""
        config = self.config
        embedding = self.param("embedding", _normal(0.02), (self.vocab_size, config.width))
        if not config.tie:
            self.param("output_kernel", _normal(0.02), (config.width, self.vocab_size))
        self.param("output_bias", nn.initializers.zeros, (self.vocab_size,))

        mask = segment_mask(segment_ids)
        stream = dropout(embedding[tokens], site_key(dropout_key, 0), dropout_rate)
        for index in range(config.layers):
            sites = range(1 + SITES_PER_BLOCK * index, 1 + SITES_PER_BLOCK * (index + 1))
            keys = tuple(site_key(dropout_key, site) for site in sites)
            stream = Block(config, name=f"blocks_{index}")(stream, mask, positions, keys, dropout_rate)
        return nn.RMSNorm(name="output_norm")(stream)
