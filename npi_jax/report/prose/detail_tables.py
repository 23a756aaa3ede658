"""The report's smaller tables: effects, tests, predictions and diagnostics."""

from collections.abc import Callable

from npi_jax.report.data.tables import ReportTables
from npi_jax.report.figures.picture import Section
from npi_jax.report.prose.amplification_tables import gains
from npi_jax.report.prose.diagnostic_tables import divergence, gradients, residuals, ties
from npi_jax.report.prose.plain_table import PlainTable
from npi_jax.report.prose.transfer_tables import (
    asymmetry,
    eavesdropping,
    effects,
    links,
    pairs,
    pooled,
    predictions,
    published,
)


def detail_tables(tables: ReportTables, section: Section) -> list[PlainTable]:
    """Return the tables of one section for which the run has data."""
    makers: dict[Section, tuple[Callable[[ReportTables], PlainTable | None], ...]] = {
        "transfer": (published, pooled, effects, asymmetry, eavesdropping, links, predictions, pairs),
        "data": (gains,),
        "diagnostics": (divergence, residuals, ties, gradients),
    }
    found = [make(tables) for make in makers.get(section, ())]
    return [_without_empty(table) for table in found if table is not None]


def _without_empty(table: PlainTable) -> PlainTable:
    """Remove empty columns, such as reasons for missing values if none is missing."""
    kept = [place for place in range(len(table.heads)) if any(row[place] for row in table.rows)]
    rows = [[row[place] for place in kept] for row in table.rows]
    words = {new for new, place in enumerate(kept) if place in table.words}
    return PlainTable(table.title, [table.heads[place] for place in kept], rows, table.note, words)
