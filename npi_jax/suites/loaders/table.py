"""Minimal pairs that the user wrote, as a table of good and bad sentences."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from npi_jax.suites.loaders.paths import ENDINGS, check_path, unpacked_name
from npi_jax.suites.loaders.reading import (
    find_word,
    full_sentences,
    make_suite,
    read_json_records,
    read_text_lines,
    text_field,
)
from npi_jax.suites.schema import Item, Suite, SuiteError
from npi_jax.suites.sentences import Span

KINDS = ("licensor", "scope", "npi", "other")
"""Valid values of `npi_jax.suites.Item.kind`."""


def load_table(path: Path, *, limit: int | None = None, name: str = "table") -> Suite:
    """Load a table: JSON lines (.jsonl), or .csv or .tsv with a header line. It may be compressed (.gz, .zst).

    Only the columns ``good`` and ``bad`` are required. An empty cell, or null in JSON, counts as no value. Other
    columns are ignored.

    - ``good``, ``bad``: the sentences.
    - ``paradigm``: the file's name by default. ``task``: the paradigm by default. ``kind``: one of `KINDS`,
      ``"other"`` by default. ``item``: the paradigm and the row number (from 0) by default.
    - ``critical_good``, ``critical_bad``: the critical region, as words that occur once in the sentence. The columns
      ``critical_good_start``, ``critical_good_end`` (and the same for bad) give it as characters ``[start, end)``
      instead. By default the critical region is the full sentence.

    Cells of a .csv file may be quoted; cells of a .tsv file are read literally.

    Arguments:
        path: one file.
        limit: largest number of items per paradigm, taken at even distances; None for all.
        name: name of the suite.

    Raises:
        SuiteError: if the file does not exist, or a row is damaged; names the file, the line and the column.
    """
    path = Path(path)
    check_path(path, file="one file ending in .jsonl, .csv or .tsv")
    unpacked = unpacked_name(path)
    if unpacked.suffix not in ENDINGS["table"]:
        raise SuiteError(f"{path}: the file's name must end in .jsonl, .csv or .tsv (and .gz or .zst, if packed)")
    rows = read_json_records(path) if unpacked.suffix == ".jsonl" else _table_rows(path, unpacked.suffix)
    items = (_item(row, unpacked.stem, i, f"{path}, line {number}") for i, (number, row) in enumerate(rows))
    return make_suite(name, items, path, limit)


def _table_rows(path: Path, ending: str) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = (line + "\n" for _, line in read_text_lines(path))
    if ending == ".tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, strict=True)
    try:
        columns = next(reader, [])
        _check_columns(columns, path)
        for row in reader:
            if not row:
                continue
            if len(row) != len(columns):
                raise SuiteError(f"{path}, line {reader.line_num}: {len(row)} cells, not {len(columns)}")
            yield reader.line_num, {c: cell for c, cell in zip(columns, row, strict=True) if cell}
    except csv.Error as error:
        raise SuiteError(f"{path}, line {reader.line_num}: {error}") from error


def _check_columns(columns: list[str], path: Path) -> None:
    for column in ("good", "bad"):
        if column not in columns:
            raise SuiteError(f"{path}, line 1: no column {column!r}; there are {', '.join(columns) or 'none'}")
    # Spreadsheets write empty columns without a name; these are ignored.
    if repeated := next((column for column in columns if column and columns.count(column) > 1), None):
        raise SuiteError(f"{path}, line 1: the column {repeated!r} occurs twice; rename one")


def _item(row: Mapping[str, Any], stem: str, index: int, where: str) -> Item:
    row = {column: value for column, value in row.items() if value is not None}
    good, bad = text_field(row, "good", where), text_field(row, "bad", where)
    paradigm = _optional(row, "paradigm", stem, where)
    kind = _optional(row, "kind", "other", where)
    if kind not in KINDS:
        raise SuiteError(f"{where}: kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    critical_good, critical_bad = _regions(row, good, bad, where)
    return Item(
        item=_optional(row, "item", f"{paradigm}/{index}", where),
        paradigm=paradigm,
        task=_optional(row, "task", paradigm, where),
        kind=kind,
        good=good,
        bad=bad,
        critical_good=critical_good,
        critical_bad=critical_bad,
    )


def _optional(row: Mapping[str, Any], column: str, default: str, where: str) -> str:
    return text_field(row, column, where) if column in row else default


def _regions(row: Mapping[str, Any], good: str, bad: str, where: str) -> tuple[Span, Span]:
    critical_good = _region(row, good, "critical_good", where)
    critical_bad = _region(row, bad, "critical_bad", where)
    if critical_good is None and critical_bad is None:
        return full_sentences(good, bad)
    if critical_good is None or critical_bad is None:
        given, missing = ("bad", "good") if critical_good is None else ("good", "bad")
        raise SuiteError(f"{where}: critical_{given} is given but critical_{missing} is not; give both or none")
    return critical_good, critical_bad


def _region(row: Mapping[str, Any], sentence: str, column: str, where: str) -> Span | None:
    ends = [end for end in (f"{column}_start", f"{column}_end") if end in row]
    if column in row and ends:
        raise SuiteError(f"{where}: both {column!r} and {ends[0]!r} are given; give one of them")
    if column in row:
        word = text_field(row, column, where)
        spans = find_word(sentence, word)
        if len(spans) != 1:
            raise SuiteError(f"{where}: {column} ({word!r}) occurs {len(spans)} times, not once, in {sentence!r}")
        return spans[0]
    if not ends:
        return None
    start, end = (_integer(row, f"{column}_{side}", where) for side in ("start", "end"))
    if not 0 <= start < end <= len(sentence):
        raise SuiteError(f"{where}: {column} is [{start}, {end}) but the sentence has {len(sentence)} characters")
    if not sentence[start:end].strip():
        raise SuiteError(f"{where}: {column} is [{start}, {end}), which contains no word of {sentence!r}")
    return start, end


def _integer(row: Mapping[str, Any], column: str, where: str) -> int:
    value = row.get(column)
    try:
        # JSON has integers; cells of .csv and .tsv are strings.
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return int(value)
    except ValueError:
        pass
    raise SuiteError(f"{where}: {column} is {value!r}, not an integer")
