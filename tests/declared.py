"""Tables of a run compared with the schema, and tables that stand in for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from npi_jax.results.columns import Column, Family, Table
from npi_jax.results.schema import TABLES, check_written


def check_run(path: Path) -> set[str]:
    """Check every table of a run: columns and their order, types, values, keys. Returns the names of its tables."""
    expected = {file for table in TABLES.values() if table.FILE for file in path.glob(table.FILE.replace("STEP", "*"))}
    assert expected == set(path.rglob("*.parquet")), "every table of the run is declared"
    found = set()
    for name, table in TABLES.items():
        for file in path.glob(table.FILE.replace("STEP", "*")) if table.FILE else ():
            frame = check_written(pl.read_parquet(file), table, file=file)
            columns = [column for column in map(table.column, frame.columns) if column is not None]
            assert list(dict.fromkeys(columns)) == [column for column in table.written() if column in columns], file
            found.add(name)
    return found


Rows = pl.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def make_table(table: type[Table], rows: Rows) -> pl.DataFrame:
    """A table of the schema that stands in for a run's: required columns that the rows leave out get a neutral value.

    Columns that the table does not have are refused, so that no double has what the real thing has not.
    """
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)
    unknown = [name for name in frame.columns if table.column(name) is None]
    assert not unknown, f"{table.NAME} has no columns {unknown}"
    given = frame.columns
    columns = [
        column
        for column in table.COLUMNS
        if column in given or not (isinstance(column, Family) or column.optional or column.joined)
    ]
    filled = frame.with_columns(_neutral(column) for column in columns if column not in given)
    # Of a family there are as many columns as the rows have.
    names = dict.fromkeys((*map(str, columns), *given))
    return filled.select(pl.col(name).cast(_dtype(table, name)) for name in names)


def _dtype(table: type[Table], name: str) -> Any:
    column = table.column(name)
    assert column is not None
    return column.dtype


def _neutral(column: Column) -> pl.Expr:
    zeros = {pl.String: "", pl.Boolean: False, pl.Float64: 0.0}
    value = None if column.nullable else column.values[0] if column.values else zeros.get(column.dtype, 0)
    return pl.lit(value, column.dtype).alias(column)
