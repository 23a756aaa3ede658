"""From ``gradients/STEP.npz`` to the tables of alignment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from npi_jax.analysis.alignment import items as alignment_items
from npi_jax.analysis.alignment.estimators import BEYOND, REASONS, Alignment, align, sign_conflict
from npi_jax.analysis.alignment.grams import ALL, Grams, load_grams
from npi_jax.analysis.alignment.means import MEAN_SCHEMA, mean_table
from npi_jax.errors import UserError
from npi_jax.results.directory import Run

DIVERGED: Final = "diverged"
BEYOND_ONE: Final = REASONS[BEYOND]

_HEAD: Final = {"member": pl.Int64, "variant": pl.String, "seed": pl.Int64, "step": pl.Int64}
_PAIR: Final = {"group": pl.String, "task_i": pl.String, "task_j": pl.String}
_SCHEMAS: Final[dict[str, dict[str, type[pl.DataType]]]] = {
    "alignment": {
        **_HEAD,
        **_PAIR,
        **dict.fromkeys(("corrected", "naive"), pl.Float64),
        "reliable": pl.Boolean,
        "reason": pl.String,
        **dict.fromkeys(("se", "adam", "sign_conflict"), pl.Float64),
        **dict.fromkeys(("adam_reason", "suite", "kind"), pl.String),
        "ratio": pl.Float64,
    },
    "gradients": {
        **_HEAD,
        **dict.fromkeys(("group", "task"), pl.String),
        **dict.fromkeys(("norm", "norm_low", "norm_high", "noise_scale", "reliability"), pl.Float64),
        "reliable": pl.Boolean,
        "reason": pl.String,
    },
    "alignment_mean": MEAN_SCHEMA,
    "alignment_npi": {
        **_HEAD,
        **_PAIR,
        "npis": pl.String,
        "corrected": pl.Float64,
        "n_products": pl.Int64,
        "reliable": pl.Boolean,
        "reason": pl.String,
        "ratio": pl.Float64,
    },
    "overlap": {
        **_HEAD,
        **_PAIR,
        "k": pl.Int64,
        "overlap": pl.Float64,
        "ceiling": pl.Float64,
        "reason": pl.String,
    },
    "lookahead": {
        **_HEAD,
        **dict.fromkeys(("task_i", "task_j"), pl.String),
        "change": pl.Float64,
        "first_order": pl.Float64,
    },
}


def alignment_tables(
    run_path: Path, members: pl.DataFrame, tasks: Sequence[str] = (), *, k: int = alignment_items.DIRECTIONS
) -> dict[str, pl.DataFrame]:
    """The tables alignment, gradients, alignment_mean, alignment_npi, overlap and lookahead of a run.

    Numbers of a diverged member are NaN with the reason "diverged" in all tables of members, and are left out of
    alignment_mean. The last three tables are empty where no file holds products of items or lookahead.

    Args:
        run_path: run directory; its gradients/STEP.npz are read.
        members: one row a member with member, variant, seed, learning_rate, weight_decay, dropout and status; sorted by
            member they are the first axis of the arrays.
        tasks: the order of tasks in the tables; others follow in the order of the files, ordinary text last.
        k: directions that subspaces are compared in.

    Returns:
        by name; nothing if there is no folder gradients/.

    Raises:
        UserError: naming the file, if one cannot be read, or holds another number of members.
    """
    folder = Path(run_path) / "gradients"
    if not folder.is_dir():
        return {}
    members = members.sort("member")
    found: dict[str, list[pl.DataFrame]] = {name: [] for name in _SCHEMAS}
    run = Run(Path(run_path))
    for step, path in run.files("gradients").items():
        run.check_written(path)
        part = _Part(step, load_grams(path).with_sums().ordered(tasks), members)
        if len(part.grams.gram) != len(members):
            raise UserError(f"{path}: gram is of {len(part.grams.gram)} members, the run has {len(members)}")
        for name, table in part.tables(k).items():
            found[name].append(table)
    return {name: pl.concat([pl.DataFrame(schema=_SCHEMAS[name]), *parts]) for name, parts in found.items()}


@dataclass(frozen=True)
class _Part:
    """One checkpoint."""

    step: int
    grams: Grams
    members: pl.DataFrame

    def tables(self, k: int) -> dict[str, pl.DataFrame]:
        """Its rows of every table that it has numbers for."""
        grams, n_batches = self.grams, self.grams.n_items.shape[1]
        found = align(grams.gram, grams.n_items)
        adam = align(grams.gram_adam, grams.n_items)
        conflict = sign_conflict(grams.gram, grams.gram_abs, n_batches)
        tables = {
            "alignment": self._alignment(found, adam, conflict),
            "gradients": self._gradients(found),
            "alignment_mean": mean_table(self.step, grams, self.members, found, adam, conflict),
        }
        if grams.items is not None:
            tables["alignment_npi"] = self._npis()
            tables["overlap"] = self._overlap(k)
        if grams.lookahead is not None:
            tables["lookahead"] = self._lookahead()
        return tables

    @property
    def ok(self) -> np.ndarray:
        """[members], who has not diverged."""
        return (self.members["status"] == "ok").to_numpy()

    def _alignment(self, found: Alignment, adam: Alignment, conflict: np.ndarray) -> pl.DataFrame:
        first, second = np.triu_indices(len(self.grams.tasks))
        numbers = {
            "corrected": found.corrected,
            "ratio": found.ratio,
            "naive": found.naive,
            "se": found.se,
            "adam": adam.corrected,
            "sign_conflict": conflict,
        }
        columns = {name: self._kept(value[..., first, second]) for name, value in numbers.items()}
        reasons = self._because(found.reasons(self.grams.tasks)[..., first, second])
        columns |= {"reason": reasons, "reliable": reasons == ""}
        columns["adam_reason"] = self._because(adam.reasons(self.grams.tasks)[..., first, second])
        columns |= {name: np.full(reasons.shape, getattr(self.grams, name), object) for name in ("suite", "kind")}
        pairs = {"task_i": self._tasks(first), "task_j": self._tasks(second)}
        return self._frame("alignment", columns, {"group": self.grams.groups}, pairs)

    def _gradients(self, found: Alignment) -> pl.DataFrame:
        names = ("norm", "norm_low", "norm_high", "noise_scale", "reliability")
        columns = {name: self._kept(getattr(found, name)) for name in names}
        reasons = self._because(found.task_reasons(self.grams.tasks))
        columns |= {"reason": reasons, "reliable": reasons == ""}
        return self._frame("gradients", columns, {"group": self.grams.groups}, {"task": self.grams.tasks})

    def _npis(self) -> pl.DataFrame:
        items = self.grams.items
        assert items is not None
        tasks = self._item_tasks(items.task)
        strata = alignment_items.npi_strata(items.gram, items.task, items.npi, tasks)
        if not strata:
            return pl.DataFrame(schema=_SCHEMAS["alignment_npi"])
        shape = (*items.gram.shape[:2], len(strata))
        reasons = np.full(shape, "", dtype=object)
        for place, stratum in enumerate(strata):
            reasons[..., place] = _npi_reasons(stratum, tasks[stratum.first], tasks[stratum.second])
        reasons = self._because(reasons)
        columns = {
            "corrected": self._kept(np.stack([stratum.corrected for stratum in strata], axis=-1)),
            "ratio": self._kept(np.stack([stratum.ratio for stratum in strata], axis=-1)),
            "n_products": np.broadcast_to(np.array([stratum.n_products for stratum in strata]), shape),
            "reason": reasons,
            "reliable": reasons == "",
        }
        named = {
            "task_i": [tasks[stratum.first] for stratum in strata],
            "task_j": [tasks[stratum.second] for stratum in strata],
            "npis": [stratum.npis for stratum in strata],
        }
        return self._frame("alignment_npi", columns, {"group": self.grams.groups}, named)

    def _overlap(self, k: int) -> pl.DataFrame:
        items = self.grams.items
        assert items is not None
        tasks = self._item_tasks(items.task)
        overlap, ceiling, state = alignment_items.subspace_overlap(items.gram, items.task, tasks, k)
        first, second = np.triu_indices(len(tasks), 1)
        texts = {
            alignment_items.TOO_FEW: f"{{}} has fewer than {4 * k} items",
            alignment_items.NOT_FINITE: "not finite",
            alignment_items.LOW_RANK: f"gradients of {{}} have fewer than {k} directions",
        }
        book = np.full((max(texts) + 1, len(tasks)), "", dtype=object)
        for number, text in texts.items():
            book[number] = [text.format(task) for task in tasks]
        of_task = book[state, np.arange(len(tasks))]
        reasons = np.where(of_task[..., first] != "", of_task[..., first], of_task[..., second])
        columns = {
            "k": np.full(reasons.shape, k),
            "overlap": self._kept(overlap[..., first, second]),
            "ceiling": self._kept(ceiling[..., first, second]),
            "reason": self._because(reasons),
        }
        pairs = {"task_i": [tasks[t] for t in first], "task_j": [tasks[t] for t in second]}
        return self._frame("overlap", columns, {"group": self.grams.groups}, pairs)

    def _lookahead(self) -> pl.DataFrame:
        """With ``first_order``: what the products of the two halves say the step should do."""
        ahead, tasks = self.grams.lookahead, self.grams.tasks
        assert ahead is not None
        n_tasks, n_batches = self.grams.n_items.shape
        gram = self.grams.gram[:, self.grams.groups.index(ALL)].reshape(-1, n_tasks, n_batches, n_tasks, n_batches)
        number, half = np.arange(n_batches), n_batches // 2
        # As in the step itself: of an odd number the last is in neither half.
        first, second = number < half, (number >= half) & (number < 2 * half)
        predicted = np.zeros(ahead.change.shape)
        for taken, other in ((first, second), (second, first)):
            own = gram[:, :, taken][..., taken].mean(axis=(2, 4))
            squared = np.diagonal(own, axis1=1, axis2=2)
            across = gram[:, :, taken][..., other].mean(axis=(2, 4))
            predicted += across / np.sqrt(np.where(squared > 0, squared, np.nan))[:, :, None] / 2
        predicted *= (ahead.step * ahead.parameter_norm)[:, None, None]
        columns = {name: self._kept(value) for name, value in (("change", ahead.change), ("first_order", predicted))}
        return self._frame("lookahead", columns, {"task_i": tasks}, {"task_j": tasks})

    def _tasks(self, numbers: np.ndarray) -> list[str]:
        return [self.grams.tasks[number] for number in numbers]

    def _item_tasks(self, present: Sequence[str]) -> list[str]:
        return [task for task in self.grams.tasks if task in present]

    def _kept(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.ok.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)

    def _because(self, reasons: np.ndarray) -> np.ndarray:
        return np.where(self.ok.reshape(-1, *[1] * (reasons.ndim - 1)), reasons, DIVERGED)

    def _frame(self, table: str, columns: dict[str, np.ndarray], *axes: Mapping[str, Sequence[str]]) -> pl.DataFrame:
        """A row for each entry of ``columns`` [members, ...]; ``axes`` name the entries of the axes after the first."""
        schema = _SCHEMAS[table]
        shape = next(iter(columns.values())).shape
        first, *places = np.indices(shape).reshape(len(shape), -1)
        series = [pl.repeat(self.step, len(first), dtype=pl.Int64, eager=True).alias("step")]
        series += [self.members[name].gather(first) for name in ("member", "variant", "seed")]
        for place, named in zip(places, axes, strict=True):
            series += [pl.Series(name, list(names), dtype=pl.String).gather(place) for name, names in named.items()]
        for name, values in columns.items():
            flat = values.ravel()
            series.append(pl.Series(name, flat.tolist() if schema[name] == pl.String else flat))
        return pl.DataFrame(series).select(pl.col(name).cast(its) for name, its in schema.items())


def _npi_reasons(stratum: alignment_items.Stratum, first: str, second: str) -> np.ndarray:
    """Why a stratum's value is missing, [members, groups]."""
    one, two = stratum.bad[..., 0], stratum.bad[..., 1]
    norms = np.where(one & two, f"norms of {first} and {second} are not told from 0", "")
    norms = np.where(one & ~two, f"norm of {first} is not told from 0", norms)
    norms = np.where(two & ~one, f"norm of {second} is not told from 0", norms)
    few = f"fewer than {alignment_items.MIN_ITEMS} such items in {first} or {second}"
    texts = {alignment_items.NOT_FINITE: "not finite", alignment_items.NO_COMMON: few}
    texts[alignment_items.BEYOND] = BEYOND_ONE
    book = np.array([texts.get(state, "") for state in range(max(texts) + 1)], dtype=object)
    known = np.where(stratum.state <= max(texts), stratum.state, 0)
    return np.where(stratum.state == alignment_items.NOT_POSITIVE, norms, book[known])
