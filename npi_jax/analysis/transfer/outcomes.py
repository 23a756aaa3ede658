"""What is compared between corpus variants: five outcomes of every member in every task, paired by seed and item."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import FREE, SHARE_DIFFERENCE, Bounds
from npi_jax.analysis.curves import ACQUIRED, HYPERPARAMETERS
from npi_jax.errors import UserError

LINEAR: Final = ("accuracy", "delta", "auc", "auc_delta")
"""Outcomes that are means over items."""
OUTCOMES: Final = (*LINEAR, "log2_steps")
"""Accuracy and delta (nats) after the last step; their means over training, on a logarithmic scale of steps; and
log2(1 + step) at which the accuracy comes to stay at `ACQUIRED` or above."""
CELL: Final = ("suite", "kind", "region")


@dataclass(frozen=True)
class TaskOutcomes:
    """The outcomes of all members in one task of one suite, kind and region.

    Attributes:
        cell: suite, kind and region.
        task: name of the task.
        members: numbers of the members, in the order of the arrays' member axis.
        items: value of each item for the `LINEAR` outcomes.
        means: value of each outcome, in the order of `OUTCOMES`.
        by_item: the same with items resampled; all members have the same items in one draw.
        censored: where the accuracy never came to stay at the threshold.
        steps_range: of log2(1 + step), from the first to the last step.
    """

    cell: tuple[str, str, str]
    task: str
    members: Int[np.ndarray, " members"]
    items: Float[np.ndarray, "4 members items"]
    means: Float[np.ndarray, "5 members"]
    by_item: Float[np.ndarray, "5 members draws"]
    censored: Bool[np.ndarray, " members"]
    steps_range: float

    def bounds(self, outcome: int) -> Bounds:
        """Range of the difference between two members in an outcome, by its number in `OUTCOMES`."""
        if OUTCOMES[outcome] == "log2_steps":
            return Bounds(-self.steps_range, self.steps_range) if self.steps_range else FREE
        return SHARE_DIFFERENCE if OUTCOMES[outcome] in ("accuracy", "auc") else FREE

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.items.shape[2]

    def rows(self, members: list[int]) -> Int[np.ndarray, " chosen"]:
        """Where these members are on the member axis.

        Raises:
            ValueError: if one was not scored.
        """
        wanted = np.asarray(members, dtype=np.int64)
        missing = np.setdiff1d(wanted, self.members)
        if len(missing):
            raise ValueError(f"members {missing.tolist()} have no scores in task {self.task!r}; score the run again")
        return np.searchsorted(self.members, wanted)


@dataclass(frozen=True)
class Setting:
    """Members that share their hyper-parameters: what may be paired.

    Attributes:
        values: hyper-parameters by name.
        seeds: for each variant, in the order of the members, its members that did not diverge, by seed.
    """

    values: dict[str, float | None]
    seeds: dict[str, dict[int, int]]

    def pairs(self, variant: str, reference: str) -> tuple[list[int], list[int]]:
        """Members of two variants, paired by seed."""
        one, other = self.seeds.get(variant, {}), self.seeds.get(reference, {})
        shared = sorted(one.keys() & other.keys())
        return [one[seed] for seed in shared], [other[seed] for seed in shared]


def settings(members: pl.DataFrame) -> list[Setting]:
    """One for every combination of hyper-parameters."""
    found = []
    for key, frame in members.sort("member").group_by(HYPERPARAMETERS, maintain_order=True):
        seeds: dict[str, dict[int, int]] = {str(name): {} for name in frame["variant"].unique(maintain_order=True)}
        for row in frame.filter(pl.col("status") == "ok").iter_rows(named=True):
            seeds[row["variant"]][row["seed"]] = row["member"]
        found.append(Setting(dict(zip(HYPERPARAMETERS, key, strict=True)), seeds))
    return found


def baseline_variant(members: pl.DataFrame, baseline: str | None = None) -> str:
    """The variant that others are compared with: the one given, else ``full``, else the first member's.

    Raises:
        UserError: if there is no such variant.
    """
    variants = members.sort("member")["variant"].unique(maintain_order=True).to_list()
    if baseline is None:
        return "full" if "full" in variants else str(variants[0])
    if baseline not in variants:
        raise UserError(f"no variant {baseline!r} to compare with; there are {', '.join(variants)}")
    return baseline


def task_outcomes(
    scores: pl.DataFrame, *, draws: int = statistics.DRAWS, seed: int = 0, threshold: float = ACQUIRED
) -> Iterator[TaskOutcomes]:
    """The outcomes in every task of every suite and kind, in the critical region where there is one.

    Raises:
        ValueError: if members were scored on different items or at different steps.
    """
    critical = pl.lit("critical")
    there = (pl.col("region") == critical).any()
    chosen = pl.when(there).then(critical).otherwise(pl.col("region").min()).over("suite", "kind")
    by = [*CELL, "task"]
    kept = scores.lazy().filter(pl.col("region") == chosen)
    table = kept.select(*by, "member", "step", "paradigm", "item", "delta", "correct").collect()
    ordered = table.sort(*by, "member", "step", "paradigm", "item")
    for number, ((suite, kind, region, task), frame) in enumerate(ordered.group_by(by, maintain_order=True)):
        cell = (str(suite), str(kind), str(region))
        yield _outcomes(cell, str(task), frame, draws=draws, seed=(seed, number), threshold=threshold)


def steps_to_threshold(
    accuracy: Float[np.ndarray, "*cells steps"], steps: Int[np.ndarray, " steps"], threshold: float = ACQUIRED
) -> tuple[Float[np.ndarray, "*cells"], Bool[np.ndarray, "*cells"]]:
    """log2(1 + step) at which the accuracy crosses ``threshold`` to stay at or above it.

    Between the last checkpoint below and the next one the accuracy is taken to grow linearly in log2(1 + step): without
    that, resampling items moves the outcome by whole checkpoints or not at all, and a test of it rejects true null
    hypotheses too rarely. Where the accuracy is below at the end, the last step stands in as the lower bound that
    it is, as in restricted mean survival times (Royston & Parmar 2013). An accuracy that is NaN is below.

    Returns:
        the logarithms, and where they are such lower bounds.
    """
    below = ~(accuracy >= threshold)
    # The number of steps after the last one that is below.
    after = np.where(below.any(axis=-1), np.argmax(below[..., ::-1], axis=-1), len(steps))
    first = np.minimum(len(steps) - after, len(steps) - 1)
    before = np.maximum(first - 1, 0)
    ends = [np.take_along_axis(accuracy, place[..., None], axis=-1)[..., 0] for place in (before, first)]
    crosses = (ends[0] < threshold) & (ends[1] >= threshold)
    way = np.divide(threshold - ends[0], ends[1] - ends[0], out=np.ones_like(ends[0]), where=crosses)
    logs = np.log2(1.0 + steps)
    return logs[before] + way * (logs[first] - logs[before]), after == 0


def training_weights(steps: Int[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
    """Weights that sum to 1: the trapezoid rule over log(1 + step), divided by the length.

    A mean with these weights has the unit of what is averaged. With one step, that step has it all.
    """
    if len(steps) == 1:
        return np.ones(1)
    widths = np.diff(np.log1p(steps.astype(np.float64)))
    weights = np.zeros(len(steps))
    weights[:-1] += widths / 2
    weights[1:] += widths / 2
    return weights / widths.sum()


def _outcomes(
    cell: tuple[str, str, str],
    task: str,
    frame: pl.DataFrame,
    *,
    draws: int,
    seed: tuple[int, int],
    threshold: float,
) -> TaskOutcomes:
    members, steps = (frame[name].unique().sort().to_numpy() for name in ("member", "step"))
    n_items = frame.select(pl.struct("paradigm", "item").n_unique()).item()
    shape = (len(members), len(steps), n_items)
    if math.prod(shape) != len(frame):
        raise ValueError(
            f"scores of task {task!r} in {'/'.join(cell)}: {shape[0]} members times {shape[1]} steps times "
            f"{shape[2]} items make {math.prod(shape)} rows, found {len(frame)}; every member has to be scored once "
            "on every item at every step. Score the run again."
        )
    delta = frame["delta"].cast(pl.Float64).to_numpy().reshape(shape)
    delta = np.where(np.isfinite(delta), delta, np.nan)
    correct = np.where(np.isnan(delta), np.nan, frame["correct"].cast(pl.Float64).to_numpy().reshape(shape))
    weights = training_weights(steps)
    linear = [correct[:, -1], delta[:, -1], _over_steps(correct, weights), _over_steps(delta, weights)]
    # One call, for the curves and what is not in them, so that all rest on the same items.
    rows = np.concatenate([correct.reshape(-1, n_items), linear[1], linear[3]])
    curves, deltas = np.split(statistics.resample_items(rows, draws=draws, seed=seed), [len(members) * len(steps)])
    curves = np.moveaxis(curves.reshape(len(members), len(steps), draws), 1, 2)
    last, area = np.split(deltas, 2)
    steps_drawn, _ = steps_to_threshold(curves, steps, threshold)
    log_steps, censored = steps_to_threshold(correct.mean(axis=2), steps, threshold)
    return TaskOutcomes(
        cell,
        task,
        members,
        items=np.stack(linear),
        means=np.stack([*(value.mean(axis=1) for value in linear), log_steps]),
        by_item=np.stack([curves[..., -1], last, curves @ weights, area, steps_drawn]),
        censored=censored,
        steps_range=float(np.log2(1.0 + steps[-1]) - np.log2(1.0 + steps[0])),
    )


def _over_steps(
    values: Float[np.ndarray, "members steps items"], weights: Float[np.ndarray, " steps"]
) -> Float[np.ndarray, "members items"]:
    mean: Float[np.ndarray, "members items"] = np.einsum("msi,s->mi", values, weights)
    return mean
