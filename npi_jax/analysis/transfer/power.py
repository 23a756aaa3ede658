"""How large an effect has to be for a number of seeds to show it: the test of `transfer`, simulated.

The test of an effect on accuracy, delta or area scales a bootstrap interval to the t interval of
`variance.mean_variance`; the two agree in all but about one in a hundred decisions, so that here the t interval is
simulated, without the bootstrap and without bounds: for an effect d on accuracy the test's t is smaller by the factor
sqrt(1 - d^2), 2 % at .2. The mean and the mean squares of seeds, items and residual of normal values are
independent of each other, and each is drawn from its own distribution (normal and chi-squared).
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Float
from rich.console import Console

from npi_jax.analysis.transfer.outcomes import CELL, LINEAR, baseline_variant, settings, task_outcomes
from npi_jax.analysis.variance import critical_t, mean_variance
from npi_jax.terminal.tables import TextTable

SEEDS: Final = (3, 5, 10, 20)
POWER: Final = 0.8
SDS: Final = ("seed_sd", "item_sd", "residual_sd")
_VARIANCES: Final = ("seed_variance", "item_variance", "residual_variance")

_POWER: Final = {
    "outcome": pl.String,
    **dict.fromkeys(("seeds", "items"), pl.Int64),
    **dict.fromkeys(("effect", "rejected", "error", "detectable", "false_alarms"), pl.Float64),
    "simulations": pl.Int64,
}
_COMPONENTS: Final = {
    **dict.fromkeys(("intervention", *CELL, "task", "outcome"), pl.String),
    **dict.fromkeys(("effect", *SDS, *_VARIANCES), pl.Float64),
    **dict.fromkeys(("n_seeds", "n_items"), pl.Int64),
}


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
    outcome: str = "delta",
    seed: int = 0,
) -> pl.DataFrame:
    """How often the test of `transfer` finds an effect, and which effect it finds in 80 % of experiments.

    Args:
        effect: true mean of the paired differences, in the unit of the outcome.
        seed_sd, item_sd, residual_sd: standard deviations of the *differences* (`variance_components`).
        seeds: numbers of seeds, each at least 2.
        items: items of the task, at least 2.
        alpha: level of the test; for one of many tests take it smaller, as 0.05 divided by their number.
        simulations: experiments simulated for each number of seeds.
        outcome: what the numbers are of; a label.
        seed: of the random numbers.

    Returns:
        columns outcome, seeds, items, effect, rejected (share of experiments with p <= alpha), error (standard error of
        that share), detectable (the effect found with power .8; NaN where that is more than accuracies can differ by),
        false_alarms (share of experiments with p <= alpha where there is no effect), simulations.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if min(seeds, default=0) < 2 or items < 2 or simulations < 100:
        raise ValueError(
            f"seeds={tuple(seeds)}, items={items}, simulations={simulations}: at least 2, 2 and 100 are needed"
        )
    total = seed_sd + item_sd + residual_sd
    if not (0 < alpha < 1 and min(seed_sd, item_sd, residual_sd) >= 0 and 0 < total < math.inf):
        raise ValueError(
            f"alpha={alpha}, standard deviations {(seed_sd, item_sd, residual_sd)}: alpha has to lie between 0 and 1, "
            "standard deviations have to be finite, may not be negative, nor all 0"
        )
    rows = []
    for n_seeds in seeds:
        random = np.random.default_rng((seed, n_seeds))
        variances = (seed_sd**2, item_sd**2, residual_sd**2)
        means, critical = _simulate(random, variances, n_seeds, items, alpha, simulations)
        rejected = float((np.abs(means + effect) > critical).mean())
        rows.append(
            {
                "outcome": outcome,
                "seeds": n_seeds,
                "items": items,
                "effect": effect,
                "rejected": rejected,
                "error": math.sqrt(rejected * (1 - rejected) / simulations),
                # An effect is found where mean + effect > critical; few are found on the wrong side.
                "detectable": _possible(float(np.quantile(critical - means, POWER)), outcome),
                "false_alarms": float((np.abs(means) > critical).mean()),
                "simulations": simulations,
            }
        )
    return pl.DataFrame(rows, schema=_POWER)


def variance_components(scores: pl.DataFrame, members: pl.DataFrame, *, baseline: str | None = None) -> pl.DataFrame:
    """What paired differences vary by, from a run with several seeds: seeds, items, and the residual.

    From the mean squares of the two-way analysis of variance. A variance that comes out negative stays as it is, so
    that means of them are right; its standard deviation is 0.

    Args:
        scores, members, baseline: as for `transfer.transfer_tables`.

    Returns:
        a row for every variant but the baseline, task and outcome (`LINEAR`), with the effect, three standard
        deviations and the variances; none for pairs of variants that share fewer than two seeds. `pooled` makes one
        of them.
    """
    reference = baseline_variant(members, baseline)
    rows: list[dict[str, Any]] = []
    groups = settings(members)
    for task in task_outcomes(scores, draws=1000):
        for setting in groups:
            for variant in setting.seeds:
                one, other = (task.rows(chosen) for chosen in setting.pairs(variant, reference))
                if variant == reference or len(one) < 2 or task.n_items < 2:
                    continue
                names = {"intervention": variant, "task": task.task} | dict(zip(CELL, task.cell, strict=True))
                for outcome, values in zip(LINEAR, task.items[:, one] - task.items[:, other], strict=True):
                    rows.append(names | {"outcome": outcome} | _components(values))
    return pl.DataFrame(rows, schema=_COMPONENTS)


def pooled(components: pl.DataFrame) -> dict[str, float]:
    """Standard deviations of a task drawn at random from those in which anything varies.

    Roots of mean variances over rows of one outcome and kind. A median of standard deviations, each from a few seeds
    and cut at 0, comes out too small, and the power too large. Rows without any variance are left out: both variants
    got everything right, and nothing could have been found.

    Args:
        components: rows of `variance_components`.

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
    """The rows of `variance_components` in which anything varies."""
    return components.filter(
        pl.all_horizontal(pl.col(*SDS).is_finite()) & pl.any_horizontal(pl.col(name) > 0 for name in SDS)
    )


def print_power(table: pl.DataFrame, console: Console) -> None:
    """Print `power_table`: a row for each number of seeds."""
    first = table.row(0, named=True)
    title = f"power to find an effect of {first['effect']:g} on {first['outcome']} with {first['items']} items"
    heads = ("seeds", "effects found", f"effect found in {POWER:.0%}", "false alarms")
    shown = TextTable(title, heads, words=())
    for row in table.iter_rows(named=True):
        found = f"{100 * row['rejected']:.1f} % ± {100 * row['error']:.1f}"
        detectable = "none" if math.isnan(row["detectable"]) else f"{row['detectable']:.3g}"
        shown.add_row(str(row["seeds"]), found, detectable, f"{100 * row['false_alarms']:.1f} %")
    console.print(shown)


def _possible(effect: float, outcome: str) -> float:
    """An effect that the outcome can have; NaN for another."""
    return math.nan if outcome in ("accuracy", "auc") and effect > 1 else effect


def _simulate(
    random: np.random.Generator,
    variances: tuple[float, float, float],
    n_seeds: int,
    n_items: int,
    alpha: float,
    simulations: int,
) -> tuple[Float[np.ndarray, " simulations"], Float[np.ndarray, " simulations"]]:
    """Means without an effect, and how far from 0 each would have to be."""
    of_seed, of_item, residual = variances[0] / n_seeds, variances[1] / n_items, variances[2] / (n_seeds * n_items)
    means = random.normal(scale=math.sqrt(of_seed + of_item + residual), size=simulations)
    freedoms = (n_seeds - 1, n_items - 1, (n_seeds - 1) * (n_items - 1))
    parts = [
        expected * random.chisquare(freedom, size=simulations) / freedom
        for expected, freedom in zip((of_seed + residual, of_item + residual, residual), freedoms, strict=True)
    ]
    total, share = mean_variance(*parts)
    return means, np.sqrt(total) * critical_t(share, alpha, n_seeds=n_seeds, n_items=n_items)


def _components(values: Float[np.ndarray, "seeds items"]) -> dict[str, Any]:
    n_seeds, n_items = values.shape
    seeds, items = values.mean(axis=1), values.mean(axis=0)
    rest = values - seeds[:, None] - items + values.mean()
    residual = float((rest**2).sum()) / ((n_seeds - 1) * (n_items - 1))
    of_seeds = float(seeds.var(ddof=1)) - residual / n_items
    of_items = float(items.var(ddof=1)) - residual / n_seeds
    variances = (of_seeds, of_items, residual)
    # A NaN stays: max would drop it.
    deviations = [math.nan if math.isnan(value) else math.sqrt(max(value, 0.0)) for value in variances]
    named = dict(zip(SDS, deviations, strict=True)) | dict(zip(_VARIANCES, variances, strict=True))
    return {"effect": float(values.mean()), **named, "n_seeds": n_seeds, "n_items": n_items}
