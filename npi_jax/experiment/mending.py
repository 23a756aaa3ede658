"""Rebuilding of damaged or lost files of a run from its other files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import filelock
import polars as pl

from npi_jax.analysis.alignment.grams import load_grams
from npi_jax.config.build import make_config
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.errors import UserError
from npi_jax.experiment.claim import Say
from npi_jax.files import checksums
from npi_jax.files.writing import file_digest, read_table
from npi_jax.results.directory import Run
from npi_jax.results.folder import CONFIG, LOCK, STEP_FOLDERS, TABLES, TOKENIZER, step_files
from npi_jax.results.table_files import read_declared, write_declared
from npi_jax.results.tables_training import Members, Metrics
from npi_jax.training.divergence import has_diverged


def mend(run: Run, say: Say) -> None:
    """Rebuild lists of checksums and ``members.parquet``; no other process may be writing to the run.

    Other stages rebuild other files: preparation those made from the text, resumed training the tables of its steps.

    Args:
        run: the run.
        say: receives a line about each file that was rebuilt.
    """
    members = run.path / "members.parquet"
    files = [run.path / name for name in (CONFIG, members.name, *TABLES, *TOKENIZER)]
    _mend_sums(run.path, files, say, single=True)
    for folder, ending in STEP_FOLDERS.items():
        _mend_sums(run.path / folder, list(step_files(run.path / folder, ending).values()), say)
    wanted = checksums.noted(run.path).get(members.name)
    if run.whole_steps("metrics") and (not members.is_file() or wanted != file_digest(members)):
        _mend_members(run, members, say)


def mend_if_free(run: Run, say: Say) -> None:
    """Call `mend` unless another process has locked the run, or its folder is read-only.

    In these two cases damaged files remain, and cause an error when they are read.
    """
    lock = filelock.FileLock(run.path / LOCK, timeout=0)
    try:
        lock.acquire()
    except (filelock.Timeout, OSError):
        return
    try:
        mend(run, say)
    finally:
        lock.release()


def _mend_sums(folder: Path, files: Sequence[Path], say: Say, *, single: bool = False) -> None:
    """Record checksums of a folder's files if their list is lost; with `single`, also of files that the list lacks.

    The list lacks a file if a process was killed after it wrote the file and before it wrote the checksum.
    """
    try:
        known = checksums.noted(folder)
    except UserError:
        (folder / checksums.SUMS).unlink()
        known = {}
    unknown = [file for file in files if file.relative_to(folder).as_posix() not in known]
    readable = [file for file in unknown if file.is_file() and _is_readable(file)]
    if not readable or (known and not single):
        return
    checksums.note(folder, readable)
    if not known:
        say(f"{folder / checksums.SUMS} was damaged or lost: checksums are taken from the files as they are now")


def _is_readable(file: Path) -> bool:
    readers: dict[str, Callable[[Path], object]] = {".parquet": read_table, ".npz": load_grams}
    try:
        readers.get(file.suffix, Path.read_bytes)(file)
    except UserError:
        return False
    return True


def _mend_members(run: Run, file: Path, say: Say) -> None:
    """Rebuild the table of members from the configuration and the latest metrics."""
    # Rarely needed, and slow to import, because it imports the libraries of training.
    from npi_jax.training.tables import members_table  # noqa: PLC0415

    try:
        members = make_config(run.config).members
        steps = run.steps("metrics")[-2:]
        before, last = (_metrics(run, step) for step in (steps[0], steps[-1]))
        vocabulary = run.manifest.get("data", {}).get("vocabulary") or Tokenizer.load(run.path / "tokenizer").vocab_size
        skipped, loss = last[Metrics.skipped_updates].to_numpy(), last[Metrics.valid_loss].to_numpy()
        diverged = has_diverged(skipped, before[Metrics.skipped_updates].to_numpy(), loss, int(vocabulary))
        write_declared(file, members_table(members, skipped, diverged), Members)
    except UserError as error:
        say(f"{file} is damaged or lost, and cannot be rebuilt: {error}")
        return
    run.note_written(file)
    say(f"{file} was damaged or lost, and is rebuilt from the configuration and the metrics")


def _metrics(run: Run, step: int) -> pl.DataFrame:
    file = run.path / "metrics" / f"{step}.parquet"
    run.check_written(file)
    return read_declared(file, Metrics)
