"""What the devices along the mesh axis ``data`` do for one member: each takes a share of its rows.

Rows of validation and of suites are shared like those of training; gradients of tasks are compared by each device on
its own, with the whole member.

Where a member is too large for a device, each also holds a share of its parameters and optimizer state (fully
sharded data parallelism: Zhao et al., 2023; the third stage of ZeRO: Rajbhandari et al., 2020). The parameters
are gathered where they are used and their gradients scattered where they are made; the optimizer sees shares only.
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

NAME = "data"
WHOLE = -1
"""Stands for the axis of an array that is not split."""

MIN_ELEMENTS = 1 << 10
"""Smaller arrays are held whole by every device: gathering them takes longer than it saves."""


def split_axis(shape: tuple[int, ...], size: int) -> int:
    """The longest axis that `size` divides; `WHOLE` where there is none or the array is small."""
    fitting = [axis for axis, length in enumerate(shape) if length % size == 0]
    if math.prod(shape) < MIN_ELEMENTS or not fitting:
        return WHOLE
    return max(fitting, key=lambda axis: shape[axis])


@dataclass(frozen=True)
class DataAxis:
    """The devices that work on one member.

    Attributes:
        model: the architecture.
        size: how many devices there are; with 1 nothing is exchanged.
        split: whether parameters and optimizer state are split over them, not only rows.
    """

    model: Model
    size: int = 1
    split: bool = False

    def axes(self, shapes: Any) -> Any:
        """For arrays of one member, or their shapes: the axis along which each is split, or `WHOLE`."""
        splits = self.split and self.size > 1
        return jax.tree.map(lambda leaf: split_axis(leaf.shape, self.size) if splits else WHOLE, shapes)

    def specs(self, shapes: Any) -> Any:
        """The sharding of the stacked arrays: members over ``ens``, each split over ``data`` as `axes` says."""
        return jax.tree.map(lambda axis: P("ens", *((None,) * axis + (NAME,) if axis >= 0 else ())), self.axes(shapes))

    def own(self, whole: Any) -> Any:
        """This device's share of arrays that every device has whole."""

        def part(leaf: Array, axis: int) -> Array:
            if axis == WHOLE:
                return leaf
            length = leaf.shape[axis] // self.size
            return jax.lax.dynamic_slice_in_dim(leaf, jax.lax.axis_index(NAME) * length, length, axis)

        return jax.tree.map(part, whole, self.axes(whole))

    def whole(self, shares: Any, shapes: Any) -> Any:
        """Arrays put together from every device's share; `shapes` are those of the whole arrays."""

        def gather(leaf: Array, axis: int) -> Array:
            return leaf if axis == WHOLE else jax.lax.all_gather(leaf, NAME, axis=axis, tiled=True)

        return jax.tree.map(gather, shares, self.axes(shapes))

    def checksum(self, shares: Any, shapes: Any) -> UInt[Array, " words"]:
        """The member's checksum from every device's share, as by `npi_jax.training.checkpoints.checksum`."""
        axes = jax.tree.leaves(self.axes(shapes))
        if all(axis == WHOLE for axis in axes):
            return member_checksum(shares)
        leaves = jax.tree.leaves(shares)
        number = jax.lax.axis_index(NAME)
        offsets = [
            tuple(number * leaf.shape[axis] if axis == split else 0 for axis in range(leaf.ndim))
            for leaf, split in zip(leaves, axes, strict=True)
        ]
        # What every device has whole is counted once.
        counted = [
            leaf if split != WHOLE else jnp.where(number == 0, leaf, jnp.zeros_like(leaf))
            for leaf, split in zip(leaves, axes, strict=True)
        ]
        structure = jax.tree.structure(shares)
        return jax.lax.psum(member_checksum(jax.tree.unflatten(structure, counted), offsets, shapes), NAME)

    def whole_params(self, shares: Any, keep: frozenset[str] = frozenset()) -> Any:
        """A member's parameters put together, matrices in the model's dtype of products.

        Its derivative hands every device the sum over devices of the gradient of its share. Matrices are cast before
        they travel, which halves the traffic, that of their gradients too; embeddings are no operands of products
        alone and stay.

        Args:
            shares: this device's.
            keep: other groups (`Model.group`) that stay as they are.
        """
        if not self.split or self.size == 1:
            return shares
        dtype = self.model.config.compute_dtype
        model, stay = self.model, keep | {"embedding"}

        def cast(path: tuple[Any, ...], leaf: Array) -> Array:
            # A model of the user's own may use its matrices otherwise than in products.
            operand = isinstance(model, LanguageModel) and leaf.ndim > 1 and model.group(path) not in stay
            return leaf.astype(dtype) if operand else leaf

        return self.whole(jax.tree_util.tree_map_with_path(cast, shares), self._param_shapes())

    def _param_shapes(self) -> Any:
        return jax.eval_shape(self.model.init, jax.random.key(0, impl="threefry2x32"))

    def sum(self, loss: Array, tokens: Array, gradient: Any) -> tuple[Array, Array, Any]:
        """Sums over the devices, in one exchange; gradients of split parameters are summed already."""
        if self.size == 1:
            return loss, tokens, gradient
        leaves, structure = jax.tree.flatten(gradient)
        axes = jax.tree.leaves(self.axes(self._param_shapes()))
        pending = [leaf for leaf, axis in zip(leaves, axes, strict=True) if axis == WHOLE]
        loss, tokens, pending = jax.lax.psum((loss, tokens, pending), NAME)
        summed = iter(pending)
        leaves = [next(summed) if axis == WHOLE else leaf for leaf, axis in zip(leaves, axes, strict=True)]
        return loss, tokens, jax.tree.unflatten(structure, leaves)

    def total(self, values: Any) -> Any:
        """Sums over the devices."""
        return values if self.size == 1 else jax.lax.psum(values, NAME)

    def joined(self, values: Any) -> Any:
        """Arrays of which each device has the next part along the first axis, put together."""
        return values if self.size == 1 else jax.lax.all_gather(values, NAME, tiled=True)

    def filled(self, arrays: Any) -> Any:
        """Host arrays with copies of the last entry, so that the devices' shares along the first axis are equal."""
        return jax.tree.map(lambda array: pad_members(array, -len(array) % self.size), arrays)

    def norm(self, gradient: Any) -> Float[Array, ""]:
        """The Euclidean norm of one member's gradient; not finite if any element is not, or if it overflows."""
        axes = jax.tree.leaves(self.axes(self._param_shapes())) if self.split and self.size > 1 else None
        squares = [jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(gradient)]
        if axes is None:
            return jnp.sqrt(sum(squares, jnp.zeros(())))
        shares = [square if axis >= 0 else square / self.size for square, axis in zip(squares, axes, strict=True)]
        return jnp.sqrt(jax.lax.psum(sum(shares, jnp.zeros(())), NAME))
