"""Building blocks of the schema: a column is a name with type and meaning, a table is a class of columns."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

import polars as pl
from polars.datatypes import DataTypeClass

NATS: Final = "nats"
SHARE: Final = "share, 0 to 1"
STEPS: Final = "steps"
TOKENS: Final = "tokens"

Row = dict[str, Any]
"""Values of one row of a table, by column."""


class Column(str):
    """The name of a column, with its type and meaning: ``frame[Transfer.effect]``, ``pl.col(Transfer.effect)``.

    Attributes:
        dtype: type of the values in Polars.
        meaning: the meaning in one sentence.
        unit: unit of the numbers; "" if there is none.
        values: all allowed values; empty if any value of the type is allowed.
        nullable: True if values can be null. Floating-point numbers can always be NaN.
        optional: the files that lack the column, for example older ones; "" if every file has it.
        joined: True if the column is not in the file, and `Run` adds it when it reads the table.
    """

    dtype: DataTypeClass
    meaning: str
    unit: str
    values: tuple[str, ...]
    nullable: bool
    optional: str
    joined: bool

    def __new__(
        cls,
        name: str = "",
        dtype: DataTypeClass = pl.String,
        meaning: str = "",
        *,
        unit: str = "",
        values: tuple[str, ...] = (),
        nullable: bool = False,
        optional: str = "",
        joined: bool = False,
    ) -> "Column":
        """Make a column; in the body of a `Table`, omit the name, which is then that of the attribute."""
        column = super().__new__(cls, name)
        column.dtype, column.meaning, column.unit = dtype, meaning, unit
        column.values, column.nullable, column.optional, column.joined = values, nullable, optional, joined
        return column

    def named(self, name: str) -> "Column":
        """Return a copy of the column with another name."""
        return type(self)(name, **vars(self))

    def holds(self, name: str) -> bool:
        """Return True if this is the column that has the given name in a file."""
        return name == self


class Family(Column):
    """Columns that share a prefix and a meaning, one for each label: ``Corpus.npi.of("only")`` is ``npi_only``."""

    def of(self, label: str) -> str:
        """Return the name of the column for a label."""
        return f"{self}{label}"

    def named(self, name: str) -> Column:
        """Return a copy of the family with another prefix."""
        return super().named(f"{name.removesuffix('_')}_")

    def holds(self, name: str) -> bool:
        """Return True if a column of this name in a file belongs to the family."""
        return name.startswith(self)


def text(meaning: str, **more: Any) -> Column:
    """Declare a column of text."""
    return Column("", pl.String, meaning, **more)


def number(meaning: str, unit: str = "", **more: Any) -> Column:
    """Declare a column of floating-point numbers."""
    return Column("", pl.Float64, meaning, unit=unit, **more)


def integer(meaning: str, unit: str = "", *, bits: int = 64, **more: Any) -> Column:
    """Declare a column of integers, with 64 or 32 bits."""
    return Column("", {64: pl.Int64, 32: pl.Int32}[bits], meaning, unit=unit, **more)


def flag(meaning: str, **more: Any) -> Column:
    """Declare a column of Boolean values."""
    return Column("", pl.Boolean, meaning, **more)


class Table:
    """Base of all tables; a subclass declares its columns as attributes, in the order in which files have them.

    The first line of a subclass's docstring describes the table to readers of its documentation. Tables are never
    instantiated.

    Attributes:
        NAME: name of the table, as in ``run.table(NAME)`` and ``run.describe(NAME)``.
        FILE: path in the run directory, with STEP in place of the number of a step; "" if the table is not written.
        WHEN: the runs that have the table; "" if every run has it.
        COLUMNS: all columns in order.
        KEY: columns whose values identify a row; empty if rows can be equal.
    """

    NAME: ClassVar[str]
    FILE: ClassVar[str]
    WHEN: ClassVar[str]
    COLUMNS: ClassVar[tuple[Column, ...]]
    KEY: ClassVar[tuple[Column, ...]]

    def __init_subclass__(cls, *, name: str, file: str = "", key: str, when: str = "") -> None:
        cls.NAME, cls.FILE, cls.WHEN = name, file, when
        declared = {attribute: its for attribute, its in vars(cls).items() if isinstance(its, Column)}
        for attribute, column in declared.items():
            setattr(cls, attribute, column.named(attribute))
        cls.COLUMNS = tuple(getattr(cls, attribute) for attribute in declared)
        cls.KEY = tuple(getattr(cls, attribute) for attribute in key.split())

    @classmethod
    def file_of(cls, step: int) -> str:
        """Return the path in the run directory of a step's file, for a table with one file per step."""
        return cls.FILE.replace("STEP", str(step))

    @classmethod
    def about(cls) -> str:
        """Return a one-sentence description of the table."""
        return (cls.__doc__ or "").splitlines()[0]

    @classmethod
    def written(cls) -> Iterator[Column]:
        """Yield the columns in the table's file."""
        return (column for column in cls.COLUMNS if not column.joined)

    @classmethod
    def schema(cls) -> dict[str, DataTypeClass]:
        """Return the Polars schema of the columns in the file, without families of columns."""
        return {str(column): column.dtype for column in cls.written() if not isinstance(column, Family)}

    @classmethod
    def column(cls, name: str) -> Column | None:
        """Return the declared column (or family) for a column name in a file; None if there is none."""
        return next((column for column in cls.COLUMNS if column.holds(name)), None)
