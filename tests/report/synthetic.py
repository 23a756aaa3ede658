"""A small synthetic run: 4 variants x 3 seeds x 9 environments x 15 steps."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from declared import make_table
from multitask import write_multitask

from npi_jax.analysis.tables import write_tables
from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.files.checksums import SUMS
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_training import Members, Metrics, Scores

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 800, 1200, 1600, 2000)
VARIANTS = ("full", "no_npi", "no_conditional", "random_removal")
ITEMS = 20


@dataclass
class FakeRun:
    path: Path
    frames: dict[str, pl.DataFrame]
    manifest: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def members(self) -> pl.DataFrame:
        return self.frames["members"]

    def scores(self) -> pl.DataFrame:
        return self.frames["scores"]

    def metrics(self) -> pl.DataFrame:
        return self.frames["metrics"]

    def corpus(self) -> pl.DataFrame:
        return self.frames["corpus"]


def make_run(
    path: Path,
    *,
    variants: tuple[str, ...] = VARIANTS,
    seeds: int = 3,
    environments: tuple[str, ...] = ENVIRONMENTS,
    steps: tuple[int, ...] = STEPS,
    items: int = ITEMS,
    diverged: tuple[int, ...] = (),
    multitask: bool = True,
) -> FakeRun:
    """Make the run's tables; without `multitask` those that a run without gradients had."""
    random = np.random.default_rng(0)
    pairs = [(variant, seed) for variant in variants for seed in range(seeds)]
    members = pl.DataFrame(
        {
            "member": range(len(pairs)),
            "variant": [variant for variant, _ in pairs],
            "seed": [seed for _, seed in pairs],
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "dropout": 0.1,
            "status": ["diverged" if i in diverged else "ok" for i in range(len(pairs))],
            "skipped_updates": [40 if i in diverged else 0 for i in range(len(pairs))],
        }
    )
    frames = {
        "members": make_table(Members, members),
        "scores": make_table(Scores, _scores(random, members, environments, steps, items)),
        "metrics": make_table(Metrics, _metrics(random, pairs, steps)),
        "corpus": make_table(Corpus, _corpus(variants, environments)),
    }
    run = FakeRun(path, frames, _manifest(len(pairs)), {"model": {"kind": "lstm", "width": 64}, "steps": 2000})
    path.mkdir(parents=True, exist_ok=True)
    # What is put in place of these tables is no damage to them.
    (write_tables(run) / SUMS).unlink()
    if multitask:
        write_multitask(run, environments, steps)
    else:
        _as_before(path / "tables")
    return run


def _as_before(folder: Path) -> None:
    """Leave what runs had before gradients and interventions were analyzed."""
    for path in folder.iterdir():
        if path.stem not in ("curves", "final", "acquisition"):
            path.unlink()
    final = pl.read_parquet(folder / "final.parquet")
    final.drop("ngram", strict=False).write_parquet(folder / "final.parquet")


def _scores(random, members, environments, steps, items) -> pl.DataFrame:
    """The first variant learns all, the second nothing, the third little of conditionals, others most."""
    kinds = pl.DataFrame({"kind": ["licensor", "scope"], "ease": [1.0, 0.5]})
    regions = pl.DataFrame({"region": ["critical", "sentence"], "noise": [1.0, 1.5]})
    tasks = pl.DataFrame({"task": environments, "onset": [20 * 1.6**i for i in range(len(environments))]})
    frame = members.select("member", "variant", "seed").join(pl.DataFrame({"step": steps}), how="cross")
    for other in (tasks, kinds, pl.DataFrame({"number": range(items)}), regions):
        frame = frame.join(other, how="cross")
    role = (pl.col("member") // members["seed"].n_unique()).clip(upper_bound=3)
    poor = (role == 2) & (pl.col("task") == "conditional")
    strength = pl.when(role == 0).then(1.0).when(role == 1).then(0.0).when(poor).then(0.35).otherwise(0.8)
    learned = 2.2 * strength * pl.col("ease") * pl.col("step") / (pl.col("step") + pl.col("onset"))
    noise = pl.Series(random.normal(size=len(frame))) * pl.col("noise")
    delta = pl.when(pl.col("step") > 0).then(learned + noise).otherwise(0.0)
    return frame.select(
        "step",
        "member",
        "variant",
        "seed",
        suite=pl.lit("grammar"),
        paradigm=pl.format("{}_{}", "task", "kind"),
        task="task",
        kind="kind",
        item=pl.format("{}-{}-{}", "task", "kind", "number"),
        region="region",
        delta=delta,
        correct=(delta.sign() + 1) / 2,
        good=delta - 20,
        bad=pl.lit(-20.0),
        n_good=pl.lit(7),
        n_bad=pl.lit(7),
    )


def _metrics(random, pairs, steps) -> pl.DataFrame:
    rows = [
        {
            "member": member,
            "variant": variant,
            "seed": seed,
            "step": step,
            "train_loss": None if step == 0 else 3.4 + 3.0 / (1 + step / 40) + 0.02 * random.normal(),
            "valid_loss": 3.5 + 3.0 / (1 + step / 40) + 0.02 * random.normal(),
            "skipped_updates": 0,
        }
        for member, (variant, seed) in enumerate(pairs)
        for step in steps
    ]
    return pl.DataFrame(rows)


def _corpus(variants, environments) -> pl.DataFrame:
    rows = []
    for i, variant in enumerate(variants):
        role = min(i, 3)
        counts = {f"npi_{e}": 0 if role == 1 or (role == 2 and e == "conditional") else 500 for e in environments}
        rows.append(
            {
                "variant": variant,
                "control_of": variants[2] if role == 3 else None,
                "sentences": 40_000,
                "tokens": 312_000,
                "slots_changed": (0, 4500, 500, 500)[role],
                "slots_unmatched": 12 if role == 1 else 0,
                **counts,
                "npi_unlicensed": 3,
            }
        )
    return pl.DataFrame(rows)


def _manifest(members: int) -> dict[str, Any]:
    return {
        "name": "synthetic",
        "command": "npi-jax run configs/quickstart.py",
        "started": "2030-01-02T03:04:05+00:00",
        "versions": {"npi_jax": "0.1.0", "jax": "0.10.2", "python": "3.11.4"},
        "devices": {"platform": "cpu", "count": 2, "ens": 2, "data": 1, "members_per_device": members // 2},
        "model": {"kind": "lstm", "parameters": 123_456},
        "seconds": {
            "prepare": 2.1,
            "compile": 8.25,
            "train": 91.0,
            "score": 12.5,
            "save": 0.4,
            "total": 114.3,
        },
        "tokens_per_second": 54321.0,
        "score_specs": {"grammar": {"bos": True, "region": "critical"}},
        "perplexity": {"unigram": 412.7},
    }
