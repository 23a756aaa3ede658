"""Prediction of transfer to and from a task, by models fitted to pairs of the other tasks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from npi_jax.analysis.ranks import spearman
from npi_jax.results.columns import Row
from npi_jax.results.names import ALIGNMENT_MODEL, BASELINES_MODEL, JOINT_MODEL
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_link import Prediction

MIN_PAIRS: Final = 6
"""Minimum number of pairs of tasks for a test or a fit."""


def prediction_table(
    predictors: Mapping[tuple[str, str], Float[np.ndarray, "tasks tasks"]],
    effects: Mapping[str, Float[np.ndarray, "tasks tasks"]],
    baselines: Sequence[str],
) -> pl.DataFrame:
    """Return the table `Prediction`: leave-one-task-out predictions by least squares.

    All models of one group and outcome are fitted to the same pairs: those for which every predictor is known.

    Args:
        predictors: matrices [removed, task] by name and group. The alignment is "corrected"; baselines have group "".
        effects: matrices [removed, task] by outcome, with NaN for missing effects.
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
    """Yield one row for each model: each single predictor, all baselines, and all baselines with alignment."""
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
    """Fit to the pairs without a task and predict the pairs with it, for each task; return columns of `Prediction`.

    - correlation: Spearman's correlation of prediction and effect over the pairs of the held-out task, mean over tasks.
      Over all pairs it would be negative even for useless predictors: the mean of the fitted pairs falls when the mean
      of the held-out pairs rises.
    - r2: 1 - squared errors / squared errors of the fitted pairs' mean; 0 or less if the predictors are useless.
    - n_pairs: number of pairs.
    - reason: why correlation or r2 is NaN. There is no fit with fewer than `MIN_PAIRS` pairs, without variation, or if
      some fit has fewer than two pairs more than coefficients.
    """
    result: Row = {Prediction.correlation: math.nan, Prediction.r2: math.nan, Prediction.n_pairs: len(effects)}
    folds = [(pairs == task).any(axis=1) for task in np.unique(pairs)]
    if reason := _no_fit(predictors, effects, folds):
        return {**result, Prediction.reason: reason}
    predicted = [_predict(predictors, effects, fold) for fold in folds]
    errors = sum(float(((effects[fold] - guess) ** 2).sum()) for fold, guess in zip(folds, predicted, strict=True))
    of_mean = sum(float(((effects[fold] - effects[~fold].mean()) ** 2).sum()) for fold in folds)
    correlations = [
        spearman(effects[fold], guess)
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
    # A predictor that is constant in the fitted pairs gets the value 0: it cannot be standardized.
    standard = np.where(scale > 0, (predictors - center) / np.where(scale > 0, scale, 1.0), 0.0)
    design = np.column_stack([np.ones(len(effects)), standard])
    coefficients = np.linalg.lstsq(design[~fold], effects[~fold])[0]
    guess: Float[np.ndarray, " held_out"] = design[fold] @ coefficients
    return guess
