"""Predictors of transfer as matrices [removed, task]: mean alignment, and surface measures that need no gradients."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from npi_jax.analysis.link.additive import row_effects
from npi_jax.analysis.link.seeds import Seeded
from npi_jax.results.names import LM, MEAN_OVER_TRAINING, MEASURES
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_preparation import Environments

_PAIR = (Alignment.task_i, Alignment.task_j)
_CHECKPOINT = (Alignment.member, Alignment.step)


@dataclass(frozen=True)
class Predictor:
    """A matrix of pairs of tasks that may predict effects.

    Attributes:
        name: measure of alignment, or surface measure.
        group: group of parameters; "" for surface measures.
        step: step of the checkpoint, or `MEAN_OVER_TRAINING`.
        values: means over seeds, with NaN for missing values.
    """

    name: str
    group: str
    step: int
    values: Seeded


def pairs_of_tasks(alignment: pl.DataFrame, variant: str) -> pl.DataFrame:
    """Return the rows of alignment of all pairs of different environments in a variant.

    ``corrected`` is replaced by ``ratio``: leaving out estimates beyond 1 would bias means of pairs near 1 downward.
    """
    aligned = alignment.filter(
        pl.col(Alignment.variant) == variant,
        pl.col(Alignment.task_i) != LM,
        pl.col(Alignment.task_j) != LM,
        pl.col(Alignment.task_i) != pl.col(Alignment.task_j),
    )
    if Alignment.ratio in aligned.columns:
        aligned = aligned.with_columns(pl.col(Alignment.ratio).alias(Alignment.corrected))
    return aligned


def alignment_predictors(
    aligned: pl.DataFrame, tasks: Sequence[str], halves: Sequence[Sequence[int]] = ()
) -> Iterator[Predictor]:
    """Yield means over seeds for each group and measure: first over training, then at each step.

    Args:
        aligned: from `pairs_of_tasks`.
        tasks: order of rows and columns.
        halves: seeds of each half; empty if seeds are not split.
    """
    for group in aligned[Alignment.group].unique().sort():
        of_group = aligned.filter(pl.col(Alignment.group) == group)
        for name in MEASURES:
            means = _pair_means(of_group, name)
            of_halves = [_pair_means(of_group.filter(pl.col(Alignment.seed).is_in(half)), name) for half in halves]
            for step in [MEAN_OVER_TRAINING, *aligned[Alignment.step].unique().sort()]:
                whole, *parts = (_at_step(frame, name, int(step), tasks) for frame in (means, *of_halves))
                # Without any estimate, "corrected" still yields a matrix of NaN, so that the tables state the reason.
                if np.isfinite(whole).any() or name == Alignment.corrected:
                    yield Predictor(name, str(group), int(step), Seeded(whole, tuple(parts)))


def _at_step(means: pl.DataFrame, name: str, step: int, tasks: Sequence[str]) -> Float[np.ndarray, "tasks tasks"]:
    cells = means.filter(pl.col(Alignment.step) == step).select(*_PAIR, name).iter_rows()
    return matrix_of(cells, tasks, symmetric=True)


def baseline_predictors(environments: pl.DataFrame, tasks: Sequence[str]) -> Iterator[Predictor]:
    """Yield the overlaps of two tasks' text, and the frequency of the removed task's NPIs.

    Args:
        environments: the table `Environments`.
        tasks: order of rows and columns.
    """
    for name in (Environments.ngram_overlap, Environments.npi_overlap):
        cells = environments.select(Environments.task_i, Environments.task_j, name).iter_rows()
        yield Predictor(name, "", MEAN_OVER_TRAINING, Seeded(matrix_of(cells, tasks, symmetric=True)))
    sides = ((Environments.task_i, Environments.npis_i), (Environments.task_j, Environments.npis_j))
    counts = {task: npis for side in sides for task, npis in environments.select(side).iter_rows()}
    logs = {task: math.log(npis) if npis else math.nan for task, npis in counts.items()}
    pairs = ((j, i, logs.get(j)) for j in tasks for i in tasks)
    yield Predictor("frequency", "", MEAN_OVER_TRAINING, Seeded(matrix_of(pairs, tasks)))


def cell_counts(aligned: pl.DataFrame, tasks: Sequence[str], step: int) -> dict[str, Float[np.ndarray, "tasks tasks"]]:
    """Return, for each group and pair, the number of members with corrected alignment at a step."""
    n_cells = "n_cells"
    finite = aligned.filter(pl.col(Alignment.corrected).is_finite() & (pl.col(Alignment.step) == step))
    counted = finite.group_by(Alignment.group, *_PAIR, maintain_order=True).agg(
        pl.len().cast(pl.Float64).alias(n_cells)
    )
    return {
        str(group): matrix_of(frame.select(*_PAIR, n_cells).iter_rows(), tasks, symmetric=True)
        for (group,), frame in counted.group_by([Alignment.group], maintain_order=True)
    }


def matrix_of(
    cells: Iterable[tuple[Any, ...]], tasks: Sequence[str], *, symmetric: bool = False
) -> Float[np.ndarray, "tasks tasks"]:
    """Return a matrix from (row, column, value), NaN elsewhere; ``symmetric`` copies cells to missing mirror cells."""
    place = {task: number for number, task in enumerate(tasks)}
    matrix = np.full((len(tasks), len(tasks)), np.nan)
    for row, column, value in cells:
        if row in place and column in place and value is not None:
            matrix[place[row], place[column]] = value
    return np.where(np.isnan(matrix) & symmetric, matrix.T, matrix)


def _pair_means(aligned: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return each pair's mean of one measure: first over seeds and steps (`MEAN_OVER_TRAINING`), then at each step."""
    step = Alignment.step
    finite = aligned.filter(pl.col(name).is_finite())
    frames = [_fitted(finite.filter(pl.col(step) > 0), name, MEAN_OVER_TRAINING)]
    frames += [
        _fitted(frame, name, int(str(number)))
        for (number,), frame in finite.sort(step, maintain_order=True).group_by([step], maintain_order=True)
    ]
    return pl.concat(frames)


def _fitted(frame: pl.DataFrame, name: str, step: int) -> pl.DataFrame:
    """Return `additive.row_effects` of pairs over members times steps, in columns for step, both tasks and measure."""
    pairs, row = _numbered(frame.select(_PAIR).rows())
    cells, column = _numbered(frame.select(_CHECKPOINT).rows())
    values = np.full((len(pairs), len(cells)), np.nan)
    values[row, column] = frame[name].to_numpy()
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    series = [pl.repeat(step, len(pairs), dtype=pl.Int64, eager=True).alias(Alignment.step)]
    series += [pl.Series(task, names, dtype=pl.String) for task, names in zip(_PAIR, (first, second), strict=True)]
    return pl.DataFrame([*series, pl.Series(name, row_effects(values) if pairs else [], dtype=pl.Float64)])


def _numbered(keys: Sequence[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], Int[np.ndarray, " keys"]]:
    """Return the distinct keys in the order of their first places, and the number of each key among them."""
    numbers: dict[tuple[Any, ...], int] = {}
    found = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return list(numbers), found
