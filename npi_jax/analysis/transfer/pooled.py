"""Transfer between environments, pooled: one test over seeds of the mean effect on all other tasks."""

from collections.abc import Sequence

from npi_jax.analysis.transfer.comparisons import Comparison, mean_contrast
from npi_jax.analysis.transfer.experiment import Contrast, Experiment
from npi_jax.results.columns import Row
from npi_jax.results.names import NO_CONTROL, OUTCOMES
from npi_jax.results.tables_transfer import TransferPooled


def pooled_rows(experiment: Experiment, without: Sequence[str] = ()) -> list[Row]:
    """Return the rows of `TransferPooled`: one for each outcome and kind of reference.

    Every pair of a removed environment and another task has equal weight. The effect of a seed is its mean over pairs,
    over seeds in which no compared member diverged. The test is that of single effects (`contrast`). It needs no
    adjustment, and finds a weak effect that all pairs share, for which tests of single pairs have too little power.

    Args:
        experiment: the members of a setting in the tasks of one suite and kind.
        without: variants to leave out, such as those that changed nothing in the text.
    """
    rows = []
    for controlled in (False, True):
        pairs = [pair for pair in _pairs(experiment, controlled=controlled) if pair.variant not in without]
        for number, outcome in enumerate(OUTCOMES if pairs else ()):
            found = _pooled(experiment, pairs, number)
            named = {TransferPooled.controlled: controlled, TransferPooled.outcome: outcome}
            rows.append(named | {TransferPooled.effect: found.mean, TransferPooled.n_pairs: len(pairs)} | found.row)
    return rows


def _pairs(experiment: Experiment, *, controlled: bool) -> list[Comparison]:
    """Return all pairs; if `controlled`, only those of removals with a random control, which is the reference."""
    found = []
    for environment in experiment.removals():
        variant = f"without({environment})"
        reference = experiment.controls.get(variant, NO_CONTROL) if controlled else experiment.baseline
        if variant in experiment.setting.seeds and reference in experiment.setting.seeds and variant != reference:
            tasks = (task for task in experiment.tasks if task.task != environment)
            found += [Comparison(task, variant, reference) for task in tasks]
    return found


def _pooled(experiment: Experiment, pairs: Sequence[Comparison], outcome: int) -> Contrast:
    """Test the mean effect over pairs, which counts for the items of all their tasks."""
    n_items = sum({pair.task.task: pair.task.n_items for pair in pairs}.values())
    return mean_contrast(experiment, pairs, outcome, n_items=n_items)
