"""All tables of a run, made from what training has left in its directory."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl

from npi_jax.analysis.alignment_tables import alignment_tables
from npi_jax.analysis.curves import acquisition_table, curves_table, final_table, own_mean
from npi_jax.analysis.empty import without_empty
from npi_jax.analysis.link import link_tables
from npi_jax.analysis.ngrams import with_ngram
from npi_jax.analysis.outcomes import baseline_variant
from npi_jax.analysis.published import published_table
from npi_jax.analysis.transfer import transfer_tables
from npi_jax.files import read_table, write_table


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
    """Write tables/*.parquet (see `npi_jax.run` for what is in them); returns the folder.

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
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table)
    for path in folder.glob("*.parquet"):
        if path.stem not in tables:
            path.unlink()
    return folder


def _final(run: AnalyzedRun, scores: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    final, ngram = final_table(scores, members), _read(run, "ngram")
    return final if ngram is None else with_ngram(final, ngram)


def _read(run: AnalyzedRun, name: str) -> pl.DataFrame | None:
    """A table that preparation has left, if it has."""
    path = Path(run.path) / f"{name}.parquet"
    return read_table(path) if path.exists() else None
