"""Checksums of training states, which are saved with checkpoints to detect bits that change on disk.

A checksum is a sum over the elements of a member, modulo 2 ** 32. Each term is the element's bits times an odd number
that depends on the element's position. Integer sums do not depend on their order, so the checksum does not depend on
the sharding. A change of one bit always changes it: an odd number times 2 ** k, for k < 32, is not a multiple of
2 ** 32.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt

WORDS = 2
"""Number of independent 32-bit sums; changes of many bits remain undetected with a probability of about 2 ** -64."""


def member_checksum(state: Any, offsets: Any = None, shapes: Any = None) -> UInt[Array, " words"]:
    """Compute the checksum of one member or of one shard; the checksums of all shards add up to that of the member.

    Args:
        state: arrays of one member, with 32 bits per element.
        offsets: index of each leaf's first element in the unsharded array, one number per axis. None if the arrays
            are unsharded.
        shapes: tree of arrays, or of their shapes, that are unsharded; needed with offsets.
    """
    total = jnp.zeros(WORDS, jnp.uint32)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    unsharded = [leaf for _, leaf in leaves] if shapes is None else jax.tree.leaves(shapes)
    firsts = [(0,) * leaf.ndim for _, leaf in leaves] if offsets is None else offsets
    for (path, array), like, first in zip(leaves, unsharded, firsts, strict=True):
        leaf = jnp.asarray(array)
        # The name enters the weights, so that exchanging two leaves changes the checksum.
        name = zlib.crc32(jax.tree_util.keystr(path).encode())
        total = total + _leaf_checksum(leaf, _flat_index(leaf.shape, like.shape, first), name)
    return total


def _flat_index(shape: tuple[int, ...], unsharded: tuple[int, ...], first: tuple[Any, ...]) -> Array:
    """Return the index of each element in the flattened unsharded array, modulo 2 ** 32."""
    index, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis) + jnp.asarray(first[axis]).astype(jnp.uint32)
        index = index + along * jnp.uint32(stride & 0xFFFFFFFF)
        stride *= unsharded[axis]
    return index


def _leaf_checksum(leaf: Array, index: Array, name: int) -> Array:
    bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
    weights = (_scramble(index + jnp.uint32((name + word * 0x9E3779B9) & 0xFFFFFFFF)) | 1 for word in range(WORDS))
    return jnp.stack([(bits * weight).sum(dtype=jnp.uint32) for weight in weights])


def _scramble(numbers: UInt[Array, "*numbers"]) -> UInt[Array, "*numbers"]:
    """Apply a bijection of 32-bit numbers that looks random (the finalizer of MurmurHash3, Appleby, 2011)."""
    numbers = (numbers ^ (numbers >> 16)) * jnp.uint32(0x85EBCA6B)
    numbers = (numbers ^ (numbers >> 13)) * jnp.uint32(0xC2B2AE35)
    return numbers ^ (numbers >> 16)
