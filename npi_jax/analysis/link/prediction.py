"""How well transfer to and from a task is predicted by what was learned from other tasks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from scipy import stats

MIN_PAIRS: Final = 6
"""Fewer pairs of tasks than this are not analyzed."""

_SCHEMA: Final = {
    **dict.fromkeys(("model", "outcome", "group"), pl.String),
    **dict.fromkeys(("correlation", "r2"), pl.Float64),
    "n_pairs": pl.Int64,
    "reason": pl.String,
}


def prediction_table(
    predictors: Mapping[tuple[str, str], Float[np.ndarray, "tasks tasks"]],
    effects: Mapping[str, Float[np.ndarray, "tasks tasks"]],
    baselines: Sequence[str],
) -> pl.DataFrame:
    """Leave-one-task-out predictions by least squares, of every model, outcome and group of parameters.

    All models of one group and outcome are fitted to the same pairs: those for which every predictor is known.

    Args:
        predictors: matrices [removed, task] by name and group; "corrected" is the alignment, baselines have no group.
        effects: matrices [removed, task] by outcome, NaN where there is none.
        baselines: names of the predictors that need no gradients.

    Returns:
        columns model ("alignment", each baseline, "baselines", "baselines + alignment"), outcome, group, correlation,
        r2 (see `leave_one_task_out`), n_pairs, reason.
    """
    known = {name: predictors[name, ""] for name in baselines if (name, "") in predictors}
    rows: list[dict[str, Any]] = []
    for group in [group for name, group in predictors if name == "corrected"]:
        matrices = known | {"alignment": predictors["corrected", group]}
        models = {name: [name] for name in matrices}
        if known:
            models |= {"baselines": list(known), "baselines + alignment": list(matrices)}
        for outcome, effect in effects.items():
            there = np.isfinite(effect) & ~np.eye(len(effect), dtype=bool)
            for matrix in matrices.values():
                there &= np.isfinite(matrix)
            for model, names in models.items():
                values = np.stack([matrices[name][there] for name in names], axis=1)
                found = leave_one_task_out(values, effect[there], np.argwhere(there))
                rows.append({"model": model, "outcome": outcome, "group": group} | found)
    return pl.DataFrame(rows, schema=_SCHEMA)


def leave_one_task_out(
    predictors: Float[np.ndarray, "pairs predictors"],
    effects: Float[np.ndarray, " pairs"],
    pairs: Int[np.ndarray, "pairs 2"],
) -> dict[str, Any]:
    """Fit to the pairs that do not touch a task, predict those that do, for one task after the other.

    Returns:
        correlation: Spearman's between prediction and effect within the pairs of the task left out, mean over
        tasks. (Over all pairs together it would be negative where nothing is predicted, for the mean of the pairs
        fitted moves against that of the pairs left out.) r2: 1 - squared errors / squared errors of the mean of the
        pairs fitted; 0 or less where the predictors are of no use. Both NaN, and ``reason`` says why, where a fit
        would have fewer than two pairs more than coefficients. n_pairs.
    """
    result: dict[str, Any] = {"correlation": math.nan, "r2": math.nan, "n_pairs": len(effects), "reason": ""}
    if len(effects) < MIN_PAIRS:
        return result | {"reason": f"{len(effects)} pairs; {MIN_PAIRS} are needed"}
    if np.ptp(effects) == 0:
        return result | {"reason": "the effect is the same in all pairs"}
    if (np.ptp(predictors, axis=0) == 0).all():
        return result | {"reason": "no predictor varies"}
    folds = [(pairs == task).any(axis=1) for task in np.unique(pairs)]
    fewest = min(int((~fold).sum()) for fold in folds)
    needed = predictors.shape[1] + 3
    if fewest < needed:
        return result | {"reason": f"{fewest} pairs are left without some task; the model needs {needed}"}
    predicted = [_predict(predictors, effects, fold) for fold in folds]
    errors = sum(float(((effects[fold] - guess) ** 2).sum()) for fold, guess in zip(folds, predicted, strict=True))
    of_mean = sum(float(((effects[fold] - effects[~fold].mean()) ** 2).sum()) for fold in folds)
    correlations = [
        float(stats.spearmanr(effects[fold], guess).statistic)
        for fold, guess in zip(folds, predicted, strict=True)
        if fold.sum() > 2 and np.ptp(effects[fold]) > 0 and np.ptp(guess) > 1e-9 * np.ptp(effects)
    ]
    if not correlations:
        result["reason"] = "predictions do not vary within the pairs of any task"
    correlation = float(np.mean(correlations)) if correlations else math.nan
    return result | {"correlation": correlation, "r2": 1 - errors / of_mean}


def _predict(
    predictors: Float[np.ndarray, "pairs predictors"],
    effects: Float[np.ndarray, " pairs"],
    fold: Bool[np.ndarray, " pairs"],
) -> Float[np.ndarray, " held_out"]:
    center, scale = predictors[~fold].mean(axis=0), predictors[~fold].std(axis=0)
    # Where a predictor does not vary in the pairs fitted there is nothing to learn about it.
    standard = np.where(scale > 0, (predictors - center) / np.where(scale > 0, scale, 1.0), 0.0)
    design = np.column_stack([np.ones(len(effects)), standard])
    coefficients = np.linalg.lstsq(design[~fold], effects[~fold])[0]
    guess: Float[np.ndarray, " held_out"] = design[fold] @ coefficients
    return guess
