"""The mesh axis ``data``: the devices that work on one member, each on a part of its rows.

The rows of training batches, validation and suites are split over these devices. Task gradients are not split: every
device computes all of them.

A member that is too large for one device can be split too, with its parameters and optimizer state (``mesh.fsdp``).
This is fully sharded data parallelism (Zhao et al., 2023), the third stage of ZeRO (Rajbhandari et al., 2020).
Parameters are all-gathered before use, and gradients are reduce-scattered. The optimizer updates shards.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, UInt

from npi_jax.models import LanguageModel, Model
from npi_jax.training.checkpoints.checksum import member_checksum
from npi_jax.training.devices.mesh import pad_members

DATA = "data"
"""Name of the mesh axis."""

UNSPLIT = -1
"""Value in place of the split axis for an array that is not split."""

MIN_ELEMENTS = 1 << 10
"""Minimum number of elements of an array that is split; gathering a smaller array is not worth its time."""


def split_axis(shape: tuple[int, ...], size: int) -> int:
    """Return the longest axis that is a multiple of `size`; `UNSPLIT` if there is none or the array is small."""
    fitting = [axis for axis, length in enumerate(shape) if length % size == 0]
    if math.prod(shape) < MIN_ELEMENTS or not fitting:
        return UNSPLIT
    return max(fitting, key=lambda axis: shape[axis])


@dataclass(frozen=True)
class DataAxis:
    """Sharding of one member over the devices along ``data``.

    Call the methods inside `jax.shard_map`, except `axes`, `specs` and `pad_rows`.

    Attributes:
        model: the architecture.
        size: number of devices along the axis; a single device exchanges nothing.
        fsdp: True if parameters and optimizer state are split, not only rows.
    """

    model: Model
    size: int = 1
    fsdp: bool = False

    @property
    def _splits_state(self) -> bool:
        return self.fsdp and self.size > 1

    def axes(self, shapes: Any) -> Any:
        """Return the axis along which each array of one member is split, or `UNSPLIT`."""
        return jax.tree.map(lambda leaf: split_axis(leaf.shape, self.size) if self._splits_state else UNSPLIT, shapes)

    def specs(self, shapes: Any) -> Any:
        """Return the partition specs of stacked arrays: members over ``ens``, and `axes` over ``data``."""
        return jax.tree.map(lambda axis: P("ens", *((None,) * axis + (DATA,) if axis >= 0 else ())), self.axes(shapes))

    def shard(self, arrays: Any) -> Any:
        """Cut this device's shard from complete arrays."""

        def cut(leaf: Array, axis: int) -> Array:
            if axis == UNSPLIT:
                return leaf
            length = leaf.shape[axis] // self.size
            return jax.lax.dynamic_slice_in_dim(leaf, jax.lax.axis_index(DATA) * length, length, axis)

        return jax.tree.map(cut, arrays, self.axes(arrays))

    def all_gather(self, shards: Any, shapes: Any) -> Any:
        """Gather complete arrays from the shards of all devices; `shapes` are the complete shapes."""

        def gather(leaf: Array, axis: int) -> Array:
            return leaf if axis == UNSPLIT else jax.lax.all_gather(leaf, DATA, axis=axis, tiled=True)

        return jax.tree.map(gather, shards, self.axes(shapes))

    def gather_params(self, shards: Any, keep: frozenset[str] = frozenset()) -> Any:
        """Gather a member's parameters, with matrices cast to the model's compute dtype.

        The derivative sums the gradients of all devices and gives each device its shard of the sum. With bfloat16,
        casting before the exchange halves the traffic of parameters and gradients. Embeddings are not cast, since not
        only matrix products use them.

        Args:
            shards: the parameters on this device.
            keep: further parameter groups (`LanguageModel.group`) that are not cast.
        """
        if not self._splits_state:
            return shards
        dtype = self.model.config.compute_dtype
        model, uncast = self.model, keep | {"embedding"}

        def cast(path: tuple[Any, ...], leaf: Array) -> Array:
            # A custom model may use its matrices outside of products, so they are not cast.
            operand = isinstance(model, LanguageModel) and leaf.ndim > 1 and model.group(path) not in uncast
            return leaf.astype(dtype) if operand else leaf

        return self.all_gather(jax.tree_util.tree_map_with_path(cast, shards), self._param_shapes())

    def _param_shapes(self) -> Any:
        return jax.eval_shape(self.model.init, jax.random.key(0, impl="threefry2x32"))

    def sum_gradients(
        self, loss: Float[Array, ""], tokens: Float[Array, ""], gradient: Any
    ) -> tuple[Float[Array, ""], Float[Array, ""], Any]:
        """Sum losses, token counts and gradients over the devices in one exchange.

        Gradients of split parameters are already summed (`gather_params`).
        """
        if self.size == 1:
            return loss, tokens, gradient
        leaves, structure = jax.tree.flatten(gradient)
        axes = jax.tree.leaves(self.axes(self._param_shapes()))
        pending = [leaf for leaf, axis in zip(leaves, axes, strict=True) if axis == UNSPLIT]
        loss, tokens, pending = jax.lax.psum((loss, tokens, pending), DATA)
        summed = iter(pending)
        leaves = [next(summed) if axis == UNSPLIT else leaf for leaf, axis in zip(leaves, axes, strict=True)]
        return loss, tokens, jax.tree.unflatten(structure, leaves)

    def psum(self, values: Any) -> Any:
        """Sum over the devices."""
        return values if self.size == 1 else jax.lax.psum(values, DATA)

    def concatenate(self, values: Any) -> Any:
        """Concatenate the arrays of all devices along the first axis."""
        return values if self.size == 1 else jax.lax.all_gather(values, DATA, tiled=True)

    def pad_rows(self, arrays: Any) -> Any:
        """Pad host arrays with copies of the last row, to a multiple of the number of devices."""
        return jax.tree.map(lambda array: pad_members(array, -len(array) % self.size), arrays)

    def norm(self, gradient: Any) -> Float[Array, ""]:
        """Return the Euclidean norm of one member's gradient; it is not finite if an element is not, or on overflow."""
        squares = [jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(gradient)]
        if not self._splits_state:
            return jnp.sqrt(sum(squares, jnp.zeros(())))
        axes = jax.tree.leaves(self.axes(self._param_shapes()))
        parts = [square if axis >= 0 else square / self.size for square, axis in zip(squares, axes, strict=True)]
        return jnp.sqrt(jax.lax.psum(sum(parts, jnp.zeros(())), DATA))

    def checksum(self, shards: Any, shapes: Any) -> UInt[Array, " words"]:
        """Compute the checksum of one member from the shards of all devices; `shapes` are the complete shapes."""
        axes = jax.tree.leaves(self.axes(shapes))
        if all(axis == UNSPLIT for axis in axes):
            return member_checksum(shards)
        leaves, structure = jax.tree.flatten(shards)
        device = jax.lax.axis_index(DATA)
        offsets = [
            tuple(device * leaf.shape[axis] if axis == split else 0 for axis in range(leaf.ndim))
            for leaf, split in zip(leaves, axes, strict=True)
        ]
        # An unsplit array is on all devices; count it only on the first.
        counted = [
            leaf if split != UNSPLIT else jnp.where(device == 0, leaf, jnp.zeros_like(leaf))
            for leaf, split in zip(leaves, axes, strict=True)
        ]
        return jax.lax.psum(member_checksum(jax.tree.unflatten(structure, counted), offsets, shapes), DATA)
