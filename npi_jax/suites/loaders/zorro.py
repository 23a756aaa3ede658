"""Zorro (Huebner et al. 2021): plain text with an unacceptable line before each acceptable one."""

from collections.abc import Iterator
from pathlib import Path

from npi_jax.suites.loaders.paths import check_path, unpacked_name
from npi_jax.suites.loaders.reading import full_sentences, make_suite, read_text_lines
from npi_jax.suites.schema import Item, Suite, SuiteError


def load_zorro(path: Path, *, limit: int | None = None) -> Suite:
    """Load Zorro: odd lines are unacceptable, even lines acceptable. A file is a paradigm and a task.

    Sentences stay as they are: lower case, with spaces before punctuation. The critical region is the full
    sentence.

    Arguments:
        path: a .txt file, or a folder whose .txt files are all read, including those in subfolders.
        limit: largest number of items per paradigm, taken at even distances; None for all.

    Raises:
        SuiteError: if the path does not exist, two files have one name, or a file has a blank line or an odd number
            of lines. The message names file and line.
    """
    path = Path(path)
    return make_suite("zorro", (item for file in _files(path) for item in _read(file)), path, limit)


def _files(path: Path) -> list[Path]:
    if not check_path(path).is_dir():
        # Without this check a text file in another format would be scored, since it also has lines.
        if unpacked_name(path).suffix != ".txt":
            raise SuiteError(f"{path}: the file's name does not end in .txt")
        return [path]
    files = sorted(file for file in path.rglob("*.txt") if file.is_file())
    if not files:
        raise SuiteError(f"{path}: the folder has no file ending in .txt")
    if len({file.stem for file in files}) < len(files):
        raise SuiteError(f"{path}: two files have the same name; give the folder of one version (such as babyberta)")
    return files


def _read(file: Path) -> Iterator[Item]:
    bad = None
    number = 0
    for number, line in read_text_lines(file):
        if not (text := line.strip()):
            raise SuiteError(f"{file}, line {number}: blank; sentences come in pairs, on consecutive lines")
        if bad is None:
            bad = text
            continue
        yield _item(file.stem, number // 2 - 1, text, bad)
        bad = None
    if bad is not None:
        raise SuiteError(f"{file}, line {number}: the last sentence has no acceptable one after it")


def _item(paradigm: str, number: int, good: str, bad: str) -> Item:
    critical_good, critical_bad = full_sentences(good, bad)
    return Item(
        item=f"{paradigm}/{number}",
        paradigm=paradigm,
        task=paradigm,
        kind="other",
        good=good,
        bad=bad,
        critical_good=critical_good,
        critical_bad=critical_bad,
    )
