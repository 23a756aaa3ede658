"""From scores to the tables people read: learning curves, final results, acquisition steps."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import FREE, SHARE
from npi_jax.config.members import HYPERPARAMETERS
from npi_jax.results.names import MEAN_OVER_TASKS

ACQUIRED: Final = 0.75
GROUP: Final = ("variant", *HYPERPARAMETERS)
"""What the members of one row share; they differ in their seed only."""

_CELL: Final = ["suite", "kind", "region", "task"]
_FINAL_SCHEMA: Final = {
    "variant": pl.String,
    **dict.fromkeys(HYPERPARAMETERS, pl.Float64),
    **dict.fromkeys(_CELL, pl.String),
    "step": pl.Int64,
    **dict.fromkeys(("accuracy", "low", "high", "delta", "delta_low", "delta_high"), pl.Float64),
    **dict.fromkeys(("n_seeds", "n_items", "n_diverged", "n_nonfinite"), pl.Int64),
    "interval_over": pl.String,
}


def own_mean(scores: pl.DataFrame) -> pl.DataFrame:
    """The scores with another name for a task that is called as the mean over tasks is."""
    own = pl.col("task") == MEAN_OVER_TASKS
    return scores.with_columns(pl.when(own).then(pl.lit(f"{MEAN_OVER_TASKS} (a task)")).otherwise("task").alias("task"))


def curves_table(scores: pl.DataFrame) -> pl.DataFrame:
    """Accuracy and delta of every member at every step, by suite, paradigm, task, kind and region.

    Diverged members are in the table. Where one delta of a cell is not finite, accuracy and delta are NaN.

    Returns:
        columns member, variant, seed, step, suite, paradigm, task, kind, region, accuracy (mean of ``correct``,
        in which ties count as the suite's ScoreSpec says), delta (mean; nats, or as normalized), ties (share of
        items), n_items; sorted by suite, kind, region, task, paradigm, member and step.
    """
    by = ["suite", "kind", "region", "task", "paradigm", "member", "step"]
    finite = pl.when(pl.col("delta").is_finite()).then(pl.col("delta").cast(pl.Float64)).otherwise(math.nan)
    correct = pl.when(finite.is_nan()).then(math.nan).otherwise(pl.col("correct").cast(pl.Float64))
    table = (
        scores.lazy()
        .group_by(by, maintain_order=True)
        .agg(
            pl.col("variant").first(),
            pl.col("seed").first(),
            correct.mean().alias("accuracy"),
            finite.mean().alias("delta"),
            (pl.col("delta") == 0).mean().alias("ties"),
            pl.len().cast(pl.Int64).alias("n_items"),
        )
        .sort(by)
        .collect()
    )
    head = ["member", "variant", "seed", "step", "suite", "paradigm", "task", "kind", "region"]
    return table.select(*head, "accuracy", "delta", "ties", "n_items")


def task_curves(curves: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Curves by task (paradigms weighted by their items) plus the mean over tasks, diverged members left out.

    Returns:
        columns member, variant, learning_rate, weight_decay, dropout, seed, step, suite, kind, region, task,
        accuracy, delta; sorted by suite, kind, region, task, member and step.
    """
    by = ["suite", "kind", "region", "task", "member", "step"]
    kept = _with_members(curves, members).filter(pl.col("status") == "ok")
    constant = [pl.col(name).first() for name in (*GROUP, "seed")]
    weighted = [
        ((pl.col(name) * pl.col("n_items")).sum() / pl.col("n_items").sum()).alias(name)
        for name in ("accuracy", "delta")
    ]
    tasks = kept.group_by(by, maintain_order=True).agg(*constant, *weighted)
    without = [name for name in by if name != "task"]
    mean = tasks.group_by(without, maintain_order=True).agg(
        pl.lit(MEAN_OVER_TASKS).alias("task"), *constant, pl.col("accuracy").mean(), pl.col("delta").mean()
    )
    columns = ["member", *GROUP, "seed", "step", "suite", "kind", "region", "task", "accuracy", "delta"]
    return pl.concat([tasks.select(columns), mean.select(columns)]).sort(by)


def acquisition_table(curves: pl.DataFrame, members: pl.DataFrame, *, threshold: float = ACQUIRED) -> pl.DataFrame:
    """The step from which the accuracy (mean over seeds) stays at or above ``threshold`` to the end.

    Returns:
        one row a variant (and its hyper-parameters), suite, kind, region and task, the mean over tasks
        included: acquired (the first checkpointed step from which on the accuracy stays up; null if it is
        below at the end), threshold, n_seeds, n_diverged. Diverged members are left out and counted.
    """
    cell = [*GROUP, *_CELL]
    mean = (
        task_curves(curves, members)
        .group_by([*cell, "step"], maintain_order=True)
        .agg(pl.col("accuracy").mean(), pl.col("seed").n_unique().cast(pl.Int64).alias("n_seeds"))
    )
    # NaN compares as the greatest number, and must not pass for learned.
    below = (pl.col("accuracy") < threshold) | pl.col("accuracy").is_nan()
    last_below = pl.col("step").filter(below).max().fill_null(-1)
    table = mean.group_by(cell, maintain_order=True).agg(
        pl.col("step").filter(pl.col("step") > last_below).min().cast(pl.Int64).alias("acquired"),
        pl.lit(threshold, pl.Float64).alias("threshold"),
        pl.col("n_seeds").max(),
    )
    counted = table.join(_diverged(members), on=list(GROUP), how="left", nulls_equal=True, maintain_order="left")
    return counted.with_columns(pl.col("n_diverged").fill_null(0)).sort(_CELL + list(GROUP))


def final_table(
    scores: pl.DataFrame,
    members: pl.DataFrame,
    *,
    draws: int = statistics.DRAWS,
    level: float = statistics.LEVEL,
    seed: int = 0,
) -> pl.DataFrame:
    """Accuracy and delta after the last step, with intervals (`statistics.hierarchical_bootstrap`).

    One row a variant (and its hyper-parameters), suite, kind, region and task, and one for the mean over the
    tasks, each of which counts the same; items are resampled within their task. All rows of a task rest on
    the same resampled items. Diverged members are left out and counted in ``n_diverged``; a variant without
    any other keeps its rows, with nulls. Where a delta is not finite the row's numbers are NaN, and
    ``n_nonfinite`` says how many.

    Returns:
        columns variant, learning_rate, weight_decay, dropout, suite, kind, region, task, step, accuracy, low,
        high, delta, delta_low, delta_high (nats), n_seeds, n_items, n_diverged, n_nonfinite, interval_over.

    Raises:
        ValueError: if two members were scored on different items.
    """
    last = scores.filter(pl.col("step") == pl.col("step").max().over("suite"))
    groups = _groups(members)
    rows: list[dict[str, object]] = []
    for (suite, kind, region, step), part in _parts(last, ["suite", "kind", "region", "step"]):
        tasks = [
            _task_draws(str(task), frame, draws=draws, seed=(seed, number))
            for number, ((task,), frame) in enumerate(_parts(part, ["task"]))
        ]
        cell = {"suite": suite, "kind": kind, "region": region, "step": step}
        for task in [*tasks, _mean_over(tasks)]:
            rows += [cell | {"task": task.name} | _row(task, group, level, seed) for group in groups]
    return pl.DataFrame(rows, schema=_FINAL_SCHEMA).sort(_CELL, maintain_order=True)


@dataclass(frozen=True)
class _Draws:
    """One task's outcomes: axis 0 is (accuracy, delta), then members, then draws."""

    name: str
    members: Int[np.ndarray, " members"]
    means: Float[np.ndarray, "2 members"]
    by_item: Float[np.ndarray, "2 members draws"]
    nonfinite: Int[np.ndarray, " members"]
    n_items: int


def _task_draws(name: str, frame: pl.DataFrame, *, draws: int, seed: tuple[int, int]) -> _Draws:
    frame = frame.sort("member", "paradigm", "item")
    members = frame["member"].unique().sort().to_numpy()
    items = frame.select(pl.struct("paradigm", "item").n_unique()).item()
    if len(members) * items != len(frame):
        raise ValueError(
            f"scores of task {name!r}: {len(members)} members times {items} items make "
            f"{len(members) * items} rows, found {len(frame)}; every member has to be scored once on every "
            "item. Score the run again."
        )
    delta = frame["delta"].cast(pl.Float64).to_numpy().reshape(len(members), items)
    delta = np.where(np.isfinite(delta), delta, np.nan)
    correct = frame["correct"].cast(pl.Float64).to_numpy().reshape(delta.shape)
    values = np.stack([np.where(np.isnan(delta), np.nan, correct), delta])
    by_item = statistics.resample_items(values.reshape(-1, items), draws=draws, seed=seed)
    shape = (2, len(members), draws)
    nonfinite = np.isnan(delta).sum(axis=1)
    return _Draws(name, members, values.mean(axis=2), by_item.reshape(shape), nonfinite, items)


def _mean_over(tasks: list[_Draws]) -> _Draws:
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


def _row(task: _Draws, group: dict[str, object], level: float, seed: int) -> dict[str, object]:
    """One row of the final table: `group` is a row of `_groups`."""
    kept = np.isin(task.members, np.asarray(group["ok"], dtype=np.int64))
    row = {name: group[name] for name in (*GROUP, "n_diverged")} | {"n_items": task.n_items}
    if not kept.any():
        return row | {"n_seeds": 0, "n_nonfinite": 0}
    accuracy, delta = (
        statistics.seed_interval(
            task.means[i, kept],
            task.by_item[i, kept],
            n_items=task.n_items,
            level=level,
            seed=seed,
            bounds=bounds,
        )
        for i, bounds in enumerate((SHARE, FREE))
    )
    return row | {
        "accuracy": accuracy.mean,
        "low": accuracy.low,
        "high": accuracy.high,
        "delta": delta.mean,
        "delta_low": delta.low,
        "delta_high": delta.high,
        "n_seeds": accuracy.n_seeds,
        "n_nonfinite": int(task.nonfinite[kept].sum()),
        "interval_over": accuracy.interval_over,
    }


def _with_members(frame: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    unknown = frame.select("member").unique().join(members, on="member", how="anti")
    if len(unknown):
        raise ValueError(f"members {unknown['member'].sort().to_list()} have scores but are not in members")
    return frame.join(members.select("member", "status", *HYPERPARAMETERS), on="member", maintain_order="left")


def _groups(members: pl.DataFrame) -> list[dict[str, object]]:
    """One row a group, in the order of its first member: its columns, ok (member numbers), n_diverged."""
    ok = pl.col("status") == "ok"
    grouped = members.sort("member").group_by(GROUP, maintain_order=True)
    return grouped.agg(
        pl.col("member").filter(ok).alias("ok"), (~ok).sum().cast(pl.Int64).alias("n_diverged")
    ).to_dicts()


def _diverged(members: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(_groups(members)).select(*GROUP, "n_diverged")


def _parts(frame: pl.DataFrame, by: list[str]) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
    yield from frame.sort(by).group_by(by, maintain_order=True)
