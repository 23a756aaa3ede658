"""Accuracy of a task by the share of its environment's NPIs in the text, with and without NPIs of others."""

import polars as pl

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import FREE, SHARE, Bounds
from npi_jax.analysis.transfer.experiment import Experiment, intervention_of
from npi_jax.analysis.transfer.outcomes import TaskOutcomes
from npi_jax.results.columns import Row
from npi_jax.results.names import ACCURACY, DELTA, FULL, NO_NPI, OTHERS_KEPT, OTHERS_REMOVED, OUTCOMES
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_transfer import Amplification

_ENDS = {OTHERS_KEPT: (1.0, FULL), OTHERS_REMOVED: (0.0, NO_NPI)}
"""Share and variant at the end of each curve: the full corpus, or the corpus without NPIs."""


def amplification_rows(experiment: Experiment, corpus: pl.DataFrame) -> list[Row]:
    """Return the rows of `Amplification`: one for each environment and kept share of its NPIs."""
    counts = {row[Corpus.variant]: row for row in corpus.iter_rows(named=True)}
    rows = []
    for (environment, others), points in _curves(experiment).items():
        task = experiment.task(environment)
        if task is None:
            continue
        for share, variant in sorted({*points, _ENDS[others]}):
            if experiment.setting.seeds.get(variant):
                point = {
                    Amplification.environment: environment,
                    Amplification.others: others,
                    Amplification.share: share,
                    Amplification.npis: counts.get(variant, {}).get(Corpus.npi.of(environment)),
                    Amplification.variant: variant,
                }
                rows.append(point | _levels(experiment, task, variant))
    return rows


def _curves(experiment: Experiment) -> dict[tuple[str, str], list[tuple[float, str]]]:
    """Return shares and variants for each environment, separately for other environments' NPIs kept and removed."""
    points: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for variant in experiment.setting.seeds:
        found = intervention_of(variant)
        dose = None if found is None else found.dose
        if dose is not None:
            others = OTHERS_REMOVED if dose.others_removed else OTHERS_KEPT
            points.setdefault((dose.environment, others), []).append((dose.share, variant))
    return points


def _levels(experiment: Experiment, task: TaskOutcomes, variant: str) -> Row:
    """Return accuracy and delta after the last step, with intervals."""
    chosen = task.rows(list(experiment.setting.seeds[variant].values()))

    def interval(outcome: str, bounds: Bounds) -> statistics.Interval:
        number = OUTCOMES.index(outcome)
        means, by_item = task.means[number, chosen], task.by_item[number, chosen]
        return statistics.seed_interval(means, by_item, n_items=task.n_items, seed=experiment.seed, bounds=bounds)

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
