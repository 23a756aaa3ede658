"""Power of the test of `transfer`, by simulation: the smallest effects that given numbers of seeds can detect.

The test of an effect is `statistics.paired_difference`, here without bounds. With bounds, t would be smaller by the
factor sqrt(1 - d^2) for an effect d on accuracy: by 2 % at .2. For normal values, the mean and the mean squares of
seeds, items and residual are independent. Each is therefore drawn separately, the mean from a normal distribution and
the mean squares from chi-squared ones.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float
from rich.console import Console

from npi_jax.analysis.transfer.outcomes import CELL, baseline_variant, settings, task_outcomes
from npi_jax.analysis.variance import item_variance, squared_arm
from npi_jax.results.columns import Row
from npi_jax.results.names import ACCURACY, AUC, DELTA, LINEAR_OUTCOMES
from npi_jax.results.tables_transfer import Power, VarianceComponents
from npi_jax.terminal.tables import TextTable

SEEDS: Final = (3, 5, 10, 20)
POWER: Final = 0.8
SDS: Final[tuple[str, ...]] = (VarianceComponents.seed_sd, VarianceComponents.item_sd, VarianceComponents.residual_sd)
_VARIANCES: Final[tuple[str, ...]] = (
    VarianceComponents.seed_variance,
    VarianceComponents.item_variance,
    VarianceComponents.residual_variance,
)


def power_table(
    effect: float,
    *,
    seed_sd: float,
    item_sd: float,
    residual_sd: float,
    seeds: Sequence[int] = SEEDS,
    items: int = 40,
    alpha: float = 0.05,
    simulations: int = 2000,
    outcome: str = DELTA,
    seed: int = 0,
) -> pl.DataFrame:
    """Return the table `Power`: how often the test of `transfer` detects an effect.

    Args:
        effect: true mean of the paired differences, in the unit of the outcome.
        seed_sd, item_sd, residual_sd: standard deviations of the *differences* (`variance_components`).
        seeds: numbers of seeds, each at least 2.
        items: number of items of the task, at least 2.
        alpha: level of the test; for one of several tests, for example 0.05 divided by their number.
        simulations: number of simulated experiments for each number of seeds, at least 100.
        outcome: name of the outcome; "accuracy" and "auc" cannot have effects beyond 1.
        seed: seed of the random numbers.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if min(seeds, default=0) < 2 or items < 2 or simulations < 100:
        raise ValueError(
            f"seeds={tuple(seeds)}, items={items}, simulations={simulations}: at least 2, 2 and 100 are needed"
        )
    deviations = (seed_sd, item_sd, residual_sd)
    if not (0 < alpha < 1 and min(deviations) >= 0 and 0 < sum(deviations) < math.inf):
        raise ValueError(
            f"alpha={alpha}, standard deviations {deviations}: alpha has to lie between 0 and 1, standard deviations "
            "have to be finite, may not be negative, nor all 0"
        )
    rows = []
    for n_seeds in seeds:
        random = np.random.default_rng((seed, n_seeds))
        variances = (seed_sd**2, item_sd**2, residual_sd**2)
        means, critical = _simulate(random, variances, n_seeds, items, alpha, simulations)
        named = {Power.outcome: outcome, Power.seeds: n_seeds, Power.items: items}
        rows.append(named | _detected(means, critical, effect, outcome))
    return pl.DataFrame(rows, schema=Power.schema())


def _detected(
    means: Float[np.ndarray, " simulations"], critical: Float[np.ndarray, " simulations"], effect: float, outcome: str
) -> Row:
    """Return a row of `Power`, from simulated means without an effect and their critical values."""
    rejected = float((np.abs(means + effect) > critical).mean())
    # Solve mean + effect > critical for the effect; detection with the wrong sign is rare and ignored.
    detectable = float(np.quantile(critical - means, POWER))
    return {
        Power.effect: effect,
        Power.rejected: rejected,
        Power.error: math.sqrt(rejected * (1 - rejected) / len(means)),
        Power.detectable: math.nan if outcome in (ACCURACY, AUC) and detectable > 1 else detectable,
        Power.false_alarms: float((np.abs(means) > critical).mean()),
        Power.simulations: len(means),
    }


def variance_components(scores: pl.DataFrame, members: pl.DataFrame, *, baseline: str | None = None) -> pl.DataFrame:
    """Return the table `VarianceComponents`: variances of a run's paired differences by source.

    Components are computed from the mean squares of a two-way analysis of variance. Negative estimates of a variance
    are kept, because their mean would otherwise be biased; their standard deviation is 0. A variant that shares fewer
    than two seeds with the baseline has no rows.

    Args:
        scores, members, baseline: as for `transfer_tables`.
    """
    reference = baseline_variant(members, baseline)
    rows: list[Row] = []
    groups = settings(members)
    for task in task_outcomes(scores, draws=1000):
        names = {VarianceComponents.task: task.task} | dict(zip(CELL, task.cell, strict=True))
        for setting in groups:
            for variant in setting.seeds:
                one, other = (task.rows(chosen) for chosen in setting.pairs(variant, reference))
                if variant == reference or len(one) < 2 or task.n_items < 2:
                    continue
                named = names | {VarianceComponents.intervention: variant}
                for outcome, values in zip(LINEAR_OUTCOMES, task.items[:, one] - task.items[:, other], strict=True):
                    rows.append(named | {VarianceComponents.outcome: outcome} | _components(values))
    return pl.DataFrame(rows, schema=VarianceComponents.schema())


def pooled(components: pl.DataFrame) -> dict[str, float]:
    """Return typical standard deviations of a task: the square roots of mean variances over the rows.

    Standard deviations from few seeds, with 0 for negative variances, have a median that is too small; the power would
    be too large. Rows without any variance are excluded: both variants had perfect scores, and no effect could show.

    Args:
        components: rows of `variance_components`, of one outcome and kind.

    Returns:
        seed_sd, item_sd, residual_sd.

    Raises:
        ValueError: if nothing varies.
    """
    rows = varying(components)
    if rows.is_empty():
        raise ValueError("nothing varies in any of these tasks")
    means = rows.select(pl.col(*_VARIANCES).mean()).row(0)
    return {name: math.sqrt(max(mean, 0.0)) for name, mean in zip(SDS, means, strict=True)}


def varying(components: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `variance_components` with a standard deviation above 0."""
    return components.filter(
        pl.all_horizontal(pl.col(*SDS).is_finite()) & pl.any_horizontal(pl.col(name) > 0 for name in SDS)
    )


def print_power(table: pl.DataFrame, console: Console) -> None:
    """Print the table of `power_table`, one row for each number of seeds."""
    first = table.row(0, named=True)
    about = f"an effect of {first[Power.effect]:g} on {first[Power.outcome]} with {first[Power.items]} items"
    heads = ("seeds", "effects found", f"effect found in {POWER:.0%}", "false alarms")
    shown = TextTable(f"power to find {about}", heads, words=())
    for row in table.iter_rows(named=True):
        found = f"{100 * row[Power.rejected]:.1f} % ± {100 * row[Power.error]:.1f}"
        detectable = "none" if math.isnan(row[Power.detectable]) else f"{row[Power.detectable]:.3g}"
        shown.add_row(str(row[Power.seeds]), found, detectable, f"{100 * row[Power.false_alarms]:.1f} %")
    console.print(shown)


def _simulate(
    random: np.random.Generator,
    variances: tuple[float, float, float],
    n_seeds: int,
    n_items: int,
    alpha: float,
    simulations: int,
) -> tuple[Float[np.ndarray, " simulations"], Float[np.ndarray, " simulations"]]:
    """Return simulated means without an effect, and the critical absolute value of each."""
    of_seed, of_item, residual = variances[0] / n_seeds, variances[1] / n_items, variances[2] / (n_seeds * n_items)
    means = random.normal(scale=math.sqrt(of_seed + of_item + residual), size=simulations)
    freedoms = (n_seeds - 1, n_items - 1, (n_seeds - 1) * (n_items - 1))
    parts = [
        expected * random.chisquare(freedom, size=simulations) / freedom
        for expected, freedom in zip((of_seed + residual, of_item + residual, residual), freedoms, strict=True)
    ]
    square = squared_arm(parts[0], item_variance(*parts), alpha, n_seeds=n_seeds, n_items=n_items)
    return means, np.sqrt(square)


def _components(values: Float[np.ndarray, "seeds items"]) -> Row:
    """Return the variance components of paired differences."""
    n_seeds, n_items = values.shape
    seeds, items = values.mean(axis=1), values.mean(axis=0)
    rest = values - seeds[:, None] - items + values.mean()
    residual = float((rest**2).sum()) / ((n_seeds - 1) * (n_items - 1))
    of_seeds = float(seeds.var(ddof=1)) - residual / n_items
    of_items = float(items.var(ddof=1)) - residual / n_seeds
    variances = (of_seeds, of_items, residual)
    # Handle NaN separately: the result of max with NaN depends on the order of its arguments.
    deviations = [math.nan if math.isnan(value) else math.sqrt(max(value, 0.0)) for value in variances]
    named = dict(zip((*SDS, *_VARIANCES), (*deviations, *variances), strict=True))
    return {
        VarianceComponents.effect: float(values.mean()),
        **named,
        VarianceComponents.n_seeds: n_seeds,
        VarianceComponents.n_items: n_items,
    }
