"""Schema of results: all tables by name, and functions that check, describe and create them."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
from polars.datatypes import DataTypeClass

from npi_jax.errors import UserError, did_you_mean
from npi_jax.results.columns import Column, Family, Table
from npi_jax.results.tables_alignment import (
    Alignment,
    AlignmentContrasts,
    AlignmentMean,
    AlignmentNpi,
    EffectiveTasks,
    Gradients,
    Lookahead,
    Overlap,
)
from npi_jax.results.tables_amplification import Amplification, Gains
from npi_jax.results.tables_learning import Acquisition, Curves, FailedSeeds, FinalResults, Published
from npi_jax.results.tables_link import Link, LinkPairs, Prediction
from npi_jax.results.tables_preparation import Corpus, Environments, Examples, Ngram, Slots
from npi_jax.results.tables_training import Members, Metrics, Scores
from npi_jax.results.tables_transfer import (
    Asymmetry,
    Eavesdropping,
    Power,
    Transfer,
    TransferBySeed,
    TransferPooled,
    VarianceComponents,
)

TABLES: Final[dict[str, type[Table]]] = {
    table.NAME: table
    for table in (
        *(Corpus, Slots, Examples, Environments, Ngram),
        *(Members, Metrics, Scores),
        *(Curves, FinalResults, Acquisition, FailedSeeds, Published),
        *(Transfer, TransferBySeed, TransferPooled, Asymmetry, Amplification, Gains, Eavesdropping),
        *(Alignment, AlignmentMean, EffectiveTasks, AlignmentContrasts, Gradients, AlignmentNpi, Overlap, Lookahead),
        *(Link, LinkPairs, Prediction),
        *(Power, VarianceComponents),
    )
}
"""All tables by name, in the order in which a run makes them; the last two are returned by functions only."""

_TYPES: Final[dict[DataTypeClass, str]] = {
    pl.String: "text",
    pl.Int64: "integer",
    pl.Int32: "integer (32 bits)",
    pl.Float64: "number",
    pl.Boolean: "true or false",
}


class SchemaError(ValueError):
    """A table does not match the schema; the message names the table or file, and the column."""


def check(frame: pl.DataFrame, table: type[Table], *, file: Path | None = None) -> pl.DataFrame:
    """Return a table that was read, after checking its required columns and the types of all declared ones.

    Types can differ in width, because earlier versions wrote narrower numbers, and text as categories. Columns outside
    the schema are allowed, because a later version could have written them.

    Args:
        frame: the table.
        table: the table's entry in the schema.
        file: path of the file that was read, for the error message.

    Raises:
        SchemaError: naming the column, with its actual and its expected type if the type is wrong.
    """
    found = frame.schema
    for column in table.written():
        named = [name for name in found if column.holds(name)]
        if not named and not column.optional and column in table.schema():
            raise _fault(table, file, f"has no column {column!r}; it has {', '.join(found)}")
        for name in named:
            if not _is_like(found[name], column.dtype):
                raise _fault(table, file, _other_type(name, found[name], column))
    return frame


def _is_like(found: Any, wanted: DataTypeClass) -> bool:
    """Return True if values of one type can be read as those of another; earlier versions wrote narrower types."""
    if wanted == pl.String:
        return found in (pl.String, pl.Categorical)
    if wanted == pl.Boolean:
        return found == wanted
    return found.is_float() if wanted == pl.Float64 else found.is_integer()


def check_written(
    frame: pl.DataFrame, table: type[Table], *, file: Path | None = None, key: bool = True
) -> pl.DataFrame:
    """Return a table to be written, after checking that columns, types, values and key are as declared.

    Args:
        frame: the table.
        table: the table's entry in the schema.
        file: path to which the table will be written, for the error message.
        key: if True, check that no two rows have the same key.

    Raises:
        SchemaError: naming the column or key, with the actual and the allowed value or type.
    """
    check(frame, table, file=file)
    for name, found in frame.schema.items():
        column = table.column(name)
        if column is None or column.joined:
            raise _fault(table, file, f"has a column {name!r}, which is not declared")
        if found != column.dtype:
            raise _fault(table, file, _other_type(name, found, column))
        _check_values(frame[name], column, table, file)
    if key and table.KEY:
        _check_key(frame, table, file)
    return frame


def _check_values(series: pl.Series, column: Column, table: type[Table], file: Path | None) -> None:
    if series.null_count() and not column.nullable:
        row = series.is_null().arg_true()[0]
        raise _fault(table, file, f"column {series.name!r} is null in row {row}, which it may not be")
    if column.values:
        odd = series.drop_nulls().unique(maintain_order=True)
        odd = odd.filter(~odd.is_in(list(column.values)))
        if len(odd):
            valid = ", ".join(map(repr, column.values))
            raise _fault(table, file, f"column {series.name!r} holds {odd[0]!r}; {valid} are allowed")


def _check_key(frame: pl.DataFrame, table: type[Table], file: Path | None) -> None:
    key = [str(column) for column in table.KEY]
    twice = frame.select(key).is_duplicated()
    if twice.any():
        row = frame.select(key).row(twice.arg_true()[0], named=True)
        values = ", ".join(f"{name} {value!r}" for name, value in row.items())
        raise _fault(table, file, f"has {int(twice.sum())} rows whose key occurs more than once, first {values}")


def _other_type(name: str, found: object, column: Column) -> str:
    return f"column {name!r} is of type {found}; {column.dtype} is expected"


def _fault(table: type[Table], file: Path | None, fault: str) -> SchemaError:
    return SchemaError(f"{file}: {fault}" if file else f"table {table.NAME!r}: {fault}")


def empty(table: type[Table]) -> pl.DataFrame:
    """Return a table without rows, with all columns of its file except families of columns."""
    return pl.DataFrame(schema=table.schema())


def find(name: str) -> type[Table]:
    """Return the table of this name.

    Raises:
        UserError: if there is none; the message lists the names of all tables.
    """
    if name not in TABLES:
        hint = did_you_mean(name, TABLES)
        raise UserError(f"there is no table {name!r}{hint}; the tables are {', '.join(TABLES)}")
    return TABLES[name]


def of_file(path: str) -> type[Table] | None:
    """Return the table of the schema to which a path in a run directory belongs; None if there is none."""
    folder, _, name = path.rpartition("/")
    step = f"{folder}/STEP.parquet"
    files = {table.FILE: table for table in TABLES.values() if table.FILE}
    return files.get(path) or (files.get(step) if name.removesuffix(".parquet").isdigit() else None)


@dataclass(frozen=True)
class Reference:
    """A table of the schema as text, for reference pages.

    Attributes:
        name: name of the table.
        file: path in the run directory; "" if the table is not written.
        about: one-sentence description of the table.
        when: the runs that have the table; "" if every run has it.
        key: columns whose values identify a row; empty if rows can be equal.
        rows: name, type, unit and meaning of each column.
    """

    name: str
    file: str
    about: str
    when: str
    key: tuple[str, ...]
    rows: tuple[tuple[str, str, str, str], ...]


def reference() -> Iterator[Reference]:
    """Yield all tables as text, in the order of `TABLES`."""
    for table in TABLES.values():
        rows = tuple((_shown(its), _TYPES[its.dtype], its.unit, _explained(its)) for its in table.COLUMNS)
        key = tuple(map(_shown, table.KEY))
        yield Reference(table.NAME, table.FILE, table.about(), table.WHEN, key, rows)


def describe(name: str) -> str:
    """Return a description of a table and the meaning of each of its columns, as text for the terminal.

    Raises:
        UserError: if there is no table of this name.
    """
    page = next(page for page in reference() if page.name == find(name).NAME)
    where = f"In {page.file}" if page.file else "Returned by a function, not written by a run"
    lines = _wrapped(f"{page.name}: {page.about}", "")
    lines += _wrapped(f"{where}{f'; only of {page.when}' if page.when else ''}.", "")
    if page.key:
        lines += _wrapped(f"One row for each {', '.join(page.key)}.", "")
    for column, kind, unit, meaning in page.rows:
        lines += ["", f"{column}  ({kind}{f', {unit}' if unit else ''})", *_wrapped(meaning, "    ")]
    return "\n".join(lines)


def _wrapped(prose: str, indent: str) -> list[str]:
    return textwrap.wrap(prose, 100, initial_indent=indent, subsequent_indent=indent)


def _shown(column: Column) -> str:
    """Return a column's name; for a family, the prefix followed by LABEL."""
    return f"{column}LABEL" if isinstance(column, Family) else str(column)


def _explained(column: Column) -> str:
    """Return a column's meaning, with its allowed values and the files that lack it."""
    parts = [column.meaning]
    if column.values:
        named = ", ".join(repr(value).replace("'", '"') for value in column.values)
        parts.append(f"One of {named}.")
    if column.optional:
        parts.append(f"Absent from {column.optional}.")
    if column.joined:
        parts.append("Not in the file: `Run` adds it from members.")
    return " ".join(parts)
