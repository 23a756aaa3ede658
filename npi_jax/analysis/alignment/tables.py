"""Tables of alignment, from ``gradients/STEP.npz``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Shaped

from npi_jax.analysis.alignment import items as item_gradients
from npi_jax.analysis.alignment.contrasts import Values, contrast_table
from npi_jax.analysis.alignment.effective import effective_number, effective_table
from npi_jax.analysis.alignment.estimators import BEYOND, REASONS, align
from npi_jax.analysis.alignment.estimators import Alignment as Estimates
from npi_jax.analysis.alignment.grams import Grams, Items, Lookahead, load_grams
from npi_jax.analysis.alignment.means import mean_cosines, mean_table
from npi_jax.analysis.alignment.products import sign_conflict
from npi_jax.errors import UserError
from npi_jax.results.columns import Column, Table
from npi_jax.results.directory import Run
from npi_jax.results.names import ADAM, ALL, DIVERGED, EFFECTIVE_TASKS, LM, MEAN_COSINE, OK, PLAIN
from npi_jax.results.schema import empty
from npi_jax.results.tables_alignment import (
    Alignment,
    AlignmentContrasts,
    AlignmentMean,
    AlignmentNpi,
    EffectiveTasks,
    Gradients,
    Overlap,
)
from npi_jax.results.tables_alignment import Lookahead as LookaheadTable
from npi_jax.results.tables_training import Members

BEYOND_ONE: Final = REASONS[BEYOND]

_TABLES: Final = {
    table.NAME: table
    for table in (
        *(Alignment, Gradients, AlignmentMean, EffectiveTasks, AlignmentContrasts),
        *(AlignmentNpi, Overlap, LookaheadTable),
    )
}

Axis = Mapping[Column, Sequence[str]]
"""Labels of the entries along an axis, by the column that they fill."""


def alignment_tables(
    run_path: Path, members: pl.DataFrame, tasks: Sequence[str] = (), *, k: int = item_gradients.DIRECTIONS
) -> dict[str, pl.DataFrame]:
    """Return the tables of `npi_jax.results.tables_alignment` by name; an empty dict if there is no folder gradients/.

    In tables with rows for each member, values of diverged members are NaN, with the reason "diverged". Means leave
    diverged members out. The tables of single items and lookahead are empty if no file holds their products.

    Args:
        run_path: run directory; its gradients/STEP.npz are read.
        members: the table `Members`; sorted by member, its rows correspond to the first axis of the arrays.
        tasks: the order of tasks in the tables; others follow in the order of the files, ordinary text last.
        k: number of principal directions of each compared subspace.

    Raises:
        UserError: naming the file, if one cannot be read, or holds another number of members.
    """
    run = Run(Path(run_path))
    if not (run.path / "gradients").is_dir():
        return {}
    members = members.sort(Members.member)
    parts: dict[str, list[pl.DataFrame]] = {name: [empty(table)] for name, table in _TABLES.items()}
    for step, path in run.files("gradients").items():
        run.check_written(path)
        checkpoint = _Checkpoint(step, load_grams(path).with_sums().ordered(tasks), members)
        n_members = len(checkpoint.grams.gram)
        if n_members != len(members):
            raise UserError(f"{path}: gram is of {n_members} members, the run has {len(members)}")
        for name, table in checkpoint.tables(k).items():
            parts[name].append(table)
    return {name: pl.concat(frames) for name, frames in parts.items()}


@dataclass(frozen=True)
class _Checkpoint:
    """Products of gradients at one checkpoint, and the table of the members."""

    step: int
    grams: Grams
    members: pl.DataFrame

    def tables(self, k: int) -> dict[str, pl.DataFrame]:
        """Return this checkpoint's rows of every table for which it has products."""
        grams = self.grams
        found, adam = align(grams.gram, grams.n_items), align(grams.gram_adam, grams.n_items)
        conflict = sign_conflict(grams.gram, grams.gram_abs, grams.n_items.shape[1])
        tables = {
            Alignment.NAME: self._alignment(found, adam, conflict),
            Gradients.NAME: self._gradients(found),
            AlignmentMean.NAME: mean_table(self.step, grams, self.members, found, adam, conflict),
            **self._between_variants({PLAIN: (grams.gram, found), ADAM: (grams.gram_adam, adam)}),
        }
        if grams.items is not None:
            tables[AlignmentNpi.NAME] = self._npis(grams.items)
            tables[Overlap.NAME] = self._overlap(grams.items, k)
        if grams.lookahead is not None:
            tables[LookaheadTable.NAME] = self._lookahead(grams.lookahead)
        return tables

    def _between_variants(self, by_metric: Mapping[str, tuple[np.ndarray, Estimates]]) -> dict[str, pl.DataFrame]:
        """Return effective numbers of tasks and contrasts between variants; empty with fewer than two environments."""
        n_tasks = len(self.grams.tasks) - (LM in self.grams.tasks)
        if n_tasks < 2:
            return {}
        number = {metric: effective_number(gram, its, n_tasks) for metric, (gram, its) in by_metric.items()}
        values: dict[tuple[str, str], Values] = {}
        for metric, (_, its) in by_metric.items():
            values[metric, MEAN_COSINE] = mean_cosines(its, self.grams.tasks)
            values[metric, EFFECTIVE_TASKS] = number[metric].number
        at = (self.step, self.grams.groups, self.members)
        return {
            EffectiveTasks.NAME: effective_table(*at, number, n_tasks),
            AlignmentContrasts.NAME: contrast_table(*at, values),
        }

    def _alignment(
        self, found: Estimates, adam: Estimates, conflict: Float[np.ndarray, "members groups tasks tasks"]
    ) -> pl.DataFrame:
        first, second = np.triu_indices(len(self.grams.tasks))
        numbers = {
            Alignment.corrected: found.corrected,
            Alignment.ratio: found.ratio,
            Alignment.naive: found.naive,
            Alignment.se: found.se,
            Alignment.adam: adam.corrected,
            Alignment.sign_conflict: conflict,
        }
        reasons, adam_reasons = (
            self._because(its.reasons(self.grams.tasks)[..., first, second]) for its in (found, adam)
        )
        columns = {
            **{name: self._kept(value[..., first, second]) for name, value in numbers.items()},
            Alignment.reason: reasons,
            Alignment.reliable: reasons == "",
            Alignment.adam_reason: adam_reasons,
            Alignment.suite: np.full(reasons.shape, self.grams.suite, object),
            Alignment.kind: np.full(reasons.shape, self.grams.kind, object),
        }
        pairs = {Alignment.task_i: self._tasks(first), Alignment.task_j: self._tasks(second)}
        return self._frame(Alignment, columns, {Alignment.group: self.grams.groups}, pairs)

    def _gradients(self, found: Estimates) -> pl.DataFrame:
        reasons = self._because(found.task_reasons(self.grams.tasks))
        columns = {
            Gradients.norm: self._kept(found.norm),
            Gradients.norm_low: self._kept(found.norm_low),
            Gradients.norm_high: self._kept(found.norm_high),
            Gradients.noise_scale: self._kept(found.noise_scale),
            Gradients.reliability: self._kept(found.reliability),
            Gradients.reason: reasons,
            Gradients.reliable: reasons == "",
        }
        return self._frame(Gradients, columns, {Gradients.group: self.grams.groups}, {Gradients.task: self.grams.tasks})

    def _npis(self, items: Items) -> pl.DataFrame:
        tasks = self._item_tasks(items)
        strata = item_gradients.npi_strata(items.gram, items.task, items.npi, tasks)
        if not strata:
            return empty(AlignmentNpi)
        shape = (*items.gram.shape[:2], len(strata))
        reasons = np.full(shape, "", dtype=object)
        for place, stratum in enumerate(strata):
            reasons[..., place] = _npi_reasons(stratum, tasks[stratum.first], tasks[stratum.second])
        reasons = self._because(reasons)
        columns = {
            AlignmentNpi.corrected: self._kept(np.stack([stratum.corrected for stratum in strata], axis=-1)),
            AlignmentNpi.ratio: self._kept(np.stack([stratum.ratio for stratum in strata], axis=-1)),
            AlignmentNpi.n_products: np.broadcast_to([stratum.n_products for stratum in strata], shape),
            AlignmentNpi.reason: reasons,
            AlignmentNpi.reliable: reasons == "",
        }
        named = {
            AlignmentNpi.task_i: [tasks[stratum.first] for stratum in strata],
            AlignmentNpi.task_j: [tasks[stratum.second] for stratum in strata],
            AlignmentNpi.npis: [stratum.npis for stratum in strata],
        }
        return self._frame(AlignmentNpi, columns, {AlignmentNpi.group: self.grams.groups}, named)

    def _overlap(self, items: Items, k: int) -> pl.DataFrame:
        tasks = self._item_tasks(items)
        overlap, ceiling, state = item_gradients.subspace_overlap(items.gram, items.task, tasks, k)
        first, second = np.triu_indices(len(tasks), 1)
        of_task = _overlap_reasons(tasks, k)[state, np.arange(len(tasks))]
        reasons = np.where(of_task[..., first] != "", of_task[..., first], of_task[..., second])
        columns = {
            Overlap.k: np.full(reasons.shape, k),
            Overlap.overlap: self._kept(overlap[..., first, second]),
            Overlap.ceiling: self._kept(ceiling[..., first, second]),
            Overlap.reason: self._because(reasons),
        }
        pairs = {Overlap.task_i: [tasks[t] for t in first], Overlap.task_j: [tasks[t] for t in second]}
        return self._frame(Overlap, columns, {Overlap.group: self.grams.groups}, pairs)

    def _lookahead(self, ahead: Lookahead) -> pl.DataFrame:
        tasks = self.grams.tasks
        columns = {
            LookaheadTable.change: self._kept(ahead.change),
            LookaheadTable.first_order: self._kept(_first_order(self.grams, ahead)),
        }
        return self._frame(LookaheadTable, columns, {LookaheadTable.task_i: tasks}, {LookaheadTable.task_j: tasks})

    def _tasks(self, numbers: np.ndarray) -> list[str]:
        return [self.grams.tasks[number] for number in numbers]

    def _item_tasks(self, items: Items) -> list[str]:
        return [task for task in self.grams.tasks if task in items.task]

    @property
    def _ok(self) -> Bool[np.ndarray, " members"]:
        """Members that have not diverged."""
        return (self.members[Members.status] == OK).to_numpy()

    def _kept(self, values: Float[np.ndarray, " members *rest"]) -> Float[np.ndarray, " members *rest"]:
        """Replace values of diverged members by NaN."""
        return np.where(self._ok.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)

    def _because(self, reasons: Shaped[np.ndarray, " members *rest"]) -> Shaped[np.ndarray, " members *rest"]:
        """Replace reasons of diverged members by "diverged"."""
        return np.where(self._ok.reshape(-1, *[1] * (reasons.ndim - 1)), reasons, DIVERGED)

    def _frame(
        self, table: type[Table], columns: Mapping[Column, Shaped[np.ndarray, " members *rest"]], *axes: Axis
    ) -> pl.DataFrame:
        """Return a table with a row for each array entry; ``axes`` labels the axes after that of the members."""
        shape = next(iter(columns.values())).shape
        first, *places = np.indices(shape).reshape(len(shape), -1)
        series = [pl.repeat(self.step, len(first), dtype=pl.Int64, eager=True).alias(Alignment.step)]
        series += [self.members[name].gather(first) for name in (Members.member, Members.variant, Members.seed)]
        for place, named in zip(places, axes, strict=True):
            series += [pl.Series(name, list(names), dtype=pl.String).gather(place) for name, names in named.items()]
        schema = table.schema()
        for name, values in columns.items():
            flat = values.ravel()
            series.append(pl.Series(name, flat.tolist() if schema[name] == pl.String else flat))
        return pl.DataFrame(series).select(pl.col(name).cast(its) for name, its in schema.items())


def _first_order(grams: Grams, ahead: Lookahead) -> Float[np.ndarray, "members tasks tasks"]:
    """Return the first-order prediction of `Lookahead.change`, from products between halves of the micro-batches."""
    n_tasks, n_batches = grams.n_items.shape
    gram = grams.gram[:, grams.groups.index(ALL)].reshape(-1, n_tasks, n_batches, n_tasks, n_batches)
    number, half = np.arange(n_batches), n_batches // 2
    # Split as training did for the step: if the number is odd, the last micro-batch is in neither half.
    first, second = number < half, (number >= half) & (number < 2 * half)
    predicted = np.zeros(ahead.change.shape)
    for taken, other in ((first, second), (second, first)):
        own = gram[:, :, taken][..., taken].mean(axis=(2, 4))
        squared = np.diagonal(own, axis1=1, axis2=2)
        across = gram[:, :, taken][..., other].mean(axis=(2, 4))
        predicted += across / np.sqrt(np.where(squared > 0, squared, np.nan))[:, :, None] / 2
    predicted *= (ahead.step * ahead.parameter_norm)[:, None, None]
    return predicted


def _overlap_reasons(tasks: Sequence[str], k: int) -> Shaped[np.ndarray, "states tasks"]:
    """Return the reason why each task has no subspace, by state and task."""
    texts = {
        item_gradients.TOO_FEW: f"{{}} has fewer than {4 * k} items",
        item_gradients.NOT_FINITE: "not finite",
        item_gradients.LOW_RANK: f"gradients of {{}} have fewer than {k} directions",
    }
    book = np.full((max(texts) + 1, len(tasks)), "", dtype=object)
    for number, text in texts.items():
        book[number] = [text.format(task) for task in tasks]
    return book


def _npi_reasons(stratum: item_gradients.Stratum, first: str, second: str) -> Shaped[np.ndarray, "members groups"]:
    """Return why a stratum's value is missing."""
    one, two = stratum.bad[..., 0], stratum.bad[..., 1]
    norms = np.where(one & two, f"norms of {first} and {second} are not told from 0", "")
    norms = np.where(one & ~two, f"norm of {first} is not told from 0", norms)
    norms = np.where(two & ~one, f"norm of {second} is not told from 0", norms)
    few = f"fewer than {item_gradients.MIN_ITEMS} such items in {first} or {second}"
    texts = {item_gradients.NOT_FINITE: "not finite", item_gradients.NO_COMMON: few}
    texts[item_gradients.BEYOND] = BEYOND_ONE
    book = np.array([texts.get(state, "") for state in range(max(texts) + 1)], dtype=object)
    known = np.where(stratum.state <= max(texts), stratum.state, 0)
    return np.where(stratum.state == item_gradients.NOT_POSITIVE, norms, book[known])
