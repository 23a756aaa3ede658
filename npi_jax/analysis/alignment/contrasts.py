"""Contrasts of alignment between each variant and the baseline, paired by seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy import special

from npi_jax.analysis.statistics import LEVEL
from npi_jax.analysis.transfer.outcomes import Setting, baseline_variant, settings
from npi_jax.results.columns import Row
from npi_jax.results.names import EFFECTIVE_TASKS
from npi_jax.results.tables_alignment import AlignmentContrasts
from npi_jax.results.tables_training import Members

NO_PAIR: Final = "no seed has a value in both the variant and the baseline"
ONE_SEED: Final = "one seed"
NO_VARIANCE: Final = "all seeds have the same difference"

Values = Float[np.ndarray, "members groups"]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Paired t test in each of several columns; see `paired`.

    Attributes:
        baseline, variant: means over the pairs that have both values; NaN without any.
        difference: mean difference of the pairs.
        low, high: ends of its 95 % interval; NaN where ``p`` is.
        p: two-sided p-value; NaN if there are fewer than 2 pairs, or if all differences are equal.
        n: number of pairs that have both values.
    """

    baseline: Float[np.ndarray, " columns"]
    variant: Float[np.ndarray, " columns"]
    difference: Float[np.ndarray, " columns"]
    low: Float[np.ndarray, " columns"]
    high: Float[np.ndarray, " columns"]
    p: Float[np.ndarray, " columns"]
    n: Int[np.ndarray, " columns"]

    def reason(self, column: int) -> str:
        """Return why there is no test; "" if there is one."""
        if self.n[column] < 2:
            return ONE_SEED if self.n[column] else NO_PAIR
        return NO_VARIANCE if np.isnan(self.p[column]) else ""


def paired(baseline: Float[np.ndarray, "pairs columns"], variant: Float[np.ndarray, "pairs columns"]) -> Paired:
    """Return the paired t test of ``variant - baseline`` in each column, with n - 1 degrees of freedom.

    Pairs with NaN on either side are left out.
    """
    difference = variant - baseline
    known = ~np.isnan(difference)
    n = known.sum(axis=0)

    def mean(values: Float[np.ndarray, "pairs columns"]) -> Float[np.ndarray, " columns"]:
        return np.where(known, values, 0.0).sum(axis=0) / np.where(n, n, np.nan)

    middle = mean(difference)
    freedom = np.where(n > 1, n - 1.0, np.nan)
    error = np.sqrt(mean((difference - middle) ** 2) / freedom)
    # Equal differences leave an error of rounding only.
    error = np.where(error > 1e-12 * np.abs(middle), error, np.nan)
    arm = special.stdtrit(freedom, (1 + LEVEL) / 2) * error
    return Paired(
        baseline=mean(baseline),
        variant=mean(variant),
        difference=middle,
        low=middle - arm,
        high=middle + arm,
        p=2 * special.stdtr(freedom, -np.abs(middle) / error),
        n=n,
    )


def contrast_table(
    step: int, groups: Sequence[str], members: pl.DataFrame, values: Mapping[tuple[str, str], Values]
) -> pl.DataFrame:
    """Return the rows of `AlignmentContrasts` of a checkpoint.

    Each variant is compared with the baseline (`baseline_variant`) that has the same hyper-parameters. Members are
    paired by seed; diverged members are left out. The effective number of tasks is compared on a logarithmic scale;
    its means over seeds are geometric. Its interval is that of the ratio of both means, in tasks: the baseline's mean
    is held fixed. The tables of levels have medians over seeds, which can differ from these means. p-values are not
    adjusted for the number of variants, groups and steps.

    Args:
        step: step of the checkpoint.
        groups: names of the parameter groups.
        members: the table `Members`, sorted by member.
        values: each member's values by metric and statistic.
    """
    baseline = baseline_variant(members)
    places = {member: place for place, member in enumerate(members[Members.member])}
    rows: list[Row] = []
    for setting in settings(members):
        for variant in setting.seeds:
            if variant == baseline:
                continue
            one, other = ([places[m] for m in side] for side in setting.pairs(variant, baseline))
            head = _head(step, setting, variant, baseline)
            for (metric, statistic), its in values.items():
                named: Row = {AlignmentContrasts.metric: metric, AlignmentContrasts.statistic: statistic}
                logs = statistic == EFFECTIVE_TASKS
                for group, row in zip(groups, _rows(its[other], its[one], logs=logs), strict=True):
                    rows.append(head | named | {AlignmentContrasts.group: group} | row)
    return pl.DataFrame(rows, schema=AlignmentContrasts.schema())


def _head(step: int, setting: Setting, variant: str, baseline: str) -> Row:
    return {
        AlignmentContrasts.variant: variant,
        **setting.values,
        AlignmentContrasts.step: step,
        AlignmentContrasts.baseline: baseline,
    }


def _rows(
    baseline: Float[np.ndarray, "pairs groups"], variant: Float[np.ndarray, "pairs groups"], *, logs: bool
) -> Iterator[Row]:
    """Yield the columns of the test in each group."""
    found = paired(np.log(baseline), np.log(variant)) if logs else paired(baseline, variant)
    means = (found.baseline, found.variant)
    ends = (found.difference, found.low, found.high)
    if logs:
        means = (np.exp(found.baseline), np.exp(found.variant))
        ends = tuple(means[0] * np.expm1(end) for end in ends)
    names = (
        *(AlignmentContrasts.baseline_mean, AlignmentContrasts.variant_mean, AlignmentContrasts.difference),
        *(AlignmentContrasts.low, AlignmentContrasts.high, AlignmentContrasts.p),
    )
    for column, numbers in enumerate(zip(*means, *ends, found.p, strict=True)):
        yield {
            **dict(zip(names, map(float, numbers), strict=True)),
            AlignmentContrasts.n_seeds: int(found.n[column]),
            AlignmentContrasts.n_left_out: len(baseline) - int(found.n[column]),
            AlignmentContrasts.reason: found.reason(column),
        }
