"""The mesh of devices, and `map_members`, which maps a function of one member over all members."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool

from npi_jax.errors import UserError
from npi_jax.training.devices.backend import compiler_options

Mapping = Literal["auto", "map", "vmap"]
MEMBERS = P("ens")
"""Sharding of stacked arrays: members are split over ``ens``."""

REPLICATED = P()
"""Sharding of arrays of which every device has a complete copy."""


def make_mesh(ens: int, data: int, *, n_members: int, devices: Sequence[Any] | None = None) -> Mesh:
    """Make a mesh with the axes ``ens`` (members) and ``data`` (rows of a member's batch).

    Args:
        ens: number of devices along ``ens``. With 0, several processes use all devices; a single process uses the
            fewest that do not increase the number of members per device.
        data: number of devices along ``data``.
        n_members: size of the ensemble.
        devices: the devices of the mesh; the default is `jax.devices()`.

    Raises:
        UserError: if there are too few devices, or a process would have no device.
    """
    devices = list(jax.devices() if devices is None else devices)
    if not ens and len({device.process_index for device in devices}) > 1:
        # Every process must take part; padding members occupy devices that would have no member.
        ens = max(1, len(devices) // data)
    elif not ens:
        per_device = -(-n_members // max(1, len(devices) // data))
        # With the same number of members per device, fewer devices may be enough; they need fewer padding members.
        ens = -(-n_members // per_device)
    if ens * data > len(devices):
        raise UserError(f"mesh.ens={ens} x mesh.data={data} needs {ens * data} devices; there are {len(devices)}")
    idle = {device.process_index for device in devices} - {d.process_index for d in devices[: ens * data]}
    if idle:
        raise UserError(
            f"mesh.ens={ens} x mesh.data={data} takes {ens * data} of {len(devices)} devices and leaves process "
            f"{min(idle)} without one; start fewer processes, or leave mesh.ens at 0"
        )
    grid = np.array(devices[: ens * data]).reshape(ens, data)
    return Mesh(grid, ("ens", "data"), axis_types=(AxisType.Auto, AxisType.Auto))


def padded_size(n_members: int, mesh: Mesh) -> int:
    """Round the number of members up to a multiple of the devices along ``ens``."""
    ens = mesh.shape["ens"]
    return -(-n_members // ens) * ens


def map_members(
    fn: Callable[..., Any],
    mesh: Mesh,
    in_specs: Sequence[Any],
    *,
    out_specs: Any = MEMBERS,
    mapping: Mapping = "auto",
    update_first: bool = False,
) -> Any:
    """Turn a function of one member into a jitted function of all members, sharded over the mesh.

    Under `jax.shard_map`, members exchange no data unless `fn` uses the axis name ``ens``, which it must not do. Each
    device runs its members in one of two ways. ``map`` is the default on CPU: it completes the call of one member
    before the next, so that the member's parameters stay in cache. ``vmap`` runs all members at once.

    Args:
        fn: function that takes and returns pytrees of one member. It may use the axis name ``data``.
        mesh: the mesh from `make_mesh`.
        in_specs: a partition spec, or a pytree of specs, for each argument. An argument with the leading axis
            ``ens`` is stacked over members; all members share any other argument. In a pytree the first spec decides.
        out_specs: the partition specs of the result.
        mapping: ``map``, ``vmap``, or ``auto`` for the default of the platform.
        update_first: `fn` returns a pair whose first entry replaces its first argument. The argument's memory is
            reused (donated), so that the state of the ensemble is in memory only once.

    Returns:
        The jitted function; its results have a leading member axis.
    """
    platform = mesh.devices.flat[0].platform
    if mapping == "auto":
        mapping = "map" if platform == "cpu" else "vmap"
    stacked = [bool(first := jax.tree.leaves(spec)[0]) and first[0] == "ens" for spec in in_specs]
    if mapping == "vmap":
        local = jax.vmap(fn, [0 if is_stacked else None for is_stacked in stacked])
    else:
        local = partial(_one_after_another, fn, stacked, update_first)
    sharded = jax.shard_map(local, mesh=mesh, in_specs=tuple(in_specs), out_specs=out_specs, check_vma=False)
    donated = (0,) if update_first else ()
    return jax.jit(sharded, donate_argnums=donated, compiler_options=compiler_options(platform))


def _one_after_another(fn: Callable[..., Any], stacked: Sequence[bool], update_first: bool, *arguments: Any) -> Any:
    def of_member(index: Any, first: Any) -> Any:
        given = (first, *arguments[1:])
        return fn(*(_take(arg, index) if is_stacked else arg for is_stacked, arg in zip(stacked, given, strict=True)))

    n_members = len(jax.tree.leaves(arguments[stacked.index(True)])[0])
    if not update_first:
        return jax.lax.map(lambda index: of_member(index, arguments[0]), jnp.arange(n_members))
    # `lax.map` would read the old states from one array and write the new states to another. A loop that carries the
    # array updates it in place.
    _, rest = jax.eval_shape(of_member, jnp.int32(0), arguments[0])
    results = jax.tree.map(lambda leaf: jnp.zeros((n_members, *leaf.shape), leaf.dtype), rest)

    def body(index: Any, carried: tuple[Any, Any]) -> Any:
        return jax.tree.map(
            lambda stack, leaf: jax.lax.dynamic_update_index_in_dim(stack, leaf, index, 0),
            carried,
            of_member(index, carried[0]),
        )

    return jax.lax.fori_loop(0, n_members, body, (arguments[0], results))


def _take(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda stack: jax.lax.dynamic_index_in_dim(stack, index, 0, keepdims=False), tree)


def pad_members(tree: Any, count: int) -> Any:
    """Append `count` copies of the last entry to stacked host arrays."""
    return jax.tree.map(lambda leaf: np.concatenate([leaf, *[leaf[-1:]] * count]), tree) if count else tree


def put(tree: Any, mesh: Mesh, spec: P) -> Any:
    """Copy host arrays to the devices of the mesh; every process must have the complete arrays."""
    sharding = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put_shards(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put_shards, tree)


def replicate(tree: Any) -> Any:
    """Make sharded arrays readable in every process, without waiting; a single process can always read them."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf if leaf.is_fully_replicated else _replicator(leaf.sharding.mesh)(leaf), tree)


@cache
def _replicator(mesh: Mesh) -> Any:
    return jax.jit(lambda array: array, out_shardings=NamedSharding(mesh, REPLICATED))


def fetch(tree: Any) -> Any:
    """Copy arrays to the host as NumPy arrays; with several processes, all must call this function."""
    return jax.tree.map(np.asarray, replicate(tree))


def any_process(flag: bool, mesh: Mesh) -> Bool[Array, ""] | np.bool_:
    """Return whether the flag is set in any process.

    With several processes the result is an array on the devices, and nothing waits until it is read.
    """
    if jax.process_count() == 1:
        return np.bool_(flag)
    over_all_devices = NamedSharding(mesh, P(mesh.axis_names))
    flags = jax.make_array_from_callback((mesh.size,), over_all_devices, lambda _: np.array([flag]))
    result: jax.Array = _any(mesh)(flags)
    return result


@cache
def _any(mesh: Mesh) -> Any:
    return jax.jit(jnp.any, out_shardings=NamedSharding(mesh, REPLICATED))
