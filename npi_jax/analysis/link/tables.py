"""Tables of the link: tests whether the alignment of two tasks predicts the effect of removing one on the other."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from npi_jax.analysis.bounds import COSINE
from npi_jax.analysis.link.permutation import PERMUTATIONS, relabelings
from npi_jax.analysis.link.prediction import prediction_table
from npi_jax.analysis.link.predictors import (
    alignment_predictors,
    baseline_predictors,
    cell_counts,
    matrix_of,
    pairs_of_tasks,
)
from npi_jax.analysis.link.rows import link_rows
from npi_jax.analysis.link.seeds import Matrix, Seeded, split_seeds
from npi_jax.results.names import ALL, BASELINES, FULL, OUTCOMES
from npi_jax.results.rules import comparable, is_single_removal, main_kind
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_link import Link, LinkPairs, Prediction
from npi_jax.results.tables_transfer import Transfer, TransferBySeed

PRIMARY_GROUPS: Final = ("recurrent", "blocks", ALL)
"""Groups of parameters; the primary test uses the first one that the model has."""


def link_tables(
    alignment: pl.DataFrame,
    transfer: pl.DataFrame,
    environments: pl.DataFrame | None = None,
    *,
    by_seed: pl.DataFrame | None = None,
    baseline: str | None = None,
    suite: str | None = None,
    kind: str | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Return the tables `Link`, `LinkPairs` and `Prediction` by name.

    One primary test is declared beforehand. It correlates the corrected alignment in the baseline variant at the last
    checkpoint with the effect on delta, in the group "recurrent" (else "blocks", else "all"). Additive effects of rows
    and columns are removed from both matrices (`centered.Recentered`), because traits of single tasks would otherwise
    be taken for a link. Alignment and effects are from different halves of the seeds in both directions, and the two
    correlations are averaged; with fewer than `seeds.FEWEST` seeds, or without ``by_seed``, both are from all seeds.

    All other rows are exploratory: their p_adjusted is by max-T over the same relabelings. For max-T, each correlation
    is divided by its root mean square over relabelings. Rows that are not centered reject too often. Tests are
    two-sided. Effects are relative to random controls if every removal has one, and averaged over hyper-parameter
    settings.

    Noise hides alignment in some seeds and steps, which differ between pairs. Alignment rises during training and
    differs between seeds, so a plain mean would be too high for pairs that are measured only late. The mean of a pair
    is therefore its effect in an additive fit to seeds and steps (`additive.row_effects`). It equals the plain mean if
    no value is missing.

    Args:
        alignment: the table `Alignment`; its columns suite and kind select the effects to compare it with.
        transfer: the table `Transfer`.
        environments: the table `Environments`; None leaves out the predictors that need no gradients.
        by_seed: the table `TransferBySeed`; None if seeds should not be split.
        baseline: the variant from which alignment is taken; by default "full", else the first in the table.
        suite, kind: suite and kind of the effects; by default those of the items of the gradients. If the table of
            alignment does not hold them, the first suite and its main kind.
        permutations: number of random relabelings; if at most 5000 relabelings exist, all are used instead. The
            exploratory tests use only the first `EXPLORATORY` of them.
        seed: seed of the random numbers.
    """
    suite = suite or _only(alignment, Alignment.suite)
    kind = kind or _only(alignment, Alignment.kind)
    effects, aligned = _effects(transfer, suite, kind), pairs_of_tasks(alignment, _variant(alignment, baseline))
    tasks = _tasks(aligned, effects)
    in_seeds = effects.head(0) if by_seed is None else _effects(by_seed, suite, kind)
    halves = () if by_seed is None else split_seeds(aligned, in_seeds)
    matrices = {outcome: _seeded(effects, in_seeds, halves, outcome, tasks) for outcome in OUTCOMES}
    predictors = list(alignment_predictors(aligned, tasks, halves))
    if environments is not None:
        predictors += baseline_predictors(environments, tasks)
    labels, last = relabelings(len(tasks), permutations, seed=seed), _last_step(aligned)
    rows = link_rows(predictors, matrices, labels, (_main_group(aligned), last))
    means = {(its.name, its.group): its.values.all_seeds for its in predictors if its.step == last or not its.group}
    return {
        Link.NAME: pl.DataFrame(rows, schema=Link.schema()),
        LinkPairs.NAME: _pairs_table(effects, means, cell_counts(aligned, tasks, last), tasks, last),
        Prediction.NAME: prediction_table(means, {name: its.all_seeds for name, its in matrices.items()}, BASELINES),
    }


def _effects(transfer: pl.DataFrame, suite: str | None, kind: str | None) -> pl.DataFrame:
    """Return the effects, in one suite and kind, of removing single environments on other tasks."""
    removals = transfer.filter(is_single_removal() & (pl.col(Transfer.removed) != pl.col(Transfer.task)))
    if removals.is_empty():
        return removals
    suite = removals[Transfer.suite][0] if suite is None else suite
    of_suite = removals.filter(pl.col(Transfer.suite) == suite)
    kinds = of_suite[Transfer.kind].unique(maintain_order=True).to_list()
    if kind is None and kinds:
        kind = main_kind(kinds)
    return comparable(of_suite.filter(pl.col(Transfer.kind) == kind))


def _only(alignment: pl.DataFrame, name: str) -> str | None:
    """Return a column's value if it is the same in all rows; None if it differs, is "", or there is no column."""
    values = alignment[name].unique().to_list() if name in alignment.columns else []
    return str(values[0]) if len(values) == 1 and values[0] else None


def _variant(alignment: pl.DataFrame, baseline: str | None) -> str:
    variants = alignment[Alignment.variant].unique(maintain_order=True).to_list()
    return baseline or (FULL if FULL in variants or not variants else variants[0])


def _tasks(aligned: pl.DataFrame, effects: pl.DataFrame) -> list[str]:
    """Return the tasks with both effects and alignment; without any alignment, all tasks with effects."""
    of_gradients = {*aligned[Alignment.task_i], *aligned[Alignment.task_j]}
    affected = {*effects[Transfer.removed], *effects[Transfer.task]}
    return sorted(of_gradients & affected if of_gradients else affected)


def _last_step(aligned: pl.DataFrame) -> int:
    """Return the last checkpoint; 0 if there is no alignment."""
    return max(aligned[Alignment.step], default=0)


def _seeded(
    effects: pl.DataFrame, by_seed: pl.DataFrame, halves: Sequence[Sequence[int]], outcome: str, tasks: Sequence[str]
) -> Seeded:
    """Return mean effects on an outcome: those of the table `Transfer`, and those in each half of the seeds."""
    frames = [by_seed.filter(pl.col(TransferBySeed.seed).is_in(half)) for half in halves]
    return Seeded(
        _effect_matrix(effects, outcome, tasks), tuple(_effect_matrix(frame, outcome, tasks) for frame in frames)
    )


def _effect_matrix(effects: pl.DataFrame, outcome: str, tasks: Sequence[str]) -> Matrix:
    finite = effects.filter((pl.col(Transfer.outcome) == outcome) & pl.col(Transfer.effect).is_finite())
    by_pair = finite.group_by(Transfer.removed, Transfer.task, maintain_order=True)
    return matrix_of(by_pair.agg(pl.col(Transfer.effect).mean()).iter_rows(), tasks)


def _main_group(aligned: pl.DataFrame) -> str:
    groups = set(aligned[Alignment.group])
    return next((name for name in PRIMARY_GROUPS if name in groups), min(groups, default=""))


def _pairs_table(
    effects: pl.DataFrame,
    means: Mapping[tuple[str, str], Matrix],
    cells: Mapping[str, Matrix],
    tasks: Sequence[str],
    step: int,
) -> pl.DataFrame:
    """Return the table `LinkPairs`, from effects and alignment at a step by measure and group."""
    place = {task: number for number, task in enumerate(tasks)}
    chosen = effects.filter(pl.col(Transfer.removed).is_in(tasks) & pl.col(Transfer.task).is_in(tasks))
    copied = [name for name in LinkPairs.COLUMNS if name in chosen.columns]
    rows = []
    for group in [group for name, group in means if name == Alignment.corrected]:
        for row in chosen.iter_rows(named=True):
            pair = place[row[Transfer.removed]], place[row[Transfer.task]]
            aligned = {
                column: _cosine(float(means[name, group][pair])) if (name, group) in means else math.nan
                for column, name in ((LinkPairs.alignment, Alignment.corrected), (LinkPairs.naive, Alignment.naive))
            }
            n_cells = int(np.nan_to_num(float(cells[group][pair]))) if group in cells else 0
            names = {name: row[name] for name in copied} | {LinkPairs.group: group, LinkPairs.step: step}
            rows.append({**names, LinkPairs.n_cells: n_cells, **aligned})
    return pl.DataFrame(rows, schema=LinkPairs.schema())


def _cosine(value: float) -> float:
    """Return a mean of estimates if it is between -1 and 1, else NaN."""
    return value if COSINE.hold(value) else math.nan
