"""Tables that ``npi-jax score`` prints: accuracy by paradigm, and the share of items with a true prediction."""

import math
from collections.abc import Iterator

import polars as pl
from rich.console import Console

from npi_jax.analysis.summary import summarize
from npi_jax.scoring import ScoreSpec
from npi_jax.terminal.tables import TextTable

MAX_ROWS = 80
"""Largest number of rows of a table in the terminal; the table on disk has all items."""

DRAWS = 1000
"""Number of bootstrap draws for the intervals."""


def print_summary(table: pl.DataFrame, spec: ScoreSpec, console: Console) -> None:
    """Print the accuracy of each paradigm, and means over paradigms and over tasks.

    Members of a run are averaged over seeds, separately for each variant and hyper-parameter that the table names.
    Hugging Face models are not averaged.

    Args:
        table: from `npi_jax.evaluation.scoring.score_models`; if it has several steps, the last is shown.
        spec: the conventions of the scores.
        console: the terminal.
    """
    by, seed = _groups(table), "member" if "member" in table.columns else None
    if "step" in table.columns:
        table = table.filter(pl.col("step") == pl.col("step").max())
    summary = summarize(table, by=by, seed=seed, draws=DRAWS)
    first = summary.filter(pl.col("region") == spec.regions[0])
    console.print(_accuracy_table(first, by, spec))
    if len(first) > MAX_ROWS:
        console.print(f"and {len(first) - MAX_ROWS:,} more rows", highlight=False)
    for values, rows in summary.group_by(by, maintain_order=True):
        name = ", ".join(map(str, values))
        selected = table.filter(*(pl.col(column) == value for column, value in zip(by, values, strict=True)))
        for averaged, means in [_over_paradigms(rows), *_over_tasks(selected)]:
            shown = ", ".join(f"{region} {means[region]:.3f}" for region in spec.regions if region in means)
            console.print(f"{name}: mean over {averaged}: {shown}", highlight=False, markup=False)


def _accuracy_table(summary: pl.DataFrame, by: list[str], spec: ScoreSpec) -> TextTable:
    heads = (*by, "paradigm", "accuracy", "95 %", "delta", "ties", "equal length", "items", "models")
    shown = TextTable(f"accuracy, region {spec.regions[0]}, {spec.label}", heads, words=range(len(by) + 1))
    for row in summary.head(MAX_ROWS).iter_rows(named=True):
        shown.add_row(
            *(str(row[column]) for column in by),
            row["paradigm"],
            f"{row['accuracy']:.3f}",
            "–" if math.isnan(row["low"]) else f"{row['low']:.3f} to {row['high']:.3f}",
            f"{row['delta']:+.2f}",
            f"{row['ties']:.1%}",
            f"{row['equal_length']:.0%}",
            f"{row['n_items']:,}",
            f"{row['n_models']:,}",
        )
    return shown


def _over_paradigms(summary: pl.DataFrame) -> tuple[str, dict[str, float]]:
    """Return a description of the mean over paradigms, and the mean accuracy in each region."""
    means = summary.group_by("region", maintain_order=True).agg(pl.col("accuracy").mean())
    return f"{summary['paradigm'].n_unique()} paradigms with equal weights", dict(means.iter_rows())


def _over_tasks(scores: pl.DataFrame) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield a description and the mean accuracy of the tasks in each region, for each kind of pairs.

    Items have equal weights within a task, and tasks within the mean, as in the report.
    """
    correct = pl.when(pl.col("delta").is_finite()).then(pl.col("correct")).otherwise(math.nan)
    tasks = scores.group_by("kind", "region", "task", maintain_order=True).agg(correct.mean().alias("accuracy"))
    for (kind,), rows in tasks.group_by("kind", maintain_order=True):
        means = rows.group_by("region", maintain_order=True).agg(pl.col("accuracy").mean())
        yield f"{rows['task'].n_unique()} tasks, {kind} pairs (as in a report)", dict(means.iter_rows())


def print_predictions(results: pl.DataFrame, table: pl.DataFrame, spec: ScoreSpec, console: Console) -> None:
    """Print the share of items for which each prediction is true.

    Args:
        results: from `npi_jax.evaluation.scoring.predictions_table`; if it has several steps, the last is shown.
        table: the scores, whose columns name the models.
        spec: the conventions of the scores.
        console: the terminal.
    """
    if "step" in results.columns:
        results = results.filter(pl.col("step") == pl.col("step").max())
    by = _groups(table)
    rates = results.group_by([*by, "paradigm", "prediction"], maintain_order=True).agg(
        pl.col("result").mean().alias("rate"), pl.len().alias("n"), pl.col("result").null_count().alias("undefined")
    )
    heads = (*by, "paradigm", "prediction", "holds", "items x models", "undefined")
    title = f"share of items for which the prediction holds, {spec.label}"
    shown = TextTable(title, heads, words=range(len(by) + 2))
    for row in rates.head(MAX_ROWS).iter_rows(named=True):
        rate = "-" if row["rate"] is None else f"{row['rate']:.3f}"
        names = (str(row[column]) for column in (*by, "paradigm", "prediction"))
        shown.add_row(*names, rate, f"{row['n']:,}", f"{row['undefined']:,}")
    console.print(shown)


def _groups(table: pl.DataFrame) -> list[str]:
    """Return the columns over whose values no mean is taken: those before the suite, without member, seed and step."""
    names = table.columns[: table.columns.index("suite")]
    return [n for n in names if n not in ("member", "seed", "step") and (n != "model" or "member" not in names)]
