"""All tables of a run: written whole, none left over from before."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from npi_jax.analysis import tables as module
from npi_jax.analysis.curves import final_table
from npi_jax.analysis.tables import write_tables

SCORES = ("full", "no_npi")
TABLES = ["acquisition", "amplification", "asymmetry", "curves", "eavesdropping", "final", "transfer"]


@dataclass
class Run:
    path: Path

    def members(self):
        return pl.DataFrame(
            {
                "member": [0, 1],
                "variant": SCORES,
                "seed": 0,
                "learning_rate": 0.1,
                "weight_decay": 0.0,
                "dropout": 0.0,
                "status": "ok",
                "skipped_updates": 0,
            }
        )

    def corpus(self):
        return pl.DataFrame(
            {"variant": SCORES, "control_of": pl.Series([None, None], dtype=pl.String), "npi_only": [3, 0]}
        )

    def scores(self):
        rows = [
            {"member": member, "variant": SCORES[member], "seed": 0, "step": step, "item": f"i{item}", "delta": delta}
            for member in (0, 1)
            for step in (0, 4)
            for item, delta in enumerate((1.0 - member, step - 2.0, 0.5))
        ]
        fixed = {"suite": "s", "paradigm": "only", "task": "only", "kind": "licensor", "region": "critical"}
        return pl.DataFrame(rows).with_columns(
            *(pl.lit(value).alias(name) for name, value in fixed.items()),
            ((pl.col("delta").sign() + 1) / 2).alias("correct"),
        )


def test_tables_are_written_whole_and_none_is_left_over(tmp_path, monkeypatch):
    run = Run(tmp_path)
    (tmp_path / "tables").mkdir()
    # Of gradients that were removed to save room the tables are all that is left.
    for name in ("published", "mine", "alignment"):
        run.scores().write_parquet(tmp_path / "tables" / f"{name}.parquet")
    folder = write_tables(run)
    assert sorted(path.stem for path in folder.glob("*.parquet")) == sorted([*TABLES, "mine", "alignment"])
    assert pl.read_parquet(folder / "final.parquet").equals(final_table(run.scores(), run.members()))
    transfer = pl.read_parquet(folder / "transfer.parquet")
    assert transfer.filter(outcome="delta")["effect"].to_list() == pytest.approx([-1 / 3])
    before = (folder / "curves.parquet").read_bytes()

    def fail(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(module, "acquisition_table", fail)
    with pytest.raises(RuntimeError):
        write_tables(run)
    assert (folder / "curves.parquet").read_bytes() == before


def test_the_ngram_baseline_stands_beside_the_final_accuracy(tmp_path):
    run = Run(tmp_path)
    ngram = run.scores().filter(step=4, member=0).drop("member", "seed", "step").with_columns(correct=pl.lit(1.0))
    ngram.write_parquet(tmp_path / "ngram.parquet")
    final = pl.read_parquet(write_tables(run) / "final.parquet")
    assert dict(final.filter(task="only").select("variant", "ngram").iter_rows()) == {"full": 1.0, "no_npi": None}
