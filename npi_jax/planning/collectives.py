"""Exchanges between devices in a compiled program, read from the program's text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Integer

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast"
# An asynchronous operation is counted at its "-start", not at its "-done".
_CALL = re.compile(rf"= (?P<result>.*?) (?P<kind>{_KINDS})(?P<start>-start)?\(")
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{} ]*\})\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_ARRAY = re.compile(r"\b(pred|bf|[fsu])(\d*)\w*\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """An exchange between devices.

    Attributes:
        kind: XLA's name of the operation, such as ``all-reduce``.
        axes: the axes of the mesh along which devices exchange data.
        bytes: size of the result on one device.
    """

    kind: str
    axes: tuple[str, ...]
    bytes: int


def collectives(text: str, mesh: Mesh) -> list[Collective]:
    """List the exchanges of a compiled program in the order of its text; an exchange in a loop is listed once.

    Args:
        text: the result of ``compiled.as_text()``.
        mesh: the mesh of the program, which numbers devices by their position in the mesh.

    Raises:
        ValueError: if the devices of an exchange are written in an unknown form.
    """
    exchanges = []
    for line in text.splitlines():
        if match := _CALL.search(line):
            groups = _groups(line, mesh.size)
            axes = tuple(
                name
                for axis, name in enumerate(mesh.axis_names)
                if any(len(set(np.unravel_index(group, mesh.devices.shape)[axis].tolist())) > 1 for group in groups)
            )
            exchanges.append(
                Collective(match["kind"], axes, _bytes(match["result"], match["kind"], bool(match["start"])))
            )
    return exchanges


def _groups(line: str, n_devices: int) -> Sequence[Integer[np.ndarray, " devices"]]:
    """Return the groups of devices that exchange data with one another; devices are numbers."""
    if listed := _LISTED.search(line):
        return [np.array([int(n) for n in group.split(",")]) for group in re.findall(r"\{([\d, ]+)\}", listed[1])]
    if iota := _IOTA.search(line):
        shape, dims, transposed = ([int(n) for n in part.split(",")] if part else [] for part in iota.groups())
        numbers = np.arange(np.prod(dims)).reshape(dims)
        return list(numbers.transpose(transposed or range(len(dims))).reshape(shape))
    if "replica_groups={}" in line:
        return [np.arange(n_devices)]
    raise ValueError(f"the devices of an exchange are written in an unknown form: {line.strip()[:200]}")


def _bytes(result: str, operation: str, began: bool) -> int:
    arrays = _ARRAY.findall(result)
    if began and operation in ("all-gather", "collective-permute"):
        # The "-start" of these operations lists the operands, then the results, then scalars without a shape.
        arrays = [array for array in arrays if array[2]]
        arrays = arrays[len(arrays) // 2 :]
    total = 0
    for kind, bits, shape in arrays:
        size = int(np.prod([int(n) for n in shape.split(",")])) if shape else 1
        total += size * (1 if kind == "pred" else max(1, int(bits or 8) // 8))
    return total
