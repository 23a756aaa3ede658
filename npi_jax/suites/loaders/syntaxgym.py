"""SyntaxGym's suites (Hu et al. 2020): sentences divided into regions, and predictions about surprisals."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from npi_jax.files.plain import read_named
from npi_jax.suites.formulas import FormulaError, parse_formula
from npi_jax.suites.loaders.paths import check_path
from npi_jax.suites.loaders.reading import make_condition_suite, text_field, unique_fields
from npi_jax.suites.predictions import METRICS
from npi_jax.suites.schema import Condition, ConditionItem, ConditionSuite, Prediction, SuiteError
from npi_jax.suites.sentences import Span

ALL_REGIONS = "*"
"""Name of the region that is the full sentence."""


def load_syntaxgym(path: Path, *, limit: int | None = None) -> ConditionSuite:
    """Load one of SyntaxGym's files, or a folder of them.

    A file is a paradigm and a task. A sentence consists of its regions, stripped and joined by single spaces; empty
    regions are skipped. Regions are named by their numbers; ``*`` is the full sentence.

    Arguments:
        path: a .json file, or a folder whose .json files are all read. If the folder contains a folder ``json``, only
            that one is read.
        limit: largest number of items per paradigm, taken at even distances; None for all.

    Raises:
        SuiteError: if the path does not exist, or a file is damaged; names the file, the item and the field.
    """
    path = Path(path)
    items: list[ConditionItem] = []
    predictions: dict[str, Sequence[Prediction]] = {}
    for file in _files(path):
        record = _read(file)
        meta = _field(record, "meta", Mapping, str(file))
        paradigm = text_field(meta, "name", f"{file}, meta")
        if paradigm in predictions:
            raise SuiteError(f"{file}: a second suite is named {paradigm!r}")
        predictions[paradigm] = tuple(_predictions(record, str(meta.get("metric", "sum")), file))
        file_items = _in_one_order(list(_items(record, paradigm, file)), file)
        _check_regions(file_items, predictions[paradigm], file)
        items += file_items
    return make_condition_suite("syntaxgym", items, path, limit, predictions)


def _files(path: Path) -> list[Path]:
    if not check_path(path).is_dir():
        return [path]
    folder = path / "json" if (path / "json").is_dir() else path
    if not (files := sorted(folder.glob("*.json"))):
        raise SuiteError(f"{folder}: the folder has no file ending in .json")
    return files


def _read(file: Path) -> Mapping[str, Any]:
    try:
        record = json.loads(read_named(file).decode("utf-8-sig"), object_pairs_hook=unique_fields)
    except json.JSONDecodeError as error:
        raise SuiteError(f"{file}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SuiteError(f"{file}: cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise SuiteError(f"{file}: a JSON {type(record).__name__}, not an object")
    return record


def _field(record: Any, field: str, kind: type, where: str) -> Any:
    if not isinstance(record, Mapping) or not isinstance(record.get(field), kind):
        value = record.get(field) if isinstance(record, Mapping) else record
        expected = {list: "a list", Mapping: "an object", int: "an integer", str: "a string"}[kind]
        raise SuiteError(f"{where}: the field {field!r} is {str(value)[:80]!r}, not {expected}")
    return record[field]


def _predictions(record: Mapping[str, Any], metric: str, file: Path) -> Iterator[Prediction]:
    if metric not in METRICS:
        raise SuiteError(f"{file}, meta: metric is {metric!r}; it must be one of {', '.join(METRICS)}")
    for number, entry in enumerate(_field(record, "predictions", list, str(file))):
        where = f"{file}, prediction {number}"
        try:
            yield Prediction(parse_formula(_field(entry, "formula", str, where), where), metric)
        except FormulaError as error:
            raise SuiteError(str(error)) from error


def _items(record: Mapping[str, Any], paradigm: str, file: Path) -> Iterator[ConditionItem]:
    for entry in _field(record, "items", list, str(file)):
        number = _field(entry, "item_number", int, str(file))
        where = f"{file}, item {number}"
        conditions: dict[str, Condition] = {}
        for condition in _field(entry, "conditions", list, where):
            name = _field(condition, "condition_name", str, where)
            if name in conditions:
                raise SuiteError(f"{where}: two conditions are named {name!r}")
            regions = _field(condition, "regions", list, f"{where}, condition {name!r}")
            conditions[name] = _condition(regions, f"{where}, condition {name!r}")
        yield ConditionItem(f"{paradigm}/{number}", paradigm, paradigm, conditions)


def _condition(entries: Sequence[Any], where: str) -> Condition:
    text = ""
    regions: dict[str, Span | None] = {}
    for entry in entries:
        content = " ".join(_field(entry, "content", str, where).split())
        name = str(_field(entry, "region_number", int, where))
        if name in regions:
            raise SuiteError(f"{where}: two regions have the number {name}")
        if not content:
            regions[name] = None
            continue
        start = len(text) + bool(text)
        text = f"{text} {content}" if text else content
        regions[name] = (start, len(text))
    if not text:
        raise SuiteError(f"{where}: all of its regions are empty")
    return Condition(text, {**regions, ALL_REGIONS: (0, len(text))})


def _in_one_order(items: Sequence[ConditionItem], file: Path) -> list[ConditionItem]:
    """Return all items with their conditions in the order of the first item."""
    order = list(items[0].conditions) if items else []
    for item in items:
        if set(item.conditions) != set(order):
            raise SuiteError(f"{file}, item {item.item!r}: its conditions are not those of {items[0].item!r}")
    return [dataclasses.replace(item, conditions={name: item.conditions[name] for name in order}) for item in items]


def _check_regions(items: Sequence[ConditionItem], predictions: Sequence[Prediction], file: Path) -> None:
    """Check that every item has the regions and conditions that the formulas name."""
    for item in items:
        for prediction in predictions:
            for region, condition in sorted(prediction.formula.regions):
                if condition not in item.conditions or region not in item.conditions[condition].regions:
                    raise SuiteError(
                        f"{file}: {prediction.formula.text!r} names region {region} of condition {condition!r}, which "
                        f"item {item.item!r} does not have"
                    )
