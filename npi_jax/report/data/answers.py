"""Selection of the rows behind the verdict: the effective number of tasks, and gains from others' data."""

from typing import Any, Final

import polars as pl

from npi_jax.report.data.selection import main_rows, parameter_groups
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.format import known_number
from npi_jax.results.names import ADAM, ALL_DONORS, MEAN_COSINE, MEAN_OVER_ENVIRONMENTS, PLAIN
from npi_jax.results.tables_alignment import AlignmentContrasts, EffectiveTasks
from npi_jax.results.tables_amplification import Gains

_METRICS: Final = (ADAM, PLAIN)
"""Metrics in the order of preference: contrasts of seeds are clearest in Adam's."""


def effective_number(tables: ReportTables, label: str | None = None) -> dict[str, Any] | None:
    """Return the row of a label's effective number of tasks at its last step, in the main group of weights.

    The metric is Adam's if it has a number, else the plain one.

    Args:
        tables: tables of the run.
        label: the variant; by default the first.
    """
    frame = tables.table(EffectiveTasks.NAME)
    if frame is None:
        return None
    here = frame.filter(
        (pl.col("label") == (label or tables.labels[0]))
        & (pl.col(EffectiveTasks.group) == parameter_groups(frame)[0])
        & (pl.col(EffectiveTasks.step) == pl.col(EffectiveTasks.step).max())
    )
    return _preferred(here, EffectiveTasks.metric, EffectiveTasks.effective)


def alignment_contrast(tables: ReportTables, label: str, group: str) -> dict[str, Any] | None:
    """Return the contrast of a label's mean cosine with the baseline at the last step; None if there is none.

    The metric is Adam's if it has a difference, else the plain one.
    """
    frame = tables.table(AlignmentContrasts.NAME)
    if frame is None:
        return None
    here = frame.filter(
        (pl.col("label") == label)
        & (pl.col(AlignmentContrasts.group) == group)
        & (pl.col(AlignmentContrasts.statistic) == MEAN_COSINE)
        & (pl.col(AlignmentContrasts.step) == pl.col(AlignmentContrasts.step).max())
    )
    return _preferred(here, AlignmentContrasts.metric, AlignmentContrasts.difference)


def _preferred(rows: pl.DataFrame, metric: str, value: str) -> dict[str, Any] | None:
    """Return the row of the first metric that has a value, else the row of the plain one; None without rows."""
    by_metric = {row[metric]: row for row in rows.to_dicts()}
    known = (by_metric[name] for name in _METRICS if name in by_metric and known_number(by_metric[name][value]))
    return next(known, by_metric.get(PLAIN))


def main_gains(tables: ReportTables) -> dict[str, dict[str, Any]]:
    """Return the rows by outcome about the gain from all other environments' data; an empty dict without any.

    With several environments, the rows are about their mean. Of several shares, it is the smallest above 0.
    """
    rows = main_rows(tables, Gains.NAME)
    if rows is None:
        return {}
    for variant in (Gains.variant_with, Gains.variant_without):
        rows = tables.without_empty(rows, variant)
    rows = rows.filter(pl.col(Gains.donor) == ALL_DONORS)
    means = rows.filter(pl.col(Gains.environment) == MEAN_OVER_ENVIRONMENTS)
    rows = means if len(means) else rows
    partial = rows.filter(pl.col(Gains.share) > 0)
    rows = partial if len(partial) else rows
    if not len(rows):
        return {}
    first = rows.sort(Gains.share, Gains.thinned, descending=[False, True], maintain_order=True).row(0, named=True)
    same = (pl.col(name) == first[name] for name in (Gains.environment, Gains.share, Gains.thinned))
    return {row[Gains.outcome]: row for row in rows.filter(*same).to_dicts()}
