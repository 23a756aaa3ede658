"""All tables of a run: written whole, none left over from before."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from declared import make_table

from npi_jax.analysis import tables as module
from npi_jax.analysis.curves import final_table
from npi_jax.analysis.tables import write_tables
from npi_jax.results.tables_preparation import Corpus, Ngram
from npi_jax.results.tables_training import Members, Scores

SCORES = ("full", "no_npi")
TABLES = [
    *("acquisition", "amplification", "asymmetry", "curves", "eavesdropping", "failed_seeds", "final", "gains"),
    *("transfer", "transfer_by_seed", "transfer_pooled"),
]


@dataclass
class Run:
    path: Path

    def members(self):
        return make_table(Members, {"member": [0, 1], "variant": SCORES, "learning_rate": 0.1})

    def corpus(self):
        return make_table(Corpus, {"variant": SCORES, "slots_changed": [0, 3], "npi_only": [3, 0]})

    def scores(self):
        rows = [
            {"member": member, "variant": SCORES[member], "seed": 0, "step": step, "item": f"i{item}", "delta": delta}
            for member in (0, 1)
            for step in (0, 4)
            for item, delta in enumerate((1.0 - member, step - 2.0, 0.5))
        ]
        fixed = {"suite": "s", "paradigm": "only", "task": "only", "kind": "licensor", "region": "critical"}
        frame = pl.DataFrame(rows).with_columns(
            *(pl.lit(value).alias(name) for name, value in fixed.items()),
            ((pl.col("delta").sign() + 1) / 2).alias("correct"),
        )
        return make_table(Scores, frame)


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
    ngram = run.scores().filter(step=4, member=0).with_columns(correct=pl.lit(1.0)).select(Ngram.COLUMNS)
    ngram.write_parquet(tmp_path / Ngram.FILE)
    final = pl.read_parquet(write_tables(run) / "final.parquet")
    assert dict(final.filter(task="only").select("variant", "ngram").iter_rows()) == {"full": 1.0, "no_npi": None}
