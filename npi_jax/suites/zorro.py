"""Zorro (Huebner et al. 2021): plain text, an unacceptable line before each acceptable one."""

from collections.abc import Iterator
from pathlib import Path

from npi_jax.suites.paths import check_path, ending
from npi_jax.suites.reading import SuiteError, make_suite, read_text_lines, whole_sentences
from npi_jax.suites.schema import Item, Suite


def load_zorro(path: Path, *, limit: int | None = None) -> Suite:
    """Load Zorro: odd lines are unacceptable, even ones acceptable. A file is a paradigm, and a task.

    Sentences are taken as they are: lower case, with spaces before punctuation. The critical region is the
    whole sentence.

    Arguments:
        path: a .txt file, or a folder whose .txt files, in folders of it too, are all taken.
        limit: most items a paradigm, evenly spaced; None for all.

    Raises:
        SuiteError: nothing is there, a line is blank, or a file has an odd number of lines; names file and line.
    """
    path = Path(path)
    return make_suite("zorro", (item for file in _files(path) for item in _read(file)), path, limit)


def _files(path: Path) -> list[Path]:
    if not check_path(path).is_dir():
        # Any text has lines: what is of another form would be scored.
        if ending(path) != ".txt":
            raise SuiteError(f"{path}: the file's name does not end in .txt")
        return [path]
    files = sorted(file for file in path.rglob("*.txt") if file.is_file())
    if not files:
        raise SuiteError(f"{path}: the folder has no file ending in .txt")
    if len({file.stem for file in files}) < len(files):
        raise SuiteError(f"{path}: two files have one name; give the folder of one version (such as babyberta)")
    return files


def _read(file: Path) -> Iterator[Item]:
    bad = None
    number = 0
    for number, line in read_text_lines(file):
        if not (text := line.strip()):
            raise SuiteError(f"{file}, line {number}: blank; sentences come in pairs, line after line")
        if bad is None:
            bad = text
            continue
        critical = whole_sentences(text, bad)
        yield Item(f"{file.stem}/{number // 2 - 1}", file.stem, file.stem, "other", text, bad, *critical)
        bad = None
    if bad is not None:
        raise SuiteError(f"{file}, line {number}: the last sentence has no acceptable one after it")
