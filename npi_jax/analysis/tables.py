"""All tables of the analysis of a run, made from the files that training wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl

from npi_jax.analysis.alignment.tables import alignment_tables
from npi_jax.analysis.curves import acquisition_table, curves_table, final_table, rename_reserved
from npi_jax.analysis.failures import failed_seeds
from npi_jax.analysis.link.tables import link_tables
from npi_jax.analysis.ngrams import with_ngram
from npi_jax.analysis.transfer.empty import without_empty
from npi_jax.analysis.transfer.outcomes import baseline_variant
from npi_jax.analysis.transfer.published import published_table
from npi_jax.analysis.transfer.tables import transfer_tables
from npi_jax.files.checksums import SUMS, note
from npi_jax.results.directory import Run
from npi_jax.results.folder import ANALYZED, OF_GRADIENTS
from npi_jax.results.schema import find
from npi_jax.results.table_files import write_declared
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_learning import Acquisition, Curves, FailedSeeds, FinalResults, Published
from npi_jax.results.tables_preparation import Environments, Ngram
from npi_jax.results.tables_transfer import Transfer, TransferBySeed


@runtime_checkable
class AnalyzedRun(Protocol):
    """The part of a run's interface from which the tables are made."""

    @property
    def path(self) -> Path:
        """Path of the run directory."""

    def members(self) -> pl.DataFrame:
        """Return the table `Members`."""

    def corpus(self) -> pl.DataFrame:
        """Return the table `Corpus`."""

    def scores(self) -> pl.DataFrame:
        """Return the table `Scores` of all steps, with the variant and seed of each member."""


def write_tables(run: AnalyzedRun) -> Path:
    """Write tables/NAME.parquet (declared in `npi_jax.results.schema`); return the folder.

    Tables for which the run has no data (gradients, interventions) are absent or empty. Each file appears complete or
    not at all. Tables of an earlier analysis that are no longer made are removed.
    """
    folder = Path(run.path) / "tables"
    scores, members, corpus = rename_reserved(run.scores()), run.members(), run.corpus()
    curves = curves_table(scores)
    tables = {
        Curves.NAME: curves,
        FinalResults.NAME: _final(run, scores, members),
        Acquisition.NAME: acquisition_table(curves, members),
        FailedSeeds.NAME: failed_seeds(curves, members),
        **transfer_tables(scores, members, corpus),
    }
    reference = baseline_variant(members)
    effects, by_seed = (without_empty(tables[its.NAME], corpus, reference) for its in (Transfer, TransferBySeed))
    published = published_table(tables[FinalResults.NAME], effects)
    if len(published):
        tables[Published.NAME] = published
    gradients = alignment_tables(run.path, members)
    tables |= gradients
    if gradients:
        tables |= link_tables(gradients[Alignment.NAME], effects, _read(run, Environments.FILE), by_seed=by_seed)
    _replace(folder, tables)
    return folder


def _replace(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write the tables, and remove other tables of an earlier analysis; keep all other files.

    If the run's gradients were removed since that analysis, their tables cannot be made again and are kept.
    """
    kept = () if (folder.parent / "gradients").is_dir() else OF_GRADIENTS
    for name, table in tables.items():
        write_declared(folder / f"{name}.parquet", table, find(name))
    for name in set(ANALYZED) - {*tables, *kept}:
        (folder / f"{name}.parquet").unlink(missing_ok=True)
    # Write checksums last: if the analysis is killed before, the old checksums expose the tables already replaced.
    (folder / SUMS).unlink(missing_ok=True)
    written = (folder / f"{name}.parquet" for name in (*tables, *kept))
    note(folder, [file for file in written if file.exists()])


def _final(run: AnalyzedRun, scores: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    final, ngram = final_table(scores, members), _read(run, Ngram.FILE)
    return final if ngram is None else with_ngram(final, ngram)


def _read(run: AnalyzedRun, file: str) -> pl.DataFrame | None:
    """Return a table that preparation wrote, or None."""
    return Run(Path(run.path)).kept(file)
