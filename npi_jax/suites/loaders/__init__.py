"""Loaders of suites from files, one module per format.

A new format needs a module with a function like `load_zorro`, an entry in `LOADERS`, and its file endings in
`npi_jax.suites.loaders.paths.ENDINGS`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from npi_jax.errors import did_you_mean
from npi_jax.suites.loaders.blimp import load_blimp, load_blimp_npi, load_supplement
from npi_jax.suites.loaders.paths import ending_fault
from npi_jax.suites.loaders.syntaxgym import load_syntaxgym
from npi_jax.suites.loaders.table import load_table
from npi_jax.suites.loaders.warstadt import load_warstadt, load_warstadt_cells
from npi_jax.suites.loaders.zorro import load_zorro
from npi_jax.suites.schema import SuiteError

LOADERS: dict[str, Callable[..., Any]] = {
    "blimp": load_blimp,
    "blimp_npi": load_blimp_npi,
    "supplement": load_supplement,
    "warstadt2019": load_warstadt,
    "warstadt2019_cells": load_warstadt_cells,
    "syntaxgym": load_syntaxgym,
    "zorro": load_zorro,
    "table": load_table,
}
"""Loaders by the name of a suite or a file format."""


def load_suite(name: str, path: str | Path, /, *, limit: int | None = None, **options: Any) -> Any:
    """Load a suite from files: a `Suite` of minimal pairs, or a `ConditionSuite` (warstadt2019_cells, syntaxgym).

    Arguments:
        name: one of `LOADERS`: ``"blimp"`` (any suite in BLiMP's format), ``"blimp_npi"``, ``"supplement"``
            (BabyLM), ``"warstadt2019"`` (minimal pairs), ``"warstadt2019_cells"`` (all eight cells),
            ``"syntaxgym"``, ``"zorro"`` or ``"table"``.
        path: file or folder; see the loader.
        limit: largest number of items per paradigm, taken at even distances, without randomness; None for all.
        options: options of the loader; `load_blimp` takes the names of the fields.

    Raises:
        SuiteError: if there is no such loader, or the loader rejects a file; names the file, the line and the field.
    """
    if name not in LOADERS:
        hint = did_you_mean(name, LOADERS)
        raise SuiteError(f"no suite {name!r} to load{hint}; valid are {', '.join(map(repr, LOADERS))}")
    path = Path(path)
    try:
        return LOADERS[name](path, limit=limit, **options)
    except SuiteError as error:
        if fault := ending_fault(name, path):
            raise SuiteError(f"{error} ({fault})") from error
        raise
