"""Effects of interventions on every task: paired differences between variants.

Members of two variants are paired by seed and hyper-parameters. They have the same initial weights, and see the same
text at the same step except where the variants differ. An effect is the mean paired difference over seeds and items,
``outcome under the intervention - outcome under the baseline``. Harm is therefore negative for accuracies and deltas,
and positive for steps to threshold. If the run has the random control of an intervention, there is a second row in
which the control replaces the baseline. It equals the effect of the intervention minus that of its control, because
both effects have the same baseline.

Intervals and p-values are those of `statistics.paired_difference`, within the bounds of the outcome. Their variance is
from seeds and from items, which are resampled. This includes steps to threshold: the crossing of the threshold is
computed for every draw. A t test over seeds alone would reject up to 13 % of true null hypotheses if variants differ in
the items that are hard. Levels of single variants (`Amplification`) are those of `statistics.seed_interval`.
Adjusted p-values are by `statistics.adjust` over all rows of one outcome, suite, kind and setting. Effects against
controls are adjusted separately from those against the baseline, and removals from other interventions.
"""

from collections.abc import Iterator

import polars as pl

from npi_jax.analysis import statistics
from npi_jax.analysis.transfer.amplification import amplification_rows
from npi_jax.analysis.transfer.asymmetry import asymmetry_rows
from npi_jax.analysis.transfer.by_seed import by_seed_rows, comparisons
from npi_jax.analysis.transfer.eavesdropping import eavesdropping_rows
from npi_jax.analysis.transfer.empty import empty_variants
from npi_jax.analysis.transfer.experiment import Experiment, adjust, controls_of, removed_by
from npi_jax.analysis.transfer.gains import gain_rows
from npi_jax.analysis.transfer.outcomes import CELL, TaskOutcomes, baseline_variant, settings, task_outcomes
from npi_jax.analysis.transfer.pooled import pooled_rows
from npi_jax.results.columns import Row
from npi_jax.results.names import LOG2_STEPS, NO_CONTROL, NO_INTERVAL, NOT_A_REMOVAL, OUTCOMES
from npi_jax.results.rules import decisive, is_single_removal
from npi_jax.results.tables_amplification import Amplification, Gains
from npi_jax.results.tables_transfer import Asymmetry, Eavesdropping, Transfer, TransferBySeed, TransferPooled

TABLES = (Transfer, TransferBySeed, TransferPooled, Asymmetry, Amplification, Gains, Eavesdropping)


def transfer_tables(
    scores: pl.DataFrame,
    members: pl.DataFrame,
    corpus: pl.DataFrame,
    *,
    baseline: str | None = None,
    draws: int = statistics.DRAWS,
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Return the tables that are listed in `TABLES`, by name.

    Effects are measured in the main region of every suite and kind. A diverged member and the members paired with it
    are excluded. With one seed, intervals are over items and there are no p-values. Lags are slightly too small,
    because the same members determine both the order of acquisition and the lag.

    Args:
        scores: scores of every member, step and item, as from ``run.scores()``.
        members: the table `Members`.
        corpus: the table `Corpus`.
        baseline: the variant to compare with; by default "full", else that of the first member.
        draws: number of resamples of items.
        seed: seed of the resamples.

    Raises:
        UserError: if no variant has the name ``baseline``.
        ValueError: if members were scored on different items or at different steps.
    """
    reference, controls = baseline_variant(members, baseline), controls_of(corpus)
    rows: dict[str, list[Row]] = {table.NAME: [] for table in TABLES}
    cells: dict[tuple[str, str, str], list[TaskOutcomes]] = {}
    for outcomes in task_outcomes(scores, draws=draws, seed=seed):
        cells.setdefault(outcomes.cell, []).append(outcomes)
    for setting in settings(members):
        for cell, tasks in cells.items():
            common = dict(zip(CELL, cell, strict=True)) | setting.values
            experiment = Experiment(setting, tasks, reference, controls)
            for name, made in _tables(experiment, corpus).items():
                rows[name] += [common | row for row in made]
    return {table.NAME: pl.DataFrame(rows[table.NAME], schema=table.schema()) for table in TABLES}


def _tables(experiment: Experiment, corpus: pl.DataFrame) -> dict[str, list[Row]]:
    return {
        Transfer.NAME: _transfer_rows(experiment),
        TransferBySeed.NAME: by_seed_rows(experiment),
        TransferPooled.NAME: pooled_rows(experiment, without=empty_variants(corpus, experiment.baseline)),
        Asymmetry.NAME: asymmetry_rows(experiment),
        Amplification.NAME: amplification_rows(experiment, corpus),
        Gains.NAME: gain_rows(experiment),
        Eavesdropping.NAME: eavesdropping_rows(experiment),
    }


def interference(transfer: pl.DataFrame, *, alpha: float = 0.05) -> pl.DataFrame:
    """Return the removals that significantly *help* another task (adjusted p): the environment interferes with it.

    If a removal has a random control, it must help significantly more than the control.

    Returns:
        the rows of ``transfer`` with these effects, sorted by adjusted p-value.
    """
    sign = pl.when(pl.col(Transfer.outcome) == LOG2_STEPS).then(-1.0).otherwise(1.0)
    other_task = is_single_removal() & (pl.col(Transfer.removed) != pl.col(Transfer.task))
    # Polars orders NaN above all numbers, so a test that was not made is not significant.
    helped = (pl.col(Transfer.p_adjusted) <= alpha) & (sign * pl.col(Transfer.effect) > 0)
    return decisive(transfer).filter(other_task & helped).sort(Transfer.p_adjusted)


def _transfer_rows(experiment: Experiment) -> list[Row]:
    rows = [
        row
        for variant, control in comparisons(experiment)
        for task in experiment.tasks
        for row in _rows(experiment, task, variant, control)
    ]
    return adjust(rows, _family)


def _rows(experiment: Experiment, task: TaskOutcomes, variant: str, control: str) -> Iterator[Row]:
    """Yield the effects of a variant on a task, one for each outcome."""
    reference = control or experiment.baseline
    one, other = (task.rows(members) for members in experiment.setting.pairs(variant, reference))
    for number, outcome in enumerate(OUTCOMES):
        found = experiment.difference(task, number, variant, reference)
        censored = int((task.censored[one] | task.censored[other]).sum()) if outcome == LOG2_STEPS else 0
        yield {
            Transfer.intervention: variant,
            Transfer.removed: removed_by(variant),
            Transfer.control: control,
            Transfer.task: task.task,
            Transfer.outcome: outcome,
            Transfer.effect: found.mean,
            Transfer.n_items: task.n_items,
            Transfer.n_censored: censored,
            Transfer.baseline: reference,
            Transfer.interval_over: NO_INTERVAL if found.interval is None else found.interval.interval_over,
            **found.row,
        }


def _family(row: Row) -> tuple[str, bool, bool]:
    """Return the key of a row's family: p-values with the same key are adjusted for each other."""
    return row[Transfer.outcome], row[Transfer.control] != NO_CONTROL, row[Transfer.removed] != NOT_A_REMOVAL
