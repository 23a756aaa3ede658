"""Text files: find them, identify their content by digests, and read their lines."""

import glob
import gzip
import hashlib
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zstandard

from npi_jax.corpus.text.compression import ENDINGS, Reader, decompressed, is_compressed, stated_size
from npi_jax.errors import UserError

LONGEST_LINE = 16 << 20
"""Maximum size of a line, bytes; in a file with longer lines, line ends are probably missing."""

Paths = str | Path | Iterable[str | Path]


class SourceError(UserError):
    """Text that is missing, empty, damaged or in another format than stated."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A text file.

    Attributes:
        name: path below the folder that all given files share.
        path: absolute path.
        sha256: digest of the content at the time of `digested`; "" before.
        size: size at that time, bytes.
        changed: time stamp at that time, nanoseconds.
    """

    name: str
    path: Path
    sha256: str = ""
    size: int = 0
    changed: int = 0


# -- finding files --------------------------------------------------------------------------------------


def find_files(paths: Paths, ending: str, *, repeats: bool = False) -> list[SourceFile]:
    """Return the files that paths name, sorted by path.

    Args:
        paths: files, folders and glob patterns (``**`` matches folders at any depth). A folder means all files in it
            and below it that have the ending (optionally followed by .gz or .zst) and are not hidden. A file that is
            named explicitly may have any ending. Links are followed; every folder is visited once, so that cycles of
            links end.
        ending: ending of file names, such as ``".txt"``.
        repeats: True to allow a file that is named twice, directly or by links.

    Raises:
        SourceError: if there is no file, a path is empty, or a file is named twice without `repeats`.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if "" in given:
        raise SourceError("a path is empty; name a file, a folder ('.' for this one) or a glob pattern")
    files = sorted(file.absolute() for path in given for file in _expand(Path(path), ending))
    if not files:
        raise SourceError("no path is given; name a file, a folder or a glob pattern")
    real: dict[str, Path] = {}
    for path in () if repeats else files:
        if (other := real.setdefault(os.path.realpath(path), path)) is not path:
            link = "" if other == path else f", the other time as {other}"
            raise SourceError(f"{path}: the file is named twice{link}, so that its text would be in the corpus twice")
    root = Path(os.path.commonpath([path.parent for path in files]))
    return [SourceFile(path.relative_to(root).as_posix(), path) for path in files]


def _expand(path: Path, ending: str) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        endings = tuple(ending + compression for compression in ENDINGS)
        files = [file for folder in _folders(path) for file in _visible(folder) if file.name.endswith(endings)]
        if not files:
            raise SourceError(f"{path}: the folder has no file ending in {', '.join(endings)}")
        return files
    if glob.has_magic(str(path)):
        files = [file for file in _matches(path.parts) if file.is_file()]
        if not files:
            raise SourceError(f"{path}: no file matches the pattern")
        return files
    kind = "not a plain file" if path.exists() else "there is no such file or folder"
    raise SourceError(f"{path}: {kind}")


def _folders(top: Path) -> Iterator[Path]:
    """Yield a folder and all folders below it that are not hidden, each once even if several links lead to it."""
    seen = set()
    for folder, inside, _ in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        inside[:] = () if real in seen else sorted(name for name in inside if not name.startswith("."))
        if real not in seen:
            seen.add(real)
            yield Path(folder)


def _visible(folder: Path) -> list[Path]:
    """Return the plain files of a folder that are not hidden."""
    return [file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file()]


def _matches(parts: Sequence[str]) -> list[Path]:
    """Expand a glob pattern; visit each folder below ``**`` once, since `glob` itself follows cycles of links."""
    if "**" not in parts:
        return [Path(match) for match in glob.glob(os.path.join(*parts))]
    at = parts.index("**")
    tops = glob.glob(os.path.join(*parts[:at])) if at else ["."]
    folders = {os.path.realpath(folder): folder for top in tops if os.path.isdir(top) for folder in _folders(Path(top))}
    if not parts[at + 1 :]:
        return [file for folder in folders.values() for file in _visible(folder)]
    matches: dict[str, Path] = {}
    for folder in folders.values():
        for match in _matches((*map(glob.escape, folder.parts), *parts[at + 1 :])):
            matches.setdefault(os.path.join(os.path.realpath(match.parent), match.name), match)
    return list(matches.values())


# -- identifying content --------------------------------------------------------------------------------


def digested(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the files with digest, size and time stamp of their present content.

    Raises:
        SourceError: naming a file that cannot be read.
    """
    results = []
    for file in files:
        try:
            with file.path.open("rb") as content:
                about = os.fstat(content.fileno())
                sha = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise SourceError(f"{file.path}: the file cannot be read: {error.strerror or error}") from error
        results.append(replace(file, sha256=sha, size=about.st_size, changed=about.st_mtime_ns))
    return results


def files_key(files: Sequence[SourceFile]) -> dict[str, Any]:
    """Return the key of files for the cache: names with digests, and the total size in bytes."""
    return {"files": [[file.name, file.sha256] for file in files], "bytes": sum(file.size for file in files)}


def check_unchanged(files: Sequence[SourceFile]) -> None:
    """Refuse files whose size or time stamp has changed since `digested`.

    Raises:
        SourceError: naming the file.
    """
    for file in files:
        about = file.path.stat() if file.path.exists() else None
        if about is None or (about.st_size, about.st_mtime_ns) != (file.size, file.changed):
            raise _changed(file.path)


def _changed(path: Path) -> SourceError:
    return SourceError(f"{path}: changed while it was read; run again when no other program writes to it")


def check_distinct(training: Sequence[SourceFile], validation: Sequence[SourceFile]) -> None:
    """Refuse files with the same text: links and copies, compressed or not.

    Args:
        training: files of the training text, with digests.
        validation: files of the validation text, with digests.

    Raises:
        SourceError: naming both files.
    """
    contents = _contents([*training, *validation])
    for files, use in ((training, "training text"), (validation, "validation text")):
        seen: dict[str, SourceFile] = {}
        for file in files:
            if (other := seen.setdefault(contents[file.path], file)) is not file:
                raise SourceError(_twice(other, file, f"both are {use}"))
    held_out = {contents[file.path]: file for file in validation}
    for file in training:
        if contents[file.path] in held_out:
            uses = "the first is training text, the second validation text"
            raise SourceError(_twice(file, held_out[contents[file.path]], uses))


def _twice(one: SourceFile, other: SourceFile, uses: str) -> str:
    if one.path == other.path:
        return f"{one.path}: the same file is training text and validation text{_ALLOW}"
    same = os.path.realpath(one.path) == os.path.realpath(other.path)
    relation = "are one file, by a link" if same else "hold the same text"
    return f"{one.path} and {other.path} {relation}, and {uses}{_ALLOW}"


_ALLOW = "; name it once, or set corpus.allow_repeats=True if that is what you want"


def _contents(files: Sequence[SourceFile]) -> dict[Path, str]:
    """Return a digest of each file's text; a compressed file is decompressed only if another text has the same size."""
    by_size: dict[int | None, set[Path]] = defaultdict(set)
    sizes = {file.path: stated_size(file.path) for file in files}
    for path, size in sizes.items():
        by_size[size].add(path)
    return {
        path: _text_digest(path) if size is not None and len(by_size[size]) > 1 and is_compressed(path) else sha256
        for path, size, sha256 in ((file.path, sizes[file.path], file.sha256) for file in files)
    }


def _text_digest(path: Path) -> str:
    sha = hashlib.sha256()
    for chunk in _chunks(path, ""):
        sha.update(chunk)
    return sha.hexdigest()


# -- reading --------------------------------------------------------------------------------------------


def read_lines(path: Path, sha256: str = "") -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file, numbered from 1, without line ends; .gz and .zst are decompressed.

    Only ``\\n`` and ``\\r\\n`` end a line. A byte order mark is removed.

    Args:
        path: the file.
        sha256: expected digest of the bytes that are read; "" for any.

    Raises:
        SourceError: if the file is missing, damaged or not UTF-8, has another digest, or a line beyond `LONGEST_LINE`.
    """
    number, size = 0, 0
    pieces: list[bytes] = []
    for chunk in _chunks(path, sha256):
        *lines, tail = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*pieces, lines[0]))
            pieces, size = [], 0
        for line in lines:
            number += 1
            yield number, _decode(line, path, number)
        pieces.append(tail)
        size += len(tail)
        if size > LONGEST_LINE:
            most = LONGEST_LINE >> 20
            raise SourceError(f"{path}, line {number + 1}: longer than {most} MiB; split the text into lines")
    if tail := b"".join(pieces):
        yield number + 1, _decode(tail, path, number + 1)


Fields = Callable[[list[tuple[str, Any]]], dict[str, Any]]


def read_json_lines(path: Path, sha256: str = "", fields: Fields | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a file of JSON lines, with their line numbers; blank lines are skipped.

    Args:
        path, sha256: as for `read_lines`.
        fields: builds an object from its fields and values, or raises ValueError. None builds a dictionary, in which
            the last of several equal fields counts.

    Raises:
        SourceError: as for `read_lines`; or if a line is not a JSON object.
    """
    for number, line in read_lines(path, sha256):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=fields)
        except json.JSONDecodeError as error:
            raise SourceError(f"{path}, line {number}, column {error.colno}: not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{path}, line {number}: not JSON that can be read: {error}") from error
        if not isinstance(record, dict):
            raise SourceError(f"{path}, line {number}: a JSON {type(record).__name__}, not an object")
        yield number, record


def check_whole_characters(text: str, where: str) -> str:
    """Return text without lone surrogates, which JSON can hold but UTF-8 cannot.

    Args:
        text: the text.
        where: file, line and field of the text, for the message.

    Raises:
        SourceError: if the text has a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{where} holds half a character (a lone surrogate)") from error
    return text


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


def _chunks(path: Path, sha256: str) -> Iterator[bytes]:
    # Reading a pipe or a device may never end.
    if path.exists() and not path.is_file():
        raise SourceError(f"{path}: not a plain file")
    try:
        with path.open("rb") as file:
            reader = Reader(file, digest=bool(sha256))
            yield from decompressed(reader, path)
            if reader.finish() != sha256:
                raise _changed(path)
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise SourceError(f"{path}: the compressed file is truncated or damaged: {error}") from error
    except OSError as error:
        raise SourceError(f"{path}: the file cannot be read: {error.strerror or error}") from error
