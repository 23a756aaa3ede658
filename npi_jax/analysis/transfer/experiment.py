"""Paired differences between variants: pairs of members, tests of differences, and adjustment of p-values."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import Bounds
from npi_jax.analysis.transfer.outcomes import Setting, TaskOutcomes
from npi_jax.corpus.variants.interventions import Intervention, parse_intervention
from npi_jax.results.columns import Row
from npi_jax.results.names import NOT_A_REMOVAL
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_transfer import Transfer

FEWEST_SEEDS: Final = 3
"""Minimum number of seeds for adjusted p-values: with two seeds, small p-values are several times too frequent."""


@dataclass(frozen=True)
class Experiment:
    """Members of one setting in the tasks of one suite and kind.

    Attributes:
        setting: the members, by variant and seed.
        tasks: outcomes in every task.
        baseline: variant with which others are compared.
        controls: random control of each intervention that has one.
    """

    setting: Setting
    tasks: list[TaskOutcomes]
    baseline: str
    controls: Mapping[str, str]

    def task(self, name: str) -> TaskOutcomes | None:
        """Return the task of this name, if there is one."""
        return next((task for task in self.tasks if task.task == name), None)

    def removals(self) -> list[str]:
        """Return the removed environments that are also tasks."""
        removed = [removed_by(variant) for variant in self.setting.seeds]
        return [name for name in removed if self.task(name) is not None]

    def difference(self, task: TaskOutcomes, outcome: int, variant: str, reference: str) -> "Contrast":
        """Return the paired difference of two variants in an outcome, given as an index into `OUTCOMES`."""
        one, other = (task.rows(members) for members in self.setting.pairs(variant, reference))
        return contrast(
            task.means[outcome, one] - task.means[outcome, other],
            task.by_item[outcome, one] - task.by_item[outcome, other],
            n_items=task.n_items,
            bounds=task.bounds(outcome),
            of=f"{variant} and {reference}",
        )


@dataclass(frozen=True)
class Contrast:
    """A difference with its interval.

    Attributes:
        interval: the mean difference with its interval; None without paired members.
        n_seeds: number of pairs of members.
        reason: why there is no p-value; "" if there is one.
    """

    interval: statistics.Difference | None
    n_seeds: int
    reason: str

    @property
    def row(self) -> Row:
        """Interval, p-value, number of seeds and reason, by column."""
        found = self.interval
        low, high, p = (math.nan,) * 3 if found is None else (found.low, found.high, found.p)
        return {
            Transfer.low: low,
            Transfer.high: high,
            Transfer.p: math.nan if self.reason else p,
            Transfer.n_seeds: self.n_seeds,
            Transfer.reason: self.reason,
        }

    @property
    def mean(self) -> float:
        """Mean difference; NaN without paired members."""
        return math.nan if self.interval is None else self.interval.estimate


def contrast(
    means: Float[np.ndarray, " seeds"],
    by_item: Float[np.ndarray, "seeds draws"],
    *,
    n_items: int,
    bounds: Bounds,
    of: str,
) -> Contrast:
    """Test a paired difference (`statistics.paired_difference`).

    Args:
        means: difference in each seed.
        by_item: difference in each seed with items resampled.
        n_items: number of items.
        bounds: range of the difference.
        of: names of the compared variants, for `Contrast.reason`.
    """
    if not len(means):
        return Contrast(None, 0, f"no seed that did not diverge in both {of}")
    interval = statistics.paired_difference(means, by_item, n_items=n_items, bounds=bounds)
    reason = interval.reason
    if not reason and len(means) == 1:
        reason = "one seed does not show how much seeds differ"
    elif not reason and statistics.constant(means, by_item) and interval.estimate != 0:
        reason = "the difference is the same for all seeds and items, so that its variance cannot be estimated"
    return Contrast(interval, len(means), reason)


def adjust(rows: list[Row], family: Callable[[Row], Hashable]) -> list[Row]:
    """Add adjusted p-values to the rows; tests with the same value of ``family`` are adjusted for each other."""
    families: dict[Hashable, list[Row]] = {}
    for row in rows:
        families.setdefault(family(row), []).append(row)
    for members in families.values():
        _adjust_family(members)
    return rows


def _adjust_family(rows: Sequence[Row]) -> None:
    enough = np.array([row[Transfer.n_seeds] >= FEWEST_SEEDS for row in rows])
    adjusted = statistics.adjust(np.where(enough, [row[Transfer.p] for row in rows], np.nan))
    for row, p in zip(rows, adjusted, strict=True):
        row[Transfer.p_adjusted] = float(p)
        if row[Transfer.n_seeds] < FEWEST_SEEDS and not row[Transfer.reason]:
            row[Transfer.reason] = f"{row[Transfer.n_seeds]} seeds are too few to adjust p for the number of tests"


def controls_of(corpus: pl.DataFrame) -> dict[str, str]:
    """Return the random control of each variant that has one."""
    named = corpus.drop_nulls(Corpus.control_of).select(Corpus.control_of, Corpus.variant)
    return dict(named.iter_rows())


def intervention_of(variant: str) -> Intervention | None:
    """Return the intervention that a variant's name denotes; None if the name denotes none."""
    try:
        return parse_intervention(variant)
    except ValueError:
        return None


def removed_by(variant: str) -> str:
    """Return the column ``removed``: the environment whose NPIs a variant removes, "all", or "" for other variants."""
    found = intervention_of(variant)
    return NOT_A_REMOVAL if found is None else found.removed
