"""One sentence that answers the report's question, as far as the run can: alignment and transfer taken together."""

from typing import Final

import polars as pl

from npi_jax.report.data.selection import SIGNIFICANT, TransferMatrix, mean_alignment, transfer_matrix
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.format import count, known_number, short_number
from npi_jax.report.prose.findings import Row, last_rows
from npi_jax.report.prose.sentences import NO_NPI

SLIGHT: Final = 0.1
"""An alignment nearer to 0 than this is told from it, perhaps, but next to nothing."""
ALMOST: Final = 0.9
_SAME_WAY: Final = "environments pull the weights the same way"


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
        return f"whether {_SAME_WAY} cannot be said"
    if first["n_seeds"] < 2:
        return f"one seed cannot say whether {_SAME_WAY}"
    if 2 * first["n_unreliable"] > first["n_pairs"] * first["n_seeds"]:
        return f"whether {_SAME_WAY} cannot be said, as noise hides most pairs"
    if first["low"] <= 0 <= first["high"]:
        return f"whether {_SAME_WAY} cannot be told from these seeds"
    without = next((row for row in rows if row["variant"] == NO_NPI), None)
    return f"{_how(first)}{_than(first, without)}"


def _how(row: Row) -> str:
    """How far an alignment that is told from 0 goes."""
    if row["low"] > -SLIGHT and row["high"] < SLIGHT:
        return "environments hardly pull the weights the same way or opposite ways"
    if row["high"] < 0:
        return "environments pull the weights in opposite ways"
    how = "almost" if row["low"] > ALMOST else "partly"
    return f"environments pull the weights {how} the same way"


def _than(first: Row, without: Row | None) -> str:
    """Against models that saw no NPI, whose gradients have little to agree on."""
    if without is None:
        return " (no model without NPIs to compare with)"
    if not known_number(without["low"]) or without["n_seeds"] < 2:
        return ", whether more than in models without NPIs cannot be said"
    if first["low"] > without["high"]:
        return ", more than in models without NPIs"
    if first["high"] < without["low"]:
        return ", but less than in models without NPIs"
    return ", whether more than in models without NPIs is not told"


def _taught(tables: ReportTables) -> str:
    """Whether one environment's data is told to help another, and how large an effect could have gone unseen."""
    found = transfer_matrix(tables)
    between = None if found is None else found.between().filter(pl.col("effect").is_finite())
    if found is None or between is None or not len(between):
        return "whether one environment's data helps another was not tested"
    if int(between["n_seeds"].max()) < 2:  # type: ignore[arg-type]
        return "nor whether one environment's data helps another"
    told = between.filter(pl.col("p_adjusted") < SIGNIFICANT)["effect"]
    helps, hurts = int((told < 0).sum()), int((told > 0).sum())
    of_all = count(len(between), "case")
    if helps:
        also = f" and hurts them in {hurts}" if hurts else ""
        return f"one environment's data helps others in {helps} of {of_all}{also}{_bare(found)}"
    if hurts:
        return f"one environment's data hurts others in {hurts} of {of_all} and is told to help in none{_bare(found)}"
    return (
        f"that one environment's data helps another is not told, nor that it does not{_unseen(between)}{_bare(found)}"
    )


def _unseen(between: pl.DataFrame) -> str:
    arms = between.filter(pl.col("low").is_finite()).select(((pl.col("high") - pl.col("low")) / 2).median()).item()
    seeds = count(int(between["n_seeds"].max()), "seed")  # type: ignore[arg-type]
    return f": with {seeds} the intervals reach ± {short_number(arms)} nats" if known_number(arms) else ""


def _bare(found: TransferMatrix) -> str:
    return "" if found.against == "control" else " (no random controls: what replaced the NPIs counts as well)"
