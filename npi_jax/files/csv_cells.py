"""Tables as CSV that a spreadsheet shows and does not execute."""

import re
from pathlib import Path
from typing import Final

import polars as pl

from npi_jax.files.writing import atomic_path

# A cell that begins so is taken for a formula (full-width forms too, by some), or slips into the next cell.
_RUNS: Final = r"^[=+\-@\t\r\n＝＋－＠]"
_NUMBER: Final = r"^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$"


def write_csv(path: Path, frame: pl.DataFrame) -> None:
    """Write a table as CSV atomically, with `inert` texts."""
    # By a handle: a path would be read as a pattern.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        inert(frame).write_csv(file)


def inert(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with an apostrophe before every text, and every column's name, that a spreadsheet would execute.

    Columns of numbers, and texts that are numbers, stay as they are.
    """
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    runs = {name: pl.col(name).str.contains(_RUNS) & ~pl.col(name).str.contains(_NUMBER) for name in texts}
    marked = [
        pl.when(starts).then(pl.concat_str(pl.lit("'"), pl.col(name))).otherwise(pl.col(name)).alias(name)
        for name, starts in runs.items()
    ]
    return frame.with_columns(marked).rename({name: f"'{name}" for name in frame.columns if re.match(_RUNS, name)})
