"""A run directory, opened for reading (`npi_jax.experiment.claim` opens one for writing).

```
RUN/
  config.json              the complete configuration
  manifest.json            versions, devices, digests of the data, model, scoring conventions, seconds; its entry
                           "npi_jax" marks the folder as a run and holds the version of this layout
  checksums.json           SHA-256 of config.json, tokenizer/* and the tables of this folder
  members.parquet          the models, with their hyper-parameters and status
  corpus.parquet, slots.parquet, examples.parquet, environments.parquet
                           the variants of the corpus: contents, changed sentences, examples, surface overlap
  ngram.parquet            scores of a 5-gram model of each variant's text
  tokenizer/               the vocabulary
  log.jsonl                one line per checkpoint: step, time, tokens, tokens_per_second, mfu (if the peak rate of the
                           devices is known), seconds/KIND, losses and accuracies by variant and by member. Only this
                           file and the manifest contain clock times.
  metrics/STEP.parquet     losses of every member at a checkpoint
  scores/STEP.parquet      scores of every member on every minimal pair at a checkpoint
  gradients/STEP.npz       products of task gradients at a checkpoint: gram, gram_adam and gram_abs have shape
                           [members, groups, vectors, vectors], with micro-batch k of task t as vector ``t * K + k``;
                           further arrays are groups, tasks and n_items, and at the last step item_gram, item_task,
                           item_npi, item_name, lookahead and parameter_norm (docs/concepts/alignment.md)
  {metrics,scores,gradients,tables}/checksums.json
                           SHA-256 of the files of the folder, verified whenever one is read
  checkpoints/STEP/        parameters and optimizer state of all members (Orbax)
  tables/NAME.parquet      tables of the analysis
  report/index.html        the report
  figures/*.{png,svg,csv}  the figures of the report and their data
```

`npi_jax.results.schema` declares the columns of every table, with types, units and meanings;
``print(run.describe("transfer"))`` prints them.
"""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pydantic

from npi_jax.files import checksums
from npi_jax.files.writing import file_digest, read_checked, read_table
from npi_jax.results import manifest, schema
from npi_jax.results.columns import Table
from npi_jax.results.folder import CONFIG, OF_GRADIENTS, STEP_FOLDERS, TABLES, RunError, step_files
from npi_jax.results.table_files import read_declared
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_learning import Curves
from npi_jax.results.tables_link import Link
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_training import Members, Metrics, Scores
from npi_jax.results.tables_transfer import Transfer

__all__ = ["Run", "RunError", "open_run"]

_VALUES = pydantic.TypeAdapter(dict[str, Any]).validate_json
_NO_GRADIENTS = "the run compared no gradients (gradients.enabled)"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory, opened for reading; tables are read on request and verified against their checksums."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration as a dict of plain Python values."""
        self.check_written(self.path / CONFIG)
        return read_checked(self.path / CONFIG, _VALUES)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest: versions, devices, data and settings of the run so far."""
        return manifest.read_manifest(self.path)

    def update_manifest(self, **values: Any) -> None:
        """Set entries of the manifest and write it."""
        manifest.write_manifest(self.path, {**self.manifest, **values})

    def members(self) -> pl.DataFrame:
        """Return the table of members, one row each."""
        return self._table(Members.FILE)

    def corpus(self) -> pl.DataFrame:
        """Return the table of variants: the contents and changes of each."""
        return self._table(Corpus.FILE)

    def metrics(self, step: int | None = None) -> pl.DataFrame:
        """Return the losses of every member at one checkpoint, or at all checkpoints if `step` is None."""
        return self._steps(Metrics) if step is None else self._named(self._table(Metrics.file_of(step)))

    def scores(self, step: int | None = None) -> pl.DataFrame:
        """Return the scores of every item at one checkpoint, or at all checkpoints if `step` is None."""
        return self._steps(Scores) if step is None else self._named(self._table(Scores.file_of(step)))

    def curves(self) -> pl.DataFrame:
        """Return accuracy and mean delta of every member, checkpoint, task and region."""
        return self.table(Curves.NAME)

    def alignment(self) -> pl.DataFrame:
        """Return cosines of task gradients by member, step, parameter group and pair of tasks."""
        return self.table(Alignment.NAME)

    def transfer(self) -> pl.DataFrame:
        """Return effects of interventions on each task's final accuracy and delta, learning curve and acquisition."""
        return self.table(Transfer.NAME)

    def link(self) -> pl.DataFrame:
        """Return rank correlations of alignment, or of a surface measure, with transfer."""
        return self.table(Link.NAME)

    def table(self, name: str) -> pl.DataFrame:
        """Return a table of the analysis by its name, as in ``run.table("final")``.

        Raises:
            RunError: if the run was not analyzed yet, or has no such table; the message lists its tables.
        """
        folder = self.path / "tables"
        there = sorted(path.stem for path in folder.glob("*.parquet"))
        if not there:
            raise RunError(f"{folder} has no tables yet; npi-jax report {self.path} makes them")
        if name not in there:
            self._refuse_lost(folder / f"{name}.parquet")
            why = self._why_no_gradients() if name in OF_GRADIENTS else "there is no table of that name"
            raise RunError(f"{folder} has no {name}.parquet: {why}. It has {', '.join(there)}")
        return self._table(f"tables/{name}.parquet")

    def _why_no_gradients(self) -> str:
        """Return why there is no table that is made from gradients."""
        if step_files(self.path / "gradients", STEP_FOLDERS["gradients"]):
            return f"the tables are those of an earlier version; npi-jax report {self.path} makes them again"
        enabled = self.config.get("gradients", {}).get("enabled", False)
        return f"there are no gradients in {self.path / 'gradients'}" if enabled else _NO_GRADIENTS

    @staticmethod
    def describe(name: str) -> str:
        """Return the meaning of a table and of each of its columns: ``print(run.describe("transfer"))``.

        Raises:
            UserError: if there is no table of this name.
        """
        return schema.describe(name)

    def steps(self, folder: str) -> list[int]:
        """Return the steps for which `folder` (``metrics``, ``scores`` or ``gradients``) has a file."""
        return list(step_files(self.path / folder, STEP_FOLDERS[folder]))

    def whole_steps(self, folder: str) -> list[int]:
        """Return the steps whose file matches its checksum."""
        sums = checksums.noted(self.path / folder)
        files = step_files(self.path / folder, STEP_FOLDERS[folder])
        return [step for step, file in files.items() if sums.get(file.name) == file_digest(file)]

    def files(self, folder: str) -> dict[int, Path]:
        """Return the files of `folder` by step.

        Raises:
            RunError: naming a file that is missing although it has a checksum.
        """
        ending = STEP_FOLDERS[folder]
        for name in checksums.noted(self.path / folder):
            if name.endswith(ending):
                self._refuse_lost(self.path / folder / name)
        return step_files(self.path / folder, ending)

    def note_written(self, path: Path) -> None:
        """Record the checksum of a file of the run, so that later damage can be detected."""
        checksums.note(self._noted_in(path), [path])

    def check_written(self, path: Path) -> None:
        """Raise an error if a file of the run is damaged, or is missing although it has a checksum.

        Raises:
            RunError: naming the file.
        """
        folder = self._noted_in(path)
        self._refuse_lost(path)
        try:
            checksums.check(folder, path, self._advice(path))
        except checksums.DamagedError as error:
            raise RunError(str(error)) from error

    def _noted_in(self, path: Path) -> Path:
        """Return the folder whose checksums.json covers a file; for tokenizer/, this is the run directory."""
        return self.path if path.parent.name == "tokenizer" else path.parent

    def _refuse_lost(self, path: Path) -> None:
        folder = self._noted_in(path)
        if not path.exists() and path.relative_to(folder).as_posix() in checksums.noted(folder):
            raise RunError(f"{path} was written, and is gone{self._advice(path)}")

    def _advice(self, path: Path) -> str:
        name = path.relative_to(self.path).as_posix()
        if name.startswith("tables/") or name == Members.FILE:
            return f". npi-jax report {self.path} rebuilds it"
        if name == CONFIG:
            return ". npi-jax run with the configuration as it was rewrites it"
        if name in TABLES or name.startswith("tokenizer/"):
            return ". The command that trained (npi-jax run) rebuilds it"
        return (
            ". The command that trained (npi-jax run) resumes from the checkpoint before it, if that was kept, and "
            "rewrites it; otherwise restore it from a copy"
        )

    def _steps(self, table: type[Table]) -> pl.DataFrame:
        files = self.files(table.NAME)
        if not files:
            raise RunError(f"{self.path / table.NAME} has no tables yet; train first (npi-jax run)")
        return self._named(pl.concat([self._table(table.file_of(step)) for step in files]))

    def _named(self, frame: pl.DataFrame) -> pl.DataFrame:
        names = self.members().select(Members.member, Members.variant, Members.seed)
        return frame.join(names, on=Members.member, how="left", maintain_order="left")

    def kept(self, name: str) -> pl.DataFrame | None:
        """Return a table by its path in the run directory; None if it was never written.

        Raises:
            RunError: if the table is damaged, or is missing although it has a checksum.
        """
        path = self.path / name
        self.check_written(path)
        return self._read(name) if path.exists() else None

    def _table(self, name: str) -> pl.DataFrame:
        path = self.path / name
        self.check_written(path)
        if not path.exists():
            raise RunError(f"{path} does not exist; the run has not come that far (npi-jax run continues it)")
        return self._read(name)

    def _read(self, name: str) -> pl.DataFrame:
        table = schema.of_file(name)
        # Read a file that is not in the schema, such as one added by the user, without comparing it.
        return read_table(self.path / name) if table is None else read_declared(self.path / name, table)


def open_run(path: str | Path) -> Run:
    """Open a run directory for reading.

    Raises:
        RunError: if there is no run at `path`.
        ManifestError: if the manifest is damaged, or was written by a newer version.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"{path} does not exist; give a run directory, for example runs/quickstart")
    if not manifest.is_run(path):
        above = next((parent for parent in path.resolve().parents if manifest.is_run(parent)), None)
        hint = f"; did you mean {above}?" if above else ""
        raise RunError(f"{path} is not a run directory: npi-jax wrote no {manifest.FILE} there{hint}")
    manifest.read_manifest(path)
    run = Run(path)
    run.check_written(path / CONFIG)
    if not (path / CONFIG).exists():
        raise RunError(f"{path / CONFIG} is gone{run._advice(path / CONFIG)}")
    return run
