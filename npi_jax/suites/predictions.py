"""Evaluation of SyntaxGym's predictions about surprisals."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Integer

from npi_jax.suites.schema import ConditionItem, ConditionSuite, Prediction, SuiteError

METRICS: dict[str, Callable[[np.ndarray], float]] = {
    "sum": lambda values: float(np.sum(values)),
    "mean": lambda values: float(np.mean(values)),
    "median": lambda values: float(np.median(values)),
    "range": lambda values: float(np.ptp(values)),
    "max": lambda values: float(np.max(values)),
    "min": lambda values: float(np.min(values)),
}
"""Aggregations of token surprisals to the surprisal of a region, by the name that `Prediction.metric` gives."""

RegionScores = Callable[[str], Float[np.ndarray, " sentences"]]
TokenScores = Callable[[int, str], Float[np.ndarray, " tokens"]]


def evaluate_predictions(
    suite: ConditionSuite, region: RegionScores, tokens: TokenScores | None = None
) -> pl.DataFrame:
    """Evaluate every prediction of a suite for every item.

    Arguments:
        suite: a suite with predictions.
        region: returns the log-probabilities (nats) of all sentences in the named region, as `Scores.log_prob` does;
            NaN where a sentence lacks it.
        tokens: returns the log-probabilities (nats) of the tokens of one sentence in a region; required for metrics
            other than the sum.

    Returns:
        columns paradigm, item, prediction (its number), formula, result (1 or 0; null if a region is missing).

    Raises:
        SuiteError: if the suite has no predictions, or a metric needs `tokens`.
    """
    paradigms: dict[str, list[tuple[int, ConditionItem]]] = {}
    first_sentence = 0
    for item in suite:
        paradigms.setdefault(item.paradigm, []).append((first_sentence, item))
        first_sentence += len(item.conditions)
    frames = [
        _results(members, number, prediction, region, tokens)
        for paradigm, members in paradigms.items()
        for number, prediction in enumerate(suite.predictions.get(paradigm, ()))
    ]
    if not frames:
        raise SuiteError(f"suite {suite.name!r} has no predictions")
    return pl.concat(frames)


def _results(
    members: Sequence[tuple[int, ConditionItem]],
    number: int,
    prediction: Prediction,
    region: RegionScores,
    tokens: TokenScores | None,
) -> pl.DataFrame:
    """Evaluate a prediction for items of a paradigm, each given with the number of its first sentence."""
    items = [item for _, item in members]
    starts = np.array([start for start, _ in members])
    order = {condition: i for i, condition in enumerate(items[0].conditions)}
    surprisals = {
        (name, condition): _surprisals(name, starts + order[condition], prediction.metric, region, tokens)
        for name, condition in prediction.formula.regions
    }
    return pl.DataFrame(
        {
            "paradigm": [item.paradigm for item in items],
            "item": [item.item for item in items],
            "prediction": pl.Series([number] * len(items), dtype=pl.Int32),
            "formula": [prediction.formula.text] * len(items),
            "result": pl.Series(prediction.formula.evaluate(surprisals)).fill_nan(None),
        }
    )


def _surprisals(
    name: str,
    sentences: Integer[np.ndarray, " items"],
    metric: str,
    region: RegionScores,
    tokens: TokenScores | None,
) -> Float[np.ndarray, " items"]:
    """Return surprisals in bits, the unit of the formulas' constants and tolerances."""
    if metric == "sum":
        return -np.asarray(region(name), np.float64)[sentences] / math.log(2)
    if tokens is None:
        raise SuiteError(f"the metric {metric!r} needs the log-probability of every token, not only their sums")
    measure = METRICS[metric]
    by_sentence = (-np.asarray(tokens(int(sentence), name), np.float64) / math.log(2) for sentence in sentences)
    return np.array([measure(values) if len(values) else np.nan for values in by_sentence])
