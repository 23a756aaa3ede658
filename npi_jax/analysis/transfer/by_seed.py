"""Effects of interventions in single seeds, for analyses that need effects and other measures from different seeds."""

from collections.abc import Iterator

import numpy as np

from npi_jax.analysis.transfer.experiment import Experiment, removed_by
from npi_jax.analysis.transfer.outcomes import TaskOutcomes
from npi_jax.results.columns import Row
from npi_jax.results.names import NO_CONTROL, OUTCOMES
from npi_jax.results.tables_transfer import TransferBySeed


def by_seed_rows(experiment: Experiment) -> list[Row]:
    """Return rows of the table `TransferBySeed`, without suite, kind, region and hyper-parameters."""
    rows: list[Row] = []
    for variant, control in comparisons(experiment):
        names: Row = {
            TransferBySeed.intervention: variant,
            TransferBySeed.removed: removed_by(variant),
            TransferBySeed.control: control,
        }
        rows += [names | row for task in experiment.tasks for row in _rows(experiment, task, variant, control)]
    return rows


def comparisons(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Yield each variant with `NO_CONTROL`, to compare it with the baseline, and with its random control if trained."""
    for variant in experiment.setting.seeds:
        if variant == experiment.baseline:
            continue
        yield variant, NO_CONTROL
        control = experiment.controls.get(variant, NO_CONTROL)
        if control in experiment.setting.seeds:
            yield variant, control


def _rows(experiment: Experiment, task: TaskOutcomes, variant: str, control: str) -> Iterator[Row]:
    setting, reference = experiment.setting, control or experiment.baseline
    one, other = (task.rows(members) for members in setting.pairs(variant, reference))
    seeds = sorted(setting.seeds.get(variant, {}).keys() & setting.seeds.get(reference, {}).keys())
    differences = task.means[:, one] - task.means[:, other]
    for (number, place), effect in np.ndenumerate(differences):
        yield {
            TransferBySeed.task: task.task,
            TransferBySeed.outcome: OUTCOMES[number],
            TransferBySeed.seed: seeds[place],
            TransferBySeed.effect: float(effect),
        }
