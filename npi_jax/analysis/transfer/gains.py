"""Data amplification: what an environment's task gains from the other environments' data, by its own amount of data."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from npi_jax.analysis.transfer.amplification import doses
from npi_jax.analysis.transfer.comparisons import Comparison, mean_contrast, paired_rows, shared_seeds
from npi_jax.analysis.transfer.experiment import Contrast, Experiment, adjust
from npi_jax.corpus.variants.interventions import Dose
from npi_jax.results.columns import Row
from npi_jax.results.names import (
    ALL_DONORS,
    FULL,
    LOG2_STEPS,
    MEAN_OVER_ENVIRONMENTS,
    NO_NPI,
    OUTCOMES,
    THINNED,
    THINNED_ITEMS,
)
from npi_jax.results.tables_amplification import Gains

FEWEST_ENVIRONMENTS: Final = 2
"""Minimum number of environments in a row about their mean."""

_Treatment = tuple[str, float, str]
"""Kind of thinning, share, and donor."""


def gain_rows(experiment: Experiment) -> list[Row]:
    """Return the rows of `Gains`: one for each environment, treatment and outcome, and one for each mean."""
    rows: list[Row] = []
    for (thinned, share, donor), comparisons in _comparisons(experiment).items():
        treatment = {Gains.thinned: thinned, Gains.share: share, Gains.donor: donor}
        for number in range(len(OUTCOMES)):
            rows += [treatment | row for row in _rows(experiment, comparisons, number)]
    return adjust(rows, _family)


def _comparisons(experiment: Experiment) -> dict[_Treatment, list[Comparison]]:
    """Return the pairs of variants to compare, one for each environment, by treatment."""
    variants = _with_ends(experiment)
    found: dict[_Treatment, list[Comparison]] = {}
    for dose, variant in variants.items():
        task = experiment.task(dose.environment)
        reference = variants.get(dose._replace(others_removed=True, donor=ALL_DONORS))
        if task is not None and reference not in (None, variant):
            treatment = (dose.thinned, dose.share, dose.donor)
            found.setdefault(treatment, []).append(Comparison(task, variant, str(reference)))
    return dict(sorted(found.items()))


def _with_ends(experiment: Experiment) -> dict[Dose, str]:
    """Return variants by dose, for each of their environments also the full corpus and the one without NPIs."""
    trained = experiment.setting.seeds
    variants = doses(trained)
    for name in dict.fromkeys(dose.environment for dose in variants):
        ends = {Dose(name, 1.0, False, thinned): FULL for thinned in THINNED}
        ends[Dose(name, 0.0, True, THINNED_ITEMS)] = NO_NPI
        variants |= {dose: end for dose, end in ends.items() if end in trained and dose not in variants}
    return variants


def _rows(experiment: Experiment, comparisons: Sequence[Comparison], outcome: int) -> Iterator[Row]:
    """Yield the gain in an outcome for each comparison, and the mean gain over all of them."""
    for one in comparisons:
        found = experiment.difference(one.task, outcome, one.variant, one.reference)
        yield {
            Gains.environment: one.task.task,
            Gains.variant_with: one.variant,
            Gains.variant_without: one.reference,
            **_row(experiment, [one], outcome, found),
        }
    if len(comparisons) >= FEWEST_ENVIRONMENTS:
        yield {
            Gains.environment: MEAN_OVER_ENVIRONMENTS,
            Gains.variant_with: "",
            Gains.variant_without: "",
            **_row(experiment, comparisons, outcome, _mean_gain(experiment, comparisons, outcome)),
        }


def _mean_gain(experiment: Experiment, comparisons: Sequence[Comparison], outcome: int) -> Contrast:
    """Test the mean gain over environments, with the fewest items of any task, as if the mean had no more of them."""
    n_items = min(one.task.n_items for one in comparisons)
    return mean_contrast(experiment, comparisons, outcome, n_items=n_items)


def _row(experiment: Experiment, comparisons: Sequence[Comparison], outcome: int, found: Contrast) -> Row:
    """Return the columns of a gain; levels are means over the seeds that all comparisons have."""
    seeds = shared_seeds(experiment, comparisons)
    pairs = [(one.task, paired_rows(experiment, one, seeds)) for one in comparisons]
    levels = np.mean([task.means[outcome, rows] for task, rows in pairs], axis=0)
    censored = sum(int((task.censored[rows[0]] | task.censored[rows[1]]).sum()) for task, rows in pairs)
    level_with, level_without = (float(level.mean()) if seeds else math.nan for level in levels)
    return {
        Gains.outcome: OUTCOMES[outcome],
        Gains.gain: found.mean,
        Gains.n_environments: len(comparisons),
        Gains.n_censored: censored if OUTCOMES[outcome] == LOG2_STEPS else 0,
        Gains.level_with: level_with,
        Gains.level_without: level_without,
        **found.row,
    }


def _family(row: Row) -> tuple[str, str, float, bool, bool]:
    """Return the key of a row's family: p-values with the same key are adjusted for each other."""
    one_donor, is_mean = row[Gains.donor] != ALL_DONORS, row[Gains.environment] == MEAN_OVER_ENVIRONMENTS
    return row[Gains.outcome], row[Gains.thinned], row[Gains.share], one_donor, is_mean
