"""Two runs on one page, and the refusal of what cannot be compared."""

import re

import numpy as np
import polars as pl
import pytest
from facts import facts, sentence_with
from synthetic import VARIANTS, make_run
from test_html import Page

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.errors import UserError
from npi_jax.files.writing import write_table
from npi_jax.report import write_comparison
from npi_jax.report.data.tables import load_tables
from npi_jax.report.pages.comparison_page import comparable, difference_interval, difference_tables


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    run = make_run(
        folder, variants=("full", "no_npi", "extra"), seeds=2, environments=ENVIRONMENTS[:3], steps=(0, 8, 64)
    )
    run.manifest["name"] = "<b>wide</b>"
    run.config["model"] = {"kind": "lstm", "width": 128}
    return run


@pytest.fixture(scope="module")
def page(run, other, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "compare.html"
    assert write_comparison(run, other, path) == path
    return path


def test_the_page_has_both_runs(page, tables, other):
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.texts["h1"] == ["synthetic and <b>wide</b>"]
    assert "<b>wide" not in text
    assert not parsed.all("script")
    assert len(parsed.all("figure")) == 4
    said = " ".join(parsed.texts["p"])
    assert "a difference of" in said
    assert sentence_with(said, "alignment between environments", "wide")
    difference = r"; a difference of −?\.\d\d \(95% interval −?\.\d\d to −?\.\d\d\), (not )?significantly different"
    assert re.search(difference, said)
    assert sentence_with(said, "steps", "2,000", "64")
    assert sentence_with(said, "20 of 72", "synthetic")
    assert sentence_with(said, "means over tasks", "different")
    assert "model.width" in parsed.texts["th"]
    figures = page.with_name("compare_figures")
    assert {path.suffix for path in figures.iterdir()} == {".svg", ".png", ".csv"}
    curves = pl.read_csv(figures / "compare_curves_1.csv")
    assert curves.group_by("run").len().sort("run")["len"].to_list() == [2 * 3, 2 * 15]


def test_differences_are_the_second_minus_the_first(tables, other):
    sides = comparable(tables, load_tables(other))
    mean, every = difference_tables(sides, ("grammar", "licensor", "critical"))
    assert [row[0] for row in mean.rows] == ["full", "no_npi"]
    task = ENVIRONMENTS[1]
    both = [
        frame.filter(label="full", kind="licensor", region="critical", task=task)["accuracy"][0]
        for frame in (tables.final, load_tables(other).final)
    ]
    row = next(row for row in every.rows if row[0] == f"full: {task}")
    assert float(row[3].replace("−", "-")) == pytest.approx(100 * (both[1] - both[0]), abs=0.051)
    assert len(every.rows) == 2 * 3


def test_the_interval_of_a_difference_covers_it():
    random = np.random.default_rng(0)
    arms = 1.96 * np.array([1.0, 2.0])
    hits = 0
    for _ in range(2000):
        left, right = random.normal([0.0, 0.5], [1.0, 2.0])
        rows = [{"accuracy": x, "low": x - arm, "high": x + arm} for x, arm in zip((left, right), arms, strict=True)]
        _, low, high = difference_interval(*rows)
        hits += low <= 0.5 <= high
    assert 0.935 < hits / 2000 < 0.965


def test_runs_without_a_common_suite_are_refused(tables, tmp_path):
    run = make_run(tmp_path, seeds=1, environments=("only",), steps=(0, 1), multitask=False)
    for name in ("final", "acquisition", "curves"):
        path = tmp_path / "tables" / f"{name}.parquet"
        write_table(path, pl.read_parquet(path).with_columns(suite=pl.lit("blimp")))
    with pytest.raises(UserError, match=facts("grammar", "blimp", "suite")):
        comparable(tables, load_tables(run))


def test_other_scoring_conventions_are_refused_by_name(run, tables, tmp_path):
    other = make_run(tmp_path, seeds=1, environments=("only",), steps=(0, 1), multitask=False)
    other.manifest["score_specs"] = {"grammar": {"bos": False, "region": "critical"}}
    with pytest.raises(UserError, match=facts("suite grammar", "bos", "True", "False")):
        write_comparison(run, other, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    # Two names may stand for the same conventions.
    other.manifest["score_specs"] = {"grammar": {**run.manifest["score_specs"]["grammar"], "name": "mine"}}
    assert comparable(tables, load_tables(other)).cells


def test_runs_of_one_name_are_told_apart_and_may_share_no_variant(tables, tmp_path):
    run = make_run(tmp_path / "b", variants=("base",), seeds=1, environments=("only",), steps=(0, 1), multitask=False)
    sides = comparable(tables, load_tables(run))
    assert sides.names == (tables.path.name, "b")
    assert sides.labels == [(VARIANTS[0], "base")]
    text = write_comparison(run, run, tmp_path / "same.html").read_text(encoding="utf-8")
    assert "b (1) and b (2)" in text
