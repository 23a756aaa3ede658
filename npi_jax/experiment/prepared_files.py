"""Prepared data that is stored with a run: tables, examples, and the vocabulary."""

import shutil

from npi_jax.experiment.claim import Say
from npi_jax.files.checksums import damaged, note
from npi_jax.files.writing import atomic_path, write_table
from npi_jax.preparation.prepare import Prepared
from npi_jax.results.directory import Run
from npi_jax.results.folder import NGRAM, TABLES, TOKENIZER


def store_prepared(run: Run, prepared: Prepared, say: Say) -> None:
    """Write the prepared data that a run keeps; this also rebuilds damaged files."""
    names = [name for name in (*TABLES, *TOKENIZER) if name != NGRAM]
    rebuilt = [path for path in damaged(run.path) if path.relative_to(run.path).as_posix() in names]
    write_table(run.path / "corpus.parquet", prepared.table)
    prepared.tokenizer.save(run.path / "tokenizer")
    write_table(run.path / "environments.parquet", prepared.environments)
    for name in ("slots", "examples"):
        with atomic_path(run.path / f"{name}.parquet") as copy:
            shutil.copyfile(prepared.folder / f"{name}.parquet", copy)
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
