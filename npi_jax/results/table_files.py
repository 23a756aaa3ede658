"""Tables on disk, checked against the schema when they are written and when they are read."""

from pathlib import Path

import polars as pl

from npi_jax.errors import UserError
from npi_jax.files.writing import read_table, write_table
from npi_jax.results import schema
from npi_jax.results.columns import Table


def write_declared(path: Path, frame: pl.DataFrame, table: type[Table]) -> None:
    """Write a table of the schema as Parquet, complete or not at all.

    Raises:
        SchemaError: if the frame is not as declared; nothing is written then.
        UserError: naming `path`, if it cannot be written.
    """
    # A step's table can have millions of rows; checking their keys would take seconds at every checkpoint.
    write_table(path, schema.check_written(frame, table, file=path, key="STEP" not in table.FILE))


def read_declared(path: Path, table: type[Table]) -> pl.DataFrame:
    """Read a table of the schema; old files can lack columns that were introduced later.

    Raises:
        UserError: naming the file, and the column that is missing or of another type.
    """
    try:
        return schema.check(read_table(path), table, file=path)
    except schema.SchemaError as error:
        raise UserError(f"{error}; it was not written by npi-jax, or is damaged") from error
