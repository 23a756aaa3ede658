"""Members as sweeps: small tables of settings that are combined, for the field `sweep` of a config.

    chain(
        prod(param("variant", ["full", "no_npi"]), param("seed", range(5))),
        prod(param("variant", held_out), param("seed", range(3))),
    )

Every sweep is a tuple of dictionaries, one a member, each with a `variant`, a `seed` and, where members differ in
them, a `learning_rate`, `weight_decay` or `dropout`. A sweep becomes the members of one ensemble; to run jobs apart,
loop over it instead.
"""

import itertools
from collections.abc import Iterable
from typing import Any

Sweep = tuple[dict[str, Any], ...]


def param(name: str, values: Iterable[Any]) -> Sweep:
    """One setting with each of the values."""
    return tuple({name: value} for value in values)


def prod(*sweeps: Sweep) -> Sweep:
    """Every combination, the last sweep varying fastest.

    Raises:
        ValueError: if two sweeps set the same name.
    """
    return tuple(_merged(parts) for parts in itertools.product(*sweeps))


def chain(*sweeps: Sweep) -> Sweep:
    """One after the other."""
    return tuple(itertools.chain(*sweeps))


def zipped(*sweeps: Sweep) -> Sweep:
    """The first of each together, then the second of each, and so on.

    Raises:
        ValueError: if they are not of the same length, or set the same name.
    """
    return tuple(_merged(parts) for parts in zip(*sweeps, strict=True))


def _merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        if twice := merged.keys() & part.keys():
            raise ValueError(f"{', '.join(sorted(twice))} is set by two of the sweeps that are combined")
        merged |= part
    return merged
