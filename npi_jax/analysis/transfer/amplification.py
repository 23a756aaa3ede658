"""Accuracy of a task by the share of its environment's sentences in the text, with and without NPIs of others."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import polars as pl

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import FREE, SHARE, Bounds
from npi_jax.analysis.transfer.experiment import Experiment, intervention_of
from npi_jax.analysis.transfer.outcomes import TaskOutcomes
from npi_jax.corpus.variants.interventions import Dose
from npi_jax.results import names
from npi_jax.results.columns import Row
from npi_jax.results.names import ACCURACY, DELTA, OTHERS_KEPT, OTHERS_REMOVED, OUTCOMES
from npi_jax.results.tables_amplification import Amplification
from npi_jax.results.tables_preparation import Corpus

_ENDS: Final[Mapping[tuple[str, str], tuple[float, str]]] = {
    (names.THINNED_ITEMS, OTHERS_KEPT): (1.0, names.FULL),
    (names.THINNED_SENTENCES, OTHERS_KEPT): (1.0, names.FULL),
    (names.THINNED_ITEMS, OTHERS_REMOVED): (0.0, names.NO_NPI),
}
"""Share and variant at the end of each curve, by `Amplification.thinned` and `Amplification.others`.

`NO_NPI` keeps the environment's sentences without an NPI, so it is no end of a curve over all of its sentences.
"""


class _Curve(NamedTuple):
    """Columns of `Amplification` that are equal for all variants of a curve; only the share differs."""

    environment: str
    thinned: str
    others: str
    donor: str


def amplification_rows(experiment: Experiment, corpus: pl.DataFrame) -> list[Row]:
    """Return the rows of `Amplification`: one for each environment and kept share of its sentences."""
    counts = {row[Corpus.variant]: row for row in corpus.iter_rows(named=True)}
    rows = []
    for curve, points in _curves(doses(experiment.setting.seeds)).items():
        task = experiment.task(curve.environment)
        if task is None:
            continue
        for share, variant in sorted(points):
            if experiment.setting.seeds.get(variant):
                point = {
                    Amplification.environment: curve.environment,
                    Amplification.thinned: curve.thinned,
                    Amplification.others: curve.others,
                    Amplification.donor: curve.donor,
                    Amplification.share: share,
                    Amplification.npis: counts.get(variant, {}).get(Corpus.npi.of(curve.environment)),
                    Amplification.variant: variant,
                }
                rows.append(point | _levels(experiment, task, variant))
    return rows


def doses(variants: Iterable[str]) -> dict[Dose, str]:
    """Return the variants that keep a share of one environment's data.

    Of two variants with the same dose, such as ``without(only)`` and ``downsample(only, 0)``, the first is returned.
    Their texts are equal.
    """
    found: dict[Dose, str] = {}
    for variant in variants:
        intervention = intervention_of(variant)
        if intervention is not None and intervention.dose is not None:
            found.setdefault(intervention.dose, variant)
    return found


def _curves(variants: Mapping[Dose, str]) -> dict[_Curve, set[tuple[float, str]]]:
    """Return shares and variants of each curve, with its end."""
    points: dict[_Curve, set[tuple[float, str]]] = {}
    for dose, variant in variants.items():
        others = names.ONE_OTHER_KEPT if dose.donor else OTHERS_REMOVED if dose.others_removed else OTHERS_KEPT
        curve = _Curve(dose.environment, dose.thinned, others, dose.donor)
        points.setdefault(curve, set()).add((dose.share, variant))
    for curve, found in points.items():
        if (curve.thinned, curve.others) in _ENDS:
            found.add(_ENDS[curve.thinned, curve.others])
    return points


def _levels(experiment: Experiment, task: TaskOutcomes, variant: str) -> Row:
    """Return accuracy and delta after the last step, with intervals."""
    chosen = task.rows(list(experiment.setting.seeds[variant].values()))

    def interval(outcome: str, bounds: Bounds) -> statistics.Interval:
        number = OUTCOMES.index(outcome)
        means, by_item = task.means[number, chosen], task.by_item[number, chosen]
        return statistics.seed_interval(means, by_item, n_items=task.n_items, bounds=bounds)

    accuracy, delta = interval(ACCURACY, SHARE), interval(DELTA, FREE)
    return {
        Amplification.n_seeds: len(chosen),
        Amplification.accuracy: accuracy.estimate,
        Amplification.low: accuracy.low,
        Amplification.high: accuracy.high,
        Amplification.delta: delta.estimate,
        Amplification.delta_low: delta.low,
        Amplification.delta_high: delta.high,
    }
