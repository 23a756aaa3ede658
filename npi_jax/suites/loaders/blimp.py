"""BLiMP (Warstadt et al. 2020) and all suites in its format: JSON lines with a good and a bad sentence."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from npi_jax.suites.loaders.paths import check_path
from npi_jax.suites.loaders.reading import full_sentences, make_suite, read_json_records, text_field
from npi_jax.suites.schema import Item, Suite, SuiteError
from npi_jax.suites.sentences import Span

NPI_KINDS = {
    "matrix_question_npi_licensor_present": "licensor",
    "npi_present_1": "npi",
    "npi_present_2": "npi",
    "only_npi_licensor_present": "licensor",
    "only_npi_scope": "scope",
    "sentential_negation_npi_licensor_present": "licensor",
    "sentential_negation_npi_scope": "scope",
}
"""The seven NPI paradigms, with the `Item.kind` of their pairs."""


class _Fields(NamedTuple):
    good: str = "sentence_good"
    bad: str = "sentence_bad"
    paradigm: str = "UID"


def load_blimp(
    path: Path,
    *,
    limit: int | None = None,
    name: str = "blimp",
    good: str = "sentence_good",
    bad: str = "sentence_bad",
    paradigm: str = "UID",
) -> Suite:
    """Load BLiMP or a suite in its format, in any language: JSON lines with a good and a bad sentence.

    The paradigm is the ``UID`` of a record, or the file's name if records have none; the task is the paradigm. The
    critical region is the word after the prefix if the record states one (``two_prefix_*`` or ``one_prefix_*``),
    otherwise the full sentence. These words are also the regions ``one_prefix`` and ``two_prefix``. Pairs of
    identical sentences, of which BLiMP has seven, are kept.

    Arguments:
        path: a file, or a folder whose files ending in .jsonl or .jsonl.gz are all read, including those in
            subfolders. If the folder contains a folder ``data``, only that one is read.
        limit: largest number of items per paradigm, taken at even distances; None for all.
        name: name of the suite.
        good, bad, paradigm: fields with the sentences and with the name of the paradigm.

    Raises:
        SuiteError: if the path does not exist, or a record is damaged; names the file, the line and the field.
    """
    path = Path(path)
    fields = _Fields(good, bad, paradigm)
    return make_suite(name, (item for file in _files(path) for item in _read(file, fields)), path, limit)


def load_supplement(path: Path, *, limit: int | None = None) -> Suite:
    """Load BabyLM's supplement to BLiMP; see `load_blimp`. Its sentences may contain line breaks."""
    return load_blimp(path, limit=limit, name="supplement")


def load_blimp_npi(path: Path, *, limit: int | None = None) -> Suite:
    """Load the seven NPI paradigms (`NPI_KINDS`) of BLiMP; see `load_blimp`.

    In a folder, only the files of these paradigms are read, and all must be present. In a file, only their records are.
    """
    path = Path(path)
    files = _files(path)
    if path.is_dir():
        by_name = {_stem(file): file for file in files}
        if missing := [name for name in NPI_KINDS if name not in by_name]:
            raise SuiteError(f"{path}: no file {missing[0]}.jsonl ({len(missing)} of 7 NPI paradigms missing)")
        files = [by_name[name] for name in NPI_KINDS]
    items = (item for file in files for item in _read(file, _Fields()) if item.paradigm in NPI_KINDS)
    return make_suite("blimp_npi", items, path, limit)


def _files(path: Path) -> list[Path]:
    if not check_path(path).is_dir():
        return [path]
    folder = path / "data" if (path / "data").is_dir() else path
    files = sorted(file for file in folder.rglob("*") if file.name.endswith((".jsonl", ".jsonl.gz")))
    if not files:
        raise SuiteError(f"{folder}: the folder has no file ending in .jsonl or .jsonl.gz")
    return files


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".jsonl")


def _read(file: Path, fields: _Fields) -> Iterator[Item]:
    empty = True
    for number, record in read_json_records(file):
        empty = False
        yield _item(record, fields, _stem(file), number, f"{file}, line {number}")
    if empty:
        raise SuiteError(f"{file}: the file has no records")


def _item(record: Mapping[str, Any], fields: _Fields, stem: str, number: int, where: str) -> Item:
    good, bad = text_field(record, fields.good, where), text_field(record, fields.bad, where)
    paradigm = text_field(record, fields.paradigm, where) if fields.paradigm in record else stem
    # The supplement's row numbers repeat, so records without a pair number get their line number.
    pair = record.get("pairID", record.get("pair_id", number - 1))
    regions = _prefix_regions(record, good, bad, where)
    critical = next(iter(regions.values()), None) or full_sentences(good, bad)
    return Item(
        item=f"{paradigm}/{pair}",
        paradigm=paradigm,
        task=paradigm,
        kind=NPI_KINDS.get(paradigm, "other"),
        good=good,
        bad=bad,
        critical_good=critical[0],
        critical_bad=critical[1],
        regions=regions,
    )


def _prefix_regions(record: Mapping[str, Any], good: str, bad: str, where: str) -> dict[str, tuple[Span, Span]]:
    """Return the words after the prefixes that a record states; ``two_prefix`` comes first."""
    regions = {}
    for name, prefixes, words in (
        ("two_prefix", ("two_prefix_prefix_good", "two_prefix_prefix_bad"), ("two_prefix_word",) * 2),
        ("one_prefix", ("one_prefix_prefix",) * 2, ("one_prefix_word_good", "one_prefix_word_bad")),
    ):
        if words[0] in record:
            regions[name] = (
                _after_prefix(record, good, prefixes[0], words[0], where),
                _after_prefix(record, bad, prefixes[1], words[1], where),
            )
    return regions


def _after_prefix(record: Mapping[str, Any], sentence: str, prefix: str, word: str, where: str) -> Span:
    # Some words of BLiMP include the space before them.
    before, region = text_field(record, prefix, where).strip(), text_field(record, word, where).strip()
    start = len(before) + 1
    if not sentence.startswith(f"{before} {region}"):
        raise SuiteError(f"{where}: {word!r} ({region!r}) does not follow {prefix!r} ({before!r}) in {sentence!r}")
    return start, start + len(region)
