"""What each training call reads: numbers of rows that lie on the devices, or rows read from disk ahead of the call."""

import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Int

from npi_jax.config.schema import Config, Member, TrainConfig
from npi_jax.corpus.variants.builder import RowPool, Variant
from npi_jax.corpus.variants.row_files import RowRecords, read_ahead
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.training.devices.chips import chip_of
from npi_jax.training.devices.mesh import REPLICATED, put
from npi_jax.training.member.step import Pool

ROWS = P("ens", None, "data")
"""Sharding of what is particular to a call, [places, steps, rows]: a device along ``data`` reads its share of rows."""

SHARE_OF_MEMORY = 4
"""Rows that take more than one part in so many of a device's memory are read from disk."""

Call = tuple[int, int]


@dataclass(frozen=True)
class RowIndex:
    """Which rows each place trains on: a pure function of seed and step.

    Attributes:
        train: batch size and steps of a call.
        members: of each place.
        variants, orders: of each place.
    """

    train: TrainConfig
    members: Sequence[Member]
    variants: Sequence[Variant]
    orders: Sequence[RowOrder]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Places, steps of a call, rows of a batch."""
        return len(self.members), self.train.steps_per_call, self.train.batch_size

    def rows(self, call: Call, places: slice = slice(None)) -> Int[np.ndarray, "places steps batch"]:
        """Pool rows of the next steps; what lies beyond them is 0.

        Args:
            call: the first step, and how many.
            places: those to look up.
        """
        first_step, n_steps = call
        chosen = range(len(self.members))[places]
        rows = np.zeros((len(chosen), *self.shape[1:]), np.int32)
        for row, place in enumerate(chosen):
            seed, variant, order = self.members[place].seed, self.variants[place], self.orders[place]
            for index in range(n_steps):
                rows[row, index] = variant.batch(order, seed, first_step + index)
        return rows


@runtime_checkable
class Feed(Protocol):
    """Gives each call what it trains on; see `make_feed`."""

    def expect(self, calls: Sequence[Call]) -> None:
        """Say which calls come next, in order, so that their rows can be read before."""

    def take(self, call: Call) -> tuple[jax.Array, Pool]:
        """Numbers int32 [places, steps_per_call, batch] and the rows that they count; does not wait for a device."""


def make_feed(index: RowIndex, mesh: Mesh, rows: RowPool | RowRecords) -> Feed:
    """A feed of rows in memory, which are put on every device, or of rows on disk. Batches are the same."""
    return _OnDisk(index, mesh, rows) if isinstance(rows, RowRecords) else _OnDevices(index, mesh, rows)


def pool_spec(*, streamed: bool) -> P:
    """How a feed's rows lie on the mesh."""
    return ROWS if streamed else REPLICATED


def is_streamed(config: Config, mesh: Mesh, pool_bytes: int, memory: int | None = None) -> bool:
    """Whether training reads rows from disk: as ``mesh.rows`` says, or because they take much of a device's memory.

    By itself only where Grain is installed.

    Args:
        config: the experiment.
        mesh: its devices.
        pool_bytes: size of all rows.
        memory: bytes of a device; by default what it says itself, on CPU its share of the machine's.
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
    # Who did not ask for it need not have what it takes.
    return pool_bytes * SHARE_OF_MEMORY > limit and importlib.util.find_spec("grain") is not None


class _OnDevices:
    def __init__(self, index: RowIndex, mesh: Mesh, pool: RowPool) -> None:
        self._index, self._sharding = index, NamedSharding(mesh, ROWS)
        self._pool = put(Pool(pool.tokens, pool.used), mesh, REPLICATED)

    def expect(self, calls: Sequence[Call]) -> None:
        """Nothing is to be read."""

    def take(self, call: Call) -> tuple[jax.Array, Pool]:
        shares = _shares(self._index, self._sharding, call, lambda rows: rows)
        return _placed(self._index.shape, self._sharding, shares), self._pool


class _OnDisk:
    """Each device gets the rows of its own batches, and numbers that count them."""

    def __init__(self, index: RowIndex, mesh: Mesh, records: RowRecords) -> None:
        self._index, self._sharding, self._records = index, NamedSharding(mesh, ROWS), records
        _, steps, batch = index.shape
        own = batch // mesh.shape["data"]
        numbers = np.arange(steps)[:, None] * own + np.arange(batch) % own
        self._numbers = put(np.broadcast_to(numbers.astype(np.int32), index.shape), mesh, ROWS)
        self._coming: deque[Call] = deque()
        self._read: Iterator[Any] = iter(())

    def expect(self, calls: Sequence[Call]) -> None:
        self._coming = deque(calls)
        self._read = read_ahead(list(calls), self._load)

    def take(self, call: Call) -> tuple[jax.Array, Pool]:
        if self._coming and self._coming[0] == call:
            self._coming.popleft()
            shares = next(self._read)
        else:
            shares = self._load(call)
        shape = self._index.shape
        tokens = {key: tokens for key, (tokens, _) in shares.items()}
        used = {key: used for key, (_, used) in shares.items()}
        pool = Pool(
            _placed((*shape, self._records.width), self._sharding, tokens), _placed(shape, self._sharding, used)
        )
        return self._numbers, pool

    def _load(self, call: Call) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
        return _shares(self._index, self._sharding, call, lambda rows: self._content(rows, call[1]))

    def _content(self, rows: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.zeros((*rows.shape, self._records.width), self._records.dtype)
        used = np.zeros(rows.shape, np.int32)
        tokens[:, :steps], used[:, :steps] = self._records.read(rows[:, :steps])
        return tokens, used


def _key(index: tuple[slice, ...] | None) -> tuple[Any, ...]:
    assert index is not None
    return index[0].start, index[0].stop, index[2].start, index[2].stop


def _shares(index: RowIndex, sharding: NamedSharding, call: Call, load: Callable[[np.ndarray], Any]) -> dict[Any, Any]:
    """What `load` makes of the rows of each of this process's devices, by their places and columns.

    What several devices share is looked up and loaded once.
    """
    found: dict[Any, Any] = {}
    of_places: dict[Any, np.ndarray] = {}
    for part in sharding.addressable_devices_indices_map(index.shape).values():
        assert part is not None
        places = part[0].start, part[0].stop
        if places not in of_places:
            of_places[places] = index.rows(call, part[0])
        if _key(part) not in found:
            found[_key(part)] = load(of_places[places][:, :, part[2]])
    return found


def _placed(shape: tuple[int, ...], sharding: NamedSharding, shares: dict[Any, np.ndarray]) -> jax.Array:
    return jax.make_array_from_callback(shape, sharding, lambda index: shares[_key(index)])
