"""Comparisons of two variants on a task, and the test of their mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from npi_jax.analysis.transfer.experiment import Contrast, Experiment, contrast
from npi_jax.analysis.transfer.outcomes import TaskOutcomes


@dataclass(frozen=True)
class Comparison:
    """A variant and its reference, compared on a task."""

    task: TaskOutcomes
    variant: str
    reference: str


def shared_seeds(experiment: Experiment, comparisons: Sequence[Comparison]) -> list[int]:
    """Return the seeds of which no member diverged in any compared variant."""
    members = experiment.setting.seeds
    return sorted(set.intersection(*(set(members[name]) for name in _compared(comparisons))))


def paired_rows(experiment: Experiment, one: Comparison, seeds: Sequence[int]) -> Int[np.ndarray, "2 seeds"]:
    """Return the indices on the member axis of the task: of the variant's members, and of the reference's."""
    members = experiment.setting.seeds
    return np.stack([one.task.rows([members[name][seed] for seed in seeds]) for name in (one.variant, one.reference)])


def mean_contrast(experiment: Experiment, comparisons: Sequence[Comparison], outcome: int, *, n_items: int) -> Contrast:
    """Test the mean difference over comparisons, each with equal weight, in the seeds that all of them have.

    Comparisons on the same task share their resampled items.

    Args:
        experiment: the members of a setting in the tasks of one suite and kind.
        comparisons: at least one.
        outcome: index into `OUTCOMES`.
        n_items: number of items that the mean counts for.
    """
    seeds = shared_seeds(experiment, comparisons)
    pairs = [(one.task, *paired_rows(experiment, one, seeds)) for one in comparisons]
    return contrast(
        np.mean([task.means[outcome, ours] - task.means[outcome, theirs] for task, ours, theirs in pairs], axis=0),
        np.mean([task.by_item[outcome, ours] - task.by_item[outcome, theirs] for task, ours, theirs in pairs], axis=0),
        n_items=n_items,
        bounds=comparisons[0].task.bounds(outcome),
        of=", ".join(_compared(comparisons)),
    )


def _compared(comparisons: Sequence[Comparison]) -> list[str]:
    return list(dict.fromkeys(name for one in comparisons for name in (one.variant, one.reference)))
