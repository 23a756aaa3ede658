"""Memory and peak rates of devices, and TPU topologies, for which programs can be compiled without a TPU."""

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
    """A kind of device.

    Attributes:
        memory: memory that programs can use, bytes.
        peak: peak rate of bfloat16 products with float32 sums, floating-point operations per second; None if
            unknown.
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
"""Kinds of devices by JAX's name.

The memory of a TPU is the part that its compiler (libtpu 0.0.42) leaves to programs. Other values are from the makers.
Sources for TPUs are the system pages of the Cloud TPU documentation: v4, v5e ("v5 lite"), v5p ("v5") and v6e ("v6
lite"). Sources for GPUs are the data sheets of A100, H100 and H200 (dense)."""


def expect_no_chips() -> None:
    """Tell libtpu, if it is installed, that this machine has no TPU; call before any computation.

    Otherwise libtpu queries the metadata server of a cloud machine, and prints an error about missing hosts. It would
    also refuse to be loaded by two processes at the same time.
    """
    for name, value in (
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_WORKER_HOSTNAMES", "localhost"),
        ("TPU_ACCELERATOR_TYPE", "v5litepod-16"),
        ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ):
        os.environ.setdefault(name, value)


def topology_devices(name: str) -> Sequence[Any]:
    """Return the devices of a TPU topology; programs can be compiled for them, but cannot run.

    Args:
        name: generation and shape, such as ``v5e:4x4``.

    Raises:
        UserError: if libtpu is not installed, or the topology does not exist.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology {name} compiles with libtpu, which is not installed: pip install 'npi-jax[topology]'"
        )
    expect_no_chips()
    from jax.experimental import topologies  # noqa: PLC0415

    try:
        # JAX treats the two cores of these chips as one device. By default a topology lists both cores.
        options = {"chip_config_name": "megacore"} if name.startswith(("v4:", "v5p:")) else {}
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"--topology {name}: {first_line(error)}. Valid topologies are, for example, v5e:4x4, v5e:16x16, "
            "v4:2x2x4, v5p:2x2x2, v6e:4x4"
        ) from error
    devices: Sequence[Any] = topology.devices
    return devices


def chip_of(device: Any, memory: int | None = None) -> Chip | None:
    """Return the memory and peak rate of a device; None if its memory is unknown.

    Args:
        device: the device.
        memory: memory of the device, bytes; the default is the memory that it reports, else that of its kind.
    """
    known = CHIPS.get(device.device_kind)
    if memory is not None:
        return Chip(memory, None if known is None else known.peak)
    try:
        reported = (device.memory_stats() or {}).get("bytes_limit")
    except jax.errors.JaxRuntimeError:
        # The devices of a topology do not exist, so they report nothing.
        reported = None
    if reported is None:
        return known
    return Chip(reported, None if known is None else known.peak)


def peak_flops(mesh: Mesh) -> float | None:
    """Return the peak rate of all devices of a mesh, floating-point operations per second; None if unknown."""
    chip = chip_of(mesh.devices.flat[0])
    return None if chip is None or chip.peak is None else chip.peak * mesh.size
