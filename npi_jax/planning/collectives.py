"""What a compiled program exchanges between devices, read from its text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jax.sharding import Mesh

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast"
# An operation that begins is counted, its "-done" is not.
_CALL = re.compile(rf"= (?P<result>.*?) (?P<kind>{_KINDS})(?P<start>-start)?\(")
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{} ]*\})\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_ARRAY = re.compile(r"\b(pred|bf|[fsu])(\d*)\w*\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """One exchange.

    Attributes:
        kind: as XLA calls it, such as ``all-reduce``.
        axes: the axes of the mesh along which its groups reach.
        bytes: of its result on one device.
    """

    kind: str
    axes: tuple[str, ...]
    bytes: int


def collectives(text: str, mesh: Mesh) -> list[Collective]:
    """The exchanges of a compiled program (``compiled.as_text()``) in the order of its text; in loops each once.

    Devices are numbered in the program by their place in the mesh.

    Raises:
        ValueError: if the devices of an exchange are written in a form that is not known.
    """
    found = []
    for line in text.splitlines():
        if match := _CALL.search(line):
            groups = _groups(line, mesh.size)
            axes = tuple(
                name
                for axis, name in enumerate(mesh.axis_names)
                if any(len(set(np.unravel_index(group, mesh.devices.shape)[axis].tolist())) > 1 for group in groups)
            )
            found.append(Collective(match["kind"], axes, _bytes(match["result"], match["kind"], bool(match["start"]))))
    return found


def _groups(line: str, n_devices: int) -> Sequence[np.ndarray]:
    if listed := _LISTED.search(line):
        return [np.array([int(n) for n in group.split(",")]) for group in re.findall(r"\{([\d, ]+)\}", listed[1])]
    if iota := _IOTA.search(line):
        shape, dims, turned = ([int(n) for n in part.split(",")] if part else [] for part in iota.groups())
        numbers = np.arange(np.prod(dims)).reshape(dims)
        return list(numbers.transpose(turned or range(len(dims))).reshape(shape))
    if "replica_groups={}" in line:
        return [np.arange(n_devices)]
    raise ValueError(f"which devices take part is not said in a known form: {line.strip()[:200]}")


def _bytes(result: str, operation: str, began: bool) -> int:
    arrays = _ARRAY.findall(result)
    if began and operation in ("all-gather", "collective-permute"):
        # Where these begin stands what goes in before what comes out, and numbers of their own after.
        arrays = [array for array in arrays if array[2]]
        arrays = arrays[len(arrays) // 2 :]
    total = 0
    for kind, bits, shape in arrays:
        size = int(np.prod([int(n) for n in shape.split(",")])) if shape else 1
        total += size * (1 if kind == "pred" else max(1, int(bits or 8) // 8))
    return total
