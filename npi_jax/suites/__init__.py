"""Minimal pairs and items of several conditions: what a suite is, and the suites that can be loaded by name.

What becomes of what is odd:

| what | what happens |
|---|---|
| a line that cannot be read, a field that is missing or of another kind | `SuiteError` naming file, line and field |
| no items; a file without any; fields that name the same item twice | `SuiteError` |
| a pair of identical sentences (BLiMP has seven) | kept; it ties exactly; counted in `Suite.notes` |
| a pair that is in its paradigm already | kept; counts again; counted in `Suite.notes` |
| items left out because of ``limit`` | counted in `Suite.notes` |
| a word outside the vocabulary | scored as ``<unk>``; counted by `EncodedSuite` |
| a region that no token overlaps | `EncodingError` naming the item |
| half of a surrogate pair in a sentence or name | `EncodingError` naming the item |
| a region that begins or ends inside a token | all of the token is the region's; counted by `EncodedSuite` |
| scored regions of different numbers of tokens | compared by means by default; counted by the scorer |
| a task with a name that tables use themselves (``mean over tasks``, ``lm``) | `SuiteError` naming the item |
| a region that some items lack, or that begins with an unscored first token | left out there; counted by the scorer |
| a sentence longer than the model can read | refused by the scorer, naming the item |
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from npi_jax.errors import did_you_mean
from npi_jax.suites.blimp import load_blimp, load_blimp_npi, load_supplement
from npi_jax.suites.paths import ending_fault
from npi_jax.suites.reading import SuiteError
from npi_jax.suites.schema import Condition, ConditionItem, ConditionSuite, Item, Span, Suite, SuiteNotes
from npi_jax.suites.syntaxgym import evaluate_predictions, load_syntaxgym
from npi_jax.suites.table import load_table
from npi_jax.suites.warstadt import load_warstadt, load_warstadt_cells
from npi_jax.suites.zorro import load_zorro

__all__ = [
    "LOADERS",
    "Condition",
    "ConditionItem",
    "ConditionSuite",
    "Item",
    "Span",
    "Suite",
    "SuiteError",
    "SuiteNotes",
    "evaluate_predictions",
    "load_suite",
]

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
"""The loaders, by the names of their suites."""


def load_suite(name: str, path: str | Path, /, *, limit: int | None = None, **options: Any) -> Any:
    """Load a suite from files: a `Suite` of minimal pairs, or a `ConditionSuite` (warstadt2019_cells, syntaxgym).

    Arguments:
        name: one of `LOADERS`: ``"blimp"`` (any set in BLiMP's form), ``"blimp_npi"``, ``"supplement"`` (BabyLM),
            ``"warstadt2019"`` (its pairs), ``"warstadt2019_cells"`` (all eight cells), ``"syntaxgym"``,
            ``"zorro"`` or ``"table"``.
        path: the file or folder; see the loader.
        limit: most items a paradigm, evenly spaced and always the same; None for all.
        options: of the loader; `load_blimp` takes the names of the fields.

    Raises:
        SuiteError: there is no such loader, or it finds a fault; names the file, the line and the field.
    """
    if name not in LOADERS:
        hint = did_you_mean(name, LOADERS)
        raise SuiteError(f"there is no suite {name!r} to load{hint}; there are {', '.join(map(repr, LOADERS))}")
    path = Path(path)
    try:
        return LOADERS[name](path, limit=limit, **options)
    except SuiteError as error:
        if fault := ending_fault(name, path):
            raise SuiteError(f"{error} ({fault})") from error
        raise
