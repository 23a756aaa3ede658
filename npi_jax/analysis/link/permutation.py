"""Does the alignment of two tasks' gradients predict what removing one's data does to the other?

The pairs of tasks are not independent of each other, for every task is in many of them. Correlations are therefore
tested by relabelling tasks (QAP: Hubert & Schultz 1976; Krackhardt 1988; the Mantel test): the rows and columns of the
predictor's matrix are permuted together, which keeps all that is due to single tasks within each matrix and breaks
only what ties the two together. Directed pairs (removed, task) are used, also where only some tasks were removed.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from npi_jax.analysis.bounds import COSINE
from npi_jax.analysis.curves import HYPERPARAMETERS
from npi_jax.analysis.link import prediction
from npi_jax.analysis.link.additive import row_effects
from npi_jax.analysis.transfer.outcomes import OUTCOMES
from npi_jax.results.names import LM

PERMUTATIONS: Final = 4999
EXPLORATORY: Final = 999
"""Of these, so many are used for everything but the primary contrast."""
MEAN_OVER_TRAINING: Final = -1
"""The ``step`` of rows whose alignment is the mean over all steps but 0."""
MIN_PAIRS: Final = prediction.MIN_PAIRS
MEASURES: Final = ("corrected", "naive", "adam")
BASELINES: Final = ("ngram_overlap", "npi_overlap", "frequency")
PRIMARY_OUTCOME: Final = "delta"

_ENUMERATED: Final = 5000
_LINK: Final = {
    "primary": pl.Boolean,
    **dict.fromkeys(("predictor", "group"), pl.String),
    "step": pl.Int64,
    "outcome": pl.String,
    **dict.fromkeys(("statistic", "p", "p_adjusted"), pl.Float64),
    **dict.fromkeys(("n_pairs", "n_tasks", "n_permutations"), pl.Int64),
    "reason": pl.String,
}
_PAIRS: Final = {
    **dict.fromkeys(("removed", "task", "group"), pl.String),
    **dict.fromkeys(("alignment", "naive", "effect", "low", "high"), pl.Float64),
    "n_cells": pl.Int64,
    **dict.fromkeys(("outcome", "control"), pl.String),
    **dict.fromkeys(HYPERPARAMETERS, pl.Float64),
}


def link_tables(
    alignment: pl.DataFrame,
    transfer: pl.DataFrame,
    environments: pl.DataFrame | None = None,
    *,
    baseline: str | None = None,
    suite: str | None = None,
    kind: str | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Rank correlations of alignment with transfer, tested by relabelling tasks; and out-of-sample predictions.

    The primary contrast, declared beforehand: the corrected alignment of the group "recurrent" (else "blocks", else
    "all"), mean over seeds at all steps but 0, in the baseline variant, against the effect on delta.
    Everything else is exploratory and has p_adjusted by max-T over the same relabellings (each correlation divided by
    the standard deviation it has under relabelling). Tests are two-sided. Effects are those with the random control
    subtracted where the run has one for every removal, and the mean over hyper-parameter settings where there are
    several, of those that did not diverge.

    Alignment is not reliable everywhere, and not for all pairs at the same steps. It rises over training, and seeds
    differ in it, so that a plain mean would make a pair that is measured late look aligned. A pair's mean is therefore
    its effect in an additive fit to seeds at steps (`additive.row_effects`), which is the plain mean where nothing is
    missing.

    Args:
        alignment: the table ``alignment`` of a run; its columns suite and kind say which effects belong to it.
        transfer: the table ``transfer``; of it the removals of single environments.
        environments: task_i, task_j, ngram_overlap, npi_overlap, npis_i, npis_j; None leaves out these baselines.
        baseline: the variant whose gradients count; by default ``full`` or else the table's first.
        suite, kind: whose effects count; by default those of the items whose gradients were taken, where the table
            says, else the first suite, and its kind "licensor" or else its first.
        permutations: relabellings drawn where there are more than 5000; all are gone through otherwise. Of those
            drawn, `EXPLORATORY` serve all rows but the primary one.
        seed: of the random numbers.

    Returns:
        ``link``: a row for every predictor, group, step and outcome; ``statistic`` is Spearman's correlation.
        ``link_pairs``: the pairs themselves; n_cells says on how many seeds times steps a pair's alignment rests.
        ``prediction``: see `prediction.prediction_table`.
        Where there are too few pairs (`MIN_PAIRS`) or nothing varies, numbers are NaN and ``reason`` says why.
    """
    of_gradients = {name: _only(alignment, name) for name in ("suite", "kind")}
    effects = _effects(transfer, suite or of_gradients["suite"], kind or of_gradients["kind"])
    variants = alignment["variant"].unique(maintain_order=True).to_list()
    chosen = baseline or ("full" if "full" in variants or not variants else variants[0])
    aligned = alignment.filter(
        (pl.col("variant") == chosen) & (pl.col("task_i") != LM) & (pl.col("task_j") != LM)
    ).filter(pl.col("task_i") != pl.col("task_j"))
    if "ratio" in aligned.columns:
        # To leave out the estimates beyond 1 would pull the means of pairs near 1 down.
        aligned = aligned.with_columns(pl.col("ratio").alias("corrected"))
    aligned_tasks, affected = {*aligned["task_i"], *aligned["task_j"]}, {*effects["removed"], *effects["task"]}
    tasks = sorted(aligned_tasks & affected if aligned_tasks else affected)
    main = _main_group(aligned)
    matrices = {outcome: _effect_matrix(effects.filter(outcome=outcome), tasks) for outcome in OUTCOMES}
    predictors = [*_alignments(aligned, tasks), *_baselines(environments, tasks)]
    labels = relabellings(len(tasks), permutations, seed=seed)
    link = pl.DataFrame(_link_rows(predictors, matrices, labels, main), schema=_LINK)
    means = {key: p.matrix for p in predictors if p.step == MEAN_OVER_TRAINING for key in [(p.name, p.group)]}
    return {
        "link": link,
        "link_pairs": _pairs_table(effects, means, _cells(aligned, tasks), tasks),
        "prediction": prediction.prediction_table(means, matrices, BASELINES),
    }


def relabellings(n_tasks: int, permutations: int = PERMUTATIONS, *, seed: int = 0) -> Int[np.ndarray, "labels tasks"]:
    """Orders of the tasks, the given one first: all of them where they are at most 5000, else a random sample."""
    if math.factorial(n_tasks) <= _ENUMERATED:
        orders = list(itertools.permutations(range(n_tasks)))
        return np.array(orders, dtype=np.int64).reshape(len(orders), n_tasks)
    random = np.random.default_rng(seed)
    drawn = random.permuted(np.tile(np.arange(n_tasks), (permutations, 1)), axis=1)
    return np.concatenate([np.arange(n_tasks)[None], drawn])


def qap_correlations(
    predictor: Float[np.ndarray, "tasks tasks"],
    effects: Float[np.ndarray, "tasks tasks"],
    labels: Int[np.ndarray, "labels tasks"],
) -> Float[np.ndarray, " labels"]:
    """Spearman's correlation of predictor and effects over off-diagonal pairs, for each relabelling of the predictor.

    Pairs without an effect (NaN) are not there; pairs without a predictor are left out of each relabelling wherever
    they come to lie. The correlation is NaN where one side does not vary.
    """
    rows, columns = np.nonzero(np.isfinite(effects) & ~np.eye(len(effects), dtype=bool))
    codes = _codes(predictor)[labels[:, rows], labels[:, columns]]
    there = codes >= 0
    outcome = np.where(there, _codes(effects)[rows, columns], -1)
    if there.all():
        outcome = outcome[:1]
    return _correlation(_ranks(codes), _ranks(outcome))


def p_value(correlations: Float[np.ndarray, " labels"]) -> float:
    """Share of relabellings whose correlation is at least as far from 0 as that of the first, which is the data's."""
    size = np.nan_to_num(np.abs(correlations), nan=0.0)
    return float((size >= size[0] - 1e-12).mean())


@dataclass(frozen=True)
class _Predictor:
    """One matrix that may predict effects: [removed, task]."""

    name: str
    group: str
    step: int
    matrix: Float[np.ndarray, "tasks tasks"]


def _effects(transfer: pl.DataFrame, suite: str | None, kind: str | None) -> pl.DataFrame:
    """The effects of removing single environments on other tasks, of one suite and kind."""
    removals = transfer.filter(~pl.col("removed").is_in(["", "all"]) & (pl.col("removed") != pl.col("task")))
    if removals.is_empty():
        return removals
    suite = removals["suite"][0] if suite is None else suite
    of_suite = removals.filter(suite=suite)
    kinds = of_suite["kind"].unique(maintain_order=True).to_list()
    if kind is None and kinds:
        kind = "licensor" if "licensor" in kinds else kinds[0]
    found = of_suite.filter(pl.col("kind") == kind)
    # With the control of some removals only, these would lie lower or higher than the others for that alone.
    controlled = found.filter(pl.col("control") != "")
    return controlled if set(controlled["removed"]) == set(found["removed"]) else found.filter(pl.col("control") == "")


def _only(alignment: pl.DataFrame, name: str) -> str | None:
    """What all rows have in a column, if the table has it and says anything there."""
    values = alignment[name].unique().to_list() if name in alignment.columns else []
    return str(values[0]) if len(values) == 1 and values[0] else None


def _effect_matrix(effects: pl.DataFrame, tasks: list[str]) -> Float[np.ndarray, "tasks tasks"]:
    finite = effects.filter(pl.col("effect").is_finite())
    mean = finite.group_by("removed", "task", maintain_order=True).agg(pl.col("effect").mean())
    return _matrix(mean.iter_rows(), tasks)


def _matrix(cells: Any, tasks: list[str], *, symmetric: bool = False) -> Float[np.ndarray, "tasks tasks"]:
    """From (row, column, value); NaN where there is none. If symmetric, a cell stands for its mirror image too."""
    place = {task: number for number, task in enumerate(tasks)}
    matrix = np.full((len(tasks), len(tasks)), np.nan)
    for row, column, value in cells:
        if row in place and column in place and value is not None:
            matrix[place[row], place[column]] = value
    return np.where(np.isnan(matrix) & symmetric, matrix.T, matrix)


def _alignments(aligned: pl.DataFrame, tasks: list[str]) -> Iterator[_Predictor]:
    """Means over seeds: for each group and measure over training, then at each step."""
    for group in aligned["group"].unique().sort():
        of_group = aligned.filter(group=group)
        for name in MEASURES:
            means = _pair_means(of_group, name)
            for step in [MEAN_OVER_TRAINING, *aligned["step"].unique().sort()]:
                frame = means.filter(step=step)
                # What of the correction could not be measured anywhere is said; of the others it goes without.
                if len(frame) or name == "corrected":
                    cells = frame.select("task_i", "task_j", name).iter_rows()
                    yield _Predictor(name, str(group), int(step), _matrix(cells, tasks, symmetric=True))


def _pair_means(aligned: pl.DataFrame, name: str) -> pl.DataFrame:
    """One measure of each pair: over seeds and steps (`MEAN_OVER_TRAINING`), and over seeds by step, in that order."""
    finite = aligned.filter(pl.col(name).is_finite())
    frames = [_fitted(finite.filter(pl.col("step") > 0), name, MEAN_OVER_TRAINING)]
    frames += [
        _fitted(frame, name, int(str(step)))
        for (step,), frame in finite.sort("step", maintain_order=True).group_by(["step"], maintain_order=True)
    ]
    return pl.concat(frames)


def _fitted(frame: pl.DataFrame, name: str, step: int) -> pl.DataFrame:
    """`additive.row_effects` of pairs measured in members times steps: columns step, task_i, task_j and the measure."""
    pairs = frame.select("task_i", "task_j").unique(maintain_order=True).with_row_index("row")
    cells = frame.select("member", "step").unique(maintain_order=True).with_row_index("column")
    placed = frame.join(pairs, on=["task_i", "task_j"], maintain_order="left")
    placed = placed.join(cells, on=["member", "step"], maintain_order="left")
    values = np.full((len(pairs), len(cells)), np.nan)
    values[placed["row"].to_numpy(), placed["column"].to_numpy()] = placed[name].to_numpy()
    effects = row_effects(values) if len(pairs) else np.zeros(0)
    return pairs.select(
        pl.lit(step, pl.Int64).alias("step"), "task_i", "task_j", pl.Series(name, effects, dtype=pl.Float64)
    )


def _cells(aligned: pl.DataFrame, tasks: list[str]) -> dict[str, Float[np.ndarray, "tasks tasks"]]:
    """By group, on how many seeds times steps but 0 the corrected alignment of each pair rests."""
    counted = (
        aligned.filter(pl.col("corrected").is_finite() & (pl.col("step") > 0))
        .group_by("group", "task_i", "task_j", maintain_order=True)
        .agg(pl.len().cast(pl.Float64))
    )
    return {
        str(group): _matrix(frame.select("task_i", "task_j", "len").iter_rows(), tasks, symmetric=True)
        for (group,), frame in counted.group_by(["group"], maintain_order=True)
    }


def _baselines(environments: pl.DataFrame | None, tasks: list[str]) -> Iterator[_Predictor]:
    """What is known without gradients: overlaps of two tasks' text, and how often the removed one's NPIs occur."""
    if environments is None:
        return
    for name in ("ngram_overlap", "npi_overlap"):
        cells = environments.select("task_i", "task_j", name).iter_rows()
        yield _Predictor(name, "", MEAN_OVER_TRAINING, _matrix(cells, tasks, symmetric=True))
    counts = {
        task: npis
        for side in ("i", "j")
        for task, npis in environments.select(f"task_{side}", f"npis_{side}").iter_rows()
    }
    logs = {task: math.log(npis) if npis else math.nan for task, npis in counts.items()}
    pairs = ((j, i, logs.get(j)) for j in tasks for i in tasks)
    yield _Predictor("frequency", "", MEAN_OVER_TRAINING, _matrix(pairs, tasks))


def _main_group(aligned: pl.DataFrame) -> str:
    groups = set(aligned["group"])
    return next((name for name in ("recurrent", "blocks", "all") if name in groups), min(groups, default=""))


def _link_rows(
    predictors: list[_Predictor],
    matrices: Mapping[str, Float[np.ndarray, "tasks tasks"]],
    labels: Int[np.ndarray, "labels tasks"],
    main: str,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    sizes: dict[int, float] = {}
    fewer = labels[: EXPLORATORY + 1]
    largest = np.zeros(len(fewer))
    for predictor in predictors:
        for outcome, effects in matrices.items():
            primary = (predictor.name, predictor.group, predictor.step) == ("corrected", main, MEAN_OVER_TRAINING)
            primary &= outcome == PRIMARY_OUTCOME
            row, correlations = _test(predictor.matrix, effects, labels if primary else fewer)
            if correlations is not None and not primary:
                size = np.nan_to_num(np.abs(correlations), nan=0.0)
                size /= math.sqrt(float((size**2).mean())) or 1.0
                largest = np.maximum(largest, size)
                sizes[len(rows)] = float(size[0])
            names = {"predictor": predictor.name, "group": predictor.group, "step": predictor.step}
            rows.append(names | {"primary": primary, "outcome": outcome, "p_adjusted": row["p"]} | row)
    for number, size in sizes.items():
        rows[number]["p_adjusted"] = float((largest >= size - 1e-12).mean())
    return rows


def _test(
    predictor: Float[np.ndarray, "tasks tasks"],
    effects: Float[np.ndarray, "tasks tasks"],
    labels: Int[np.ndarray, "labels tasks"],
) -> tuple[dict[str, Any], Float[np.ndarray, " labels"] | None]:
    """A row of the table, and the correlation of each relabelling; None where there is no test, and why."""
    there = np.isfinite(effects) & np.isfinite(predictor) & ~np.eye(len(effects), dtype=bool)
    n_pairs, n_tasks = int(there.sum()), int((there.any(axis=0) | there.any(axis=1)).sum())
    row = {"statistic": math.nan, "p": math.nan, "n_pairs": n_pairs, "n_tasks": n_tasks, "n_permutations": 0}
    if n_pairs < MIN_PAIRS:
        of_effects, of_predictor = (int(np.isfinite(_off(side)).sum()) for side in (effects, predictor))
        why = f"{n_pairs} pairs; {MIN_PAIRS} are needed ({of_effects} have an effect, {of_predictor} a predictor)"
        return row | {"reason": why}, None
    for name, values in (("predictor", predictor[there]), ("effect", effects[there])):
        if np.ptp(values) == 0:
            return row | {"reason": f"the {name} is the same in all pairs"}, None
    correlations = qap_correlations(predictor, effects, labels)
    found = {"statistic": float(correlations[0]), "p": p_value(correlations), "n_permutations": len(labels) - 1}
    return row | found | {"reason": ""}, correlations


def _off(matrix: Float[np.ndarray, "tasks tasks"]) -> Float[np.ndarray, " pairs"]:
    return matrix[~np.eye(len(matrix), dtype=bool)]


def _pairs_table(
    effects: pl.DataFrame,
    means: Mapping[tuple[str, str], Float[np.ndarray, "tasks tasks"]],
    cells: Mapping[str, Float[np.ndarray, "tasks tasks"]],
    tasks: list[str],
) -> pl.DataFrame:
    place = {task: number for number, task in enumerate(tasks)}
    rows = []
    for group in [group for name, group in means if name == "corrected"]:
        for row in effects.filter(pl.col("removed").is_in(tasks) & pl.col("task").is_in(tasks)).iter_rows(named=True):
            pair = place[row["removed"]], place[row["task"]]
            values = {
                column: _cosine(float(means[name, group][pair])) if (name, group) in means else math.nan
                for column, name in (("alignment", "corrected"), ("naive", "naive"))
            }
            counted = float(cells[group][pair]) if group in cells else 0.0
            values["n_cells"] = int(np.nan_to_num(counted))
            rows.append({name: row[name] for name in _PAIRS if name in row} | {"group": group} | values)
    return pl.DataFrame(rows, schema=_PAIRS)


def _cosine(value: float) -> float:
    """A mean of estimates, where it is a cosine; else NaN."""
    return value if COSINE.hold(value) else math.nan


def _codes(values: Float[np.ndarray, "rows columns"]) -> Int[np.ndarray, "rows columns"]:
    """Equal numbers get equal codes, larger numbers larger ones, NaN gets -1; the diagonal is not looked at."""
    off = ~np.eye(len(values), dtype=bool) & np.isfinite(values)
    codes = np.full(values.shape, -1)
    codes[off] = np.unique(values[off], return_inverse=True)[1]
    return codes


def _ranks(codes: Int[np.ndarray, "labels pairs"]) -> Float[np.ndarray, "labels pairs"]:
    """Ranks within each row, ties sharing theirs; NaN for the code -1. By counting, as there are few codes."""
    n_codes = int(codes.max(initial=-1)) + 2
    places = codes + 1 + n_codes * np.arange(len(codes))[:, None]
    counts = np.bincount(places.ravel(), minlength=n_codes * len(codes)).reshape(-1, n_codes)
    counts[:, 0] = 0
    ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
    ranks[:, 0] = np.nan
    return ranks.ravel()[places]


def _correlation(
    one: Float[np.ndarray, "labels pairs"], other: Float[np.ndarray, "#labels pairs"]
) -> Float[np.ndarray, " labels"]:
    x, y = _deviations(one), _deviations(other)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    products = (x * y).sum(axis=1)
    return np.divide(products, scale, out=np.full(len(x), np.nan), where=scale > 1e-12)


def _deviations(ranks: Float[np.ndarray, "labels pairs"]) -> Float[np.ndarray, "labels pairs"]:
    """From the mean of each row's numbers; 0 where there is none."""
    there = np.isfinite(ranks)
    mean = np.where(there, ranks, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(there, ranks - mean[:, None], 0.0)
