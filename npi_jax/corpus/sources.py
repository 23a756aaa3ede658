"""Where a corpus comes from: text files, JSON lines and TFDS, one document at a time."""

import glob
import gzip
import hashlib
import importlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import sentencex
import zstandard

from npi_jax.errors import UserError

UNITS = ("document", "sentence")
"""What a piece of text can be: ``"document"`` is running text, paragraphs apart by blank lines, to be split
into sentences; ``"sentence"`` has one sentence a line already, and blank lines mean nothing."""

Paths = str | Path | Iterable[str | Path]

_PACKINGS = ("", ".gz", ".zst")
_CHUNK = 1 << 20
_PART = 1 << 20


class SourceError(UserError):
    """Text that is missing, empty, damaged or not of the stated form."""


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of text: a document, or a part of one that is long.

    Attributes:
        name: the file's path below the folder that all files share, with the line or the index of the record
            where a file holds many documents or comes in parts.
        text: as written.
        unit: one of `UNITS`: how sentences are told apart in it.
        part_of: the name of the document that this is a part of; "" for a whole one. Parts follow one another.
    """

    name: str
    text: str
    unit: str = "sentence"
    part_of: str = ""

    @property
    def sentences(self) -> list[str]:
        """The sentences, in order, as written apart from spaces at their ends; blank text has none."""
        return _sentences(self.text, self.unit)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file, numbered from 1, without their ends; .gz and .zst are unpacked.

    Only ``\\n`` and ``\\r\\n`` end a line. A byte order mark is taken off.

    Raises:
        SourceError: the file is not there, not UTF-8 or damaged.
    """
    number, tail = 0, b""
    for chunk in _chunks(path):
        *lines, tail = (tail + chunk).split(b"\n")
        for line in lines:
            number += 1
            yield number, _decode(line, path, number)
    if tail:
        yield number + 1, _decode(tail, path, number + 1)


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a file of JSON lines, with the numbers of their lines; blank lines mean nothing.

    Raises:
        SourceError: as for `read_lines`, or a line is not a JSON object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise SourceError(f"{path}, line {number}, column {error.colno}: not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{path}, line {number}: not JSON that can be read: {error}") from error
        if not isinstance(record, dict):
            raise SourceError(f"{path}, line {number}: a JSON {type(record).__name__}, not an object")
        yield number, record


def split_sentences(text: str) -> list[str]:
    """Split running English text into sentences with the `sentencex` library.

    Blank lines end a sentence, other line ends do not. Runs of white space become one space. A quotation of
    several sentences stays together.
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
    """All sentences with the name of their document and their number in it, from 1; parts are put together."""
    before, number = "", 0
    for document in documents:
        name = document.part_of or document.name
        number = number if name == before else 0
        before = name
        for sentence in document.sentences:
            number += 1
            yield name, number, sentence


def read_text(paths: Paths, *, unit: str = "document") -> Iterator[Document]:
    """Read text files, one document a file (several for files beyond a megabyte), in the order of their paths.

    Arguments:
        paths: files, folders and glob patterns (``**`` goes down folders). Of a folder, and of those below
            it, the files ending in .txt, .txt.gz and .txt.zst are taken, hidden ones excepted; a file that is
            named itself may end in anything. Endings .gz and .zst are unpacked.
        unit: one of `UNITS`: running text, or one sentence a line.

    Raises:
        SourceError: nothing is there, a file is named twice, is not UTF-8, is damaged or has no text.
    """
    _check_unit(unit)
    for name, path in _files(paths, ".txt"):
        empty = True
        for document in _parts(name, path, unit):
            empty &= not document.text.strip()
            yield document
        if empty:
            raise SourceError(f"{path}: the file has no text")


def _parts(name: str, path: Path, unit: str) -> Iterator[Document]:
    """A file in parts of about `_PART` characters, cut where a sentence cannot go on."""
    lines: list[str] = []
    size, first, number = 0, 1, 0
    for number, line in read_lines(path):
        at_end = unit == "sentence" or not line.strip()
        # Running text without blank lines has to be cut somewhere.
        if (size >= _PART and at_end) or size >= 8 * _PART:
            yield Document(f"{name}:{first}", "\n".join(lines), unit, name)
            lines, size, first = [], 0, number
        lines.append(line)
        size += len(line) + 1
    if lines:
        part = first > 1
        yield Document(f"{name}:{first}" if part else name, "\n".join(lines), unit, name if part else "")


def read_jsonl(paths: Paths, *, field: str, unit: str = "document") -> Iterator[Document]:
    """Read JSON lines, one document a line, in the order of files and lines.

    Arguments:
        paths: as for `read_text`, with .jsonl in the place of .txt.
        field: the name of the object's field that holds the text.
        unit: the field holds running text, or one sentence a line.

    Raises:
        SourceError: as for `read_text`; and a line is not a JSON object, or has no string in the field.
    """
    _check_unit(unit)
    for name, path in _files(paths, ".jsonl"):
        empty = True
        for number, record in read_json_lines(path):
            text = _json_field(record, field, f"{path}, line {number}")
            empty &= not text.strip()
            yield Document(f"{name}:{number}", text, unit)
        if empty:
            raise SourceError(f"{path}: the file has no text in the field {field!r}")


def read_files(paths: Paths, *, unit: str = "document", field: str = "") -> Iterator[Document]:
    """`read_jsonl` where a field is named, `read_text` otherwise.

    Raises:
        SourceError: as these do, and if JSON lines are named without a field.
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
    """Read a data set of TensorFlow Datasets, one document an example, without TensorFlow.

    Arguments:
        name: the data set as TFDS names it, ``"lm1b"`` or ``"wiki40b/en:1.3.0"``.
        split: ``"train"``, ``"test[:10%]"`` and so on.
        field: the feature that holds the text.
        data_dir: where it was prepared, in the array_record format; None for TFDS's own folder.
        unit: the feature holds running text, or one sentence a line.
        download: prepare the data set first if need be; some need TensorFlow for that.

    Raises:
        SourceError: TFDS is not installed, cannot open the data set, or the field is missing or not text.
    """
    _check_unit(unit)
    source = tfds_source(name, split, data_dir, download)
    if len(source) == 0:
        raise SourceError(f"{name}: the split {split!r} has no examples")
    for index in range(len(source)):
        where = f"{name}, split {split!r}, example {index}"
        yield Document(f"{name}:{index}", _tfds_field(source[index], field, where), unit)


def find_files(paths: Paths, ending: str) -> list[Path]:
    """The files that the paths name, as `read_text` (``".txt"``) and `read_jsonl` (``".jsonl"``) take them, in order.

    Raises:
        SourceError: as for `read_text`.
    """
    return [path for _, path in _files(paths, ending)]


def file_digests(paths: Paths, ending: str) -> dict[str, Any]:
    """The files that the paths name, as `read_text` and `read_jsonl` name them, each with its SHA-256, and their size.

    Returns:
        ``files``: pairs of name and digest, in order; ``bytes``: their size in all.

    Raises:
        SourceError: as for `read_text`.
    """
    found, size = [], 0
    for name, path in _files(paths, ending):
        try:
            with path.open("rb") as file:
                found.append([name, hashlib.file_digest(file, "sha256").hexdigest()])
                size += path.stat().st_size
        except OSError as error:
            raise SourceError(f"{path}: the file cannot be read: {error.strerror or error}") from error
    return {"files": found, "bytes": size}


def tfds_digests(name: str, *, split: str, data_dir: str | Path | None = None) -> dict[str, Any]:
    """The files of a prepared data set, as `file_digests` gives them.

    Raises:
        SourceError: as for `read_tfds`.
    """
    source = tfds_source(name, split, data_dir, download=False)
    return file_digests([Path(source.dataset_info.data_dir)], "")


def _check_unit(unit: str) -> None:
    if unit not in UNITS:
        raise SourceError(f"unit is {unit!r}; it must be one of {', '.join(map(repr, UNITS))}")


def _sentences(text: str, unit: str) -> list[str]:
    if unit == "document":
        return split_sentences(text)
    return [stripped for line in text.split("\n") if (stripped := line.strip())]


def _files(paths: Paths, ending: str) -> list[tuple[str, Path]]:
    """All files that the paths name, in order, each with its name below the folder they share."""
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    found = [file for path in given for file in _expand(Path(path), ending)]
    if not found:
        raise SourceError("no path is given; name a file, a folder or a glob pattern")
    absolute = sorted(path.absolute() for path in found)
    for one, other in pairwise(absolute):
        if one == other:
            raise SourceError(f"{one}: the file is named twice; its text would be in the corpus twice")
    root = Path(os.path.commonpath([path.parent for path in absolute]))
    return [(path.relative_to(root).as_posix(), path) for path in absolute]


def _expand(path: Path, ending: str) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        endings = tuple(ending + packing for packing in _PACKINGS)
        inside = [file for file in path.rglob("*") if file.name.endswith(endings) and file.is_file()]
        files = [f for f in inside if not any(part.startswith(".") for part in f.relative_to(path).parts)]
        if not files:
            raise SourceError(f"{path}: the folder has no file ending in {', '.join(endings)}")
        return files
    if glob.has_magic(str(path)):
        files = [Path(match) for match in glob.glob(str(path), recursive=True) if os.path.isfile(match)]
        if not files:
            raise SourceError(f"{path}: no file matches the pattern")
        return files
    raise SourceError(f"{path}: there is no such file or folder")


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        text = line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        fault = line[error.start]
        raise SourceError(
            f"{path}, line {number}, byte {error.start + 1} of the line: 0x{fault:02x} is not UTF-8; "
            "convert the file to UTF-8"
        ) from error
    return text.removeprefix("\ufeff") if number == 1 else text


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        if path.suffix == ".zst":
            yield from _unpack_zstd(path)
        else:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise SourceError(f"{path}: the packed file is cut short or damaged: {error}") from error
    except OSError as error:
        raise SourceError(f"{path}: the file cannot be read: {error.strerror or error}") from error


def _unpack_zstd(path: Path) -> Iterator[bytes]:
    # Not stream_reader, which takes the end of a file cut short for the end of its text.
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    with path.open("rb") as file:
        while packed := file.read(_CHUNK):
            while packed:
                if unpacker.eof:
                    unpacker = zstandard.ZstdDecompressor().decompressobj()
                yield unpacker.decompress(packed)
                packed = unpacker.unused_data if unpacker.eof else b""
    if not unpacker.eof:
        raise EOFError("the last frame has no end")


def _json_field(record: dict[str, Any], field: str, where: str) -> str:
    if field not in record:
        raise SourceError(f"{where}: no field {field!r}; there are {', '.join(map(repr, record)) or 'none'}")
    if not isinstance(record[field], str):
        raise SourceError(f"{where}: the field {field!r} is a {type(record[field]).__name__}, not a string")
    text = record[field]
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{where}: the field {field!r} holds half a character (a lone surrogate)") from error
    return text


def tfds_source(name: str, split: str, data_dir: str | Path | None, download: bool = False) -> Any:
    """Open a split of a data set of TFDS for random access; raises `SourceError` where it cannot be."""
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
    # TFDS raises what its many builders raise; all of it means that the data set cannot be opened.
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
