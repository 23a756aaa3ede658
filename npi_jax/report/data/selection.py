"""Selection of the rows that the report shows: groups of weights, pairs of tasks, and the matrix of effects."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS, RESIDUALS
from npi_jax.report.data.tables import Cell, ReportTables, of_cell
from npi_jax.results.names import DELTA, DIVERGED, LM, REMOVED_ALL
from npi_jax.results.names import ENVIRONMENTS as BETWEEN_ENVIRONMENTS
from npi_jax.results.rules import all_are_controlled, comparable
from npi_jax.results.tables_alignment import Alignment, AlignmentMean
from npi_jax.results.tables_link import Link, LinkPairs
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_training import HYPERPARAMETERS, Members
from npi_jax.results.tables_transfer import Transfer

SIGNIFICANT: Final = 0.05
# Sums over layers; sentences about "the weights" refer to these groups.
_SUMS: Final = ("recurrent", "blocks")
_ENDS: Final = ("embedding", "output", "all")


@dataclass(frozen=True)
class TransferMatrix:
    """Effects of removing environments.

    Attributes:
        cell: the suite, kind and region tested.
        rows: rows of tables/transfer, one for each removed environment and task.
        removed, tasks: names of rows and columns, in the report's order. ``removed`` can have ``all`` at its end.
        against: reference of the effects: ``control``, or ``full`` for the first variant. For ``all`` it is always the
            first variant.
    """

    cell: Cell
    rows: pl.DataFrame
    removed: list[str]
    tasks: list[str]
    against: str

    def values(self, column: str) -> Float[np.ndarray, "removed tasks"]:
        """Return a column of `rows` as a matrix; NaN where there is no row."""
        found = np.full((len(self.removed), len(self.tasks)), np.nan)
        for row in self.rows.to_dicts():
            if row[column] is not None:
                found[self.removed.index(row[Transfer.removed]), self.tasks.index(row[Transfer.task])] = row[column]
        return found

    def significant(self) -> Bool[np.ndarray, "removed tasks"]:
        """Return a mask of effects that differ significantly from 0 (p adjusted for the number of effects)."""
        return self.values("p_adjusted") < SIGNIFICANT

    def between(self) -> pl.DataFrame:
        """Return the effects on environments other than the removed one."""
        return self.rows.filter(
            (pl.col(Transfer.removed) != pl.col(Transfer.task)) & (pl.col(Transfer.removed) != REMOVED_ALL)
        )

    def on_itself(self) -> pl.DataFrame:
        """Return the effects on the removed environment itself."""
        return self.rows.filter(pl.col(Transfer.removed) == pl.col(Transfer.task))


def ordered(names: Iterable[str]) -> list[str]:
    """Sort environments in their usual order, others by name, ordinary text and ``all`` at the end."""
    present = set(names)
    ends = [name for name in (LM, REMOVED_ALL) if name in present]
    return [
        *(name for name in ENVIRONMENTS if name in present),
        *sorted(present - set(ENVIRONMENTS) - set(ends)),
        *ends,
    ]


def parameter_groups(frame: pl.DataFrame) -> list[str]:
    """List groups of parameters, the sum over layers first; omit a single layer, which equals that sum."""
    present = set(frame["group"])
    sums = [name for name in _SUMS if name in present]
    layers = sorted(present - set(sums) - set(_ENDS))
    ends = [name for name in _ENDS if name in present]
    if not sums and "all" in ends:
        # A custom model has no sum over layers, so the sum of all groups comes first.
        ends.remove("all")
        sums = ["all"]
        return [*sums, *layers, *ends]
    return [*sums, *(layers if len(layers) > 1 else []), *ends]


def mean_alignment(tables: ReportTables, statistic: str) -> pl.DataFrame | None:
    """Return the rows of tables/alignment_mean with one statistic, sorted by label and step; None without any."""
    frame = tables.table("alignment_mean")
    if frame is None:
        return None
    found = frame.filter(pl.col(AlignmentMean.statistic) == statistic).sort(
        "label", AlignmentMean.group, AlignmentMean.step
    )
    return found if len(found) else None


def pair_alignment(tables: ReportTables) -> pl.DataFrame | None:
    """Average the alignment of every pair of tasks over the seeds in which it is reliable; None without gradients.

    The table has the columns label, step, group, task_i and task_j, by which it is sorted, n_seeds, n_reliable and
    these:

    - corrected: mean over seeds; null if noise hides it in every seed, or if it is beyond 1.
    - low, high: lowest and highest seed; null if beyond 1.
    - reason: reason for excluding seeds (of several, the first in alphabetical order); "" if there is none.
    """
    frame = tables.table("alignment")
    if frame is None:
        return None
    by = ["label", "step", "group", "task_i", "task_j"]
    estimate, usable = usable_estimate(frame)
    value = estimate.filter(usable)
    return (
        frame.group_by(by, maintain_order=True)
        .agg(
            cosine(value.mean()).alias(Alignment.corrected),
            cosine(value.min()).alias("low"),
            cosine(value.max()).alias("high"),
            pl.len().cast(pl.Int64).alias("n_seeds"),
            usable.fill_null(value=False).sum().cast(pl.Int64).alias("n_reliable"),
            pl.col(Alignment.reason).filter(pl.col(Alignment.reason) != "").min().fill_null("").alias(Alignment.reason),
        )
        .sort(by)
    )


def usable_estimate(frame: pl.DataFrame) -> tuple[pl.Expr, pl.Expr]:
    """Return the estimate to average (`Alignment.ratio`, which may exceed 1) and the mask of its valid values.

    Tables of earlier versions have ``corrected`` alone, which was the same.
    """
    estimate = pl.col(Alignment.ratio) if "ratio" in frame.columns else pl.col(Alignment.corrected)
    there = estimate.is_finite().fill_null(value=False)
    return estimate, there if "ratio" in frame.columns else there & pl.col(Alignment.reliable)


def cosine(value: pl.Expr) -> pl.Expr:
    """Return a pair's estimate, or null if it is beyond 1 and not a same-task check."""
    same_task = pl.col(Alignment.task_i).first() == pl.col(Alignment.task_j).first()
    return pl.when(same_task | (value.abs() <= 1)).then(value)


def left_out(tables: ReportTables, statistic: str = BETWEEN_ENVIRONMENTS) -> pl.DataFrame | None:
    """Count pairs of tasks in all seeds that noise hides; diverged members are excluded.

    Args:
        tables: tables of the run.
        statistic: ``environments`` for pairs of environments, ``lm`` for pairs of an environment and ordinary text.

    Returns:
        columns label, group, step, n_unreliable, n_total; None without gradients.
    """
    frame = tables.table("alignment")
    if frame is None:
        return None
    of_lm = (pl.col(Alignment.task_i) == LM) | (pl.col(Alignment.task_j) == LM)
    pairs = (pl.col(Alignment.task_i) != pl.col(Alignment.task_j)) & (of_lm if statistic == LM else ~of_lm)
    _, usable = usable_estimate(frame)
    counted = frame.filter(pairs & (pl.col(Alignment.reason) != DIVERGED)).group_by(
        "label", Alignment.group, Alignment.step
    )
    counted_pairs = counted.agg((~usable).sum().cast(pl.Int64).alias("n_unreliable"), pl.len().alias("n_total"))
    return counted_pairs.sort("label", Alignment.group, Alignment.step)


def first_setting(tables: ReportTables, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the first member's hyper-parameters."""
    first = tables.members.sort(Members.member).row(0, named=True)
    names = [name for name in HYPERPARAMETERS if name in frame.columns]
    return frame.filter(pl.all_horizontal(pl.lit(True), *(pl.col(name).eq_missing(first[name]) for name in names)))


def main_rows(tables: ReportTables, name: str) -> pl.DataFrame | None:
    """Return an optional table's rows for the first setting, suite and kind; None without any."""
    frame = tables.table(name)
    if frame is None:
        return None
    rows = first_setting(tables, frame)
    if "suite" in rows.columns:
        rows = of_cell(rows, tables.main_cells()[0])
    return rows if len(rows) else None


def linked_pairs(tables: ReportTables) -> pl.DataFrame | None:
    """Return the pairs of tasks in the primary test, for its outcome and group of weights; None without any."""
    rows, link = main_rows(tables, "link_pairs"), primary_link(tables)
    if rows is None:
        return None
    group = parameter_groups(rows)[0] if link is None else link[Link.group]
    outcome = DELTA if link is None else link[Link.outcome]
    rows = rows.filter((pl.col(LinkPairs.group) == group) & (pl.col(LinkPairs.outcome) == outcome))
    rows = rows.unique([LinkPairs.removed, LinkPairs.task], keep="first", maintain_order=True)
    return rows.sort(LinkPairs.removed, LinkPairs.task) if len(rows) else None


def transfer_matrix(tables: ReportTables, outcome: str = DELTA) -> TransferMatrix | None:
    """Return the effects on one outcome in the first suite that has any; None if no environment was removed.

    If every removal of an environment has a control, effects are relative to the controls, else to the first variant.
    The effect of removing all environments is always relative to the first variant.
    """
    frame = tables.table("transfer")
    if frame is None:
        return None
    frame = tables.without_empty(first_setting(tables, frame), "intervention")
    for cell in tables.main_cells():
        rows = of_cell(frame, cell).filter((pl.col(Transfer.outcome) == outcome) & (pl.col(Transfer.removed) != ""))
        rows = rows.filter(pl.col(Transfer.task).is_in(tables.tasks(cell)))
        single = rows.filter(pl.col(Transfer.removed) != REMOVED_ALL)
        if not len(single):
            continue
        against = "control" if all_are_controlled(single) else "full"
        kept = comparable(single)
        both = pl.concat(
            [kept, rows.filter((pl.col(Transfer.removed) == REMOVED_ALL) & (pl.col(Transfer.control) == ""))]
        )
        both = both.unique([Transfer.removed, Transfer.task], keep="first", maintain_order=True)
        return TransferMatrix(cell, both, ordered(both[Transfer.removed]), ordered(both[Transfer.task]), against)
    return None


def primary_link(tables: ReportTables) -> dict[str, object] | None:
    """Return the row of tables/link with the primary test, declared in advance; None without any."""
    frame = tables.table("link")
    rows = frame.filter(Link.primary).to_dicts() if frame is not None else []
    return rows[0] if rows else None


def reduced(corpus: pl.DataFrame) -> dict[str, set[str]]:
    """Return, for each variant, the environments that have at most half of their NPIs in the first variant."""
    columns = [
        name for name in corpus.columns if name.startswith("npi_") and name.removeprefix("npi_") not in RESIDUALS
    ]
    rows = corpus.to_dicts()
    base = rows[0]
    return {
        row[Corpus.variant]: {
            name.removeprefix("npi_") for name in columns if base[name] and row[name] <= base[name] / 2
        }
        for row in rows
    }
