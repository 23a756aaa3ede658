import dataclasses

import polars as pl
from rich.console import Console

from npi_jax.report.pages.terminal import plain_table
from npi_jax.report.prose.transfer_tables import published
from npi_jax.results.tables_learning import Published


def row(tables, task, **changes):
    suite, kind, region = tables.cells()[0]
    numbers = {name: 0.5 for name, dtype in Published.schema().items() if dtype == pl.Float64}
    names = {"source": "Somebody (2021)", "suite": suite, "kind": kind, "region": region, "task": task}
    return names | numbers | {"direction": "open"} | changes


def with_published(tables, *rows):
    frame = pl.DataFrame(list(rows), schema=Published.schema())
    return dataclasses.replace(tables, more={**tables.more, "published": frame})


def test_ours_stands_beside_what_was_published(tables):
    shown = published(
        with_published(
            tables,
            row(tables, "only", held_out=0.61, held_out_low=0.5, held_out_high=0.7, published_held_out=0.744, rank=1),
            row(tables, "adverbs", direction="same", published_effect=-0.071, rank=2, published_rank=1),
        )
    )
    assert shown is not None
    assert shown.title == "Held-out environments beside Somebody (2021): accuracy"
    assert shown.rows[0][2] == "0.610 (0.500 to 0.700)"
    assert shown.rows[0][5] == "0.744"
    assert shown.rows[1][6:] == ["-0.071", "same", "2, 1"]
    assert "Spearman 0.50 (0.50 to 0.50)" in shown.note
    console = Console(width=140, record=True)
    console.print(plain_table(shown))
    assert "without its NPIs" in console.export_text()


def test_without_an_interval_or_a_correlation(tables):
    perfect = published(
        with_published(tables, row(tables, "only", rank_correlation=1.0, rank_low=None, rank_high=None))
    )
    assert perfect is not None
    assert "Spearman 1.00." in perfect.note
    few = published(with_published(tables, row(tables, "only", rank_correlation=None)))
    assert few is not None
    assert "Too few environments" in few.note


def test_runs_that_repeat_nothing_have_no_table(tables):
    assert published(tables) is None
