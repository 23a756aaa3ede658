"""Minimal pairs: what a suite is, and the suites that can be loaded by name."""

from collections.abc import Callable
from pathlib import Path

from npi_jax.suites.blimp import load_blimp, load_blimp_npi
from npi_jax.suites.records import SuiteError
from npi_jax.suites.schema import Item, Span, Suite
from npi_jax.suites.table import load_table
from npi_jax.suites.warstadt import load_warstadt

__all__ = ["LOADERS", "Item", "Span", "Suite", "SuiteError", "load_suite"]

LOADERS: dict[str, Callable[..., Suite]] = {
    "blimp": load_blimp,
    "blimp_npi": load_blimp_npi,
    "warstadt2019": load_warstadt,
    "table": load_table,
}
"""The loaders, by the names of their suites."""


def load_suite(name: str, path: Path, *, limit: int | None = None) -> Suite:
    """Load a suite from files.

    Arguments:
        name: one of `LOADERS`: ``"blimp"`` (any set in BLiMP's form), ``"blimp_npi"``, ``"warstadt2019"`` or
            ``"table"``.
        path: the file or folder; see the loader.
        limit: most items a paradigm, evenly spaced and always the same; None for all.

    Raises:
        SuiteError: there is no such loader, or it finds a fault; names the file, the line and the field.
    """
    if name not in LOADERS:
        raise SuiteError(f"there is no suite {name!r} to load; there are {', '.join(map(repr, LOADERS))}")
    return LOADERS[name](Path(path), limit=limit)
