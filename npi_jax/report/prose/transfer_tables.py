"""Tables of transfer: effects, tests and predictions."""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from npi_jax.analysis.curves import ACQUIRED
from npi_jax.report.data.selection import (
    linked_pairs,
    main_rows,
    primary_link,
    transfer_matrix,
)
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.format import known_number, pretty
from npi_jax.report.prose.findings import PREDICTORS
from npi_jax.report.prose.plain_table import INTERVAL, PlainTable, interval_ends, number_cell, p_cell
from npi_jax.results.names import BOTH_CENTERED, DELTA, MEAN_OVER_TRAINING, REMOVED_ALL
from npi_jax.results.tables_learning import Published
from npi_jax.results.tables_link import Link, LinkPairs, Prediction
from npi_jax.results.tables_transfer import Asymmetry, Eavesdropping, Transfer, TransferPooled

_MEASURES: Final = ("corrected", "naive", "adam")


def effects(tables: ReportTables) -> PlainTable | None:
    """Return the matrix of effects as a table, with intervals."""
    found = transfer_matrix(tables)
    if found is None:
        return None
    rows = [
        [
            _removed(row[Transfer.removed]),
            pretty(row[Transfer.task]),
            row[Transfer.control] or "full",
            number_cell(row[Transfer.effect]),
            interval_ends(row),
            p_cell(row[Transfer.p]),
            p_cell(row[Transfer.p_adjusted]),
            str(row[Transfer.n_seeds]),
            row[Transfer.reason],
        ]
        for row in found.rows.to_dicts()
    ]
    heads = ["removed", "effect on", "against", "delta (nats)", INTERVAL, "p", "p adjusted", "seeds", "reason"]
    note = "Other outcomes (accuracy, area under the curve, steps to the threshold) are in tables/transfer.parquet."
    return PlainTable("Effects of removing an environment's NPIs", heads, rows, note, {1, 2, 8})


def pooled(tables: ReportTables) -> PlainTable | None:
    """List the mean effect on other tasks for each outcome, with its test over seeds."""
    frame = main_rows(tables, "transfer_pooled")
    if frame is None:
        return None
    rows = [
        [
            pretty(row[TransferPooled.outcome]),
            "controls" if row[TransferPooled.controlled] else tables.labels[0],
            number_cell(row[TransferPooled.effect]),
            interval_ends(row),
            p_cell(row[TransferPooled.p]),
            str(row[TransferPooled.n_seeds]),
            str(row[TransferPooled.n_pairs]),
            row[TransferPooled.reason],
        ]
        for row in frame.to_dicts()
    ]
    heads = ["outcome", "against", "mean effect", INTERVAL, "p", "seeds", "pairs", "reason"]
    note = "Mean over all pairs of a removed environment and another task, tested over seeds."
    return PlainTable("Effect of one environment on the others, pooled", heads, rows, note, {1, 7}) if rows else None


def published(tables: ReportTables) -> PlainTable | None:
    """Compare accuracies in held-out environments with published ones."""
    frame = main_rows(tables, "published")
    if frame is None or not len(frame):
        return None
    rows = [
        [
            pretty(row[Published.task]),
            _share_with_ends(row, "full"),
            _share_with_ends(row, "held_out"),
            _share_with_ends(row, "effect"),
            f"{row[Published.published_full]:.3f}",
            f"{row[Published.published_held_out]:.3f}",
            f"{row[Published.published_effect]:+.3f}",
            row[Published.direction],
            f"{row[Published.rank]:g}, {row[Published.published_rank]:g}",
        ]
        for row in frame.to_dicts()
    ]
    theirs = ("published: full", "published: without", "published: effect")
    heads = ["environment", "full", "without its NPIs", "effect", *theirs, "direction", "ranks"]
    return PlainTable(
        f"Held-out environments beside {frame[Published.source][0]}: accuracy", heads, rows, _about_ranks(frame), {7, 8}
    )


def _about_ranks(frame: pl.DataFrame) -> str:
    row = frame.row(0, named=True)
    note = (
        "Ours with 95% intervals (accuracies have none with 2 to 4 seeds), then as published. Models, text and items "
        "differ, so compare directions and ranks."
    )
    if row[Published.rank_correlation] is None:
        return f"{note} Too few environments for a correlation of ranks."
    interval = (
        "" if row[Published.rank_low] is None else f" ({row[Published.rank_low]:.2f} to {row[Published.rank_high]:.2f})"
    )
    return (
        f"{note} “open”: the interval of the effect contains 0. Ranks of the accuracies without the environment's "
        f"NPIs: Spearman {row[Published.rank_correlation]:.2f}{interval}."
    )


def _share_with_ends(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f} ({low:.3f} to {high:.3f})" if known_number(low) else f"{row[name]:.3f}"


def asymmetry(tables: ReportTables) -> PlainTable | None:
    """Compare the effects in both directions for each pair of environments."""
    frame = main_rows(tables, "asymmetry")
    if frame is None:
        return None
    chosen = frame.filter(pl.col(Asymmetry.outcome) == DELTA)
    rows = [
        [
            f"{pretty(row[Asymmetry.removed_i])}, {pretty(row[Asymmetry.removed_j])}",
            number_cell(row[Asymmetry.effect_ij]),
            number_cell(row[Asymmetry.effect_ji]),
            number_cell(row[Asymmetry.difference]),
            interval_ends(row),
            p_cell(row[Asymmetry.p]),
            str(row[Asymmetry.n_seeds]),
        ]
        for row in chosen.to_dicts()
    ]
    heads = ["first, second", "first on second", "second on first", "difference", INTERVAL, "p", "seeds"]
    return PlainTable("Is transfer mutual? Effects on delta (nats) in both directions", heads, rows) if rows else None


def links(tables: ReportTables) -> PlainTable | None:
    """List tests of predictors of transfer: the primary one, then others of the same outcome and weights."""
    frame, link = tables.table("link"), primary_link(tables)
    if frame is None or link is None:
        return None
    beside = frame.filter(_beside(link) & (pl.col(Link.outcome) == link[Link.outcome]))
    rows = [
        [
            PREDICTORS.get(row[Link.predictor], pretty(row[Link.predictor]))
            + (" (declared)" if row[Link.primary] else ""),
            pretty(row[Link.group] or "–"),
            _when(row) if row[Link.predictor] in _MEASURES else "–",
            "removed" if row.get(Link.centered) == BOTH_CENTERED else "kept",
            row.get(Link.seeds) or "–",
            number_cell(row[Link.statistic]),
            p_cell(row[Link.p]),
            "–" if row[Link.primary] else p_cell(row[Link.p_adjusted]),
            str(row[Link.n_pairs]),
            row[Link.reason],
        ]
        for row in beside.sort(Link.primary, descending=True, maintain_order=True).to_dicts()
    ]
    heads = [
        "predictor",
        "weights",
        "step",
        "effects of tasks",
        "seeds",
        "Spearman",
        "p",
        "p adjusted",
        "pairs",
        "reason",
    ]
    note = (
        "Matrix permutation tests (QAP). One test was declared in advance; the others are adjusted together. "
        "Where effects of single tasks are kept, a trait of tasks that changes both sides makes p too small. "
        "Seeds: whether alignment and effects are from disjoint or from shared seeds. Frequency is that of the removed "
        "environment, and thus an effect of single tasks. Other weights, steps and outcomes are in "
        "tables/link.parquet."
    )
    title = f"What predicts the effects on {pretty(str(link[Link.outcome]))}"
    return PlainTable(title, heads, rows, note, {1, 2, 3, 4, 9})


def _beside(link: Mapping[str, object]) -> pl.Expr:
    """Return a Polars condition for rows of `Link` to be shown with the primary one.

    They are all measures at its step, its measure at the last step and over training, and the surface predictors,
    which have no weights.
    """
    step, its_measure = pl.col(Link.step), pl.col(Link.predictor) == link[Link.predictor]
    place = pl.col(Link.group).is_in([link[Link.group], ""]) | pl.col(Link.group).is_null()
    also = its_measure & ((step == step.max()) | (step == MEAN_OVER_TRAINING))
    return place & (step.eq_missing(link[Link.step]) | ~pl.col(Link.predictor).is_in(_MEASURES) | also)


def predictions(tables: ReportTables) -> PlainTable | None:
    """List how well regression models predict transfer for environments held out of their fit."""
    frame = tables.table("prediction")
    if frame is None:
        return None
    link = primary_link(tables)
    group, outcome = (
        (frame[Prediction.group][0], DELTA) if link is None else (link[Prediction.group], link[Prediction.outcome])
    )
    weights = pl.col(Prediction.group).is_in([group, ""]) | pl.col(Prediction.group).is_null()
    rows = [
        [
            pretty(row[Prediction.model]),
            number_cell(row[Prediction.correlation]),
            number_cell(row[Prediction.r2]),
            str(row[Prediction.n_pairs]),
            row[Prediction.reason],
        ]
        for row in frame.filter(weights & (pl.col(Prediction.outcome) == outcome)).to_dicts()
    ]
    heads = ["model", "correlation", "R²", "pairs", "reason"]
    title = f"Effects on {pretty(str(outcome))} predicted with one environment held out at a time"
    note = f"Alignment in {pretty(str(group))} weights; others are in tables/prediction.parquet."
    return PlainTable(title, heads, rows, note, {4}) if rows else None


def pairs(tables: ReportTables) -> PlainTable | None:
    """List the pairs of environments behind the scatter plot of alignment and transfer."""
    chosen = linked_pairs(tables)
    if chosen is None:
        return None
    rows = [
        [
            f"{pretty(row[LinkPairs.removed])} → {pretty(row[LinkPairs.task])}",
            number_cell(row[LinkPairs.alignment]),
            number_cell(row[LinkPairs.naive]),
            number_cell(row[LinkPairs.effect]),
            interval_ends(row),
        ]
        for row in chosen.to_dicts()
    ]
    heads = ["removed → tested", "alignment", "without correction", "effect on delta", INTERVAL]
    return PlainTable("Alignment and transfer of every pair", heads, rows) if rows else None


def eavesdropping(tables: ReportTables) -> PlainTable | None:
    """Compare steps to the threshold with and without another environment's data."""
    frame = main_rows(tables, "eavesdropping")
    if frame is None:
        return None
    rows = [
        [
            pretty(row[Eavesdropping.task]),
            pretty(row[Eavesdropping.without]),
            row[Eavesdropping.control] or tables.labels[0],
            number_cell(row[Eavesdropping.steps_full], 0),
            number_cell(row[Eavesdropping.steps_without], 0),
            number_cell(row[Eavesdropping.lag_log2]),
            interval_ends(row),
            p_cell(row[Eavesdropping.p]),
            p_cell(row[Eavesdropping.p_adjusted]),
            str(row[Eavesdropping.n_seeds]),
            str(row[Eavesdropping.n_censored]),
        ]
        for row in frame.to_dicts()
    ]
    heads = [
        "task",
        "without",
        "against",
        "steps with",
        "steps without",
        "lag (log₂)",
        INTERVAL,
        "p",
        "p adjusted",
        "seeds",
        "not reached",
    ]
    title = "Is an environment learned later without another environment's data?"
    note = (
        f"Step from which a task's accuracy stays at {ACQUIRED:.0%} or more, interpolated between checkpoints (“When "
        "it was learned” below has the checkpoint itself); geometric mean over seeds. Lag: log₂ of the ratio of steps, "
        "above 0 where learning is later without the other environment's NPIs. Not reached: pairs of models of which "
        "one never reaches the threshold; the last step replaces its value."
    )
    return PlainTable(title, heads, rows, note, {1, 2})


def _removed(name: str) -> str:
    return "all NPIs" if name == REMOVED_ALL else pretty(name)


def _when(row: dict[str, Any]) -> str:
    return (
        "mean over training"
        if row[Link.step] == MEAN_OVER_TRAINING
        else "–"
        if row[Link.step] is None
        else f"{row[Link.step]:,}"
    )
