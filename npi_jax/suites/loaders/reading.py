"""Steps that all loaders share: read lines, check fields, find regions, apply the limit."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from npi_jax.corpus.text.files import SourceError, check_whole_characters, read_json_lines, read_lines
from npi_jax.suites.schema import ConditionItem, ConditionSuite, Item, Prediction, Suite, SuiteError, task_fault
from npi_jax.suites.sentences import Span


def read_text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file (.gz and .zst are decompressed), numbered from 1.

    Raises:
        SuiteError: if the file is missing, not UTF-8 or damaged.
    """
    try:
        yield from read_lines(path)
    except SourceError as error:
        raise SuiteError(str(error)) from error


def read_json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a file of JSON lines, with their line numbers; blank lines are skipped.

    Raises:
        SuiteError: as for `read_text_lines`, or if a line is not a JSON object.
    """
    try:
        yield from read_json_lines(path, fields=unique_fields)
    except SourceError as error:
        raise SuiteError(str(error)) from error


def unique_fields(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object and reject repeated fields.

    Raises:
        ValueError: if a field occurs twice; names the field.
    """
    record = dict(fields)
    if len(record) < len(fields):
        names = [name for name, _ in fields]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {repeated!r} occurs twice")
    return record


def text_field(record: Mapping[str, Any], field: str, where: str) -> str:
    """Return the text in a field of a record.

    Raises:
        SuiteError: if the field is missing, blank or not text; the message begins with `where`.
    """
    if field not in record:
        raise SuiteError(f"{where}: no field {field!r}; there are {', '.join(map(repr, record)) or 'none'}")
    value = record[field]
    if not isinstance(value, str):
        raise SuiteError(f"{where}: the field {field!r} is a {type(value).__name__}, not a string")
    if not value.strip():
        raise SuiteError(f"{where}: the field {field!r} is blank")
    return _valid_text(value, f"{where}: the field {field!r}")


def _valid_text(text: str, where: str) -> str:
    try:
        return check_whole_characters(text, where)
    except SourceError as error:
        raise SuiteError(str(error)) from error


def find_word(text: str, word: str) -> list[Span]:
    """Return the span of every occurrence of a word or phrase without a letter or digit next to it."""
    return [match.span() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)]


def full_sentences(good: str, bad: str) -> tuple[Span, Span]:
    """Return both full sentences as the critical region, for pairs that do not state one.

    The words that differ would be wrong, since they often are the licensor and not the licensed item.
    """
    return (0, len(good)), (0, len(bad))


def make_suite(name: str, items: Iterable[Item], source: Path, limit: int | None) -> Suite:
    """Collect items into a suite and keep at most `limit` per paradigm, at even distances in their order.

    Raises:
        SuiteError: if there are no items, two items have one name, a name is not valid, or the limit is below 1.
    """
    kept, left_out = _limit(name, items, source, limit)
    return Suite(name, kept, left_out)


def make_condition_suite(
    name: str,
    items: Iterable[ConditionItem],
    source: Path,
    limit: int | None,
    predictions: Mapping[str, Sequence[Prediction]],
) -> ConditionSuite:
    """Collect items of several conditions into a suite; see `make_suite`."""
    kept, left_out = _limit(name, items, source, limit)
    return ConditionSuite(name, kept, predictions, left_out)


AnyItem = TypeVar("AnyItem", Item, ConditionItem)


def _limit(name: str, items: Iterable[AnyItem], source: Path, limit: int | None) -> tuple[tuple[AnyItem, ...], int]:
    """Check items; return those within the limit, grouped by paradigm, and the number of the others."""
    if limit is not None and limit < 1:
        raise SuiteError(f"suite {name!r}: limit is {limit}; it must be at least 1, or None for all items")
    paradigms: dict[str, list[AnyItem]] = defaultdict(list)
    names: set[str] = set()
    for item in items:
        _valid_text(_all_text(item), f"{source}: item {item.item!r}")
        if item.item in names:
            raise SuiteError(f"{source}: two items are named {item.item!r}")
        if fault := task_fault(item):
            raise SuiteError(f"{source}: {fault}")
        names.add(item.item)
        paradigms[item.paradigm].append(item)
    if not names:
        raise SuiteError(f"{source}: no items for the suite {name!r}")
    kept = tuple(item for members in paradigms.values() for item in _evenly_spaced(members, limit))
    return kept, len(names) - len(kept)


def _all_text(item: Item | ConditionItem) -> str:
    """Return all text of an item that tables can contain."""
    names = (item.item, item.paradigm, item.task)
    if isinstance(item, Item):
        return "\n".join((*names, item.kind, item.good, item.bad))
    conditions = item.conditions.values()
    regions = (name for condition in conditions for name in condition.regions)
    return "\n".join((*names, *item.conditions, *regions, *(condition.text for condition in conditions)))


def _evenly_spaced(items: list[AnyItem], limit: int | None) -> list[AnyItem]:
    if limit is None or limit >= len(items):
        return items
    return [items[i * len(items) // limit] for i in range(limit)]
