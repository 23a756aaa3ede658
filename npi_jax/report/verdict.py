"""One sentence that answers the report's question, as far as the run can: alignment and transfer taken together."""

from typing import Final

import polars as pl

from npi_jax.report.findings import Row, known_number, last_rows
from npi_jax.report.picture import short_number
from npi_jax.report.selection import SIGNIFICANT, mean_alignment, transfer_matrix
from npi_jax.report.sentences import NO_NPI
from npi_jax.report.tables import ReportTables, count

SLIGHT: Final = 0.1
"""An alignment below this is told from 0, perhaps, but next to nothing."""


def verdict(tables: ReportTables) -> str:
    """One sentence: what alignment and transfer together say, and what they leave open; empty without gradients."""
    frame = mean_alignment(tables, "environments")
    if frame is None:
        return ""
    _, rows = last_rows(tables, frame)
    shared = _shared(tables, rows)
    return f"{shared[0].upper()}{shared[1:]}; {_taught(tables)}." if rows else ""


def _shared(tables: ReportTables, rows: list[Row]) -> str:
    """Whether gradients agree in the first variant, and more than where there is nothing to agree on."""
    first = next((row for row in rows if row["label"] == tables.labels[0]), None)
    if first is None or not known_number(first["low"]):
        return "whether environments pull the weights the same way cannot be said"
    if first["low"] <= 0 <= first["high"]:
        return "whether environments pull the weights the same way cannot be told from these seeds"
    if first["high"] < 0:
        return "environments pull the weights in opposite ways"
    how = "hardly" if first["high"] < SLIGHT else "partly"
    without = next((row for row in rows if row["variant"] == NO_NPI), None)
    if without is None:
        return f"environments pull the weights {how} the same way (no model without NPIs to compare with)"
    more = known_number(without["high"]) and first["low"] > without["high"]
    than = "more than in models without NPIs" if more else "whether more than in models without NPIs is not told"
    return f"environments pull the weights {how} the same way, {than}"


def _taught(tables: ReportTables) -> str:
    """Whether one environment's data is told to help another, and how large an effect could have gone unseen."""
    found = transfer_matrix(tables)
    between = None if found is None else found.between().filter(pl.col("effect").is_finite())
    if found is None or between is None or not len(between):
        return "whether one environment's data helps another was not tested"
    told = between.filter((pl.col("p_adjusted") < SIGNIFICANT) & (pl.col("effect") < 0)).height
    bare = "" if found.against == "control" else " (no random controls: what replaced the NPIs counts as well)"
    if told:
        return f"one environment's data helps others in {told} of {count(len(between), 'case')}{bare}"
    arms = ((pl.col("high") - pl.col("low")) / 2).filter(pl.col("low").is_finite())
    reach = between.select(arms.median()).item()
    seeds = count(int(between["n_seeds"].max()), "seed")  # type: ignore[arg-type]
    unseen = f": with {seeds} the intervals reach ± {short_number(reach)} nats" if known_number(reach) else ""
    return f"that one environment's data helps another is not told, nor that it does not{unseen}{bare}"
