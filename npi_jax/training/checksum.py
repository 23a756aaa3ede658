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


def member_checksum(state: Any) -> UInt[Array, " words"]:
    """The checksum of one member's arrays (of 32 bits an element), which lie on this device as a whole."""
    total = jnp.zeros(WORDS, jnp.uint32)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        # Names tell leaves apart, so that two that were exchanged are found.
        name = zlib.crc32(jax.tree_util.keystr(path).encode())
        total = total + _leaf_checksum(leaf.reshape(-1), name)
    return total


def _leaf_checksum(leaf: Array, name: int) -> Array:
    bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
    places = jnp.arange(leaf.size, dtype=jnp.uint32)
    weights = (_scramble(places + jnp.uint32((name + word * 0x9E3779B9) & 0xFFFFFFFF)) | 1 for word in range(WORDS))
    return jnp.stack([(bits * weight).sum(dtype=jnp.uint32) for weight in weights])


def _scramble(numbers: UInt[Array, " numbers"]) -> UInt[Array, " numbers"]:
    """A bijection of 32-bit numbers without visible order (the finalizer of MurmurHash3, Appleby, 2011)."""
    numbers = (numbers ^ (numbers >> 16)) * jnp.uint32(0x85EBCA6B)
    numbers = (numbers ^ (numbers >> 13)) * jnp.uint32(0xC2B2AE35)
    return numbers ^ (numbers >> 16)
