"""Outcomes of every member in every task, to compare between corpus variants, paired by seed and item."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import FREE, SHARE_DIFFERENCE, Bounds
from npi_jax.analysis.curves import ACQUIRED
from npi_jax.errors import UserError
from npi_jax.results.names import ACCURACY, AUC, FULL, LOG2_STEPS, OK, OUTCOMES
from npi_jax.results.rules import in_main_region
from npi_jax.results.tables_training import HYPERPARAMETERS, Members, Scores

CELL: Final = (Scores.suite, Scores.kind, Scores.region)


@dataclass(frozen=True, kw_only=True)
class TaskOutcomes:
    """Outcomes of all members in one task of one suite, kind and region.

    Attributes:
        cell: suite, kind and region.
        task: name of the task.
        members: numbers of the members, in the order of the arrays' member axis.
        items: value of each item, for the `LINEAR_OUTCOMES`.
        means: value of each outcome, in the order of `OUTCOMES`.
        by_item: outcomes with items resampled; within a draw, all members have the same items.
        censored: True for members with accuracy below the threshold at the last step.
        steps_range: difference of log2(1 + step) between the last and the first step.
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
        """Return the range of the difference between two members in an outcome, given as an index into `OUTCOMES`."""
        if OUTCOMES[outcome] == LOG2_STEPS:
            return Bounds(-self.steps_range, self.steps_range) if self.steps_range else FREE
        return SHARE_DIFFERENCE if OUTCOMES[outcome] in (ACCURACY, AUC) else FREE

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.items.shape[2]

    def rows(self, members: Sequence[int]) -> Int[np.ndarray, " chosen"]:
        """Return the indices of members on the member axis.

        Raises:
            ValueError: if a member was not scored.
        """
        wanted = np.asarray(members, dtype=np.int64)
        missing = np.setdiff1d(wanted, self.members)
        if len(missing):
            raise ValueError(f"members {missing.tolist()} have no scores in task {self.task!r}; score the run again")
        return np.searchsorted(self.members, wanted)


@dataclass(frozen=True)
class Setting:
    """Members that share their hyper-parameters and may therefore be paired.

    Attributes:
        values: hyper-parameters by name.
        seeds: members that did not diverge, by variant and seed; variants are in the order of their first members.
    """

    values: dict[str, float | None]
    seeds: dict[str, dict[int, int]]

    def pairs(self, variant: str, reference: str) -> tuple[list[int], list[int]]:
        """Return the members of two variants, paired by seed."""
        one, other = self.seeds.get(variant, {}), self.seeds.get(reference, {})
        shared = sorted(one.keys() & other.keys())
        return [one[seed] for seed in shared], [other[seed] for seed in shared]


def settings(members: pl.DataFrame) -> list[Setting]:
    """Return one setting for every combination of hyper-parameters."""
    found = []
    for key, frame in members.sort(Members.member).group_by(HYPERPARAMETERS, maintain_order=True):
        variants = frame[Members.variant].unique(maintain_order=True)
        seeds: dict[str, dict[int, int]] = {str(name): {} for name in variants}
        for row in frame.filter(pl.col(Members.status) == OK).iter_rows(named=True):
            seeds[row[Members.variant]][row[Members.seed]] = row[Members.member]
        found.append(Setting(dict(zip(HYPERPARAMETERS, key, strict=True)), seeds))
    return found


def baseline_variant(members: pl.DataFrame, baseline: str | None = None) -> str:
    """Return the reference of comparisons: the given variant, else "full", else that of the first member.

    Raises:
        UserError: if there is no such variant.
    """
    variants = members.sort(Members.member)[Members.variant].unique(maintain_order=True).to_list()
    if baseline is None:
        return FULL if FULL in variants else str(variants[0])
    if baseline not in variants:
        raise UserError(f"no variant {baseline!r} to compare with; there are {', '.join(variants)}")
    return baseline


def task_outcomes(
    scores: pl.DataFrame, *, draws: int = statistics.DRAWS, seed: int = 0, threshold: float = ACQUIRED
) -> Iterator[TaskOutcomes]:
    """Yield the outcomes in every task of every suite and kind, in the main region.

    Raises:
        ValueError: if members were scored on different items or at different steps.
    """
    by, cell = (*CELL, Scores.task), (Scores.member, Scores.step, Scores.paradigm, Scores.item)
    kept = scores.lazy().filter(in_main_region(Scores.suite, Scores.kind))
    ordered = kept.select(*by, *cell, Scores.delta, Scores.correct).collect().sort(*by, *cell)
    for number, ((suite, kind, region, task), frame) in enumerate(ordered.group_by(by, maintain_order=True)):
        scored = _Scored.of(str(task), (str(suite), str(kind), str(region)), frame)
        yield _outcomes(scored, draws=draws, seed=(seed, number), threshold=threshold)


def steps_to_threshold(
    accuracy: Float[np.ndarray, "*cells steps"], steps: Int[np.ndarray, " steps"], threshold: float = ACQUIRED
) -> tuple[Float[np.ndarray, "*cells"], Bool[np.ndarray, "*cells"]]:
    """Return log2(1 + step) at the last crossing of ``threshold``, after which accuracy stays at or above it.

    Between the last checkpoint below the threshold and the next one, accuracy is interpolated linearly in log2(1 +
    step). Without interpolation, resampling items would shift the outcome by entire checkpoints or not at all, and
    tests would reject true null hypotheses too rarely. If accuracy is below the threshold at the end, the last step is
    a lower bound and is used as the outcome, as in restricted mean survival times (Royston & Parmar 2013). NaN counts
    as below.

    Returns:
        the logarithms, and a mask of those that are lower bounds.
    """
    below = ~(accuracy >= threshold)
    # Number of checkpoints after the last one below the threshold.
    after = np.where(below.any(axis=-1), np.argmax(below[..., ::-1], axis=-1), len(steps))
    first = np.minimum(len(steps) - after, len(steps) - 1)
    before = np.maximum(first - 1, 0)
    ends = [np.take_along_axis(accuracy, place[..., None], axis=-1)[..., 0] for place in (before, first)]
    crosses = (ends[0] < threshold) & (ends[1] >= threshold)
    way = np.divide(threshold - ends[0], ends[1] - ends[0], out=np.ones_like(ends[0]), where=crosses)
    logs = np.log2(1.0 + steps)
    return logs[before] + way * (logs[first] - logs[before]), after == 0


def training_weights(steps: Int[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
    """Return weights for a mean over training, by the trapezoid rule on the scale log(1 + step).

    The weights sum to 1, so that the mean has the unit of the values.
    """
    if len(steps) == 1:
        return np.ones(1)
    widths = np.diff(np.log1p(steps.astype(np.float64)))
    weights = np.zeros(len(steps))
    weights[:-1] += widths / 2
    weights[1:] += widths / 2
    return weights / widths.sum()


@dataclass(frozen=True)
class _Scored:
    """Scores of one task as arrays; if a delta is not finite, ``delta`` and ``correct`` are NaN."""

    cell: tuple[str, str, str]
    task: str
    members: Int[np.ndarray, " members"]
    steps: Int[np.ndarray, " steps"]
    delta: Float[np.ndarray, "members steps items"]
    correct: Float[np.ndarray, "members steps items"]

    @classmethod
    def of(cls, task: str, cell: tuple[str, str, str], frame: pl.DataFrame) -> "_Scored":
        """Make the arrays from rows that are sorted by member, step, paradigm and item."""
        members, steps = (frame[name].unique().sort().to_numpy() for name in (Scores.member, Scores.step))
        shape = (len(members), len(steps), frame.select(pl.struct(Scores.paradigm, Scores.item).n_unique()).item())
        if math.prod(shape) != len(frame):
            raise ValueError(
                f"scores of task {task!r} in {'/'.join(cell)} have {len(frame)} rows, but {shape[0]} members times "
                f"{shape[1]} steps times {shape[2]} items make {math.prod(shape)}; every member has to be scored once "
                "on every item at every step. Score the run again."
            )
        delta, correct = (
            frame[name].cast(pl.Float64).to_numpy().reshape(shape) for name in (Scores.delta, Scores.correct)
        )
        finite = np.isfinite(delta)
        return cls(cell, task, members, steps, np.where(finite, delta, np.nan), np.where(finite, correct, np.nan))


def _outcomes(scored: _Scored, *, draws: int, seed: tuple[int, int], threshold: float) -> TaskOutcomes:
    delta, correct, steps = scored.delta, scored.correct, scored.steps
    n_members, n_steps, n_items = delta.shape
    weights = training_weights(steps)
    linear = [correct[:, -1], delta[:, -1], _over_steps(correct, weights), _over_steps(delta, weights)]
    # Curves and deltas are resampled in one call, so that all outcomes rest on the same items.
    rows = np.concatenate([correct.reshape(-1, n_items), linear[1], linear[3]])
    curves, deltas = np.split(statistics.resample_items(rows, draws=draws, seed=seed), [n_members * n_steps])
    curves = np.moveaxis(curves.reshape(n_members, n_steps, draws), 1, 2)
    last, area = np.split(deltas, 2)
    steps_drawn, _ = steps_to_threshold(curves, steps, threshold)
    log_steps, censored = steps_to_threshold(correct.mean(axis=2), steps, threshold)
    return TaskOutcomes(
        cell=scored.cell,
        task=scored.task,
        members=scored.members,
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
