"""Tables as CSV files whose cells no spreadsheet executes as formulas."""

import re
from pathlib import Path
from typing import Final

import polars as pl

from npi_jax.files.writing import atomic_path

# Spreadsheets treat a cell that begins so as a formula (some also with full-width signs), or as the start of another
# cell.
_EXECUTED: Final = r"^[=+\-@\t\r\n＝＋－＠]"
_NUMBER: Final = r"^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$"


def write_csv(path: Path, frame: pl.DataFrame) -> None:
    """Write a table as CSV atomically, with texts that no spreadsheet executes (`inert`)."""
    # Polars gets an open file, because it would expand a path that looks like a pattern.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        inert(frame).write_csv(file)


def inert(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with an apostrophe before every text and column name that a spreadsheet would execute.

    Numbers stay unchanged, also in columns of text.
    """
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    executed = {name: pl.col(name).str.contains(_EXECUTED) & ~pl.col(name).str.contains(_NUMBER) for name in texts}
    marked = [
        pl.when(starts).then(pl.concat_str(pl.lit("'"), pl.col(name))).otherwise(pl.col(name)).alias(name)
        for name, starts in executed.items()
    ]
    return frame.with_columns(marked).rename({name: f"'{name}" for name in frame.columns if re.match(_EXECUTED, name)})
