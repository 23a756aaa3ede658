"""Asymmetry of transfer: the effect of removing i on task j, compared with that of removing j on task i."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from npi_jax.analysis.transfer.experiment import Contrast, Experiment, adjust, contrast
from npi_jax.analysis.transfer.outcomes import TaskOutcomes
from npi_jax.results.columns import Row
from npi_jax.results.names import NO_CONTROL, OUTCOMES
from npi_jax.results.tables_transfer import Asymmetry


def asymmetry_rows(experiment: Experiment) -> list[Row]:
    """Return the rows of `Asymmetry`: one for each pair of removed environments and each outcome."""
    removals = experiment.removals()
    pairs = [(i, j) for place, i in enumerate(removals) for j in removals[place + 1 :]]
    rows = [row for i, j in pairs for row in _pair_rows(experiment, i, j)]
    return adjust(rows, lambda row: row[Asymmetry.outcome])


def _pair_rows(experiment: Experiment, i: str, j: str) -> Iterator[Row]:
    variants = [f"without({i})", f"without({j})"]
    controls = [experiment.controls.get(variant, NO_CONTROL) for variant in variants]
    controlled = all(control in experiment.setting.seeds for control in controls)
    references = controls if controlled else [experiment.baseline] * 2
    # Effect ij is that of removing i on task j, so pair each variant with the other environment's task.
    tasks = [task for task in (experiment.task(j), experiment.task(i)) if task is not None]
    sides = [_Side(*side) for side in zip(tasks, variants, references, strict=True)]
    for number, outcome in enumerate(OUTCOMES):
        effects, found = _difference(experiment, sides, number)
        yield {
            Asymmetry.removed_i: i,
            Asymmetry.removed_j: j,
            Asymmetry.outcome: outcome,
            Asymmetry.effect_ij: effects[0],
            Asymmetry.effect_ji: effects[1],
            Asymmetry.difference: found.mean,
            Asymmetry.control: ", ".join(controls) if controlled else NO_CONTROL,
            **found.row,
        }


@dataclass(frozen=True)
class _Side:
    """One of the two effects to compare: that of a variant on a task, relative to a reference."""

    task: TaskOutcomes
    variant: str
    reference: str

    def effects(
        self, experiment: Experiment, outcome: int, seeds: list[int]
    ) -> tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, "seeds draws"]]:
        """Return the effect in each seed, with the original and with resampled items."""
        members = experiment.setting.seeds
        one, other = (
            self.task.rows([members[name][seed] for seed in seeds]) for name in (self.variant, self.reference)
        )
        means, by_item = self.task.means[outcome], self.task.by_item[outcome]
        return means[one] - means[other], by_item[one] - by_item[other]


def _difference(experiment: Experiment, sides: list[_Side], outcome: int) -> tuple[list[float], Contrast]:
    """Return both mean effects and their difference, over seeds in which none of the compared members diverged."""
    compared = [*(side.variant for side in sides), *(side.reference for side in sides)]
    seeds = [set(experiment.setting.seeds.get(variant, {})) for variant in compared]
    shared = sorted(set.intersection(*seeds))
    (means, by_item), (other_means, other_by_item) = (side.effects(experiment, outcome, shared) for side in sides)
    found = contrast(
        means - other_means,
        by_item - other_by_item,
        n_items=min(side.task.n_items for side in sides),
        bounds=sides[0].task.bounds(outcome).doubled,
        of=", ".join(dict.fromkeys(compared)),
    )
    return [float(value.mean()) if shared else math.nan for value in (means, other_means)], found
