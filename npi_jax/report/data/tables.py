"""The run's tables as the report uses them: each row labeled with its variant and varying hyper-parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import polars as pl

from npi_jax.analysis.curves import task_curves
from npi_jax.analysis.transfer.empty import empty_variants, with_controls
from npi_jax.analysis.transfer.outcomes import baseline_variant
from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.errors import UserError
from npi_jax.report.data.odd_names import visible_frame, visible_values
from npi_jax.report.format import pretty
from npi_jax.results.directory import Run
from npi_jax.results.names import CRITICAL, KINDS, MEAN_OVER_TASKS, OK, SENTENCE
from npi_jax.results.rules import main_kind, main_region
from npi_jax.results.tables_learning import Curves, FinalResults
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_training import GROUP, HYPERPARAMETERS, Members

# Tables that only some runs have. Values state whether a row belongs to a member, a group of members, or neither ("").
_MORE: Final[Mapping[str, str]] = {
    "alignment": "member",
    "gradients": "member",
    "alignment_npi": "member",
    "overlap": "member",
    "lookahead": "member",
    "alignment_mean": "group",
    "effective_tasks": "group",
    "alignment_contrasts": "group",
    "failed_seeds": "member",
    "transfer": "",
    "transfer_pooled": "",
    "asymmetry": "",
    "amplification": "",
    "gains": "",
    "eavesdropping": "",
    "link": "",
    "link_pairs": "",
    "prediction": "",
    "published": "",
}

Cell = tuple[str, str, str]
"""Suite, kind and region of one picture or table."""


@runtime_checkable
class ReportedRun(Protocol):
    """The parts of a run directory that the report reads."""

    @property
    def path(self) -> Path:
        """The run directory."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Versions, devices, seconds and other facts of the run."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration."""

    def members(self) -> pl.DataFrame:
        """Return the table of members, one row each."""

    def metrics(self) -> pl.DataFrame:
        """Return the losses by member and step."""

    def corpus(self) -> pl.DataFrame:
        """Return the table of variants, one row each."""


@dataclass(frozen=True, kw_only=True)
class ReportTables:
    """A run's tables for the report; frames of results have a column ``label``.

    A label is the variant's name, followed by the hyper-parameters that differ between members.

    Attributes:
        path: the run directory.
        members, metrics, corpus: as in the run directory.
        curves: from `task_curves`, without diverged members.
        final, acquisition: from tables/.
        labels: labels in the order of the members, except that the baseline is the first.
        controls: label of each control -> label of the variant that it controls for.
        manifest, config: as in the run directory.
        more: tables that only some runs have, by name; read them with `table`.
    """

    path: Path
    members: pl.DataFrame
    metrics: pl.DataFrame
    corpus: pl.DataFrame
    curves: pl.DataFrame
    final: pl.DataFrame
    acquisition: pl.DataFrame
    labels: tuple[str, ...]
    controls: Mapping[str, str]
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    more: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def table(self, name: str) -> pl.DataFrame | None:
        """Return a table that only some runs have; None if it is absent or empty."""
        found = self.more.get(name)
        return found if found is not None and len(found) else None

    @property
    def empty(self) -> tuple[str, ...]:
        """Labels of the variants that changed nothing; sentences exclude them."""
        return self._labels_of(empty_variants(self.corpus, self._baseline))

    def without_empty(self, frame: pl.DataFrame, column: str) -> pl.DataFrame:
        """Return the rows without variants (or labels) that changed nothing, and without their controls."""
        left_out = with_controls(empty_variants(self.corpus, self._baseline), self.corpus)
        return frame.filter(~pl.col(column).is_in([*left_out, *self._labels_of(left_out)]))

    @property
    def _baseline(self) -> str:
        return str(self.members.filter(pl.col("label") == self.labels[0])[Members.variant][0])

    def _labels_of(self, variants: list[str]) -> tuple[str, ...]:
        chosen = set(self.members.filter(pl.col(Members.variant).is_in(variants))["label"])
        return tuple(label for label in self.labels if label in chosen)

    def scored(self, cell: Cell) -> str:
        """Name the region of the sentences that is scored in a cell."""
        suite, _, region = cell
        if region == CRITICAL:
            # A suite of pairs without critical regions can be scored by another region.
            region = self.manifest.get("suites", {}).get(suite, {}).get("region", region)
        names = {CRITICAL: "the critical region", SENTENCE: "the whole sentence"}
        return names.get(region, f"the region “{pretty(region)}”")

    @property
    def last_step(self) -> int:
        """The last scored step."""
        return int(self.final[FinalResults.step].max())  # type: ignore[arg-type]

    @property
    def planned_steps(self) -> int:
        """The configuration's last step; the last scored one if the configuration has none."""
        return int(self.config.get("train", {}).get("steps", self.last_step))

    def called(self, step: int) -> str:
        """Name a step; if it is the last scored one, as the end of training or as progress so far."""
        if step != self.last_step:
            return f"step {step:,}"
        return f"the end of training (step {step:,})" if step >= self.planned_steps else self.so_far

    @property
    def so_far(self) -> str:
        """Progress of training, as in ``step 150 of 600``."""
        return f"step {self.last_step:,} of {self.planned_steps:,}"

    def cells(self) -> list[Cell]:
        """List one (suite, kind, region) for every suite and kind, with the critical region if there is one.

        The suite used for comparing gradients comes first, and thus at the start of the report.
        """
        found = (
            self.final.group_by(FinalResults.suite, FinalResults.kind)
            .agg(pl.col(FinalResults.region).unique())
            .to_dicts()
        )
        order = {kind: place for place, kind in enumerate(KINDS)}
        main = self.manifest.get("gradients", {}).get("suite")
        place = {
            row[FinalResults.kind]: (order.get(row[FinalResults.kind], len(KINDS)), row[FinalResults.kind])
            for row in found
        }
        found.sort(
            key=lambda row: (row[FinalResults.suite] != main, row[FinalResults.suite], *place[row[FinalResults.kind]])
        )
        return [
            (row[FinalResults.suite], row[FinalResults.kind], main_region(row[FinalResults.region])) for row in found
        ]

    def main_cells(self) -> list[Cell]:
        """List the cell of the main kind of every suite."""
        by_suite: dict[str, dict[str, Cell]] = {}
        for cell in self.cells():
            by_suite.setdefault(cell[0], {})[cell[1]] = cell
        return [cells[main_kind(list(cells))] for cells in by_suite.values()]

    def tasks(self, cell: Cell) -> list[str]:
        """List the cell's tasks without the mean: environments in their usual order, then others by name."""
        present = set(of_cell(self.final, cell)[FinalResults.task]) - {MEAN_OVER_TASKS}
        return [name for name in ENVIRONMENTS if name in present] + sorted(present - set(ENVIRONMENTS))


def of_cell(frame: pl.DataFrame, cell: Cell) -> pl.DataFrame:
    """Return the rows of one suite, kind and region."""
    suite, kind, region = cell
    return frame.filter(
        (pl.col(FinalResults.suite) == suite)
        & (pl.col(FinalResults.kind) == kind)
        & (pl.col(FinalResults.region) == region)
    )


def load_tables(run: ReportedRun) -> ReportTables:
    """Read tables/*.parquet of a run and add labels.

    Raises:
        UserError: if the run was not analyzed, or a table is damaged.
    """
    members = visible_frame(run.members())
    varying = [name for name in HYPERPARAMETERS if members[name].n_unique() > 1]
    labels, corpus = _labels(members, varying), visible_frame(run.corpus())
    named = labels.select(*GROUP, "label")

    def label(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.join(named, on=list(GROUP), how="left", nulls_equal=True, maintain_order="left")

    curves = _read(run, "curves")
    by_member = members.select(Members.member, Members.status, *HYPERPARAMETERS)
    metrics = (
        visible_frame(run.metrics())
        .join(by_member, on="member", maintain_order="left")
        .filter(pl.col(Members.status) == OK)
    )
    return ReportTables(
        path=Path(run.path),
        members=label(members),
        metrics=label(metrics),
        corpus=corpus,
        curves=label(task_curves(curves, members)),
        final=label(_read(run, "final")),
        acquisition=label(_read(run, "acquisition")),
        labels=tuple(labels["label"]),
        controls=_controls(labels, corpus),
        manifest=visible_values(run.manifest),
        config=visible_values(run.config),
        more=_more(run, named, label(members).select(Members.member, "label"))
        | {"ties": _ties(curves, label(members))},
    )


def _read(run: ReportedRun, name: str) -> pl.DataFrame:
    frame = Run(Path(run.path)).kept(f"tables/{name}.parquet")
    if frame is None:
        path = Path(run.path) / "tables" / f"{name}.parquet"
        raise UserError(f"{path} does not exist: run npi-jax report {run.path} to make the tables")
    return visible_frame(frame)


def _ties(curves: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Return the share of tied items at each suite's last step; empty for tables without that column."""
    if "ties" not in curves.columns:
        return pl.DataFrame()
    last = curves.filter(pl.col(Curves.step) == pl.col(Curves.step).max().over("suite"))
    share = (pl.col(Curves.ties) * pl.col(Curves.n_items)).sum() / pl.col(Curves.n_items).sum()
    named = last.join(members.select(Curves.member, "label"), on="member", maintain_order="left")
    return named.sort(Curves.member).group_by("label", Curves.suite, maintain_order=True).agg(share.alias(Curves.ties))


def _more(run: ReportedRun, by_group: pl.DataFrame, by_member: pl.DataFrame) -> dict[str, pl.DataFrame]:
    found = {}
    for name, row_is in _MORE.items():
        frame = Run(Path(run.path)).kept(f"tables/{name}.parquet")
        if frame is None:
            continue
        frame = visible_frame(frame)
        if row_is == "group":
            frame = frame.join(by_group, on=list(GROUP), how="left", nulls_equal=True, maintain_order="left")
        elif row_is == "member":
            frame = frame.join(by_member, on="member", how="left", maintain_order="left")
        found[name] = frame
    return found


def _labels(members: pl.DataFrame, varying: list[str]) -> pl.DataFrame:
    groups = members.sort("member").unique(GROUP, keep="first", maintain_order=True).select(GROUP)
    # The reference variant of effects comes first, regardless of its position in the configuration.
    groups = groups.sort(pl.col("variant") != baseline_variant(members), maintain_order=True)
    suffix = [", ".join(f"{pretty(name)} {row[name]:g}" for name in varying) for row in groups.to_dicts()]
    labels = [
        f"{variant} ({text})" if text else variant for variant, text in zip(groups["variant"], suffix, strict=True)
    ]
    return groups.with_columns(
        pl.Series("label", labels, dtype=pl.String), pl.Series("suffix", suffix, dtype=pl.String)
    )


def _controls(labels: pl.DataFrame, corpus: pl.DataFrame) -> dict[str, str]:
    by_place = {(row[Corpus.variant], row["suffix"]): row["label"] for row in labels.to_dicts()}
    control_of = {
        row[Corpus.variant]: row[Corpus.control_of] for row in corpus.to_dicts() if row.get(Corpus.control_of)
    }
    return {
        label: by_place[control_of[variant], suffix]
        for (variant, suffix), label in by_place.items()
        if (control_of.get(variant), suffix) in by_place
    }
