"""BLiMP (Warstadt et al. 2020) and all sets in its form: JSON lines with a good and a bad sentence."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from npi_jax.suites.records import SuiteError, differing_region, make_suite, read_json_records, text_field
from npi_jax.suites.schema import Item, Span, Suite

NPI_KINDS = {
    "matrix_question_npi_licensor_present": "licensor",
    "npi_present_1": "npi",
    "npi_present_2": "npi",
    "only_npi_licensor_present": "licensor",
    "only_npi_scope": "scope",
    "sentential_negation_npi_licensor_present": "licensor",
    "sentential_negation_npi_scope": "scope",
}
"""The seven NPI paradigms, and what the pairs of each differ in."""


def load_blimp(path: Path, *, limit: int | None = None) -> Suite:
    """Load BLiMP or a set in its form.

    A paradigm's name is its records' ``UID``, or the file's name where they have none; its items count for
    the task of the same name. The critical region is the word after the prefix where the record states one
    (``two_prefix_*`` or ``one_prefix_*``), otherwise all from the first to the last differing word
    (`differing_region`). Pairs of identical sentences, of which BLiMP has seven, are kept.

    Arguments:
        path: a file, or a folder whose files ending in .jsonl or .jsonl.gz are all taken; of a folder with a
            folder ``data`` in it, the latter's.
        limit: most items a paradigm, evenly spaced; None for all.

    Raises:
        SuiteError: nothing is there, or a record is damaged; names the file, the line and the field.
    """
    path = Path(path)
    return make_suite("blimp", (item for file in _files(path) for item in _read(file)), path, limit)


def load_blimp_npi(path: Path, *, limit: int | None = None) -> Suite:
    """Load the seven NPI paradigms (`NPI_KINDS`) of BLiMP; see `load_blimp`.

    Of a folder only their files are read, and none may be missing; of a file their records.
    """
    path = Path(path)
    files = _files(path)
    if path.is_dir():
        by_name = {_stem(file): file for file in files}
        if missing := [name for name in NPI_KINDS if name not in by_name]:
            raise SuiteError(f"{path}: no file {missing[0]}.jsonl ({len(missing)} of 7 NPI paradigms missing)")
        files = [by_name[name] for name in NPI_KINDS]
    items = (item for file in files for item in _read(file) if item.paradigm in NPI_KINDS)
    return make_suite("blimp_npi", items, path, limit)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SuiteError(f"{path}: there is no such file or folder")
    folder = path / "data" if (path / "data").is_dir() else path
    files = sorted(file for file in folder.iterdir() if file.name.endswith((".jsonl", ".jsonl.gz")))
    if not files:
        raise SuiteError(f"{folder}: the folder has no file ending in .jsonl or .jsonl.gz")
    return files


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".jsonl")


def _read(file: Path) -> Iterator[Item]:
    empty = True
    for number, record in read_json_records(file):
        empty = False
        yield _item(record, _stem(file), number, f"{file}, line {number}")
    if empty:
        raise SuiteError(f"{file}: the file has no records")


def _item(record: Mapping[str, Any], stem: str, number: int, where: str) -> Item:
    good, bad = text_field(record, "sentence_good", where), text_field(record, "sentence_bad", where)
    paradigm = text_field(record, "UID", where) if "UID" in record else stem
    pair = record.get("pairID", record.get("pair_id", number - 1))
    critical_good, critical_bad = _regions(record, good, bad, where)
    return Item(
        item=f"{paradigm}/{pair}",
        paradigm=paradigm,
        task=paradigm,
        kind=NPI_KINDS.get(paradigm, "other"),
        good=good,
        bad=bad,
        critical_good=critical_good,
        critical_bad=critical_bad,
    )


def _regions(record: Mapping[str, Any], good: str, bad: str, where: str) -> tuple[Span, Span]:
    if "two_prefix_word" in record:
        prefixes = "two_prefix_prefix_good", "two_prefix_prefix_bad"
        words = "two_prefix_word", "two_prefix_word"
    elif "one_prefix_prefix" in record:
        prefixes = "one_prefix_prefix", "one_prefix_prefix"
        words = "one_prefix_word_good", "one_prefix_word_bad"
    else:
        return differing_region(good, bad)
    return (
        _after_prefix(record, good, prefixes[0], words[0], where),
        _after_prefix(record, bad, prefixes[1], words[1], where),
    )


def _after_prefix(record: Mapping[str, Any], sentence: str, prefix: str, word: str, where: str) -> Span:
    # Some of BLiMP's words are written with the space before them.
    before, region = text_field(record, prefix, where).strip(), text_field(record, word, where).strip()
    start = len(before) + 1
    if not sentence.startswith(f"{before} {region}"):
        raise SuiteError(f"{where}: {word!r} ({region!r}) does not follow {prefix!r} ({before!r}) in {sentence!r}")
    return start, start + len(region)
