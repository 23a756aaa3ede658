"""The report's smaller tables: effects, tests, predictions and diagnostics."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from npi_jax.analysis.curves import ACQUIRED
from npi_jax.analysis.statistics import LEVEL
from npi_jax.report.data.selection import (
    linked_pairs,
    main_rows,
    parameter_groups,
    primary_link,
    reduced,
    transfer_matrix,
)
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.figures.picture import Section
from npi_jax.report.format import p_value, pretty, short_number
from npi_jax.report.prose.findings import PREDICTORS
from npi_jax.results.names import DELTA, MEAN_OVER_TRAINING, OK, REMOVED_ALL
from npi_jax.results.tables_alignment import Gradients
from npi_jax.results.tables_learning import Published
from npi_jax.results.tables_link import Link, LinkPairs, Prediction
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_training import Members
from npi_jax.results.tables_transfer import Asymmetry, Eavesdropping, Transfer

_MEASURES: Final = ("corrected", "naive", "adam")
_INTERVAL: Final = f"{LEVEL:.0%} interval"


@dataclass(frozen=True)
class PlainTable:
    """A table of texts.

    Attributes:
        title, note: for the reader; the note may be empty.
        heads: one a column.
        rows: the first text of each names it.
        words: columns that hold words, not numbers.
    """

    title: str
    heads: list[str]
    rows: list[list[str]]
    note: str = ""
    words: set[int] = field(default_factory=set)


def detail_tables(tables: ReportTables, section: Section) -> list[PlainTable]:
    """Return the tables of one section for which the run has data."""
    makers: dict[Section, tuple[Callable[[ReportTables], PlainTable | None], ...]] = {
        "transfer": (published, effects, asymmetry, eavesdropping, links, predictions, pairs),
        "diagnostics": (divergence, residuals, ties, gradients),
    }
    found = [make(tables) for make in makers.get(section, ())]
    return [_without_empty(table) for table in found if table is not None]


def _without_empty(table: PlainTable) -> PlainTable:
    """Drop empty columns, such as the reasons for missing values when none is missing."""
    kept = [place for place in range(len(table.heads)) if any(row[place] for row in table.rows)]
    rows = [[row[place] for place in kept] for row in table.rows]
    words = {new for new, place in enumerate(kept) if place in table.words}
    return PlainTable(table.title, [table.heads[place] for place in kept], rows, table.note, words)


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
            _number(row[Transfer.effect]),
            _ends(row),
            _p(row[Transfer.p]),
            _p(row[Transfer.p_adjusted]),
            str(row[Transfer.n_seeds]),
            row[Transfer.reason],
        ]
        for row in found.rows.to_dicts()
    ]
    heads = ["removed", "effect on", "against", "delta (nats)", _INTERVAL, "p", "p adjusted", "seeds", "reason"]
    note = "Other outcomes (accuracy, area under the curve, steps to the threshold) are in tables/transfer.parquet."
    return PlainTable("Effects of removing an environment's NPIs", heads, rows, note, {1, 2, 8})


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
    note = "Ours with 95% intervals, then as published. Models, text and items differ, so compare directions and ranks."
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
    return f"{row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})"


def asymmetry(tables: ReportTables) -> PlainTable | None:
    """Compare the effects in both directions for each pair of environments."""
    frame = main_rows(tables, "asymmetry")
    if frame is None:
        return None
    chosen = frame.filter(pl.col(Asymmetry.outcome) == DELTA)
    rows = [
        [
            f"{pretty(row[Asymmetry.removed_i])}, {pretty(row[Asymmetry.removed_j])}",
            _number(row[Asymmetry.effect_ij]),
            _number(row[Asymmetry.effect_ji]),
            _number(row[Asymmetry.difference]),
            _ends(row),
            _p(row[Asymmetry.p]),
            str(row[Asymmetry.n_seeds]),
        ]
        for row in chosen.to_dicts()
    ]
    heads = ["first, second", "first on second", "second on first", "difference", _INTERVAL, "p", "seeds"]
    return PlainTable("Is transfer mutual? Effects on delta (nats) in both directions", heads, rows) if rows else None


def links(tables: ReportTables) -> PlainTable | None:
    """List tests of predictors of transfer: the declared one, then others with its weights, step and outcome."""
    frame, link = tables.table("link"), primary_link(tables)
    if frame is None or link is None:
        return None
    # Surface predictors have no weights and no step. The report's opening is about the last step.
    place = pl.col(Link.group).is_in([link[Link.group], ""]) | pl.col(Link.group).is_null()
    last = (pl.col(Link.step) == pl.col(Link.step).max()) & (pl.col(Link.predictor) == link[Link.predictor])
    when = pl.col(Link.step).eq_missing(link[Link.step]) | ~pl.col(Link.predictor).is_in(_MEASURES) | last
    beside = frame.filter(place & when & (pl.col(Link.outcome) == link[Link.outcome]))
    rows = [
        [
            PREDICTORS.get(row[Link.predictor], pretty(row[Link.predictor]))
            + (" (declared)" if row[Link.primary] else ""),
            pretty(row[Link.group] or "–"),
            _when(row) if row[Link.predictor] in _MEASURES else "–",
            _number(row[Link.statistic]),
            _p(row[Link.p]),
            "–" if row[Link.primary] else _p(row[Link.p_adjusted]),
            str(row[Link.n_pairs]),
            row[Link.reason],
        ]
        for row in beside.sort(Link.primary, descending=True, maintain_order=True).to_dicts()
    ]
    heads = ["predictor", "weights", "step", "Spearman", "p", "p adjusted", "pairs", "reason"]
    note = (
        "Matrix permutation tests (QAP). One test was declared in advance; the others are adjusted together. "
        "Frequency is that of the removed environment: with few removals it takes few values, and the test has almost "
        "no power. Other weights, steps and outcomes are in tables/link.parquet."
    )
    return PlainTable(f"What predicts the effects on {pretty(str(link[Link.outcome]))}", heads, rows, note, {1, 2, 7})


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
            _number(row[Prediction.correlation]),
            _number(row[Prediction.r2]),
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
    """List the points of the scatter plot."""
    chosen = linked_pairs(tables)
    if chosen is None:
        return None
    rows = [
        [
            f"{pretty(row[LinkPairs.removed])} → {pretty(row[LinkPairs.task])}",
            _number(row[LinkPairs.alignment]),
            _number(row[LinkPairs.naive]),
            _number(row[LinkPairs.effect]),
            _ends(row),
        ]
        for row in chosen.to_dicts()
    ]
    heads = ["removed → tested", "alignment", "without correction", "effect on delta", _INTERVAL]
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
            _number(row[Eavesdropping.steps_full], 0),
            _number(row[Eavesdropping.steps_without], 0),
            _number(row[Eavesdropping.lag_log2]),
            _ends(row),
            _p(row[Eavesdropping.p]),
            _p(row[Eavesdropping.p_adjusted]),
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
        _INTERVAL,
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


def divergence(tables: ReportTables) -> PlainTable | None:
    """Count diverged members and skipped updates by variant; None if there are none."""
    bad = pl.col(Members.status) != OK
    counted = tables.members.group_by("label", maintain_order=True).agg(
        bad.sum().alias("bad"), pl.len().alias("members"), pl.col(Members.skipped_updates).sum()
    )
    if not counted["bad"].sum() and not counted[Members.skipped_updates].sum():
        return None
    rows = [[str(value) for value in row] for row in counted.iter_rows()]
    return PlainTable("Members that diverged", ["variant", "diverged", "members", "updates skipped"], rows)


def residuals(tables: ReportTables) -> PlainTable | None:
    """Count the slots that each variant changed and the NPIs that remained."""
    if not {"slots_changed", "sentences"} <= set(tables.corpus.columns):
        return None
    lost = reduced(tables.corpus)
    rows = []
    for row in tables.corpus.to_dicts():
        left = {name: row[f"npi_{name}"] for name in lost[row[Corpus.variant]]}
        remaining = ", ".join(f"{pretty(name)} {number:,}" for name, number in sorted(left.items()) if number)
        changed, sentences = row[Corpus.slots_changed], row[Corpus.sentences]
        share = f"{changed / sentences:.1%}" if sentences else "–"
        rows.append([row[Corpus.variant], f"{changed:,}", share, (remaining or "none") if left else "–"])
    heads = ["variant", "slots changed", "of all", "NPIs left in reduced environments"]
    return PlainTable("Slots changed and NPIs left by the interventions", heads, rows, words={3})


def ties(tables: ReportTables) -> PlainTable | None:
    """List the share of pairs whose sentences have equal scores at the last step."""
    frame = tables.table("ties")
    if frame is None:
        return None
    wide = frame.pivot("suite", index="label", values="ties", maintain_order=True)
    names = [name for name in wide.columns if name != "label"]
    rows = [[row["label"], *(f"{row[name]:.1%}" for name in names)] for row in wide.to_dicts()]
    note = "Many ties mean that a model barely distinguishes the sentences, or that the scored regions do not differ."
    return PlainTable("Ties at the last step, share of pairs", ["variant", *map(pretty, names)], rows, note)


def gradients(tables: ReportTables) -> PlainTable | None:
    """List norm, noise and reliability of each task's gradient in the first variant at the last step."""
    frame = tables.table("gradients")
    if frame is None:
        return None
    group = parameter_groups(frame)[0]
    last = frame.filter((pl.col(Gradients.step) == pl.col(Gradients.step).max()) & (pl.col(Gradients.group) == group))
    here = last.filter(pl.col("label") == tables.labels[0])
    value = pl.col(Gradients.norm, Gradients.noise_scale, Gradients.reliability).fill_nan(None).mean()
    counted = here.group_by(Gradients.task, maintain_order=True).agg(
        value, pl.col(Gradients.reliable).sum(), pl.len().alias("seeds")
    )
    rows = [
        [
            pretty(row[Gradients.task]),
            _number(row[Gradients.norm], 3),
            _number(row[Gradients.noise_scale], 0),
            _number(row[Gradients.reliability]),
            f"{row[Gradients.reliable]} of {row['seeds']}",
        ]
        for row in counted.to_dicts()
    ]
    heads = ["task", "norm", "noise scale (items)", "reliability", "seeds above noise"]
    title = f"Gradients of the variant {tables.labels[0]}, {pretty(group)} weights, last step"
    note = "Noise scale: the number of items at which noise is as large as the gradient (McCandlish et al. 2018)."
    return PlainTable(title, heads, rows, note) if rows else None


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


def _ends(row: dict[str, Any], names: Sequence[str] = ("low", "high")) -> str:
    low, high = (row[name] for name in names)
    return f"{_number(low)} to {_number(high)}" if _known(low) and _known(high) else "–"


def _number(value: Any, digits: int = 2) -> str:
    if not _known(value):
        return "–"
    return f"{value:,.0f}" if digits == 0 else short_number(value, digits)


def _p(value: Any) -> str:
    return p_value(value).removeprefix("p ").removeprefix("= ") if _known(value) else "–"


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(value)
