"""Members that failed to learn what the other seeds of their variant learned."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import special

from npi_jax.analysis.curves import task_curves
from npi_jax.results.columns import Row
from npi_jax.results.names import MEAN_OVER_TASKS
from npi_jax.results.rules import in_main_region
from npi_jax.results.tables_learning import FailedSeeds
from npi_jax.results.tables_training import GROUP, Scores

FEWEST_SEEDS: Final = 4
"""With fewer seeds, three at most would have to show what is normal."""
LEAST: Final = 0.1
"""Smallest distance in accuracy that counts as a failure."""
_ALPHA: Final = 0.0075

_CELL: Final = (Scores.suite, Scores.kind, Scores.region)


def failed_seeds(curves: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Return the table `FailedSeeds`: members whose accuracy stays far below that of their variant's other seeds.

    Accuracies are means over tasks in the main region. Diverged members are left out. A member fails by the rule of
    `failures`. It left the others at the first step from which it stays below their median by more than the margin.

    Args:
        curves: the table `Curves`.
        members: the table `Members`.
    """
    kept = task_curves(curves, members).filter(
        (pl.col(Scores.task) == MEAN_OVER_TASKS) & in_main_region(Scores.suite, Scores.kind)
    )
    by = [*GROUP, *_CELL]
    rows: list[Row] = []
    for key, frame in kept.sort(Scores.member, Scores.step).group_by(by, maintain_order=True):
        rows += [dict(zip(by, key, strict=True)) | row for row in _rows(frame)]
    return pl.DataFrame(rows, schema=FailedSeeds.schema())


def failures(accuracy: Float[np.ndarray, " seeds"]) -> tuple[int, float]:
    """Return how many of the lowest seeds failed, and the margin.

    The lowest k seeds failed if the best of them is below the median of the others by more than a margin. The margin is
    the t quantile of a new value among the others, at a level of .75 % for all sets of k seeds together, and at least
    `LEAST`. Of several k the largest counts, and fewer than half of the seeds can fail.

    The rule names a seed in fewer than 1 % of variants whose seeds vary normally, and nearly always one at .5 among
    seeds at .98 +- .01. It names one at .7 among seeds at .95 +- .02 in 36 % of variants with four seeds, in 80 % with
    five and in 98 % with six (tests/analysis/test_failures.py). Accuracies that are not finite, or fewer than
    `FEWEST_SEEDS` seeds, name none.
    """
    ordered, n = np.sort(accuracy), len(accuracy)
    failed, margin = 0, math.nan
    if n < FEWEST_SEEDS or not np.isfinite(accuracy).all():
        return failed, margin
    for k in range(1, (n - 1) // 2 + 1):
        others = ordered[k:]
        alpha = _ALPHA / float(special.binom(n, k))
        spread = float(others.std(ddof=1)) * math.sqrt(1 + 1 / len(others))
        allowed = max(LEAST, -float(special.stdtrit(len(others) - 1, alpha)) * spread)
        if np.median(others) - ordered[k - 1] > allowed:
            failed, margin = k, allowed
    return failed, margin


def _rows(frame: pl.DataFrame) -> Iterator[Row]:
    """Yield the failed members of one variant, from its curves sorted by member and step."""
    members = frame.unique(Scores.member, keep="first", maintain_order=True)
    steps = frame[Scores.step].unique().sort()
    curves = frame["accuracy"].to_numpy().reshape(len(members), len(steps))
    failed, margin = failures(curves[:, -1])
    order = np.argsort(curves[:, -1], kind="stable")
    others = np.median(curves[order[failed:]], axis=0)
    for index in sorted(order[:failed]):
        # NaN at an earlier step does not count as below.
        level = ~(others - curves[index] > margin)
        since = int(np.flatnonzero(level)[-1]) + 1 if level.any() else 0
        yield {
            FailedSeeds.seed: members[Scores.seed][int(index)],
            FailedSeeds.member: members[Scores.member][int(index)],
            FailedSeeds.accuracy: float(curves[index, -1]),
            FailedSeeds.others: float(others[-1]),
            FailedSeeds.margin: margin,
            FailedSeeds.step: steps[since],
            FailedSeeds.n_seeds: len(members),
        }
