"""Transfer to and from a task, predicted from the other tasks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from scipy import stats

from npi_jax.results.columns import Row
from npi_jax.results.names import ALIGNMENT_MODEL, BASELINES_MODEL, JOINT_MODEL
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_link import Prediction

MIN_PAIRS: Final = 6
"""Fewer pairs of tasks than this are not analyzed."""


def prediction_table(
    predictors: Mapping[tuple[str, str], Float[np.ndarray, "tasks tasks"]],
    effects: Mapping[str, Float[np.ndarray, "tasks tasks"]],
    baselines: Sequence[str],
) -> pl.DataFrame:
    """Return the table `Prediction`: leave-one-task-out predictions by least squares.

    All models of one group and outcome are fitted to the same pairs: those for which every predictor is known.

    Args:
        predictors: matrices [removed, task] by name and group; "corrected" is the alignment, baselines have no group.
        effects: matrices [removed, task] by outcome, NaN where there is none.
        baselines: names of the predictors that need no gradients.
    """
    known = {name: predictors[name, ""] for name in baselines if (name, "") in predictors}
    rows: list[Row] = []
    for group in [group for name, group in predictors if name == Alignment.corrected]:
        matrices = known | {ALIGNMENT_MODEL: predictors[Alignment.corrected, group]}
        for outcome, effect in effects.items():
            names = {Prediction.outcome: outcome, Prediction.group: group}
            rows += [names | row for row in _model_rows(matrices, list(known), effect)]
    return pl.DataFrame(rows, schema=Prediction.schema())


def _model_rows(
    matrices: Mapping[str, Float[np.ndarray, "tasks tasks"]],
    baselines: Sequence[str],
    effect: Float[np.ndarray, "tasks tasks"],
) -> Iterator[Row]:
    """Yield one row for each model: every predictor by itself, the baselines, and all together."""
    models = {name: [name] for name in matrices}
    if baselines:
        models |= {BASELINES_MODEL: list(baselines), JOINT_MODEL: list(matrices)}
    there = np.isfinite(effect) & ~np.eye(len(effect), dtype=bool)
    for matrix in matrices.values():
        there &= np.isfinite(matrix)
    for model, names in models.items():
        values = np.stack([matrices[name][there] for name in names], axis=1)
        yield {Prediction.model: model, **leave_one_task_out(values, effect[there], np.argwhere(there))}


def leave_one_task_out(
    predictors: Float[np.ndarray, "pairs predictors"],
    effects: Float[np.ndarray, " pairs"],
    pairs: Int[np.ndarray, "pairs 2"],
) -> Row:
    """Fit to the pairs without a task, predict those with it, and do so for each task.

    Returns:
        correlation: Spearman's between prediction and effect within the pairs of the task left out, mean over
        tasks. (Over all pairs together it would be negative where nothing is predicted, for the mean of the pairs
        fitted moves against that of the pairs left out.) r2: 1 - squared errors / squared errors of the mean of the
        pairs fitted; 0 or less where the predictors are of no use. n_pairs. Numbers are NaN, and ``reason`` says why,
        where a fit would have fewer than two pairs more than coefficients.
    """
    result: Row = {Prediction.correlation: math.nan, Prediction.r2: math.nan, Prediction.n_pairs: len(effects)}
    folds = [(pairs == task).any(axis=1) for task in np.unique(pairs)]
    if reason := _no_fit(predictors, effects, folds):
        return {**result, Prediction.reason: reason}
    predicted = [_predict(predictors, effects, fold) for fold in folds]
    errors = sum(float(((effects[fold] - guess) ** 2).sum()) for fold, guess in zip(folds, predicted, strict=True))
    of_mean = sum(float(((effects[fold] - effects[~fold].mean()) ** 2).sum()) for fold in folds)
    correlations = [
        float(stats.spearmanr(effects[fold], guess).statistic)
        for fold, guess in zip(folds, predicted, strict=True)
        if fold.sum() > 2 and np.ptp(effects[fold]) > 0 and np.ptp(guess) > 1e-9 * np.ptp(effects)
    ]
    return {
        **result,
        Prediction.correlation: float(np.mean(correlations)) if correlations else math.nan,
        Prediction.r2: 1 - errors / of_mean,
        Prediction.reason: "" if correlations else "predictions do not vary within the pairs of any task",
    }


def _no_fit(
    predictors: Float[np.ndarray, "pairs predictors"],
    effects: Float[np.ndarray, " pairs"],
    folds: Sequence[Bool[np.ndarray, " pairs"]],
) -> str:
    """Return why a model cannot be fitted; "" if it can."""
    if len(effects) < MIN_PAIRS:
        return f"{len(effects)} pairs; {MIN_PAIRS} are needed"
    if np.ptp(effects) == 0:
        return "the effect is the same in all pairs"
    if (np.ptp(predictors, axis=0) == 0).all():
        return "no predictor varies"
    fewest, needed = min(int((~fold).sum()) for fold in folds), predictors.shape[1] + 3
    return "" if fewest >= needed else f"{fewest} pairs are left without some task; the model needs {needed}"


def _predict(
    predictors: Float[np.ndarray, "pairs predictors"],
    effects: Float[np.ndarray, " pairs"],
    fold: Bool[np.ndarray, " pairs"],
) -> Float[np.ndarray, " held_out"]:
    center, scale = predictors[~fold].mean(axis=0), predictors[~fold].std(axis=0)
    # A predictor that does not vary in the fitted pairs has nothing to teach.
    standard = np.where(scale > 0, (predictors - center) / np.where(scale > 0, scale, 1.0), 0.0)
    design = np.column_stack([np.ones(len(effects)), standard])
    coefficients = np.linalg.lstsq(design[~fold], effects[~fold])[0]
    guess: Float[np.ndarray, " held_out"] = design[fold] @ coefficients
    return guess
