"""The run directory: its files, opened for reading (`npi_jax.experiment.claim` opens one for writing).

```
RUN/
  config.json            the whole configuration
  manifest.json          what ran: versions, devices, data hashes, model, ScoreSpecs, seconds; its entry "npi_jax" marks
                         the folder as a run, with the version of this layout
  checksums.json         sha256 of config.json, members, corpus, slots, examples, ngram, environments and tokenizer/*
  members.parquet        member, variant, seed, learning_rate, weight_decay, dropout, status, skipped_updates
  corpus.parquet         variant, control_of, sentences, tokens, slots_changed, slots_unmatched, edited, injected,
                         npi_LABEL... (items left by what licenses them), contexts_LABEL... (licensors without an item)
  slots.parquet          variant, action (removed, edited, injected), slot, donor, start, tokens, seed, step: what was
                         done to which sentence of the corpus (donor: the sentence that stands there now)
  examples.parquet       variant, action, slot, before, after: some of them as text
  tokenizer/             the vocabulary
  log.jsonl              one line a checkpoint: step, time, tokens, tokens_per_second, mfu (where the devices' peak is
                         known), seconds/KIND, losses and accuracies by variant and by member (clock times are here
                         and in the manifest, nowhere else)
  metrics/STEP.parquet   member, step, train_loss, valid_loss, skipped_updates
  scores/STEP.parquet    member, step, suite, paradigm, task, kind, item, region, spec, delta, good, bad, correct,
                         n_good, n_bad
  ngram.parquet          variant, suite, paradigm, task, kind, item, region, delta, correct: of a 5-gram model of each
                         variant's text (interpolated Kneser-Ney)
  environments.parquet   task_i, task_j, ngram_overlap, npi_overlap, npis_i, npis_j, in the full corpus
  gradients/STEP.npz     groups, tasks, n_items; gram, gram_adam, gram_abs [members, groups, vectors, vectors], vector
                         ``t * K + k`` being micro-batch k of task t; at the last step item_gram, item_task, item_npi,
                         item_name, lookahead, parameter_norm (docs/concepts/alignment.md)
  {metrics,scores,gradients,tables}/checksums.json  sha256 of each of these files, verified when it is read
  checkpoints/STEP/      Orbax: parameters and optimizer state of all members
  tables/curves.parquet  member, variant, seed, step, suite, paradigm, task, kind, region, accuracy, delta, ties,
                         n_items
  tables/final.parquet   accuracy and delta of each variant and task at the last step, with intervals, and the 5-gram's
  tables/acquisition.parquet  the step from which each variant's accuracy in a task stays at .75 or more
  tables/alignment.parquet    member, variant, seed, step, group, task_i, task_j, corrected, naive, reliable, reason,
                              se, adam, sign_conflict, adam_reason, suite, kind, ratio: cosines of task gradients; on
                              the diagonal each task with itself; the reasons say why corrected or adam is NaN; ratio is
                              the estimate that means are made of, which may be beyond 1
  tables/alignment_mean.parquet  medians over pairs of tasks by variant, step and group, with intervals, or why not
  tables/gradients.parquet    each task's gradient: norm, noise_scale (items), reliability
  tables/alignment_npi.parquet, overlap.parquet, lookahead.parquet  after the last step: by NPI, subspaces, steps tried
  tables/transfer.parquet     intervention, removed, control, suite, kind, region, task, outcome, effect, low, high, p,
                              p_adjusted, n_seeds, n_items, n_censored, interval_over, reason, baseline: what an
                              intervention does to a task, less what the control or baseline does
                              (docs/concepts/transfer.md)
  tables/asymmetry.parquet    removed_i, removed_j, outcome, effect_ij (of removing i on j), effect_ji, difference, ...
  tables/amplification.parquet  environment, others (kept, removed), share, npis, accuracy, delta, with intervals
  tables/eavesdropping.parquet  task, without, steps_full (of the control where there is one), steps_without, lag_log2,
                              ..., control
  tables/link.parquet         primary, predictor, group, step (-1: mean over training), outcome, statistic (Spearman),
                              p, p_adjusted, n_pairs, n_tasks, n_permutations, reason: does alignment predict transfer
  tables/link_pairs.parquet   removed, task, group, alignment, naive, effect, low, high, n_cells: the pairs behind it
  tables/published.parquet    source, suite, kind, region, task, full, held_out, effect (each with low and high),
                              published_full, published_held_out, published_effect, direction, rank, published_rank,
                              rank_correlation, rank_low, rank_high: where a published experiment is repeated
  tables/prediction.parquet   model, outcome, group, correlation, r2, n_pairs, reason: of tasks left out
  report/index.html      the report; figures/*.{png,svg}
```

Losses are nats a token; `train_loss` is the mean over the steps since the checkpoint before (null at step 0).
`delta`, `good` and `bad` are nats (or as the spec normalizes them); `correct` is 1, 0, or what the spec has for a
tie; `spec` names the `ScoreSpec`, which the manifest has in full; `n_good` and `n_bad` count the tokens scored.
`status` is ``ok``, or ``diverged`` if the last updates were not finite or the validation loss is twice that of
guessing;
`skipped_updates` counts the steps whose update was not finite and was therefore not made.
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
from npi_jax.results.folder import CONFIG, OF_GRADIENTS, STEP_FOLDERS, TABLES, RunError, step_files

__all__ = ["Run", "RunError", "open_run"]

_VALUES = pydantic.TypeAdapter(dict[str, Any]).validate_json
_NO_GRADIENTS = "the run compared no gradients (gradients.enabled)"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory, opened for reading; each table is read on request and compared with its checksum."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration as plain values."""
        self.check_written(self.path / CONFIG)
        return read_checked(self.path / CONFIG, _VALUES)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest: versions, devices, data and settings of the run so far."""
        return manifest.read_manifest(self.path)

    def update_manifest(self, **values: Any) -> None:
        """Set entries of the manifest."""
        manifest.write_manifest(self.path, {**self.manifest, **values})

    def members(self) -> pl.DataFrame:
        """One row a member."""
        return self._table("members.parquet")

    def corpus(self) -> pl.DataFrame:
        """One row a variant: what is in it and what was changed."""
        return self._table("corpus.parquet")

    def metrics(self, step: int | None = None) -> pl.DataFrame:
        """Losses of every member, at one checkpoint or at every one."""
        return self._steps("metrics") if step is None else self._named(self._table(f"metrics/{step}.parquet"))

    def scores(self, step: int | None = None) -> pl.DataFrame:
        """Scores of every item, at one step or at all."""
        return self._steps("scores") if step is None else self._named(self._table(f"scores/{step}.parquet"))

    def curves(self) -> pl.DataFrame:
        """Accuracy and mean delta of every member, checkpoint, task and region."""
        return self.table("curves")

    def alignment(self) -> pl.DataFrame:
        """Cosines of task gradients, by member, step, parameter group and pair of tasks."""
        return self.table("alignment")

    def transfer(self) -> pl.DataFrame:
        """Effects of the interventions on each task's final accuracy and delta, learning curve and acquisition."""
        return self.table("transfer")

    def link(self) -> pl.DataFrame:
        """Whether alignment, or a surface baseline, predicts transfer: rank correlations with p-values."""
        return self.table("link")

    def table(self, name: str) -> pl.DataFrame:
        """Return a table of the analysis by its name, as in ``run.table("final")``.

        Raises:
            RunError: if the run was not analyzed yet, or has no such table (with the names of those it has).
        """
        folder = self.path / "tables"
        there = sorted(path.stem for path in folder.glob("*.parquet"))
        if not there:
            raise RunError(f"{folder} has no tables yet; npi-jax report {self.path} makes them")
        if name not in there:
            self._refuse_lost(folder / f"{name}.parquet")
            enabled = self.config.get("gradients", {}).get("enabled", False)
            absent = f"there are no gradients in {self.path / 'gradients'}" if enabled else _NO_GRADIENTS
            why = absent if name in OF_GRADIENTS else "there is no table of that name"
            raise RunError(f"{folder} has no {name}.parquet: {why}. It has {', '.join(there)}")
        return self._table(f"tables/{name}.parquet")

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
        """Record the checksum of a file of the run, by which later damage is detected."""
        checksums.note(self._noted_in(path), [path])

    def check_written(self, path: Path) -> None:
        """Refuse a file of the run that is damaged, or that is missing although it has a checksum.

        Raises:
            RunError: naming it.
        """
        folder = self._noted_in(path)
        self._refuse_lost(path)
        try:
            checksums.check(folder, path, self._advice(path))
        except checksums.DamagedError as error:
            raise RunError(str(error)) from error

    def _noted_in(self, path: Path) -> Path:
        """Return the folder whose list has a file's checksum; for the vocabulary, this is the run directory."""
        return self.path if path.parent.name == "tokenizer" else path.parent

    def _refuse_lost(self, path: Path) -> None:
        folder = self._noted_in(path)
        if not path.exists() and path.relative_to(folder).as_posix() in checksums.noted(folder):
            raise RunError(f"{path} was written, and is gone{self._advice(path)}")

    def _advice(self, path: Path) -> str:
        name = path.relative_to(self.path).as_posix()
        if name.startswith("tables/") or name == "members.parquet":
            return f". npi-jax report {self.path} rebuilds it"
        if name == CONFIG:
            return ". npi-jax run with the configuration as it was rewrites it"
        if name in TABLES or name.startswith("tokenizer/"):
            return ". The command that trained (npi-jax run) rebuilds it"
        return (
            ". The command that trained (npi-jax run) resumes from the checkpoint before it, if that was kept, and "
            "rewrites it; otherwise restore it from a copy"
        )

    def _steps(self, folder: str) -> pl.DataFrame:
        files = self.files(folder)
        if not files:
            raise RunError(f"{self.path / folder} has no tables yet; train first (npi-jax run)")
        return self._named(pl.concat([self._table(f"{folder}/{file.name}") for file in files.values()]))

    def _named(self, frame: pl.DataFrame) -> pl.DataFrame:
        names = self.members().select("member", "variant", "seed")
        return frame.join(names, on="member", how="left", maintain_order="left")

    def kept(self, name: str) -> pl.DataFrame | None:
        """Return a table by its path in the run directory; None if it was never written.

        Raises:
            RunError: if it is damaged, or is missing although it has a checksum.
        """
        path = self.path / name
        self.check_written(path)
        return read_table(path) if path.exists() else None

    def _table(self, name: str) -> pl.DataFrame:
        path = self.path / name
        self.check_written(path)
        if not path.exists():
            raise RunError(f"{path} does not exist; the run has not come that far (npi-jax run continues it)")
        return read_table(path)


def open_run(path: str | Path) -> Run:
    """Open a run directory for reading.

    Raises:
        RunError: if there is no run at `path`.
        ManifestError: if its manifest is damaged, or of a newer version.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"{path} does not exist; a run directory is wanted, such as runs/quickstart")
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
