"""Table of gains: what an environment with few data gains from the data of the others."""

import polars as pl

from npi_jax.report.data.selection import main_rows
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.format import pretty
from npi_jax.report.prose.plain_table import INTERVAL, PlainTable, interval_ends, number_cell, p_cell
from npi_jax.results.names import ACCURACY, DELTA, THINNED_ITEMS
from npi_jax.results.tables_amplification import Gains


def gains(tables: ReportTables) -> PlainTable | None:
    """List the gain of each environment and share in delta and accuracy; None if the run has no such variants."""
    frame = main_rows(tables, Gains.NAME)
    if frame is None:
        return None
    chosen = frame.filter(pl.col(Gains.outcome).is_in([DELTA, ACCURACY]))
    rows = [
        [
            pretty(row[Gains.environment]),
            f"{100 * row[Gains.share]:g}%{' of items' if row[Gains.thinned] == THINNED_ITEMS else ''}",
            pretty(row[Gains.donor]) or "all",
            row[Gains.outcome],
            number_cell(row[Gains.level_with]),
            number_cell(row[Gains.level_without]),
            number_cell(row[Gains.gain]),
            interval_ends(row),
            p_cell(row[Gains.p]),
            p_cell(row[Gains.p_adjusted]),
            str(row[Gains.n_seeds]),
            row[Gains.reason],
        ]
        for row in chosen.to_dicts()
    ]
    heads = ["environment", "own data left", "others", "outcome", "with them", "without", "gain", INTERVAL]
    heads += ["p", "p adjusted", "seeds", "reason"]
    note = (
        "Own data left: share of the environment's sentences, or of those with an NPI (“of items”), in both variants. "
        "Others: the environments whose NPIs one of the two variants has and the other has not. Delta is in nats."
    )
    return PlainTable("What the other environments' data does for a scarce one", heads, rows, note, {1, 2, 3, 11})
