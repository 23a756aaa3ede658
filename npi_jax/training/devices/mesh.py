"""The mesh, and the one place where a function of one member becomes a function of the ensemble."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from npi_jax.errors import UserError
from npi_jax.training.devices.backend import compiler_options

Mapping = Literal["auto", "map", "vmap"]
MEMBERS = P("ens")
REPLICATED = P()


def make_mesh(ens: int, data: int, *, n_members: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of axes ``ens`` (members) and ``data`` (rows of a member's batch).

    Args:
        ens: devices along ``ens``; 0 for as many as there are, but in a single process no more than `n_members`.
        data: devices along ``data``.
        n_members: size of the ensemble.
        devices: by default all of `jax.devices()`.

    Raises:
        UserError: if there are too few devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    if not ens and len({device.process_index for device in devices}) > 1:
        # Every process must have work to do; members fill the places up.
        ens = max(1, len(devices) // data)
    elif not ens:
        per_device = -(-n_members // max(1, len(devices) // data))
        # No more devices than that many members each need: fewer places stay unfilled.
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
    """Members rounded up to a multiple of the devices along ``ens``."""
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
    """Compile a function of one member into a function of all members, sharded over the mesh.

    `jax.shard_map` over ``ens`` leaves no way for members to exchange anything. Within a device, members run in
    turn (``map``: each member's whole call before the next, so that its parameters stay in cache; the way on CPU)
    or at once (``vmap``).

    Args:
        fn: takes and returns pytrees of one member. May use the axis name ``data``.
        mesh: from `make_mesh`.
        in_specs: for each argument `MEMBERS` (leading axis: member), `REPLICATED`, or a spec that says which axis is
            split over ``data``, of a member's arrays (it then begins with ``ens``) or of shared ones; or a pytree of
            such, whose first says whose arrays they are.
        out_specs: the same for the result.
        mapping: how the members of a device are run.
        update_first: `fn` returns its first argument anew and something else; the memory of the old one is
            taken over, member by member, so that the ensemble's state is held only once.

    Returns:
        The jitted function; its results have a leading member axis.
    """
    platform = mesh.devices.flat[0].platform
    if mapping == "auto":
        mapping = "map" if platform == "cpu" else "vmap"
    own = [bool(first := jax.tree.leaves(spec)[0]) and first[0] == "ens" for spec in in_specs]
    if mapping == "vmap":
        local = jax.vmap(fn, [0 if is_own else None for is_own in own])
    else:
        local = partial(_in_turn, fn, own, update_first)
    sharded = jax.shard_map(local, mesh=mesh, in_specs=tuple(in_specs), out_specs=out_specs, check_vma=False)
    donated = (0,) if update_first else ()
    return jax.jit(sharded, donate_argnums=donated, compiler_options=compiler_options(platform))


def _in_turn(fn: Callable[..., Any], own: Sequence[bool], update_first: bool, *arguments: Any) -> Any:
    def of_member(index: Any, first: Any) -> Any:
        given = (first, *arguments[1:])
        return fn(*(_take(arg, index) if is_own else arg for is_own, arg in zip(own, given, strict=True)))

    n_members = len(jax.tree.leaves(arguments[own.index(True)])[0])
    if not update_first:
        return jax.lax.map(lambda index: of_member(index, arguments[0]), jnp.arange(n_members))
    # A map would read the old states from one stack and write the new ones to another; a loop that carries the
    # stack updates it in place.
    _, rest = jax.eval_shape(of_member, jnp.int32(0), arguments[0])
    stacked = jax.tree.map(lambda leaf: jnp.zeros((n_members, *leaf.shape), leaf.dtype), rest)

    def body(index: Any, carried: tuple[Any, Any]) -> Any:
        return jax.tree.map(
            lambda stack, leaf: jax.lax.dynamic_update_index_in_dim(stack, leaf, index, 0),
            carried,
            of_member(index, carried[0]),
        )

    return jax.lax.fori_loop(0, n_members, body, (arguments[0], stacked))


def _take(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda stack: jax.lax.dynamic_index_in_dim(stack, index, 0, keepdims=False), tree)


def pad_members(tree: Any, places: int) -> Any:
    """Stacked host arrays with copies of the last member in as many more places."""
    return jax.tree.map(lambda leaf: np.concatenate([leaf, *[leaf[-1:]] * places]), tree) if places else tree


def put(tree: Any, mesh: Mesh, spec: P) -> Any:
    """Place host arrays, which every process has whole, on the mesh."""
    sharding = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(place, tree)


def replicate(tree: Any) -> Any:
    """Arrays that every process can read; with several processes an exchange, which does not wait."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf if leaf.is_fully_replicated else _copies(leaf.sharding.mesh)(leaf), tree)


@cache
def _copies(mesh: Mesh) -> Any:
    """The call that gives every device of a mesh all of an array."""
    return jax.jit(lambda array: array, out_shardings=NamedSharding(mesh, REPLICATED))


def fetch(tree: Any) -> Any:
    """Bring arrays to the host as NumPy, from all processes; all of them must call it."""
    return jax.tree.map(np.asarray, replicate(tree))


def any_process(flag: bool, mesh: Mesh) -> jax.Array | np.bool_:
    """Whether the flag is set in any process; of several processes an array that says so later, without waiting."""
    if jax.process_count() == 1:
        return np.bool_(flag)
    every = NamedSharding(mesh, P(mesh.axis_names))
    flags = jax.make_array_from_callback((mesh.size,), every, lambda _: np.array([flag]))
    result: jax.Array = _any(mesh)(flags)
    return result


@cache
def _any(mesh: Mesh) -> Any:
    return jax.jit(jnp.any, out_shardings=NamedSharding(mesh, REPLICATED))
