"""The devices that a plan is made for: those of this machine, or a TPU topology that is compiled for from afar."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from npi_jax.errors import UserError, first_line

GIB = 1 << 30


@dataclass(frozen=True)
class Chip:
    """What is known of a kind of device.

    Attributes:
        memory: bytes that programs can use.
        peak: floating-point operations a second in bfloat16, with sums in float32; None if not known.
    """

    memory: int
    peak: float | None


CHIPS = {
    "TPU v4": Chip(int(30.75 * GIB), 275e12),
    "TPU v5 lite": Chip(int(15.75 * GIB), 197e12),
    "TPU v5": Chip(int(95.74 * GIB), 459e12),
    "TPU v6 lite": Chip(int(31.25 * GIB), 918e12),
    "NVIDIA A100-SXM4-40GB": Chip(40 * GIB, 312e12),
    "NVIDIA A100-SXM4-80GB": Chip(80 * GIB, 312e12),
    "NVIDIA H100 80GB HBM3": Chip(80 * GIB, 989e12),
    "NVIDIA H200": Chip(141 * GIB, 989e12),
}
"""By JAX's name of the kind. Memory of TPUs is what their compiler (libtpu 0.0.42) leaves to a program, somewhat less
than a chip has. The rest is as the makers state it: the system pages of the Cloud TPU documentation (v4, v5e or "v5
lite", v5p or "v5", v6e or "v6 lite"), the data sheets of A100, H100 and H200 (dense)."""


def expect_no_chips() -> None:
    """Tell libtpu, where it is installed, that this machine has no chips; before anything is computed.

    Otherwise it asks the metadata server of a cloud machine, complains that it has no hosts, and lets no two programs
    load it at a time.
    """
    for name, value in (
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_WORKER_HOSTNAMES", "localhost"),
        ("TPU_ACCELERATOR_TYPE", "v5litepod-16"),
        ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ):
        os.environ.setdefault(name, value)


def topology_devices(name: str) -> Sequence[Any]:
    """The devices of a TPU topology, which programs can be compiled for but not run on.

    Args:
        name: generation and shape, such as ``v5e:4x4``.

    Raises:
        UserError: if libtpu is not installed, or there is no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology {name} compiles with libtpu, which is not installed: pip install 'npi-jax[topology]'"
        )
    expect_no_chips()
    from jax.experimental import topologies  # noqa: PLC0415

    try:
        # The two cores of these chips are one device to JAX; on its own the description would have two.
        options = {"chip_config_name": "megacore"} if name.startswith(("v4:", "v5p:")) else {}
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"--topology {name}: {first_line(error)}. Valid are such as v5e:4x4, v5e:16x16, v4:2x2x4, v5p:2x2x2, "
            "v6e:4x4"
        ) from error
    devices: Sequence[Any] = topology.devices
    return devices


def chip_of(device: Any, memory: int | None = None) -> Chip | None:
    """What is known of a device; its memory as given, or as it says itself where it does."""
    known = CHIPS.get(device.device_kind)
    if memory is not None:
        return Chip(memory, None if known is None else known.peak)
    try:
        stated = (device.memory_stats() or {}).get("bytes_limit")
    except jax.errors.JaxRuntimeError:
        # The devices of a topology are nowhere.
        stated = None
    if stated is None:
        return known
    return Chip(stated, None if known is None else known.peak)


def peak_flops(mesh: Mesh) -> float | None:
    """Operations a second of all devices of a mesh at their peak; None if it is not known."""
    chip = chip_of(mesh.devices.flat[0])
    return None if chip is None or chip.peak is None else chip.peak * mesh.size
