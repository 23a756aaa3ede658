"""Prepared data in a run directory: tables, examples, and the vocabulary."""

import shutil

from npi_jax.experiment.claim import Say
from npi_jax.files.checksums import damaged, note
from npi_jax.files.writing import atomic_path
from npi_jax.preparation.prepare import Prepared
from npi_jax.results.directory import Run
from npi_jax.results.folder import NGRAM, TABLES, TOKENIZER
from npi_jax.results.table_files import write_declared
from npi_jax.results.tables_preparation import Corpus, Environments, Examples, Slots


def store_prepared(run: Run, prepared: Prepared, say: Say) -> None:
    """Write prepared data to a run directory; this also rebuilds damaged files."""
    names = [name for name in (*TABLES, *TOKENIZER) if name != NGRAM]
    rebuilt = [path for path in damaged(run.path) if path.relative_to(run.path).as_posix() in names]
    write_declared(run.path / Corpus.FILE, prepared.table, Corpus)
    prepared.tokenizer.save(run.path / "tokenizer")
    write_declared(run.path / Environments.FILE, prepared.environments, Environments)
    for table in (Slots, Examples):
        with atomic_path(run.path / table.FILE) as copy:
            shutil.copyfile(prepared.folder / table.FILE, copy)
    note(run.path, [path for path in map(run.path.joinpath, names) if path.exists()])
    for path in rebuilt:
        say(f"{path} was damaged or lost, and is rebuilt")


def needs_ngrams(run: Run, say: Say) -> bool:
    """Return whether the table of the 5-gram baseline is missing or damaged."""
    path = run.path / NGRAM
    if path in damaged(run.path):
        say(f"{path} was damaged or lost, and is rebuilt")
        return True
    return not path.exists()
