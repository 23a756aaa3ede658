"""The run directory: what is in it, how it is opened, and who may write to it.

```
RUN/
  config.json            the whole configuration
  manifest.json          what ran: versions, devices, data hashes, model, ScoreSpecs, seconds
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
                         item_name, lookahead, parameter_norm (docs/alignment.md)
  {metrics,scores,gradients}/checksums.json  sha256 of each of these files, verified when it is read
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
                              intervention does to a task, less what the control or baseline does (docs/transfer.md)
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
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import polars as pl
import pydantic

from npi_jax.errors import UserError
from npi_jax.files import file_digest, read_checked, read_json, read_table, write_json

_SUMS = "checksums.json"
_VALUES = pydantic.TypeAdapter(dict[str, Any]).validate_json
_SUMS_FORM = pydantic.TypeAdapter(dict[str, str]).validate_json
_NO_GRADIENTS = "the run compared no gradients (gradients.enabled)"
_OF_GRADIENTS = (
    *("alignment", "alignment_mean", "gradients", "alignment_npi", "overlap", "lookahead"),
    *("link", "link_pairs", "prediction"),
)
"""The tables that a run without gradients does not have."""


class RunError(UserError):
    """A run directory that cannot be used as asked; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Run:
    """An opened run directory; tables are read when asked for."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return read_checked(self.path / "config.json", _VALUES)

    @property
    def manifest(self) -> dict[str, Any]:
        """What ran, as far as it has run."""
        path = self.path / "manifest.json"
        return read_checked(path, _VALUES) if path.exists() else {}

    def update_manifest(self, **values: Any) -> None:
        """Put values into the manifest."""
        write_json(self.path / "manifest.json", {**self.manifest, **values})

    def members(self) -> pl.DataFrame:
        """One row a member."""
        return self._table("members.parquet")

    def corpus(self) -> pl.DataFrame:
        """One row a variant: what is in it and what was changed."""
        return self._table("corpus.parquet")

    def metrics(self) -> pl.DataFrame:
        """Losses of every member at every checkpoint."""
        return self._steps("metrics")

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
        """A table of the analysis by its name, as in ``run.table("final")``.

        Raises:
            RunError: if the run was not analyzed yet, or has no such table (with the names of those it has).
        """
        folder = self.path / "tables"
        there = sorted(path.stem for path in folder.glob("*.parquet"))
        if not there:
            raise RunError(f"{folder} has no tables yet; npi-jax report {self.path} makes them from what there is")
        if name not in there:
            enabled = self.config.get("gradients", {}).get("enabled", False)
            absent = f"there are no gradients in {self.path / 'gradients'}" if enabled else _NO_GRADIENTS
            why = absent if name in _OF_GRADIENTS else "there is no table of that name"
            raise RunError(f"{folder} has no {name}.parquet: {why}. It has {', '.join(there)}")
        return read_table(folder / f"{name}.parquet")

    def steps(self, folder: str) -> list[int]:
        """The steps for which `folder` (``metrics``, ``scores`` or ``gradients``) has a file."""
        return sorted(int(path.stem) for path in (self.path / folder).glob("[0-9]*.*") if path.stem.isdigit())

    def whole_steps(self, folder: str) -> list[int]:
        """Those of the steps whose file holds what was written."""
        sums = self._sums(folder)
        found = []
        for step in self.steps(folder):
            (file,) = (path for path in (self.path / folder).glob(f"{step}.*") if path.stem.isdigit())
            if sums.get(file.name) == file_digest(file):
                found.append(step)
        return found

    def note_written(self, path: Path) -> None:
        """Keep the checksum of a step's file, so that damage to it is found."""
        write_json(path.parent / _SUMS, {**self._sums(path.parent.name), path.name: file_digest(path)})

    def _sums(self, folder: str) -> dict[str, str]:
        path = self.path / folder / _SUMS
        return read_checked(path, _SUMS_FORM) if path.exists() else {}

    def check_written(self, path: Path) -> None:
        """Refuse a step's file that is damaged.

        Raises:
            RunError: naming it.
        """
        wanted = self._sums(path.parent.name).get(path.name)
        if wanted is not None and wanted != file_digest(path):
            raise RunError(
                f"{path} is damaged: its content is not what was written ({path.parent / _SUMS}). The command that "
                "trained goes back to the checkpoint before it and writes it anew"
            )

    def _steps(self, folder: str) -> pl.DataFrame:
        steps = self.steps(folder)
        if not steps:
            raise RunError(f"{self.path / folder} has no tables yet; train first (npi-jax run)")
        return self._named(pl.concat([self._table(f"{folder}/{step}.parquet") for step in steps]))

    def _named(self, frame: pl.DataFrame) -> pl.DataFrame:
        names = self.members().select("member", "variant", "seed")
        return frame.join(names, on="member", how="left", maintain_order="left")

    def _table(self, name: str) -> pl.DataFrame:
        path = self.path / name
        if not path.exists():
            raise RunError(f"{path} does not exist; the run has not come that far (npi-jax run continues it)")
        self.check_written(path)
        return read_table(path)


def open_run(path: str | Path) -> Run:
    """Open a run directory for reading.

    Raises:
        RunError: if there is no run at `path`.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"{path} does not exist; a run directory is wanted, such as runs/quickstart")
    if not (path / "config.json").exists():
        above = next((parent for parent in path.resolve().parents if (parent / "config.json").exists()), None)
        hint = f"; did you mean {above}?" if above else ""
        raise RunError(f"{path} is not a run directory: it has no config.json{hint}")
    return Run(path)


@contextmanager
def claim_run(path: Path, config: Mapping[str, Any]) -> Iterator[Run]:
    """Open a run directory for writing, made if need be; nobody else may write to it meanwhile.

    Raises:
        RunError: if another process holds it, if it belongs to another configuration (with what differs), or if
            the folder holds something that is not a run.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file; run_dir must be a folder or a name that is free")
    # What a run killed at its very start leaves behind is hidden files alone.
    foreign = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")] if path.exists() else []
    if foreign and not (path / "config.json").exists():
        raise RunError(f"{path} is not empty and not a run directory (it holds {foreign[0]}); choose another run_dir")
    path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunError(f"{path} is in use by another process; wait for it, or give this run another run_dir") from None
    try:
        for half in path.rglob(".*.tmp"):
            # Left by a process that was killed while it wrote; nobody else writes here now.
            half.unlink()
        _check_config(path, config)
        yield Run(path)
    finally:
        lock.release()


_NO_MATTER = (
    *("corpus.processes", "corpus.cache", "monitor", "monitor.sinks", "monitor.project", "monitor.watchdog"),
    *("mesh.ens", "mesh.data", "mesh.fsdp", "mesh.mapping", "mesh.rows"),
    *("train.accumulate", "train.remat", "train.steps_per_call", "train.loss_chunk"),
)
"""Fields that say how a run is made, not what is in it; some change the last digits, and the manifest says so."""


_PREPARED = (
    "manifest.json",
    "corpus.parquet",
    "slots.parquet",
    "examples.parquet",
    "environments.parquet",
    "ngram.parquet",
)
"""What preparation leaves in a run directory, the tokenizer apart."""


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    stored_path = path / "config.json"
    # Through JSON, so that tuples and lists do not differ.
    wanted = json.loads(json.dumps({**config, "run_dir": ""}))
    if not stored_path.exists():
        write_json(stored_path, wanted)
        return
    changes = [one for one in _differences(read_json(stored_path), wanted) if one[0] not in _NO_MATTER]
    if changes and not _has_trained(path):
        # Only prepared: nothing is there that another configuration would spoil, but what it made has to go.
        for name in _PREPARED:
            (path / name).unlink(missing_ok=True)
        write_json(stored_path, wanted)
    elif changes:
        raise RunError(
            f"{path} was started with another configuration:\n"
            + "\n".join(f"  {field}: {old!r} there, {new!r} now" for field, old, new in changes)
            + "\nRun with the old values to continue it, or choose another run_dir."
        )


def _has_trained(path: Path) -> bool:
    """Whether a checkpoint or a score is there."""
    return any((path / "scores").glob("*.parquet")) or any((path / "checkpoints").glob("[0-9]*"))


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    elif old != new:
        yield prefix, old, new
