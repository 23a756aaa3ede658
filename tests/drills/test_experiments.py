"""Whole experiments: the quickstart with what it promises, and a short run on real English."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from documents import assert_is_shown
from facts import sentence_with

from npi_jax.report.data.tables import load_tables
from npi_jax.report.prose.verdict import verdict
from npi_jax.results.directory import open_run

pytestmark = pytest.mark.drill


def run(path, config: str, *overrides: str, **environment: str) -> str:
    command = [sys.executable, "-m", "npi_jax.cli", "run", "--config", config, f"--config.run_dir={path}"]
    result = subprocess.run(
        [*command, *overrides],
        env={**os.environ, **environment},
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_quickstart_keeps_its_promises(tmp_path):
    """TEST_QUICKSTART names a run directory of it, which the same command then only goes on with."""
    path = Path(os.environ.get("TEST_QUICKSTART") or tmp_path / "run")
    shown = run(path, "quickstart", COLUMNS="110")
    assert_is_shown(shown.replace(str(path), "runs/quickstart"))
    assert str(path / "report" / "index.html") in shown
    opened = open_run(path)
    assert opened.members().height == 24
    assert (opened.members()["status"] == "ok").all()
    curves = opened.curves().filter(region="critical", kind="licensor")
    means = curves.group_by("variant", "step").agg(pl.col("accuracy").mean()).sort("step")
    at = {(row["variant"], row["step"]): row["accuracy"] for row in means.iter_rows(named=True)}
    last = opened.config["train"]["steps"]
    # Bounds hold in 99 of 100 draws of six seeds, by the spread over seeds.
    assert abs(at["full", 0] - 0.5) < 0.15
    assert at["full", last] >= 0.95
    assert 0.2 <= at["no_npi", last] <= 0.8
    seconds = opened.manifest["seconds"]
    assert seconds["score"] <= 0.15 * seconds["total"]
    # One task or nine: shared where there was something to share, and nothing where there were no NPIs.
    at_end = aligned(opened)
    assert at_end["full", "environments"] >= 0.2
    assert abs(at_end["no_npi", "environments"]) <= 0.15
    # Both of its claims, in all of many draws of six seeds.
    shared, gained, _ = verdict(load_tables(opened))
    assert shared.badge in ("clear", "suggestive")
    assert sentence_with(shared.text, "agree more", "without NPIs")
    assert gained.badge in ("clear", "suggestive")
    assert sentence_with(gained.text, "helps", "only")
    page = (path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.index(shared.badge) < page.index("Final results")


def aligned(opened) -> dict[tuple[str, str], float]:
    """Mean alignment in recurrent weights after the last step, by variant and statistic."""
    table = opened.table("alignment_mean").filter(
        pl.col("group") == "recurrent", pl.col("step") == pl.col("step").max()
    )
    return {(row["variant"], row["statistic"]): row["corrected"] for row in table.iter_rows(named=True)}


@pytest.mark.long
def test_nothing_is_shared_where_the_grammar_shares_nothing(tmp_path):
    path = tmp_path / "run"
    changes = {
        "corpus.grammar.sharing": 0.0,
        "variants": "full,without(only),without(conditional)",
        "gradients.limit": 320,
        "score.every": 300,
        "checkpoints.every": 600,
    }
    run(path, "quickstart", *(f"--config.{field}={value}" for field, value in changes.items()))
    opened = open_run(path)
    at_end = aligned(opened)
    for variant in ("full", "without(only)", "without(conditional)"):
        assert abs(at_end[variant, "environments"]) <= 0.1
    # The same task against itself, from other items: what the estimator gives where all is shared.
    assert abs(at_end["full", "same task"] - 1) <= 0.02
    effects = opened.transfer().filter(kind="licensor", outcome="delta", control="")
    others = effects.filter(pl.col("removed") != pl.col("task"))
    assert others.height == 16
    # Taking one environment away harms no other.
    assert others.filter((pl.col("effect") < 0) & (pl.col("p_adjusted") < 0.05)).is_empty()
    assert others["effect"].median() > effects.filter(pl.col("removed") == pl.col("task"))["effect"].max()


def test_real_english_runs_whole(tmp_path, data_folder):
    path = tmp_path / "run"
    run(
        path,
        "english",
        "--config.seeds=0",
        "--config.train.steps=60",
        "--config.train.batch_size=16",
        "--config.train.learning_rate=0.01",
        "--config.model.hidden=32",
        "--config.model.embedding=32",
        "--config.corpus.max_sentences=8000",
        "--config.score.suites.blimp_npi.limit=10",
        "--config.score.suites.warstadt2019.limit=10",
        "--config.gradients.limit=16",
        "--config.gradients.single_items=4",
        NPI_JAX_DATA=str(data_folder),
    )
    opened = open_run(path)
    assert opened.corpus()["variant"].to_list() == ["full", "no_npi", "random(no_npi)"]
    assert opened.corpus()["tokens"].n_unique() == 1
    npis = opened.corpus().select(pl.sum_horizontal(pl.col("^npi_.*$"))).to_series().to_list()
    assert npis[0] == npis[2] > 100
    assert npis[1] == 0
    last = opened.metrics().filter(step=60)
    assert (last["valid_loss"].exp() < opened.manifest["perplexity"]["unigram"] * 1.5).all()
    suites = opened.curves()["suite"].unique().to_list()
    assert sorted(suites) == ["blimp_npi", "warstadt2019"]
    assert opened.curves().filter(suite="blimp_npi")["task"].n_unique() == 7
    assert opened.curves().filter(suite="warstadt2019")["task"].n_unique() == 9
