"""A decoder-only transformer over packed rows, with the architectures LLaMA (default), GPT-2, GPT-NeoX and OPT."""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from npi_jax.models.config import Remat, TransformerConfig
from npi_jax.models.numerics import dropout, project, rematerialized, site_key

SITES_PER_BLOCK = 3
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}

Rotation = tuple[Float[Array, "batch time 1 half"], Float[Array, "batch time 1 half"]]
"""Cosines and sines of the angles by which pairs of features are rotated."""


def frequencies(config: TransformerConfig) -> Float[np.ndarray, " half"]:
    """Return the angle per position for each pair of rotated features.

    With `rotary_scaling`, low frequencies are divided by a factor as in LLaMA 3.1 (Meta, 2024; `rope_type` "llama3").
    """
    half = config.rotary_size // 2
    plain = config.rotary_base ** (-np.arange(half, dtype=np.float64) / half)
    if not config.rotary_scaling:
        return plain.astype(np.float32)
    factor, low, high, original = config.rotary_scaling
    turns = original * plain / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return ((1 - smooth) * plain / factor + smooth * plain).astype(np.float32)


def rotation(config: TransformerConfig, positions: Int[Array, "batch time"]) -> Rotation:
    """Return the angles of rotary positions (Su et al., 2021), which all blocks share."""
    angles = positions[..., None, None].astype(jnp.float32) * frequencies(config)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(values: Float[Array, "batch time heads size"], angles: Rotation) -> Float[Array, "batch time heads size"]:
    """Rotate a pair of features by each angle; the remaining features do not change.

    The product of a rotated query and a rotated key depends only on the difference of their positions.
    """
    cosine, sine = angles
    half = cosine.shape[-1]
    first, second, rest = values[..., :half], values[..., half : 2 * half], values[..., 2 * half :]
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine, rest], axis=-1)


def segment_mask(segment_ids: Int[Array, "batch time"]) -> Bool[Array, "batch 1 time time"]:
    """Return True where a query (third axis) attends to a key (fourth axis) of its segment that is not later.

    Padding is a segment too, so that every query has a key and no softmax divides by zero.
    """
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    causal = jnp.tril(jnp.ones(same.shape[-2:], bool))
    return (same & causal)[:, None]


def _normal(size: float) -> nn.initializers.Initializer:
    return nn.initializers.normal(size)


def _norm(config: TransformerConfig, name: str) -> nn.Module:
    if config.norm == "rms":
        return nn.RMSNorm(epsilon=config.norm_epsilon, name=name)
    # The fast variance is a difference of two means, which loses precision.
    return nn.LayerNorm(epsilon=config.norm_epsilon, use_fast_variance=False, name=name)


class Block(nn.Module):
    """Attention and MLP, each on a normalized copy of the residual stream."""

    config: TransformerConfig
    plain: bool = False

    def _project(self, name: str, values: Array, columns: int, size: float = 0.02, *, bias: bool = False) -> Array:
        kernel = self.param(f"{name}_kernel", _normal(size), (values.shape[-1], columns))
        product = project(values, kernel, self.config.compute_dtype, plain=self.plain)
        return product + self.param(f"{name}_bias", nn.initializers.zeros, (columns,)) if bias else product

    def _attend(
        self, normed: Array, mask: Array, angles: Rotation | None, key: Array | None, rate: Array | float | None
    ) -> Array:
        config = self.config
        batch, time, _ = normed.shape
        heads, size = config.heads, config.head_size
        kv_heads = config.kv_heads or heads
        projected = self._project("qkv", normed, (heads + 2 * kv_heads) * size, bias=config.attention_bias)
        query, keys, value = jnp.split(projected.reshape(batch, time, -1, size), [heads, heads + kv_heads], axis=2)
        if angles is not None:
            query, keys = rotate(query, angles), rotate(keys, angles)
        if kv_heads < heads:
            keys, value = (jnp.repeat(part, heads // kv_heads, axis=2) for part in (keys, value))
        dtype = config.compute_dtype
        # Move heads before time: on CPU one transposition is faster than products of strided matrices.
        query, keys, value = (part.transpose(0, 2, 1, 3).astype(dtype) for part in (query, keys, value))
        scores = jnp.einsum("bhqd,bhkd->bhqk", query, keys, preferred_element_type=jnp.float32)
        scores = jnp.where(mask, scores * size**-0.5, jnp.finfo(jnp.float32).min)
        weights = dropout(jax.nn.softmax(scores, axis=-1), key, rate)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", weights.astype(dtype), value, preferred_element_type=jnp.float32)
        return mixed.transpose(0, 2, 1, 3).reshape(batch, time, heads * size)

    def _expand(self, normed: Array) -> Array:
        config = self.config
        activation = ACTIVATIONS[config.activation]
        if not config.gated:
            return activation(self._project("expand", normed, config.mlp, bias=config.mlp_bias))
        gate, up = jnp.split(self._project("expand", normed, 2 * config.mlp, bias=config.mlp_bias), 2, axis=-1)
        return activation(gate) * up

    @nn.compact
    def __call__(
        self,
        stream: Float[Array, "batch time width"],
        mask: Bool[Array, "batch 1 time time"],
        angles: Rotation | None,
        keys: tuple[Array | None, ...],
        rate: Float[Array, ""] | float | None,
    ) -> Float[Array, "batch time width"]:
        """Return the residual stream after the block; its three dropout sites use the three ``keys``."""
        config = self.config
        # As in GPT-2, initial weights shrink with depth, so that the variance of the stream does not grow.
        into_stream = 0.02 * (2 * config.layers) ** -0.5
        mixed = self._attend(_norm(config, "attention_norm")(stream), mask, angles, keys[0], rate)
        attended = self._project("mix", mixed, config.width, into_stream, bias=config.attention_bias)
        after = stream + dropout(attended, keys[1], rate)
        expanded = self._expand(_norm(config, "mlp_norm")(stream if config.parallel else after))
        contracted = self._project("contract", expanded, config.width, into_stream, bias=config.mlp_bias)
        return after + dropout(contracted, keys[2], rate)


class Transformer(nn.Module):
    """Embedding, blocks and final norm; also holds the parameters of the output layer.

    Parameters: ``embedding`` [vocabulary, width]; ``embedding_positions`` [max_positions, width] if learned;
    ``blocks_0``, ``blocks_1``, ...; ``output_norm``; ``output_kernel`` [width, vocabulary] unless tied;
    ``output_bias`` [vocabulary] if there is one.
    """

    config: TransformerConfig
    vocab_size: int
    plain: bool = False
    remat: Remat = "none"

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        segment_ids: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        dropout_key: Key[Array, "*rows"] | None = None,
        dropout_rate: Float[Array, ""] | float | None = None,
    ) -> Float[Array, "batch time width"]:
        """Return the normalized residual stream after the last block."""
        config = self.config
        embedding = self.param("embedding", _normal(0.02), (self.vocab_size, config.width))
        if not config.tie:
            self.param("output_kernel", _normal(0.02), (config.width, self.vocab_size))
        if config.output_bias:
            self.param("output_bias", nn.initializers.zeros, (self.vocab_size,))

        mask = segment_mask(segment_ids)
        stream = embedding[tokens]
        angles = None
        if config.positions == "learned":
            table = self.param("embedding_positions", _normal(0.02), (config.max_positions or 0, config.width))
            stream = stream + table[positions]
        else:
            angles = rotation(config, positions)
        stream = dropout(stream, site_key(dropout_key, 0), dropout_rate)
        block = rematerialized(Block, self.remat)
        for index in range(config.layers):
            sites = range(1 + SITES_PER_BLOCK * index, 1 + SITES_PER_BLOCK * (index + 1))
            keys = tuple(site_key(dropout_key, site) for site in sites)
            stream = block(config, self.plain, name=f"blocks_{index}")(stream, mask, angles, keys, dropout_rate)
        normed: Array = _norm(config, "output_norm")(stream)
        return normed
