"""All tables of a run, made from what training has left in its directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl

from npi_jax.analysis.alignment.tables import alignment_tables
from npi_jax.analysis.curves import acquisition_table, curves_table, final_table, own_mean
from npi_jax.analysis.link.permutation import link_tables
from npi_jax.analysis.ngrams import with_ngram
from npi_jax.analysis.transfer.empty import without_empty
from npi_jax.analysis.transfer.outcomes import baseline_variant
from npi_jax.analysis.transfer.published import published_table
from npi_jax.analysis.transfer.tables import transfer_tables
from npi_jax.files.checksums import SUMS, note
from npi_jax.files.writing import write_table
from npi_jax.results.directory import Run
from npi_jax.results.folder import ANALYZED, OF_GRADIENTS


@runtime_checkable
class AnalyzedRun(Protocol):
    """What of a run directory the tables are made from."""

    @property
    def path(self) -> Path:
        """The run directory."""

    def members(self) -> pl.DataFrame:
        """One row a member."""

    def corpus(self) -> pl.DataFrame:
        """One row a variant."""

    def scores(self) -> pl.DataFrame:
        """One row a step, member, item and region, with the member's variant and seed."""


def write_tables(run: AnalyzedRun) -> Path:
    """Write tables/*.parquet (see `npi_jax.results.directory` for what is in them); returns the folder.

    What a run has no data for (gradients, interventions) has no table, or an empty one. Each file appears complete or
    not at all; a table that an earlier analysis left and that is not made any more is removed.
    """
    folder = Path(run.path) / "tables"
    scores, members, corpus = own_mean(run.scores()), run.members(), run.corpus()
    curves = curves_table(scores)
    tables = {
        "curves": curves,
        "final": _final(run, scores, members),
        "acquisition": acquisition_table(curves, members),
        **transfer_tables(scores, members, corpus),
    }
    effects = without_empty(tables["transfer"], corpus, baseline_variant(members))
    published = published_table(tables["final"], effects)
    if len(published):
        tables["published"] = published
    gradients = alignment_tables(run.path, members)
    tables |= gradients
    if gradients:
        tables |= link_tables(gradients["alignment"], effects, _read(run, "environments"))
    _replace(folder, tables)
    return folder


def _replace(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write the tables, and remove those of an analysis before that are not among them; nothing else is touched.

    Where the run's gradients were removed since, their tables are all that is left of them, and stay.
    """
    kept = () if (folder.parent / "gradients").is_dir() else OF_GRADIENTS
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table)
    for name in set(ANALYZED) - {*tables, *kept}:
        (folder / f"{name}.parquet").unlink(missing_ok=True)
    # Last: what an analysis that was killed has half replaced is refused by the checksums of the one before.
    (folder / SUMS).unlink(missing_ok=True)
    written = (folder / f"{name}.parquet" for name in (*tables, *kept))
    note(folder, [file for file in written if file.exists()])


def _final(run: AnalyzedRun, scores: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    final, ngram = final_table(scores, members), _read(run, "ngram")
    return final if ngram is None else with_ngram(final, ngram)


def _read(run: AnalyzedRun, name: str) -> pl.DataFrame | None:
    """A table that preparation has left, if it has."""
    return Run(Path(run.path)).kept(f"{name}.parquet")
