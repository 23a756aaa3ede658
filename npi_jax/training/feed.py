"""Supply of rows to training calls, either from the memory of the devices or read from disk before the call."""

import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Array, Int, UInt

from npi_jax.config.schema import Config, Member, TrainConfig
from npi_jax.corpus.variants.row_files import RowRecords, read_ahead
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.corpus.variants.variant import RowPool, Variant
from npi_jax.training.devices.chips import chip_of
from npi_jax.training.devices.mesh import REPLICATED, put
from npi_jax.training.member.step import Pool

ROWS = P("ens", None, "data")
"""Sharding of a call's arrays [members, steps, rows]; each batch is split over the devices along ``data``."""

MEMORY_PARTS = 4
"""With ``mesh.rows`` auto, rows are read from disk if this many times their size exceeds a device's memory."""

Call = tuple[int, int]
"""First step of a training call, and its number of steps."""


@dataclass(frozen=True)
class RowIndex:
    """Numbers of the rows on which each member trains: a pure function of its variant, seed and step.

    Attributes:
        train: batch size and steps per call.
        members: all members, including padding members.
        variants, orders: variant and row order of each member.
    """

    train: TrainConfig
    members: Sequence[Member]
    variants: Sequence[Variant]
    orders: Sequence[RowOrder]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Members, steps per call, rows per batch."""
        return len(self.members), self.train.steps_per_call, self.train.batch_size

    def rows(self, call: Call, members: slice = slice(None)) -> Int[np.ndarray, "members steps batch"]:
        """Return the row numbers of a call; entries after its last step are 0.

        Args:
            call: the training call.
            members: the members whose rows are returned.
        """
        first_step, n_steps = call
        chosen = range(len(self.members))[members]
        rows = np.zeros((len(chosen), *self.shape[1:]), np.int32)
        for number, member in enumerate(chosen):
            seed, variant, order = self.members[member].seed, self.variants[member], self.orders[member]
            for index in range(n_steps):
                rows[number, index] = variant.batch(order, seed, first_step + index)
        return rows


@runtime_checkable
class Feed(Protocol):
    """Supplies the rows of each training call; see `make_feed`."""

    def expect(self, calls: Sequence[Call]) -> None:
        """Announce the next calls in order, so that their rows can be read in advance."""

    def take(self, call: Call) -> tuple[Int[Array, "members steps batch"], Pool]:
        """Return row numbers, and the rows that they index, without waiting for a device."""


def make_feed(index: RowIndex, mesh: Mesh, rows: RowPool | RowRecords) -> Feed:
    """Make a feed of rows in memory, which are copied to every device, or of rows on disk.

    Both feeds give the same batches.
    """
    return _OnDisk(index, mesh, rows) if isinstance(rows, RowRecords) else _OnDevices(index, mesh, rows)


def pool_spec(*, streamed: bool) -> P:
    """Return the sharding of a feed's rows, which are either streamed from disk or all on the devices."""
    return ROWS if streamed else REPLICATED


def pool_shapes(rows: RowPool | RowRecords, call_shape: tuple[int, int, int]) -> Pool:
    """Return the shapes of the rows that a feed supplies to a call of this shape (`Ensemble.call_shape`)."""
    if isinstance(rows, RowRecords):
        return rows_of_shape(call_shape, rows.width, rows.dtype)
    return rows_of_shape(rows.used.shape, rows.tokens.shape[-1], rows.tokens.dtype)


def rows_of_shape(axes: tuple[int, ...], width: int, dtype: DTypeLike) -> Pool:
    """Return the shapes of rows with these leading axes and this number of tokens."""
    return Pool(
        jax.ShapeDtypeStruct((*axes, width), dtype),  # type: ignore[arg-type]
        jax.ShapeDtypeStruct(axes, jnp.int32),  # type: ignore[arg-type]
    )


def is_streamed(config: Config, mesh: Mesh, pool_bytes: int, memory: int | None = None) -> bool:
    """Return whether training reads rows from disk.

    The setting ``mesh.rows`` decides. With ``auto``, rows are streamed if they would take more than a quarter of a
    device's memory and Grain is installed.

    Args:
        config: the experiment.
        mesh: its devices.
        pool_bytes: size of all rows, bytes.
        memory: memory of a device, bytes. The default is the memory that the device reports, else that of its kind; for
            a CPU device, its share of the machine's memory.
    """
    if config.mesh.rows != "auto":
        return config.mesh.rows == "stream"
    device = mesh.devices.flat[0]
    chip = chip_of(device, memory)
    if chip is not None:
        limit = chip.memory
    elif device.platform == "cpu":
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(mesh.local_devices)
    else:
        return False
    # 'auto' must not require an optional dependency.
    return pool_bytes * MEMORY_PARTS > limit and importlib.util.find_spec("grain") is not None


class _OnDevices:
    def __init__(self, index: RowIndex, mesh: Mesh, pool: RowPool) -> None:
        self._index, self._sharding = index, NamedSharding(mesh, ROWS)
        self._pool = put(Pool(pool.tokens, pool.used), mesh, REPLICATED)

    def expect(self, calls: Sequence[Call]) -> None:
        """No-op: rows are already on the devices."""

    def take(self, call: Call) -> tuple[Int[Array, "members steps batch"], Pool]:
        shards = _shards(self._index, self._sharding, call, lambda rows: rows)
        return _from_shards(self._index.shape, self._sharding, shards), self._pool


class _OnDisk:
    """Gives each device only the rows of its batches, and numbers that index these rows."""

    def __init__(self, index: RowIndex, mesh: Mesh, records: RowRecords) -> None:
        self._index, self._sharding, self._records = index, NamedSharding(mesh, ROWS), records
        _, steps, batch = index.shape
        per_device = batch // mesh.shape["data"]
        numbers = np.arange(steps)[:, None] * per_device + np.arange(batch) % per_device
        self._numbers = put(np.broadcast_to(numbers.astype(np.int32), index.shape), mesh, ROWS)
        self._coming: deque[Call] = deque()
        self._read: Iterator[Any] = iter(())

    def expect(self, calls: Sequence[Call]) -> None:
        self._coming = deque(calls)
        self._read = read_ahead(list(calls), self._load)

    def take(self, call: Call) -> tuple[Int[Array, "members steps batch"], Pool]:
        if self._coming and self._coming[0] == call:
            self._coming.popleft()
            shards = next(self._read)
        else:
            shards = self._load(call)
        shape = self._index.shape
        tokens = {key: tokens for key, (tokens, _) in shards.items()}
        used = {key: used for key, (_, used) in shards.items()}
        pool = Pool(
            _from_shards((*shape, self._records.width), self._sharding, tokens),
            _from_shards(shape, self._sharding, used),
        )
        return self._numbers, pool

    def _load(self, call: Call) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
        return _shards(self._index, self._sharding, call, lambda rows: self._content(rows, call[1]))

    def _content(
        self, rows: Int[np.ndarray, "members steps batch"], steps: int
    ) -> tuple[UInt[np.ndarray, "members steps batch width"], Int[np.ndarray, "members steps batch"]]:
        tokens = np.zeros((*rows.shape, self._records.width), self._records.dtype)
        used = np.zeros(rows.shape, np.int32)
        tokens[:, :steps], used[:, :steps] = self._records.read(rows[:, :steps])
        return tokens, used


def _key(index: tuple[slice, ...] | None) -> tuple[Any, ...]:
    assert index is not None
    return index[0].start, index[0].stop, index[2].start, index[2].stop


def _shards(index: RowIndex, sharding: NamedSharding, call: Call, load: Callable[[np.ndarray], Any]) -> dict[Any, Any]:
    """Apply `load` to the row numbers of each device of this process; devices with the same rows share a result.

    Returns:
        the results by the ranges of members and of batch rows (`_key`).
    """
    loaded: dict[Any, Any] = {}
    of_members: dict[Any, np.ndarray] = {}
    for part in sharding.addressable_devices_indices_map(index.shape).values():
        assert part is not None
        members = part[0].start, part[0].stop
        if members not in of_members:
            of_members[members] = index.rows(call, part[0])
        if _key(part) not in loaded:
            loaded[_key(part)] = load(of_members[members][:, :, part[2]])
    return loaded


def _from_shards(shape: tuple[int, ...], sharding: NamedSharding, shards: dict[Any, np.ndarray]) -> jax.Array:
    return jax.make_array_from_callback(shape, sharding, lambda index: shards[_key(index)])
