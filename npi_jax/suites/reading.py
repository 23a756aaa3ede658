"""What the loaders of suites share: reading records, finding regions, thinning out."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from npi_jax.corpus.text.files import SourceError, check_whole_characters, read_json_lines, read_lines
from npi_jax.errors import UserError
from npi_jax.suites.schema import ConditionItem, ConditionSuite, Item, Prediction, Span, Suite, task_fault


class SuiteError(UserError):
    """Minimal pairs that are missing, damaged or not of the stated form."""


def read_text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file (.gz and .zst are unpacked), numbered from 1.

    Raises:
        SuiteError: the file is not there, not UTF-8 or damaged.
    """
    try:
        yield from read_lines(path)
    except SourceError as error:
        raise SuiteError(str(error)) from error


def read_json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a file of JSON lines, with the numbers of their lines; blank lines mean nothing.

    Raises:
        SuiteError: as for `read_text_lines`, or a line is not a JSON object.
    """
    try:
        yield from read_json_lines(path, fields=once)
    except SourceError as error:
        raise SuiteError(str(error)) from error


def once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each of whose fields may be there once.

    Raises:
        ValueError: naming a field that is there twice.
    """
    record = dict(fields)
    if len(record) < len(fields):
        names = [name for name, _ in fields]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} is there twice")
    return record


def text_field(record: Mapping[str, Any], field: str, where: str) -> str:
    """The record's text in a field.

    Raises:
        SuiteError: there is no such field, or it holds no text; the message begins with `where`.
    """
    if field not in record:
        raise SuiteError(f"{where}: no field {field!r}; there are {', '.join(map(repr, record)) or 'none'}")
    value = record[field]
    if not isinstance(value, str):
        raise SuiteError(f"{where}: the field {field!r} is a {type(value).__name__}, not a string")
    if not value.strip():
        raise SuiteError(f"{where}: the field {field!r} is blank")
    return _whole(value, f"{where}: the field {field!r}")


def _whole(text: str, where: str) -> str:
    try:
        return check_whole_characters(text, where)
    except SourceError as error:
        raise SuiteError(str(error)) from error


def find_word(text: str, word: str) -> list[Span]:
    """The characters of every occurrence of a word, or of words in a row, that no letter or digit adjoins."""
    return [match.span() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)]


def whole_sentences(good: str, bad: str) -> tuple[Span, Span]:
    """All characters of both sentences: the critical region where nothing says which it is.

    The words in which they differ would not do: often they are the licensor, and not what it licenses.
    """
    return (0, len(good)), (0, len(bad))


def make_suite(name: str, items: Iterable[Item], source: Path, limit: int | None) -> Suite:
    """Put items together, keeping at most `limit` of each paradigm, evenly spaced in their order.

    Raises:
        SuiteError: there are no items, two have one name, or the limit is below 1.
    """
    kept, left_out = _limited(name, items, source, limit)
    return Suite(name, kept, left_out)


def make_condition_suite(
    name: str,
    items: Iterable[ConditionItem],
    source: Path,
    limit: int | None,
    predictions: Mapping[str, Sequence[Prediction]],
) -> ConditionSuite:
    """The same for items of several conditions."""
    kept, left_out = _limited(name, items, source, limit)
    return ConditionSuite(name, kept, predictions, left_out)


AnyItem = TypeVar("AnyItem", Item, ConditionItem)


def _limited(name: str, items: Iterable[AnyItem], source: Path, limit: int | None) -> tuple[tuple[AnyItem, ...], int]:
    if limit is not None and limit < 1:
        raise SuiteError(f"suite {name!r}: limit is {limit}; it must be at least 1, or None for all items")
    paradigms: dict[str, list[AnyItem]] = defaultdict(list)
    names: set[str] = set()
    for item in items:
        _whole(_texts(item), f"{source}: item {item.item!r}")
        if item.item in names:
            raise SuiteError(f"{source}: two items are named {item.item!r}")
        if fault := task_fault(item):
            raise SuiteError(f"{source}: {fault}")
        names.add(item.item)
        paradigms[item.paradigm].append(item)
    if not names:
        raise SuiteError(f"{source}: no items for the suite {name!r}")
    kept = tuple(item for members in paradigms.values() for item in _thin(members, limit))
    return kept, len(names) - len(kept)


def _texts(item: Item | ConditionItem) -> str:
    """All that tables will hold of an item."""
    names = (item.item, item.paradigm, item.task)
    if isinstance(item, Item):
        return "\n".join((*names, item.kind, item.good, item.bad))
    conditions = item.conditions.values()
    regions = (name for condition in conditions for name in condition.regions)
    return "\n".join((*names, *item.conditions, *regions, *(condition.text for condition in conditions)))


def _thin(items: list[AnyItem], limit: int | None) -> list[AnyItem]:
    if limit is None or limit >= len(items):
        return items
    return [items[i * len(items) // limit] for i in range(limit)]
