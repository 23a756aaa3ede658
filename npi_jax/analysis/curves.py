"""Learning curves, final results and acquisition steps, computed from scores."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import FREE, SHARE
from npi_jax.results.names import MEAN_OVER_TASKS, OK
from npi_jax.results.tables_learning import Acquisition, Curves, FinalResults
from npi_jax.results.tables_training import GROUP, HYPERPARAMETERS, Members, Scores

ACQUIRED: Final = 0.75

_CELL: Final = (Scores.suite, Scores.kind, Scores.region)
_TASK: Final = (*_CELL, Scores.task)
_N_DIVERGED: Final = FinalResults.n_diverged


def rename_reserved(scores: pl.DataFrame) -> pl.DataFrame:
    """Rename a task whose name is reserved for the mean over tasks."""
    renamed = pl.lit(f"{MEAN_OVER_TASKS} (a task)")
    task = pl.when(pl.col(Scores.task) == MEAN_OVER_TASKS).then(renamed).otherwise(Scores.task)
    return scores.with_columns(task.alias(Scores.task))


def curves_table(scores: pl.DataFrame) -> pl.DataFrame:
    """Return the table `Curves`: accuracy and delta of every member at every step, by paradigm.

    Diverged members are included. If one delta of a row's items is not finite, the row's accuracy and delta are NaN.
    Rows are sorted by suite, kind, region, task, paradigm, member and step.
    """
    by = [*_TASK, Scores.paradigm, Scores.member, Scores.step]
    delta, correct = pl.col(Scores.delta), pl.col(Scores.correct)
    finite = pl.when(delta.is_finite()).then(delta.cast(pl.Float64)).otherwise(math.nan)
    right = pl.when(finite.is_nan()).then(math.nan).otherwise(correct.cast(pl.Float64))
    table = (
        scores.lazy()
        .group_by(by, maintain_order=True)
        .agg(
            pl.col(Scores.variant).first(),
            pl.col(Scores.seed).first(),
            right.mean().alias(Curves.accuracy),
            finite.mean().alias(Curves.delta),
            (delta == 0).mean().alias(Curves.ties),
            pl.len().cast(pl.Int64).alias(Curves.n_items),
        )
        .sort(by)
        .collect()
    )
    return table.select(Curves.COLUMNS)


def task_curves(curves: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Return curves by task, with paradigms weighted by their items, and the mean over tasks.

    Diverged members are left out.

    Returns:
        columns member, variant, learning_rate, weight_decay, dropout, seed, step, suite, kind, region, task,
        accuracy, delta; sorted by suite, kind, region, task, member and step.
    """
    by = [*_TASK, Curves.member, Curves.step]
    values = (Curves.accuracy, Curves.delta)
    kept = _with_members(curves, members).filter(pl.col(Members.status) == OK)
    constant = [pl.col(name).first() for name in (*GROUP, Curves.seed)]
    n_items = pl.col(Curves.n_items)
    weighted = [((pl.col(value) * n_items).sum() / n_items.sum()).alias(value) for value in values]
    tasks = kept.group_by(by, maintain_order=True).agg(*constant, *weighted)
    mean = tasks.group_by([name for name in by if name != Curves.task], maintain_order=True).agg(
        pl.lit(MEAN_OVER_TASKS).alias(Curves.task), *constant, *(pl.col(value).mean() for value in values)
    )
    columns = [Curves.member, *GROUP, Curves.seed, Curves.step, *_TASK, *values]
    return pl.concat([tasks.select(columns), mean.select(columns)]).sort(by)


def acquisition_table(curves: pl.DataFrame, members: pl.DataFrame, *, threshold: float = ACQUIRED) -> pl.DataFrame:
    """Return the table `Acquisition`: the first step from which the accuracy stays at or above ``threshold``.

    The accuracy is the median over seeds. There is a row for each task and for the mean over tasks. Diverged members
    are counted, but excluded from the median.
    """
    cell = [*GROUP, *_TASK]
    accuracy, step = pl.col(Curves.accuracy), pl.col(Curves.step)
    n_seeds = pl.col(Curves.seed).n_unique().cast(pl.Int64).alias(Acquisition.n_seeds)
    grouped = task_curves(curves, members).group_by([*cell, Curves.step], maintain_order=True)
    # Polars orders NaN above all numbers; a NaN accuracy must not count as acquired.
    typical = pl.when(accuracy.is_nan().any()).then(math.nan).otherwise(accuracy.median())
    by_step = grouped.agg(typical.alias(Curves.accuracy), n_seeds)
    last_below = step.filter((accuracy < threshold) | accuracy.is_nan()).max().fill_null(-1)
    table = by_step.group_by(cell, maintain_order=True).agg(
        step.filter(step > last_below).min().cast(pl.Int64).alias(Acquisition.acquired),
        pl.lit(threshold, pl.Float64).alias(Acquisition.threshold),
        pl.col(Acquisition.n_seeds).max(),
    )
    counted = table.join(_diverged(members), on=list(GROUP), how="left", nulls_equal=True, maintain_order="left")
    return counted.with_columns(pl.col(_N_DIVERGED).fill_null(0)).sort([*_TASK, *GROUP])


def final_table(
    scores: pl.DataFrame,
    members: pl.DataFrame,
    *,
    draws: int = statistics.DRAWS,
    level: float = statistics.LEVEL,
    seed: int = 0,
) -> pl.DataFrame:
    """Return the table `FinalResults`: accuracy and delta of the typical seed after the last step, with intervals.

    There is a row for each task and one for the mean over tasks, in which every task has equal weight. Values are
    medians over seeds (`statistics.seed_interval`). The variance from items is that of items resampled within their
    task; all rows of a task use the same resampled items. Diverged members are counted, but excluded from the results.
    A variant whose members all diverged has rows with nulls. If a delta is not finite, the row's numbers are NaN.

    Raises:
        ValueError: if two members were scored on different items.
    """
    last = scores.filter(pl.col(Scores.step) == pl.col(Scores.step).max().over(Scores.suite))
    groups = _groups(members)
    rows: list[dict[str, object]] = []
    for key, part in _parts(last, [*_CELL, Scores.step]):
        cell = dict(zip((*_CELL, Scores.step), key, strict=True))
        tasks = [
            _task_draws(str(task), frame, draws=draws, seed=(seed, number))
            for number, ((task,), frame) in enumerate(_parts(part, [Scores.task]))
        ]
        for task in [*tasks, _mean_over(tasks)]:
            rows += [cell | {FinalResults.task: task.name} | _row(task, group, level) for group in groups]
    schema = {name: dtype for name, dtype in FinalResults.schema().items() if name != FinalResults.ngram}
    return pl.DataFrame(rows, schema=schema).sort(_TASK, maintain_order=True)


@dataclass(frozen=True)
class _Draws:
    """Accuracy and delta of all members in one task, as they are (``means``) and with items resampled (``by_item``)."""

    name: str
    members: Int[np.ndarray, " members"]
    means: Float[np.ndarray, "2 members"]
    by_item: Float[np.ndarray, "2 members draws"]
    nonfinite: Int[np.ndarray, " members"]
    n_items: int


def _task_draws(name: str, frame: pl.DataFrame, *, draws: int, seed: tuple[int, int]) -> _Draws:
    members, delta, correct = _by_member(name, frame)
    items = delta.shape[1]
    values = np.stack([np.where(np.isnan(delta), np.nan, correct), delta])
    by_item = statistics.resample_items(values.reshape(-1, items), draws=draws, seed=seed)
    shape = (2, len(members), draws)
    nonfinite = np.isnan(delta).sum(axis=1)
    return _Draws(name, members, values.mean(axis=2), by_item.reshape(shape), nonfinite, items)


def _by_member(
    name: str, frame: pl.DataFrame
) -> tuple[Int[np.ndarray, " members"], Float[np.ndarray, "members items"], Float[np.ndarray, "members items"]]:
    """Return the numbers of the members, and delta (NaN if not finite) and correctness of each member and item."""
    item = (Scores.paradigm, Scores.item)
    frame = frame.sort(Scores.member, *item)
    members = frame[Scores.member].unique().sort().to_numpy()
    items = frame.select(pl.struct(item).n_unique()).item()
    if len(members) * items != len(frame):
        raise ValueError(
            f"scores of task {name!r} have {len(frame)} rows, but {len(members)} members times {items} items make "
            f"{len(members) * items}; every member has to be scored once on every item. Score the run again."
        )
    delta, correct = (
        frame[column].cast(pl.Float64).to_numpy().reshape(len(members), items)
        for column in (Scores.delta, Scores.correct)
    )
    return members, np.where(np.isfinite(delta), delta, np.nan), correct


def _mean_over(tasks: Sequence[_Draws]) -> _Draws:
    first = tasks[0]
    for task in tasks:
        if not np.array_equal(task.members, first.members):
            raise ValueError(f"tasks {first.name!r} and {task.name!r} were scored with different members")
    return _Draws(
        MEAN_OVER_TASKS,
        first.members,
        np.mean([task.means for task in tasks], axis=0),
        np.mean([task.by_item for task in tasks], axis=0),
        np.sum([task.nonfinite for task in tasks], axis=0),
        sum(task.n_items for task in tasks),
    )


def _row(task: _Draws, group: dict[str, object], level: float) -> dict[str, object]:
    """Return one row of the final table; `group` is a row of `_groups`."""
    kept = np.isin(task.members, np.asarray(group[_KEPT], dtype=np.int64))
    row: dict[str, object] = {name: group[name] for name in (*GROUP, _N_DIVERGED)}
    row[FinalResults.n_items] = task.n_items
    if not kept.any():
        return row | {FinalResults.n_seeds: 0, FinalResults.n_nonfinite: 0}
    accuracy, delta = (
        statistics.seed_interval(
            task.means[i, kept], task.by_item[i, kept], n_items=task.n_items, level=level, bounds=bounds
        )
        for i, bounds in enumerate((SHARE, FREE))
    )
    return row | {
        FinalResults.accuracy: accuracy.estimate,
        FinalResults.low: accuracy.low,
        FinalResults.high: accuracy.high,
        FinalResults.delta: delta.estimate,
        FinalResults.delta_low: delta.low,
        FinalResults.delta_high: delta.high,
        FinalResults.n_seeds: accuracy.n_seeds,
        FinalResults.n_nonfinite: int(task.nonfinite[kept].sum()),
        FinalResults.interval_over: accuracy.interval_over,
    }


def _with_members(frame: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    unknown = frame.select(Members.member).unique().join(members, on=Members.member, how="anti")
    if len(unknown):
        numbers = unknown[Members.member].sort().to_list()
        raise ValueError(f"members {numbers} have scores but are not in the table of members")
    chosen = members.select(Members.member, Members.status, *HYPERPARAMETERS)
    return frame.join(chosen, on=Members.member, maintain_order="left")


_KEPT: Final = "kept"


def _groups(members: pl.DataFrame) -> list[dict[str, object]]:
    """Return one row for each variant and setting of hyper-parameters, in the order of their first members.

    Returns:
        the columns of `GROUP`, the numbers of the members that have not diverged, and the number of diverged members.
    """
    ok = pl.col(Members.status) == OK
    kept = pl.col(Members.member).filter(ok).alias(_KEPT)
    grouped = members.sort(Members.member).group_by(GROUP, maintain_order=True)
    return grouped.agg(kept, (~ok).sum().cast(pl.Int64).alias(_N_DIVERGED)).to_dicts()


def _diverged(members: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(_groups(members)).select(*GROUP, _N_DIVERGED)


def _parts(frame: pl.DataFrame, by: Sequence[str]) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
    yield from frame.sort(by).group_by(by, maintain_order=True)
