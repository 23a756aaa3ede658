"""Sources of a corpus: text files, JSON lines and TFDS data sets, read one document at a time."""

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencex

from npi_jax.corpus.text.files import (
    Paths,
    SourceError,
    SourceFile,
    check_whole_characters,
    digested,
    find_files,
    read_json_lines,
    read_lines,
)

UNITS = ("document", "sentence")
"""Units of text. ``"document"``: running text, with blank lines between paragraphs, is split into sentences.
``"sentence"``: each line is a sentence, and blank lines are skipped."""

_PART = 1 << 20
"""Size of the parts of a long document, characters."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or a part of a long document.

    Attributes:
        name: the file's path below the folder that all files share. If a file has several documents or parts, the
            line or the index of the record follows.
        text: the text as written.
        unit: one of `UNITS`, which determines the separation of sentences.
        part_of: name of the document to which the part belongs; "" for a complete document. Parts come in order.
    """

    name: str
    text: str
    unit: str = "sentence"
    part_of: str = ""

    @property
    def sentences(self) -> list[str]:
        """The sentences in order, without spaces at their ends; blank text has none."""
        return _sentences(self.text, self.unit)


def split_sentences(text: str) -> list[str]:
    """Split running English text into sentences with the `sentencex` library.

    A blank line ends a sentence, other line ends do not. Runs of white space become one space. A quotation of several
    sentences stays in one piece.
    """
    paragraphs: list[list[str]] = [[]]
    for line in text.split("\n"):
        if words := line.split():
            paragraphs[-1].extend(words)
        elif paragraphs[-1]:
            paragraphs.append([])
    sentences = (s.strip() for words in paragraphs for s in sentencex.segment("en", " ".join(words)))
    return [sentence for sentence in sentences if sentence]


def numbered_sentences(documents: Iterable[Document]) -> Iterator[tuple[str, int, str]]:
    """Yield all sentences with the name of their document and their number in it, from 1.

    Numbers continue through the parts of a document.
    """
    before, number = "", 0
    for document in documents:
        name = document.part_of or document.name
        number = number if name == before else 0
        before = name
        for sentence in document.sentences:
            number += 1
            yield name, number, sentence


def read_text(paths: Paths, *, unit: str = "document") -> Iterator[Document]:
    """Read text files in the order of their paths, one document per file; files over a megabyte come in parts.

    Args:
        paths: files, folders and glob patterns, see `find_files`. A folder means its files ending in .txt, .txt.gz
            and .txt.zst. Files ending in .gz and .zst are decompressed.
        unit: one of `UNITS`.

    Raises:
        SourceError: if there is no file, or a file is named twice, is not UTF-8, is damaged or has no text.
    """
    _check_unit(unit)
    yield from read_text_files(find_files(paths, ".txt"), unit=unit)


def read_text_files(files: Sequence[SourceFile], *, unit: str = "document") -> Iterator[Document]:
    """Read text files that `find_files` returned; see `read_text`.

    Raises:
        SourceError: as for `read_text`; or if the digest of a file has changed.
    """
    for file in files:
        empty = True
        for document in _parts(file, unit):
            empty &= not document.text.strip()
            yield document
        if empty:
            raise SourceError(f"{file.path}: the file has no text")


def _parts(file: SourceFile, unit: str) -> Iterator[Document]:
    """Yield a file in parts of about `_PART` characters, cut between sentences if possible."""
    lines: list[str] = []
    name, size, first = file.name, 0, 1
    for number, line in read_lines(file.path, file.sha256):
        at_end = unit == "sentence" or not line.strip()
        # Running text without blank lines is cut at any line.
        if (size >= _PART and at_end) or size >= 8 * _PART:
            yield Document(f"{name}:{first}", "\n".join(lines), unit, name)
            lines, size, first = [], 0, number
        lines.append(line)
        size += len(line) + 1
    if lines:
        part = first > 1
        yield Document(f"{name}:{first}" if part else name, "\n".join(lines), unit, name if part else "")


def read_jsonl(paths: Paths, *, field: str, unit: str = "document") -> Iterator[Document]:
    """Read JSON lines, one document for each line, in the order of files and lines.

    Args:
        paths: as for `read_text`, with .jsonl instead of .txt.
        field: name of the field that holds the text.
        unit: one of `UNITS`.

    Raises:
        SourceError: as for `read_text`; or if a line is not a JSON object, or its field is missing or not a string.
    """
    _check_unit(unit)
    yield from read_jsonl_files(find_files(paths, ".jsonl"), field=field, unit=unit)


def read_jsonl_files(files: Sequence[SourceFile], *, field: str, unit: str = "document") -> Iterator[Document]:
    """Read JSON lines of files that `find_files` returned; see `read_jsonl`.

    Raises:
        SourceError: as for `read_jsonl`; or if the digest of a file has changed.
    """
    for file in files:
        empty = True
        for number, record in read_json_lines(file.path, file.sha256):
            text = _json_field(record, field, f"{file.path}, line {number}")
            empty &= not text.strip()
            yield Document(f"{file.name}:{number}", text, unit)
        if empty:
            raise SourceError(f"{file.path}: the file has no text in the field {field!r}")


def read_files(paths: Paths, *, unit: str = "document", field: str = "") -> Iterator[Document]:
    """Read JSON lines if a field is given (`read_jsonl`), text otherwise (`read_text`).

    Raises:
        SourceError: as for these functions; or if files of JSON lines are given without a field.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    lines = [path for path in given if str(path).removesuffix(".gz").removesuffix(".zst").endswith(".jsonl")]
    if lines and not field:
        raise SourceError(f"{lines[0]}: these are JSON lines; name the field that holds the text (--field)")
    return read_jsonl(paths, field=field, unit=unit) if field else read_text(paths, unit=unit)


def read_tfds(
    name: str,
    *,
    split: str,
    field: str,
    data_dir: str | Path | None = None,
    unit: str = "document",
    download: bool = False,
) -> Iterator[Document]:
    """Read a data set of TensorFlow Datasets, one document for each example, without TensorFlow.

    Args:
        name: name of the data set in TFDS, such as ``"lm1b"`` or ``"wiki40b/en:1.3.0"``.
        split: split of the data set, such as ``"train"`` or ``"test[:10%]"``.
        field: feature that holds the text.
        data_dir: folder of the prepared data set, in the array_record format; None for the default folder of TFDS.
        unit: one of `UNITS`.
        download: True to prepare a data set that is missing; some data sets need TensorFlow for that.

    Raises:
        SourceError: if TFDS is not installed, cannot open the data set, or the field is missing or not text.
    """
    _check_unit(unit)
    source = tfds_source(name, split, data_dir, download)
    if len(source) == 0:
        raise SourceError(f"{name}: the split {split!r} has no examples")
    for index in range(len(source)):
        where = f"{name}, split {split!r}, example {index}"
        yield Document(f"{name}:{index}", _tfds_field(source[index], field, where), unit)


def tfds_files(name: str, *, split: str, data_dir: str | Path | None = None) -> list[SourceFile]:
    """Return the files of a prepared data set, with digests.

    Raises:
        SourceError: as for `read_tfds`.
    """
    source = tfds_source(name, split, data_dir)
    return digested(find_files([Path(source.dataset_info.data_dir)], ""))


def tfds_shared(name: str, one: str, other: str, data_dir: str | Path | None = None) -> int:
    """Count the examples that two splits of a data set share, such as ``train[:90%]`` and ``train[80%:]``.

    Raises:
        SourceError: as for `read_tfds`.
    """
    stretches = [
        [
            (part.filename, part.skip, part.skip + part.take)
            for part in source.dataset_info.splits[split].file_instructions
        ]
        for split in (one, other)
        for source in [tfds_source(name, split, data_dir)]
    ]
    return sum(
        max(0, min(last, other_last) - max(first, other_first))
        for file, first, last in stretches[0]
        for other_file, other_first, other_last in stretches[1]
        if file == other_file
    )


def _check_unit(unit: str) -> None:
    if unit not in UNITS:
        raise SourceError(f"unit is {unit!r}; it must be one of {', '.join(map(repr, UNITS))}")


def _sentences(text: str, unit: str) -> list[str]:
    if unit == "document":
        return split_sentences(text)
    return [stripped for line in text.split("\n") if (stripped := line.strip())]


def _json_field(record: dict[str, Any], field: str, where: str) -> str:
    if field not in record:
        raise SourceError(f"{where}: no field {field!r}; there are {', '.join(map(repr, record)) or 'none'}")
    if not isinstance(record[field], str):
        raise SourceError(f"{where}: the field {field!r} is a {type(record[field]).__name__}, not a string")
    return check_whole_characters(record[field], f"{where}: the field {field!r}")


def tfds_source(name: str, split: str, data_dir: str | Path | None, download: bool = False) -> Any:
    """Open a split of a TFDS data set for random access.

    Raises:
        SourceError: if TFDS is not installed, or cannot open the split.
    """
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise SourceError(
            f"{name}: TensorFlow Datasets cannot be imported ({error}); pip install 'npi-jax[tfds]'"
        ) from error
    try:
        return tfds.data_source(
            name, split=split, data_dir=None if data_dir is None else str(data_dir), download=download
        )
    # Builders of TFDS raise exceptions of any kind if the data set cannot be opened.
    except Exception as error:
        raise SourceError(
            f"{name}: TFDS cannot open the split {split!r} in {data_dir or 'its own folder'}: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error


def _tfds_field(example: Any, field: str, where: str) -> str:
    if not isinstance(example, dict) or field not in example:
        names = ", ".join(map(repr, example)) if isinstance(example, dict) else "none"
        raise SourceError(f"{where}: no field {field!r}; there are {names}")
    value = example[field]
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        raise SourceError(f"{where}: the field {field!r} is a {type(value).__name__}, not text")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}, field {field!r}, byte {error.start + 1}: not UTF-8") from error
