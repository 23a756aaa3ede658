"""What taking something out of the training text does to every task: paired differences between variants.

Members of two variants are paired by seed and hyper-parameters: they begin with the same weights and see the same
text at the same step wherever it was not changed. An effect is the mean over seeds and items of the paired differences,
``outcome under the intervention - outcome under the baseline``, so that harm is negative for accuracies and deltas
and positive for steps to threshold. Where the run has the random control of an intervention, there is a second row
with the control in the place of the baseline; since both differences are taken from the same baseline, subtracting the
control's effect from the intervention's is the same as comparing with the control.

Intervals and p-values are those of `statistics.seed_interval`, within the bounds of the outcome: seeds are resampled,
and items within them. Items are resampled for steps to threshold as well, and the crossing is looked for anew in
every draw: a t test over seeds alone rejects up to 13 % of true null hypotheses where variants differ in which items
are hard. p-values are adjusted by `statistics.adjust` over all rows of one outcome (and one suite, kind, setting and
control), removals apart from other interventions.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Float

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import FREE, SHARE, Bounds
from npi_jax.analysis.transfer.outcomes import (
    CELL,
    OUTCOMES,
    Setting,
    TaskOutcomes,
    baseline_variant,
    settings,
    task_outcomes,
)
from npi_jax.analysis.transfer.schemas import SCHEMAS
from npi_jax.corpus.variants.interventions import Intervention, parse_intervention

FEWEST_SEEDS: Final = 3
"""With two seeds small p-values, which are what is adjusted, are several times as frequent as they should be."""
_LOG2_STEPS: Final = OUTCOMES.index("log2_steps")


def transfer_tables(
    scores: pl.DataFrame,
    members: pl.DataFrame,
    corpus: pl.DataFrame,
    *,
    baseline: str | None = None,
    draws: int = statistics.DRAWS,
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Effects of the interventions on every task, in the main region of every suite and kind.

    Diverged members are left out together with their partners.

    Args:
        scores: as of ``run.scores()``: every member, step and item.
        members: variant, seed, status and hyper-parameters of the members.
        corpus: variant, control_of, and npi_ENVIRONMENT counts.
        baseline: the variant to compare with; by default ``full`` or else the first member's.
        draws: bootstrap draws.
        seed: of the random numbers.

    Returns:
        ``transfer``: a row for every variant but the baseline, control ("" or the variant subtracted), task and
        outcome (`OUTCOMES`). ``removed`` is the environment for without(ENVIRONMENT), "all" for no_npi, else "".
        ``baseline`` is the variant that the effect is a difference to, the control where one is subtracted.
        ``n_censored`` counts the pairs in which a member never reached the threshold.
        ``asymmetry``: for two environments that were each removed, the effect on j of removing i, that on i of removing
        j, and their difference; with controls where both have one (``control`` names them).
        ``amplification``: accuracy and delta of a task by the share of its environment's NPIs that stayed in the text.
        ``eavesdropping``: for a task acquired later than environment j (both in the baseline), by how many
        powers of two it is acquired later still without j, against the baseline or, where j's removal has one, against
        its control; steps are geometric means over seeds.
        With one seed there are intervals over items and no p-values; ``reason`` says what is amiss in a row.

    Raises:
        UserError: if there is no variant ``baseline``.
        ValueError: if members were not all scored on the same items and steps.
    """
    reference = baseline_variant(members, baseline)
    controls = _controls(corpus)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    cells: dict[tuple[str, str, str], list[TaskOutcomes]] = {}
    for outcomes in task_outcomes(scores, draws=draws, seed=seed):
        cells.setdefault(outcomes.cell, []).append(outcomes)
    for setting in settings(members):
        for cell, tasks in cells.items():
            experiment = _Experiment(setting, tasks, reference, controls, seed)
            common = dict(zip(CELL, cell, strict=True)) | setting.values
            for name, made in (
                ("transfer", _transfer(experiment)),
                ("asymmetry", _asymmetry(experiment)),
                ("amplification", _amplification(experiment, corpus)),
                ("eavesdropping", _eavesdropping(experiment)),
            ):
                rows[name] += [common | row for row in made]
    return {name: pl.DataFrame(rows[name], schema=schema) for name, schema in SCHEMAS.items()}


def interference(transfer: pl.DataFrame, *, alpha: float = 0.05) -> pl.DataFrame:
    """Removals that *help* another task, significantly after adjustment: the environments that disturb it.

    Where a removal has a random control, helping more than the control does is what counts.

    Returns:
        those rows of ``transfer``, the smallest adjusted p-value first.
    """
    sign = pl.when(pl.col("outcome") == "log2_steps").then(-1.0).otherwise(1.0)
    # To take all NPIs away takes the task's own away as well.
    other = ~pl.col("removed").is_in(["", "all"]) & (pl.col("removed") != pl.col("task"))
    # NaN is greater than any number for polars, so a test that was not made is not significant.
    helped = (pl.col("p_adjusted") <= alpha) & (sign * pl.col("effect") > 0)
    last_word = (pl.col("control") != "") == (pl.col("control") != "").any().over("removed")
    return transfer.filter(last_word).filter(other & helped).sort("p_adjusted")


@dataclass(frozen=True)
class _Experiment:
    """The members of one setting in the tasks of one suite and kind."""

    setting: Setting
    tasks: list[TaskOutcomes]
    baseline: str
    controls: Mapping[str, str]
    seed: int

    def task(self, name: str) -> TaskOutcomes | None:
        """The task of this name, if there is one."""
        return next((task for task in self.tasks if task.task == name), None)

    def removals(self) -> list[str]:
        """Environments that a variant lacks and that are tasks."""
        removed = [_removed(variant) for variant in self.setting.seeds]
        return [name for name in removed if self.task(name) is not None]


@dataclass(frozen=True)
class _Contrast:
    """An interval of a difference, and why its p-value is missing where it is."""

    interval: statistics.Interval | None
    n_seeds: int
    reason: str

    @property
    def row(self) -> dict[str, Any]:
        """low, high, p, n_seeds and reason, as the tables have them."""
        found = self.interval
        low, high, p = (math.nan,) * 3 if found is None else (found.low, found.high, found.p)
        p = math.nan if self.reason else p
        return {"low": low, "high": high, "p": p, "n_seeds": self.n_seeds, "reason": self.reason}

    @property
    def mean(self) -> float:
        """NaN where there are no pairs."""
        return math.nan if self.interval is None else self.interval.mean


def _contrast(
    means: Float[np.ndarray, " seeds"],
    by_item: Float[np.ndarray, "seeds draws"],
    *,
    n_items: int,
    seed: int,
    bounds: Bounds,
    of: str,
) -> _Contrast:
    if not len(means):
        return _Contrast(None, 0, f"no seed that did not diverge in both {of}")
    interval = statistics.seed_interval(means, by_item, n_items=n_items, seed=seed, bounds=bounds)
    if not math.isfinite(interval.low):
        return _Contrast(interval, len(means), "a score is not finite")
    if len(means) == 1:
        return _Contrast(interval, 1, "one seed does not tell how others would come out")
    if statistics.constant(means, by_item) and interval.mean != 0:
        return _Contrast(interval, len(means), "all seeds and items differ by the same: no variance to test with")
    return _Contrast(interval, len(means), "")


def _difference(experiment: _Experiment, task: TaskOutcomes, outcome: int, variant: str, reference: str) -> _Contrast:
    one, other = (task.rows(members) for members in experiment.setting.pairs(variant, reference))
    return _contrast(
        task.means[outcome, one] - task.means[outcome, other],
        task.by_item[outcome, one] - task.by_item[outcome, other],
        n_items=task.n_items,
        seed=experiment.seed,
        bounds=task.bounds(outcome),
        of=f"{variant} and {reference}",
    )


def _transfer(experiment: _Experiment) -> list[dict[str, Any]]:
    rows = []
    for variant in experiment.setting.seeds:
        if variant == experiment.baseline:
            continue
        removed, control = _removed(variant), experiment.controls.get(variant)
        for subtracted in ("", control) if control in experiment.setting.seeds else ("",):
            for task in experiment.tasks:
                names = {"intervention": variant, "removed": removed, "control": subtracted, "task": task.task}
                rows += [names | row for row in _outcome_rows(experiment, task, variant, subtracted)]
    return _adjust(rows, lambda row: (row["outcome"], row["control"] != "", row["removed"] != ""))


def _outcome_rows(
    experiment: _Experiment, task: TaskOutcomes, variant: str, control: str | None
) -> Iterator[dict[str, Any]]:
    reference = control or experiment.baseline
    one, other = (task.rows(members) for members in experiment.setting.pairs(variant, reference))
    for number, outcome in enumerate(OUTCOMES):
        found = _difference(experiment, task, number, variant, reference)
        censored = int((task.censored[one] | task.censored[other]).sum()) if outcome == "log2_steps" else 0
        yield {
            "outcome": outcome,
            "effect": found.mean,
            "n_items": task.n_items,
            "n_censored": censored,
            "baseline": reference,
            "interval_over": "" if found.interval is None else found.interval.interval_over,
            **found.row,
        }


def _asymmetry(experiment: _Experiment) -> list[dict[str, Any]]:
    removals = experiment.removals()
    rows = [
        row
        for place, i in enumerate(removals)
        for j in removals[place + 1 :]
        for row in _asymmetry_rows(experiment, i, j)
    ]
    return _adjust(rows, lambda row: row["outcome"])


def _asymmetry_rows(experiment: _Experiment, i: str, j: str) -> Iterator[dict[str, Any]]:
    variants = [f"without({i})", f"without({j})"]
    controls = [experiment.controls.get(variant, "") for variant in variants]
    controlled = all(control in experiment.setting.seeds for control in controls)
    references = controls if controlled else [experiment.baseline] * 2
    seeds = [experiment.setting.seeds.get(variant, {}) for variant in {*variants, *references}]
    shared = sorted(set.intersection(*(set(found) for found in seeds)))
    # Effect ij is on task j of removing i: each variant goes with the other's task.
    tasks = [task for task in (experiment.task(j), experiment.task(i)) if task is not None]
    for number, outcome in enumerate(OUTCOMES):
        means, by_item = [], []
        for task, variant, reference in zip(tasks, variants, references, strict=True):
            one, other = (
                task.rows([experiment.setting.seeds[name][s] for s in shared]) for name in (variant, reference)
            )
            means.append(task.means[number, one] - task.means[number, other])
            by_item.append(task.by_item[number, one] - task.by_item[number, other])
        found = _contrast(
            means[0] - means[1],
            by_item[0] - by_item[1],
            n_items=min(task.n_items for task in tasks),
            seed=experiment.seed,
            bounds=tasks[0].bounds(number).doubled,
            of=", ".join((*variants, *dict.fromkeys(references))),
        )
        effects = [float(value.mean()) if len(shared) else math.nan for value in means]
        yield {
            "removed_i": i,
            "removed_j": j,
            "outcome": outcome,
            "effect_ij": effects[0],
            "effect_ji": effects[1],
            "difference": found.mean,
            "control": ", ".join(controls) if controlled else "",
            **found.row,
        }


def _amplification(experiment: _Experiment, corpus: pl.DataFrame) -> list[dict[str, Any]]:
    counts = {row["variant"]: row for row in corpus.iter_rows(named=True)}
    points: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for variant in experiment.setting.seeds:
        found = _intervention(variant)
        if found is None or (dose := found.dose) is None:
            continue
        others = "removed" if dose.others_removed else "kept"
        points.setdefault((dose.environment, others), []).append((dose.share, variant))
    ends = {"kept": (1.0, "full"), "removed": (0.0, "no_npi")}
    rows = []
    for (environment, others), found_points in points.items():
        task = experiment.task(environment)
        if task is None:
            continue
        for share, variant in sorted({*found_points, ends[others]}):
            if experiment.setting.seeds.get(variant):
                npis = counts.get(variant, {}).get(f"npi_{environment}")
                names = {"environment": environment, "others": others, "share": share, "npis": npis, "variant": variant}
                rows.append(names | _levels(experiment, task, variant))
    return rows


def _levels(experiment: _Experiment, task: TaskOutcomes, variant: str) -> dict[str, Any]:
    """Accuracy and delta after the last step, with intervals."""
    chosen = task.rows(list(experiment.setting.seeds[variant].values()))
    row: dict[str, Any] = {"n_seeds": len(chosen)}
    for number, prefix, bounds in ((0, "", SHARE), (1, "delta_", FREE)):
        found = statistics.seed_interval(
            task.means[number, chosen],
            task.by_item[number, chosen],
            n_items=task.n_items,
            seed=experiment.seed,
            bounds=bounds,
        )
        row |= {OUTCOMES[number]: found.mean, f"{prefix}low": found.low, f"{prefix}high": found.high}
    return row


def _eavesdropping(experiment: _Experiment) -> list[dict[str, Any]]:
    rows = []
    for environment in experiment.removals():
        easier, variant = experiment.task(environment), f"without({environment})"
        one, other = experiment.setting.pairs(variant, experiment.baseline)
        if easier is None or not one:
            continue
        control = experiment.controls.get(variant, "")
        control = control if experiment.setting.seeds.get(control) else ""
        reference = control or experiment.baseline
        onset = easier.means[_LOG2_STEPS, easier.rows(other)].mean()
        for task in experiment.tasks:
            if task.means[_LOG2_STEPS, task.rows(other)].mean() <= onset:
                continue
            without_it, with_it = (task.rows(members) for members in experiment.setting.pairs(variant, reference))
            if not len(with_it):
                continue
            full = task.means[_LOG2_STEPS, with_it].mean()
            found = _difference(experiment, task, _LOG2_STEPS, variant, reference)
            rows.append(
                {
                    "task": task.task,
                    "without": environment,
                    "control": control,
                    "steps_full": float(2**full - 1),
                    "steps_without": float(2 ** task.means[_LOG2_STEPS, without_it].mean() - 1),
                    "lag_log2": found.mean,
                    "n_censored": int((task.censored[without_it] | task.censored[with_it]).sum()),
                    **found.row,
                }
            )
    return _adjust(rows, lambda _: "")


def _adjust(rows: list[dict[str, Any]], family: Any) -> list[dict[str, Any]]:
    """Give the rows `p_adjusted`, over the rows for which `family` is the same."""
    families: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(family(row), []).append(row)
    for members in families.values():
        enough = np.array([row["n_seeds"] >= FEWEST_SEEDS for row in members])
        adjusted = statistics.adjust(np.where(enough, [row["p"] for row in members], np.nan))
        for row, p in zip(members, adjusted, strict=True):
            row["p_adjusted"] = float(p)
            if row["n_seeds"] < FEWEST_SEEDS and not row["reason"]:
                row["reason"] = f"{row['n_seeds']} seeds are too few to adjust p for the number of tests"
    return rows


def _controls(corpus: pl.DataFrame) -> dict[str, str]:
    """The variant that controls for each intervention."""
    return dict(corpus.drop_nulls("control_of").select("control_of", "variant").iter_rows())


def _intervention(variant: str) -> Intervention | None:
    """None for a variant that is not named as configs name interventions."""
    try:
        return parse_intervention(variant)
    except ValueError:
        return None


def _removed(variant: str) -> str:
    found = _intervention(variant)
    return "" if found is None else found.removed
