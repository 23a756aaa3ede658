"""Sweeps, which list the members of an experiment for the field `sweep` of a config.

    chain(
        prod(param("variant", ["full", "no_npi"]), param("seed", range(5))),
        prod(param("variant", held_out), param("seed", range(3))),
    )

A sweep is a tuple of dictionaries, one for each member. Each has a `variant` and a `seed`, and may have
hyper-parameters (`npi_jax.config.members.HYPERPARAMETERS`). A sweep makes the members of one ensemble. To start
separate jobs instead, loop over it.
"""

import itertools
from collections.abc import Iterable
from typing import Any

Sweep = tuple[dict[str, Any], ...]


def param(name: str, values: Iterable[Any]) -> Sweep:
    """Return a sweep of one setting over its values."""
    return tuple({name: value} for value in values)


def prod(*sweeps: Sweep) -> Sweep:
    """Return all combinations of entries of the sweeps; the last sweep varies fastest.

    Raises:
        ValueError: if two sweeps set the same name.
    """
    return tuple(_merged(parts) for parts in itertools.product(*sweeps))


def chain(*sweeps: Sweep) -> Sweep:
    """Return the sweeps one after the other."""
    return tuple(itertools.chain(*sweeps))


def zipped(*sweeps: Sweep) -> Sweep:
    """Merge the first entries of all sweeps, then the second entries, and so on.

    Raises:
        ValueError: if the sweeps differ in length, or two set the same name.
    """
    return tuple(_merged(parts) for parts in zip(*sweeps, strict=True))


def _merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        if twice := merged.keys() & part.keys():
            raise ValueError(f"{', '.join(sorted(twice))} is set by two of the sweeps that are combined")
        merged |= part
    return merged
