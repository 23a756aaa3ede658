"""SyntaxGym's suites (Hu et al. 2020): sentences in regions, and predictions about their surprisals."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from npi_jax.files.plain import read_named
from npi_jax.suites.formulas import FormulaError, parse_formula
from npi_jax.suites.paths import check_path
from npi_jax.suites.reading import SuiteError, make_condition_suite, once, text_field
from npi_jax.suites.schema import Condition, ConditionItem, ConditionSuite, Prediction, Span

WHOLE = "*"
"""The region of a formula that stands for all regions."""

METRICS: dict[str, Callable[[np.ndarray], float]] = {
    "sum": lambda values: float(np.sum(values)),
    "mean": lambda values: float(np.mean(values)),
    "median": lambda values: float(np.median(values)),
    "range": lambda values: float(np.ptp(values)),
    "max": lambda values: float(np.max(values)),
    "min": lambda values: float(np.min(values)),
}


def load_syntaxgym(path: Path, *, limit: int | None = None) -> ConditionSuite:
    """Load one of SyntaxGym's files, or a folder of them.

    A file is a paradigm, and a task. Its sentences are its regions without the spaces around them, joined by one
    space; empty regions take no part. Regions are named by their numbers, and ``*`` is all of them.

    Arguments:
        path: a .json file, or a folder whose .json files are all taken; of a folder with a folder ``json`` in it,
            the latter's.
        limit: most items a paradigm, evenly spaced; None for all.

    Raises:
        SuiteError: nothing is there, or a file is damaged; names the file, the item and the field.
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
        found = _in_one_order(list(_items(record, paradigm, file)), file)
        _check_regions(found, predictions[paradigm], file)
        items += found
    return make_condition_suite("syntaxgym", items, path, limit, predictions)


def evaluate_predictions(
    suite: ConditionSuite, region: Callable[[str], np.ndarray], tokens: Callable[[int, str], np.ndarray] | None = None
) -> pl.DataFrame:
    """Which predictions hold of which items.

    Arguments:
        suite: with predictions.
        region: gives the log-probabilities of all sentences in a region by its name, float [S], nats, as
            `Scores.log_prob` does; NaN where a sentence lacks it.
        tokens: gives the log-probabilities of the tokens of sentence number i in a region; only needed for other
            metrics than the sum.

    Returns:
        paradigm, item, prediction (its number), formula, result (1 or 0, null where a region is missing).

    Raises:
        SuiteError: the metric is not a sum, and no tokens are given.
    """
    place: dict[str, list[int]] = {}
    index = 0
    for item in suite:
        place.setdefault(item.paradigm, []).append(index)
        index += len(item.conditions)
    by_paradigm: dict[str, list[ConditionItem]] = {}
    for item in suite:
        by_paradigm.setdefault(item.paradigm, []).append(item)
    frames = []
    for paradigm, items in by_paradigm.items():
        order = {condition: i for i, condition in enumerate(items[0].conditions)}
        for number, prediction in enumerate(suite.predictions.get(paradigm, ())):
            values = {}
            for name, condition in prediction.formula.regions:
                rows = np.array(place[paradigm]) + order[condition]
                values[name, condition] = _surprisals(name, rows, prediction.metric, region, tokens)
            result = prediction.formula.evaluate(values)
            frames.append(
                pl.DataFrame(
                    {
                        "paradigm": [paradigm] * len(items),
                        "item": [item.item for item in items],
                        "prediction": pl.Series([number] * len(items), dtype=pl.Int32),
                        "formula": [prediction.formula.text] * len(items),
                        "result": pl.Series(result).fill_nan(None),
                    }
                )
            )
    if not frames:
        raise SuiteError(f"suite {suite.name!r} has no predictions")
    return pl.concat(frames)


def _surprisals(
    name: str,
    rows: np.ndarray,
    metric: str,
    region: Callable[[str], np.ndarray],
    tokens: Callable[[int, str], np.ndarray] | None,
) -> np.ndarray:
    """Surprisals in bits, for the formulas' constants and tolerance are in bits."""
    if metric == "sum":
        return -np.asarray(region(name), np.float64)[rows] / math.log(2)
    if tokens is None:
        raise SuiteError(f"the metric {metric!r} needs the log-probability of every token, not only their sums")
    measure = METRICS[metric]
    found = (-np.asarray(tokens(int(row), name), np.float64) / math.log(2) for row in rows)
    return np.array([measure(values) if len(values) else np.nan for values in found])


def _files(path: Path) -> list[Path]:
    if not check_path(path).is_dir():
        return [path]
    folder = path / "json" if (path / "json").is_dir() else path
    if not (files := sorted(folder.glob("*.json"))):
        raise SuiteError(f"{folder}: the folder has no file ending in .json")
    return files


def _read(file: Path) -> Mapping[str, Any]:
    try:
        record = json.loads(read_named(file).decode("utf-8-sig"), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise SuiteError(f"{file}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SuiteError(f"{file}: cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise SuiteError(f"{file}: a JSON {type(record).__name__}, not an object")
    return record


def _field(record: Any, field: str, kind: type, where: str) -> Any:
    if not isinstance(record, Mapping) or not isinstance(record.get(field), kind):
        found = record.get(field) if isinstance(record, Mapping) else record
        expected = {list: "a list", Mapping: "an object", int: "a whole number", str: "a string"}[kind]
        raise SuiteError(f"{where}: the field {field!r} is {str(found)[:80]!r}, not {expected}")
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
    return Condition(text, {**regions, WHOLE: (0, len(text))})


def _in_one_order(items: Sequence[ConditionItem], file: Path) -> list[ConditionItem]:
    """All items with their conditions in the order of the first one's."""
    order = list(items[0].conditions) if items else []
    for item in items:
        if set(item.conditions) != set(order):
            raise SuiteError(f"{file}, item {item.item!r}: its conditions are not those of {items[0].item!r}")
    return [dataclasses.replace(item, conditions={name: item.conditions[name] for name in order}) for item in items]


def _check_regions(items: Sequence[ConditionItem], predictions: Sequence[Prediction], file: Path) -> None:
    """Every item must have what the formulas name."""
    for item in items:
        for prediction in predictions:
            for region, condition in sorted(prediction.formula.regions):
                if condition not in item.conditions or region not in item.conditions[condition].regions:
                    raise SuiteError(
                        f"{file}: {prediction.formula.text!r} names region {region} of condition {condition!r}, which "
                        f"item {item.item!r} does not have"
                    )
