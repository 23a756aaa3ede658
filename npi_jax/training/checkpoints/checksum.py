"""Checksums of training states, kept with checkpoints: a bit that changed on disk must not become a result.

A checksum is a sum over a member's elements of their bits times an odd number that depends on the place. Sums of
integers do not depend on their order, so it is the same on however many devices the member lies; and a change of
one bit always changes it, since an odd number times a power of two is no multiple of the modulus.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt

WORDS = 2
"""Independent sums of 32 bits, so that changes of many bits stay unseen about once in 2 ** 64."""


def member_checksum(state: Any, offsets: Any = None, shapes: Any = None) -> UInt[Array, " words"]:
    """The checksum of one member's arrays, or of a share of them.

    Args:
        state: arrays of one member, of 32 bits an element. Checksums of shares add up to that of the whole.
        offsets: like `state`: for each array the place of its first element in the whole array, one number an axis;
            None where the arrays are whole.
        shapes: of the whole arrays, where there are offsets.
    """
    total = jnp.zeros(WORDS, jnp.uint32)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    wholes = [leaf.shape for _, leaf in leaves] if shapes is None else [leaf.shape for leaf in jax.tree.leaves(shapes)]
    firsts = [(0,) * leaf.ndim for _, leaf in leaves] if offsets is None else offsets
    for (path, array), whole, first in zip(leaves, wholes, firsts, strict=True):
        leaf = jnp.asarray(array)
        # Names tell leaves apart, so that two that were exchanged are found.
        name = zlib.crc32(jax.tree_util.keystr(path).encode())
        total = total + _leaf_checksum(leaf, _places(leaf.shape, whole, first), name)
    return total


def _places(shape: tuple[int, ...], whole: tuple[int, ...], first: tuple[Any, ...]) -> Array:
    """The number that each element has in the whole array, counted through its last axis first; it may wrap."""
    places, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        own = jax.lax.broadcasted_iota(jnp.uint32, shape, axis) + jnp.asarray(first[axis]).astype(jnp.uint32)
        places = places + own * jnp.uint32(stride & 0xFFFFFFFF)
        stride *= whole[axis]
    return places


def _leaf_checksum(leaf: Array, places: Array, name: int) -> Array:
    bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
    weights = (_scramble(places + jnp.uint32((name + word * 0x9E3779B9) & 0xFFFFFFFF)) | 1 for word in range(WORDS))
    return jnp.stack([(bits * weight).sum(dtype=jnp.uint32) for weight in weights])


def _scramble(numbers: UInt[Array, "*numbers"]) -> UInt[Array, "*numbers"]:
    """A bijection of 32-bit numbers without visible order (the finalizer of MurmurHash3, Appleby, 2011)."""
    numbers = (numbers ^ (numbers >> 16)) * jnp.uint32(0x85EBCA6B)
    numbers = (numbers ^ (numbers >> 13)) * jnp.uint32(0xC2B2AE35)
    return numbers ^ (numbers >> 16)
