"""The NPI sentences of Warstadt et al. (2019), as minimal pairs in nine environments."""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.suites.loaders.paths import check_path
from npi_jax.suites.loaders.reading import (
    make_condition_suite,
    make_suite,
    read_json_records,
    read_text_lines,
    text_field,
)
from npi_jax.suites.schema import Condition, ConditionItem, ConditionSuite, Item, Suite, SuiteError
from npi_jax.suites.sentences import Span

Cell = tuple[int, int, int]
"""Properties of a sentence, 1 or 0: licensor present, NPI position in the licensor's scope, NPI present."""

Paradigms = dict[tuple[str, int], dict[Cell, tuple[str, str]]]
"""Maps (environment, number) to cells and cells to (NPI, sentence); eight cells, or only the four with scope 1."""

ENVIRONMENT_NAMES = {
    "adverbs": "adverbs",
    "conditional": "conditional",
    "conditionals": "conditional",
    "determiner_negation_biclausal": "determiner_negation",
    "only": "only",
    "quantifier": "quantifier",
    "quantifiers": "quantifier",
    "questions": "embedded_question",
    "sentential_negation_biclausal": "sentential_negation",
    "simplequestions": "simple_question",
    "superlative": "superlative",
}
"""Environments by their names in the data set's files and metadata."""

_UNACCEPTABLE: dict[str, Cell] = {"licensor": (0, 1, 1), "scope": (1, 0, 1)}
_ACCEPTABLE: Cell = (1, 1, 1)
_TABLE = "npi_all_environments.jsonl.gz"
_METADATA = re.compile(
    r"experiment=NPI-env=(?P<environment>\w+)-npi=(?P<npi>\w+)-crucial_item=.*"
    r"-licensor=(?P<licensor>[01])-scope=(?P<scope>[01])-npi_present=(?P<npi_present>[01])"
    r"-paradigm=(?P<paradigm>\d+)"
)


def load_warstadt(path: Path, *, limit: int | None = None) -> Suite:
    """Load two sets of pairs per environment: the NPI without its licensor, and the NPI outside of its scope.

    Sentences are described by (licensor, scope, NPI), see `Cell`. The good sentence is (1, 1, 1). The bad sentence is
    (0, 1, 1) for kind ``"licensor"`` and (1, 0, 1) for kind ``"scope"``. Simple questions have no scope pairs. The task
    is the environment. The paradigm is the environment and the kind (``"adverbs_licensor"``). The item adds the number
    in the data (``"adverbs_licensor/1412"``). The critical region is the NPI, which begins where a sentence first
    differs from the same sentence without NPI.

    Arguments:
        path: the file of JSON lines with all environments, or a folder that contains it as
            ``npi_all_environments.jsonl.gz``. A folder as published is also valid, with ``<environment>/*.tsv`` or
            ``splits/<environment>/*.tsv``.
        limit: largest number of items per paradigm, taken at even distances; None for all.

    Raises:
        SuiteError: if the path does not exist, a line is damaged, or a paradigm lacks a sentence.
    """
    path = Path(path)
    rows = _folder_rows(path) if check_path(path).is_dir() else _json_rows(path)
    return make_suite("warstadt2019", _items(_paradigms(rows), path), path, limit)


def load_warstadt_cells(path: Path, *, limit: int | None = None) -> ConditionSuite:
    """Load the eight sentences of each paradigm as conditions: licensor x scope x NPI.

    A condition is named after its properties, such as ``licensor=1 scope=0 npi=1``. Simple questions have only the
    four conditions with scope 1. The region ``npi`` is the NPI, if the sentence has one. Paradigm and task are the
    environment.

    Arguments:
        path: as for `load_warstadt`.
        limit: largest number of items per environment, taken at even distances; None for all.

    Raises:
        SuiteError: as for `load_warstadt`.
    """
    path = Path(path)
    rows = _folder_rows(path) if check_path(path).is_dir() else _json_rows(path)
    paradigms = _paradigms(rows)
    by_number = sorted(paradigms, key=lambda key: (ENVIRONMENTS.index(key[0]), key[1]))
    items = (_cells_item(*key, paradigms[key], f"{path}, {key[0]}, paradigm {key[1]}") for key in by_number)
    return make_condition_suite("warstadt2019_cells", items, path, limit, {})


def _cells_item(environment: str, number: int, cells: Mapping[Cell, tuple[str, str]], where: str) -> ConditionItem:
    conditions = {}
    for cell in itertools.product((1, 0), (1,) if environment == "simple_question" else (1, 0), (1, 0)):
        span = _npi_span(cells, cell, where) if cell[2] else None
        name = f"licensor={cell[0]} scope={cell[1]} npi={cell[2]}"
        conditions[name] = Condition(_sentence(cells, cell, where)[1], {"npi": span})
    return ConditionItem(f"{environment}/{number}", environment, environment, conditions)


def _items(paradigms: Paradigms, source: Path) -> Iterator[Item]:
    # Items are sorted, so that all formats give them in the same order.
    by_number = sorted(paradigms, key=lambda key: (ENVIRONMENTS.index(key[0]), key[1]))
    for kind in _UNACCEPTABLE:
        for environment, number in by_number:
            cells = paradigms[environment, number]
            if kind == "scope" and environment == "simple_question":
                continue
            yield _item(environment, number, kind, cells, f"{source}, {environment}, paradigm {number}")


def _item(environment: str, number: int, kind: str, cells: Mapping[Cell, tuple[str, str]], where: str) -> Item:
    bad_cell = _UNACCEPTABLE[kind]
    paradigm = f"{environment}_{kind}"
    return Item(
        item=f"{paradigm}/{number}",
        paradigm=paradigm,
        task=environment,
        kind=kind,
        good=_sentence(cells, _ACCEPTABLE, where)[1],
        bad=_sentence(cells, bad_cell, where)[1],
        critical_good=_npi_span(cells, _ACCEPTABLE, where),
        critical_bad=_npi_span(cells, bad_cell, where),
    )


def _sentence(cells: Mapping[Cell, tuple[str, str]], cell: Cell, where: str) -> tuple[str, str]:
    if cell not in cells:
        raise SuiteError(f"{where}: no sentence with (licensor, scope, npi_present) = {cell}")
    return cells[cell]


def _npi_span(cells: Mapping[Cell, tuple[str, str]], cell: Cell, where: str) -> Span:
    npi, sentence = _sentence(cells, cell, where)
    _, without_npi = _sentence(cells, (*cell[:2], 0), where)
    words = list(re.finditer(r"\S+", sentence))
    others = without_npi.split()
    for i, match in enumerate(words):
        if i >= len(others) or match.group() != others[i]:
            start, end = match.start(), match.start() + len(npi)
            if sentence[start:end].lower() == npi and not sentence[end : end + 1].isalnum():
                return start, end
            break
    raise SuiteError(f"{where}: {npi!r} is not where {sentence!r} first differs from {without_npi!r}")


def _paradigms(rows: Iterator[tuple[str, Mapping[str, Any]]]) -> Paradigms:
    paradigms: Paradigms = {}
    for where, row in rows:
        name = row["environment"]
        if name not in ENVIRONMENT_NAMES:
            known = ", ".join(ENVIRONMENT_NAMES)
            raise SuiteError(f"{where}: the environment {name!r} is none of {known}")
        cell = (row["licensor"], row["scope"], row["npi_present"])
        cells = paradigms.setdefault((ENVIRONMENT_NAMES[name], row["paradigm"]), {})
        if cell in cells:
            raise SuiteError(
                f"{where}: a second sentence of {name}, paradigm {row['paradigm']}, "
                f"(licensor, scope, npi_present) = {cell}"
            )
        cells[cell] = (row["npi"], row["sentence"])
    return paradigms


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, record in read_json_records(path):
        where = f"{path}, line {number}"
        for field in ("environment", "npi", "sentence"):
            text_field(record, field, where)
        for field in ("licensor", "scope", "npi_present", "paradigm"):
            if not isinstance(record.get(field), int):
                raise SuiteError(f"{where}: the field {field!r} is {record.get(field)!r}, not an integer")
        yield where, record


def _folder_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if (path / _TABLE).is_file():
        yield from _json_rows(path / _TABLE)
        return
    folder = path / "splits" if (path / "splits").is_dir() else path
    files = sorted(folder.glob("*/*.tsv"))
    if not files:
        raise SuiteError(f"{folder}: neither {_TABLE} nor <environment>/*.tsv is in the folder")
    for file in files:
        for number, line in read_text_lines(file):
            where = f"{file}, line {number}"
            yield where, _published_row(line, where)


def _published_row(line: str, where: str) -> Mapping[str, Any]:
    fields = line.split("\t")
    if len(fields) != 4:
        raise SuiteError(f"{where}: {len(fields)} fields separated by tabs, not 4 (metadata, label, empty, sentence)")
    match = _METADATA.fullmatch(fields[0])
    if match is None:
        raise SuiteError(f"{where}: the first field, {fields[0]!r}, is not 'experiment=NPI-env=...-paradigm=N'")
    row: dict[str, Any] = match.groupdict()
    for field in ("licensor", "scope", "npi_present", "paradigm"):
        row[field] = int(row[field])
    return row | {"sentence": text_field({"sentence": fields[3]}, "sentence", where)}
