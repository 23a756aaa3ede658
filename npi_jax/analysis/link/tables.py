"""Tables of the link: tests whether the alignment of two tasks predicts the effect of removing one on the other."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from npi_jax.analysis.bounds import COSINE
from npi_jax.analysis.link.permutation import PERMUTATIONS, p_value, qap_correlations, relabelings
from npi_jax.analysis.link.prediction import MIN_PAIRS, prediction_table
from npi_jax.analysis.link.predictors import (
    Predictor,
    alignment_predictors,
    baseline_predictors,
    cell_counts,
    matrix_of,
    pairs_of_tasks,
)
from npi_jax.results.columns import Row
from npi_jax.results.names import ALL, BASELINES, DELTA, FULL, MEAN_OVER_TRAINING, OUTCOMES
from npi_jax.results.rules import comparable, is_single_removal, main_kind
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_link import Link, LinkPairs, Prediction
from npi_jax.results.tables_transfer import Transfer

EXPLORATORY: Final = 999
"""Number of relabelings for the exploratory tests; the primary test uses all."""
PRIMARY_OUTCOME: Final = DELTA
PRIMARY_GROUPS: Final = ("recurrent", "blocks", ALL)
"""Groups of parameters; the primary test uses the first one that the model has."""

_ROUNDING: Final = 1e-12

Matrix = Float[np.ndarray, "tasks tasks"]
"""Values of pairs [removed, task], with NaN for missing ones."""


def link_tables(
    alignment: pl.DataFrame,
    transfer: pl.DataFrame,
    environments: pl.DataFrame | None = None,
    *,
    baseline: str | None = None,
    suite: str | None = None,
    kind: str | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Return the tables `Link`, `LinkPairs` and `Prediction` by name.

    One primary test was declared beforehand. It correlates the corrected alignment in the baseline variant with the
    effect on delta. Alignment is of the group "recurrent" (else "blocks", else "all"), averaged over seeds and all
    steps except 0. All other rows are exploratory: their p_adjusted is by max-T over the same relabelings. For max-T,
    each correlation is divided by its root mean square over relabelings. Tests are two-sided. Effects are relative to
    random controls if every removal has one, and averaged over hyper-parameter settings.

    Noise hides alignment in some seeds and steps, which differ between pairs. Alignment rises during training and
    differs between seeds, so a plain mean would be too high for pairs that are measured only late. The mean of a pair
    is therefore its effect in an additive fit to seeds and steps (`additive.row_effects`). It equals the plain mean if
    no value is missing.

    Args:
        alignment: the table `Alignment`; its columns suite and kind select the effects to compare it with.
        transfer: the table `Transfer`.
        environments: the table `Environments`; None leaves out the predictors that need no gradients.
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
    matrices = {outcome: _effect_matrix(effects, outcome, tasks) for outcome in OUTCOMES}
    predictors = list(alignment_predictors(aligned, tasks))
    if environments is not None:
        predictors += baseline_predictors(environments, tasks)
    labels = relabelings(len(tasks), permutations, seed=seed)
    rows = _link_rows(predictors, matrices, labels, _main_group(aligned))
    means = {(its.name, its.group): its.matrix for its in predictors if its.step == MEAN_OVER_TRAINING}
    return {
        Link.NAME: pl.DataFrame(rows, schema=Link.schema()),
        LinkPairs.NAME: _pairs_table(effects, means, cell_counts(aligned, tasks), tasks),
        Prediction.NAME: prediction_table(means, matrices, BASELINES),
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


def _effect_matrix(effects: pl.DataFrame, outcome: str, tasks: Sequence[str]) -> Matrix:
    finite = effects.filter((pl.col(Transfer.outcome) == outcome) & pl.col(Transfer.effect).is_finite())
    by_pair = finite.group_by(Transfer.removed, Transfer.task, maintain_order=True)
    return matrix_of(by_pair.agg(pl.col(Transfer.effect).mean()).iter_rows(), tasks)


def _main_group(aligned: pl.DataFrame) -> str:
    groups = set(aligned[Alignment.group])
    return next((name for name in PRIMARY_GROUPS if name in groups), min(groups, default=""))


def _link_rows(
    predictors: Sequence[Predictor],
    matrices: Mapping[str, Matrix],
    labels: Int[np.ndarray, "labels tasks"],
    main: str,
) -> list[Row]:
    """Return a row for every predictor and outcome; exploratory rows also get p-values adjusted for all of them."""
    rows: list[Row] = []
    sizes: dict[int, float] = {}
    fewer = labels[: EXPLORATORY + 1]
    largest = np.zeros(len(fewer))
    for its, outcome, effects in _tests(predictors, matrices):
        declared = (its.name, its.group, its.step, outcome)
        primary = declared == (Alignment.corrected, main, MEAN_OVER_TRAINING, PRIMARY_OUTCOME)
        row, correlations = _test(its.matrix, effects, labels if primary else fewer)
        if correlations is not None and not primary:
            size = _sizes(correlations)
            largest = np.maximum(largest, size)
            sizes[len(rows)] = float(size[0])
        names: Row = {Link.predictor: its.name, Link.group: its.group, Link.step: its.step, Link.outcome: outcome}
        rows.append({**names, Link.primary: primary, Link.p_adjusted: row[Link.p], **row})
    for number, its_size in sizes.items():
        rows[number][Link.p_adjusted] = float((largest >= its_size - _ROUNDING).mean())
    return rows


def _tests(predictors: Sequence[Predictor], matrices: Mapping[str, Matrix]) -> Iterator[tuple[Predictor, str, Matrix]]:
    for predictor in predictors:
        for outcome, effects in matrices.items():
            yield predictor, outcome, effects


def _sizes(correlations: Float[np.ndarray, " labels"]) -> Float[np.ndarray, " labels"]:
    """Return absolute correlations divided by their root mean square over relabelings."""
    size = np.nan_to_num(np.abs(correlations), nan=0.0)
    size /= math.sqrt(float((size**2).mean())) or 1.0
    return size


def _test(
    predictor: Matrix, effects: Matrix, labels: Int[np.ndarray, "labels tasks"]
) -> tuple[Row, Float[np.ndarray, " labels"] | None]:
    """Return a row of the table, and the correlation in each relabeling (None if there is no test)."""
    there = np.isfinite(effects) & np.isfinite(predictor) & ~np.eye(len(effects), dtype=bool)
    n_pairs, n_tasks = int(there.sum()), int((there.any(axis=0) | there.any(axis=1)).sum())
    counts: Row = {Link.n_pairs: n_pairs, Link.n_tasks: n_tasks}
    if reason := _no_test(predictor, effects, there):
        missing: Row = {Link.statistic: math.nan, Link.p: math.nan, Link.n_permutations: 0, Link.reason: reason}
        return counts | missing, None
    correlations = qap_correlations(predictor, effects, labels)
    found: Row = {Link.statistic: float(correlations[0]), Link.p: p_value(correlations)}
    return counts | found | {Link.n_permutations: len(labels) - 1, Link.reason: ""}, correlations


def _no_test(predictor: Matrix, effects: Matrix, there: np.ndarray) -> str:
    """Return why a predictor cannot be tested; "" if it can."""
    n_pairs = int(there.sum())
    if n_pairs < MIN_PAIRS:
        off = ~np.eye(len(effects), dtype=bool)
        of_effects, of_predictor = (int(np.isfinite(side[off]).sum()) for side in (effects, predictor))
        return f"{n_pairs} pairs; {MIN_PAIRS} are needed ({of_effects} have an effect, {of_predictor} a predictor)"
    for name, values in (("predictor", predictor[there]), ("effect", effects[there])):
        if np.ptp(values) == 0:
            return f"the {name} is the same in all pairs"
    return ""


def _pairs_table(
    effects: pl.DataFrame,
    means: Mapping[tuple[str, str], Matrix],
    cells: Mapping[str, Matrix],
    tasks: Sequence[str],
) -> pl.DataFrame:
    """Return the table `LinkPairs`, from effects and mean alignment by measure and group."""
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
            rows.append(
                {**{name: row[name] for name in copied}, LinkPairs.group: group, LinkPairs.n_cells: n_cells, **aligned}
            )
    return pl.DataFrame(rows, schema=LinkPairs.schema())


def _cosine(value: float) -> float:
    """Return a mean of estimates if it is between -1 and 1, else NaN."""
    return value if COSINE.hold(value) else math.nan
