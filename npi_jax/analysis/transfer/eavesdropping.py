"""Eavesdropping: the delay of a task when the NPIs of an environment that is acquired earlier are removed."""

from collections.abc import Iterator
from typing import Final

from npi_jax.analysis.transfer.experiment import Experiment, adjust
from npi_jax.analysis.transfer.outcomes import TaskOutcomes
from npi_jax.results.columns import Row
from npi_jax.results.names import LOG2_STEPS, NO_CONTROL, OUTCOMES
from npi_jax.results.tables_transfer import Eavesdropping

_LOG2_STEPS: Final = OUTCOMES.index(LOG2_STEPS)


def eavesdropping_rows(experiment: Experiment) -> list[Row]:
    """Return the rows of `Eavesdropping`: one for each removed environment and each task acquired later."""
    rows = [row for environment in experiment.removals() for row in _rows(experiment, environment)]
    return adjust(rows, lambda _: "")


def _rows(experiment: Experiment, environment: str) -> Iterator[Row]:
    easier, variant = experiment.task(environment), f"without({environment})"
    one, other = experiment.setting.pairs(variant, experiment.baseline)
    if easier is None or not one:
        return
    control = experiment.controls.get(variant, NO_CONTROL)
    control = control if experiment.setting.seeds.get(control) else NO_CONTROL
    onset = easier.means[_LOG2_STEPS, easier.rows(other)].mean()
    for task in experiment.tasks:
        if task.means[_LOG2_STEPS, task.rows(other)].mean() > onset:
            names = {Eavesdropping.without: environment, Eavesdropping.control: control}
            lag = _lag(experiment, task, variant, control or experiment.baseline)
            if lag:
                yield names | lag


def _lag(experiment: Experiment, task: TaskOutcomes, variant: str, reference: str) -> Row:
    """Return the delay of a task in a variant relative to the reference, by column; empty without paired members."""
    without_it, with_it = (task.rows(members) for members in experiment.setting.pairs(variant, reference))
    if not len(with_it):
        return {}
    steps = task.means[_LOG2_STEPS]
    found = experiment.difference(task, _LOG2_STEPS, variant, reference)
    return {
        Eavesdropping.task: task.task,
        Eavesdropping.steps_full: float(2 ** steps[with_it].mean() - 1),
        Eavesdropping.steps_without: float(2 ** steps[without_it].mean() - 1),
        Eavesdropping.lag_log2: found.mean,
        Eavesdropping.n_censored: int((task.censored[without_it] | task.censored[with_it]).sum()),
        **found.row,
    }
