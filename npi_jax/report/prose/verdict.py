"""The report's answer in one sentence, from alignment and transfer."""

from typing import Final

import polars as pl

from npi_jax.report.data.selection import SIGNIFICANT, TransferMatrix, mean_alignment, transfer_matrix
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.format import count, known_number, short_number
from npi_jax.report.prose.findings import Row, last_rows
from npi_jax.results.names import ENVIRONMENTS, NO_NPI, TOO_FEW
from npi_jax.results.tables_alignment import AlignmentMean
from npi_jax.results.tables_transfer import Transfer

SLIGHT: Final = 0.1
"""Below this absolute cosine, alignment counts as negligible."""
ALMOST: Final = 0.9
"""Above this cosine, environments pull the weights almost the same way."""
_SAME_WAY: Final = "environments pull the weights the same way"


def verdict(tables: ReportTables) -> str:
    """State in one sentence what alignment and transfer show and leave open; empty without gradients."""
    frame = mean_alignment(tables, ENVIRONMENTS)
    if frame is None:
        return ""
    _, rows = last_rows(tables, frame)
    shared = _shared(tables, rows)
    return f"{shared[0].upper()}{shared[1:]}; {_taught(tables)}." if rows else ""


def _shared(tables: ReportTables, rows: list[Row]) -> str:
    """Compare the first variant's alignment with 0 and with that of models that saw no NPI."""
    first = next((row for row in rows if row["label"] == tables.labels[0]), None)
    if first is not None and first[AlignmentMean.interval_over] == TOO_FEW:
        return f"{count(first[AlignmentMean.n_seeds], 'seed')} are too few to tell whether {_SAME_WAY}"
    if first is None or not known_number(first[AlignmentMean.low]):
        return f"we cannot tell whether {_SAME_WAY}"
    if first[AlignmentMean.n_seeds] < 2:
        return f"one seed cannot tell whether {_SAME_WAY}"
    if 2 * first[AlignmentMean.n_unreliable] > first[AlignmentMean.n_pairs] * first[AlignmentMean.n_seeds]:
        return f"we cannot tell whether {_SAME_WAY}, because noise hides most pairs"
    if first[AlignmentMean.low] <= 0 <= first[AlignmentMean.high]:
        return f"these seeds cannot tell whether {_SAME_WAY}"
    without = next((row for row in rows if row[AlignmentMean.variant] == NO_NPI), None)
    return f"{_how(first)}{_than(first, without)}"


def _how(row: Row) -> str:
    """Describe the size of an alignment whose interval excludes 0."""
    if row[AlignmentMean.low] > -SLIGHT and row[AlignmentMean.high] < SLIGHT:
        return "environments pull the weights in almost unrelated directions"
    if row[AlignmentMean.high] < 0:
        return "environments pull the weights in opposite directions"
    how = "almost" if row[AlignmentMean.low] > ALMOST else "partly"
    return f"environments pull the weights {how} the same way"


def _than(first: Row, without: Row | None) -> str:
    """Compare with models that saw no NPI, whose gradients have little to agree on."""
    if without is None:
        return " (no model without NPIs to compare with)"
    if not known_number(without[AlignmentMean.low]) or without[AlignmentMean.n_seeds] < 2:
        return ", and we cannot tell whether more than in models without NPIs"
    if first[AlignmentMean.low] > without[AlignmentMean.high]:
        return ", more than in models without NPIs"
    if first[AlignmentMean.high] < without[AlignmentMean.low]:
        return ", but less than in models without NPIs"
    return ", with no significant difference from models without NPIs"


def _taught(tables: ReportTables) -> str:
    """State significant effects of one environment's data on another, or the effects that could go unnoticed."""
    found = transfer_matrix(tables)
    between = None if found is None else found.between().filter(pl.col(Transfer.effect).is_finite())
    if found is None or between is None or not len(between):
        return "whether one environment's data helps another was not tested"
    if int(between[Transfer.n_seeds].max()) < 2:  # type: ignore[arg-type]
        return "one seed cannot tell whether one environment's data helps another"
    significant = between.filter(pl.col(Transfer.p_adjusted) < SIGNIFICANT)[Transfer.effect]
    helps, hurts = int((significant < 0).sum()), int((significant > 0).sum())
    of_all = count(len(between), "case")
    if helps:
        also = f" and hurts them in {hurts}" if hurts else ""
        return f"one environment's data helps others in {helps} of {of_all}{also}{_bare(found)}"
    if hurts:
        return (
            f"one environment's data hurts others in {hurts} of {of_all} and significantly helps in none{_bare(found)}"
        )
    return f"we cannot tell whether one environment's data helps another{_unseen(between)}{_bare(found)}"


def _unseen(between: pl.DataFrame) -> str:
    arms = (
        between.filter(pl.col(Transfer.low).is_finite())
        .select(((pl.col(Transfer.high) - pl.col(Transfer.low)) / 2).median())
        .item()
    )
    seeds = count(int(between[Transfer.n_seeds].max()), "seed")  # type: ignore[arg-type]
    if not known_number(arms):
        return ""
    return f": with {seeds}, effects up to about {short_number(arms)} nats could go unnoticed"


def _bare(found: TransferMatrix) -> str:
    return (
        ""
        if found.against == "control"
        else " (without random controls, effects include those of the sentences that replaced the NPIs)"
    )
