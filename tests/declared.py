"""Tables of a run compared with the schema."""

from pathlib import Path

import polars as pl

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
