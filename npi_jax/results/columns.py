"""Building blocks of the schema: a column is its name plus what is known of it, a table is a class of columns."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

import polars as pl
from polars.datatypes import DataTypeClass

NATS: Final = "nats"
SHARE: Final = "share, 0 to 1"
STEPS: Final = "steps"
TOKENS: Final = "tokens"

Row = dict[str, Any]
"""One row of a table, by column."""


class Column(str):
    """The name of a column, with its type and meaning: ``frame[Transfer.effect]``, ``pl.col(Transfer.effect)``.

    Attributes:
        dtype: type of the values in Polars.
        meaning: one sentence.
        unit: of the numbers; "" where there is none.
        values: all values that are allowed, where they can be listed.
        nullable: whether a value may be null. Floating-point numbers may also be NaN.
        optional: why the column may be absent from a file; "" where it never is.
        joined: whether the column is absent from the file, and added by `Run` when it reads the table.
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
        """Make a column; in the body of a `Table` the name is left out, and is that of the attribute."""
        column = super().__new__(cls, name)
        column.dtype, column.meaning, column.unit = dtype, meaning, unit
        column.values, column.nullable, column.optional, column.joined = values, nullable, optional, joined
        return column

    def named(self, name: str) -> "Column":
        """Return the same column by another name."""
        return type(self)(name, **vars(self))

    def holds(self, name: str) -> bool:
        """Return whether a column of this name in a file is this one."""
        return name == self


class Family(Column):
    """Columns that share a prefix and a meaning, one for each label: ``Corpus.npi.of("only")`` is ``npi_only``."""

    def of(self, label: str) -> str:
        """Return the name of the column of a label."""
        return f"{self}{label}"

    def named(self, name: str) -> Column:
        """Return the same family with another prefix."""
        return super().named(f"{name.removesuffix('_')}_")

    def holds(self, name: str) -> bool:
        """Return whether a column of this name in a file belongs to the family."""
        return name.startswith(self)


def text(meaning: str, **more: Any) -> Column:
    """Declare a column of text."""
    return Column("", pl.String, meaning, **more)


def number(meaning: str, unit: str = "", **more: Any) -> Column:
    """Declare a column of floating-point numbers."""
    return Column("", pl.Float64, meaning, unit=unit, **more)


def integer(meaning: str, unit: str = "", *, bits: int = 64, **more: Any) -> Column:
    """Declare a column of whole numbers, of 64 or 32 bits."""
    return Column("", {64: pl.Int64, 32: pl.Int32}[bits], meaning, unit=unit, **more)


def flag(meaning: str, **more: Any) -> Column:
    """Declare a column of true and false."""
    return Column("", pl.Boolean, meaning, **more)


class Table:
    """Base of all tables; a subclass declares its columns as attributes, in the order in which files have them.

    The docstring's first line says what the table holds. No table is ever instantiated.

    Attributes:
        NAME: what the table is called, as in ``run.table(NAME)`` and ``run.describe(NAME)``.
        FILE: its path in the run directory, with STEP for the number of a step; "" of a table that is not written.
        WHEN: which runs have it; "" where every run does.
        COLUMNS: all columns in order.
        KEY: columns that together tell one row from every other; empty where rows may be equal.
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
        """Return the path in the run directory of a table that has one file a step."""
        return cls.FILE.replace("STEP", str(step))

    @classmethod
    def about(cls) -> str:
        """Return what the table holds, in a sentence."""
        return (cls.__doc__ or "").splitlines()[0]

    @classmethod
    def written(cls) -> Iterator[Column]:
        """Yield the columns that its file has."""
        return (column for column in cls.COLUMNS if not column.joined)

    @classmethod
    def schema(cls) -> dict[str, DataTypeClass]:
        """Return the types of the columns by name, as Polars wants them, without families of columns."""
        return {str(column): column.dtype for column in cls.written() if not isinstance(column, Family)}

    @classmethod
    def column(cls, name: str) -> Column | None:
        """Return the column that a file's column of this name is; None if the table has none."""
        return next((column for column in cls.COLUMNS if column.holds(name)), None)
