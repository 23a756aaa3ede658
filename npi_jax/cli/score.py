"""What ``npi-jax score`` and ``npi-jax export`` do, from their arguments to files and tables on the terminal."""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import polars as pl
from rich.console import Console
from rich.progress import Progress

from npi_jax.analysis.summary import SPEC_KEY, summarize
from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files
from npi_jax.evaluation.digest import same_models
from npi_jax.evaluation.origin import origin_file
from npi_jax.evaluation.scoring import (
    EvaluateError,
    ModelSet,
    check_predictions,
    config_of,
    default_spec,
    open_models,
    open_suite,
    predictions_table,
    score_models,
    unscored,
    with_regions,
)
from npi_jax.files.csv_cells import write_csv
from npi_jax.files.writing import check_output, write_table
from npi_jax.models import save_hf
from npi_jax.models.hf_save import exportable
from npi_jax.results.folder import refuse_own
from npi_jax.scoring import ScoreSpec
from npi_jax.suites import ConditionSuite, Suite
from npi_jax.terminal.tables import TextTable

MAX_ROWS = 80
"""Most paradigms on the terminal; the table on disk has all items."""


def score(arguments: argparse.Namespace, console: Console) -> None:
    """Score models, write the table, print the summary."""
    out = Path(arguments.out)
    if out.suffix not in (".parquet", ".csv"):
        raise EvaluateError(f"--out {out}: the name must end in .parquet or .csv")
    for path in (out, _beside(out)):
        check_output(path, inputs=[Path(arguments.path)] if arguments.path else [])
        refuse_own(path)
    models = open_models(
        arguments.model,
        steps=_steps(arguments.steps),
        members=_numbers(arguments.members, "--members"),
        run_code=arguments.run_code,
    )
    suite = open_suite(arguments.suite, arguments.path, models, limit=arguments.limit)
    spec = make_spec(arguments.spec, arguments.set, default_spec(suite, models))
    if isinstance(suite, ConditionSuite) and arguments.spec and not _sets_regions(arguments.set):
        spec = with_regions(spec, suite)
    if isinstance(suite, ConditionSuite):
        check_predictions(suite, spec)
    console.print(
        f"{len(suite):,} items of {suite.name}, {models.size:,} model{'s' * (models.size > 1)}",
        highlight=False,
        markup=False,
    )
    encoded = suite.encode(models.tokenizer)
    _print_notes(
        [*models.notes, *encoded.notes(), *suite.notes().lines(), *_unlike_training(arguments.suite, spec, models)],
        console,
    )
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=models.size)
        table, scorer = score_models(models, encoded, spec, progress=lambda done: bar.advance(task, done))
    _print_notes([f"warning: {line}" for line in same_models(table)], console)
    spec = scorer.spec
    console.print(f"  spec {spec.described}", highlight=False, markup=False)
    for line in scorer.notes():
        console.print(f"  {line}", highlight=False, markup=False)
    for region, count in unscored(scorer).items():
        line = f"  {count:,} sentences have no region {region!r} that can be scored; left out"
        console.print(line, highlight=False, markup=False)
    _write(out, table, spec)
    console.print(f"{len(table):,} rows -> {out}", highlight=False, markup=False, soft_wrap=True)
    if isinstance(suite, Suite):
        _print_summary(table, spec, console)
    elif suite.predictions:
        _predictions(table, suite, out, spec, console)


def _unlike_training(loader: str, spec: ScoreSpec, models: ModelSet) -> list[str]:
    """How the conventions differ from those by which a run's own tables were scored on suites of this loader."""
    if models.config is None:
        return []
    found = []
    for name, suite in models.config.score.suites.items():
        if (suite.loader or name) == loader and (differing := spec.differences(suite.spec)):
            found.append(f"unlike the run's own scores of {name} ({suite.spec.label} there): {'; '.join(differing)}")
    return found


def _print_notes(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False)


def make_spec(preset: str | None, changes: Sequence[str], default: ScoreSpec) -> ScoreSpec:
    """A preset (or the default) with fields set as ``FIELD=VALUE``.

    Raises:
        EvaluateError: naming the preset, field or value that there is not.
    """
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals or field not in default.to_dict() or field == "name":
            fields = ", ".join(name for name in default.to_dict() if name != "name")
            raise EvaluateError(f"--set {change}: write FIELD=VALUE with one of {fields}")
        values[field] = _value(field, value, default)
    try:
        if preset is not None:
            return ScoreSpec.preset(preset, **values)
        return ScoreSpec.from_dict({**default.to_dict(), **values})
    except ValueError as error:
        raise EvaluateError(f"--spec: {error}" if preset is not None and not values else str(error)) from error


def _value(field: str, text: str, default: ScoreSpec) -> Any:
    if field == "regions":
        return tuple(text.split(","))
    if isinstance(getattr(default, field), bool):
        if text.lower() not in ("true", "false"):
            raise EvaluateError(f"--set {field}={text}: it must be true or false")
        return text.lower() == "true"
    return text


def _sets_regions(changes: Sequence[str]) -> bool:
    return any(change.startswith("regions=") for change in changes)


def _steps(text: str) -> str | list[int]:
    return text if text in ("last", "all") else _numbers(text, "--steps") or []


def _numbers(text: str | None, flag: str) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise EvaluateError(f"{flag} {text}: give whole numbers with commas between them") from None


def _write(path: Path, table: pl.DataFrame, spec: ScoreSpec) -> None:
    if path.suffix == ".csv":
        write_csv(path, table)
    else:
        write_table(path, table, {SPEC_KEY: json.dumps(spec.to_dict())})


def _beside(out: Path) -> Path:
    """Where the predictions go."""
    return out.with_name(f"{out.stem}_predictions{out.suffix}")


def _print_summary(table: pl.DataFrame, spec: ScoreSpec, console: Console) -> None:
    """Accuracy by paradigm: of each model given, or over the members of a run that differ in their seed alone."""
    by, seed = _groups(table), "member" if "member" in table.columns else None
    if "step" in table.columns:
        table = table.filter(pl.col("step") == pl.col("step").max())
    every = summarize(table, by=by, seed=seed, draws=1000)
    summary = every.filter(pl.col("region") == spec.regions[0])
    heads = (*by, "paradigm", "accuracy", "95 %", "delta", "ties", "equal length", "items", "models")
    shown = TextTable(f"accuracy, region {spec.regions[0]}, {spec.label}", heads, words=range(len(by) + 1))
    for row in summary.head(MAX_ROWS).iter_rows(named=True):
        shown.add_row(
            *(str(row[column]) for column in by),
            row["paradigm"],
            f"{row['accuracy']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            f"{row['delta']:+.2f}",
            f"{row['ties']:.1%}",
            f"{row['equal_length']:.0%}",
            f"{row['n_items']:,}",
            f"{row['n_models']:,}",
        )
    console.print(shown)
    if len(summary) > MAX_ROWS:
        console.print(f"and {len(summary) - MAX_ROWS:,} more rows", highlight=False)
    for values, rows in every.group_by(by, maintain_order=True):
        name = ", ".join(map(str, values))
        of_models = table.filter(*(pl.col(column) == value for column, value in zip(by, values, strict=True)))
        for of_what, means in [_over_paradigms(rows), *_over_tasks(of_models)]:
            shown_means = ", ".join(f"{region} {means[region]:.3f}" for region in spec.regions if region in means)
            console.print(f"{name}: mean over {of_what}: {shown_means}", highlight=False, markup=False)


def _over_paradigms(summary: pl.DataFrame) -> tuple[str, dict[str, float]]:
    """By region the mean of the paradigms' accuracies, and what it is over."""
    of_region = summary.group_by("region", maintain_order=True).agg(pl.col("accuracy").mean())
    return f"{summary['paradigm'].n_unique()} paradigms, each counting the same", dict(of_region.iter_rows())


def _over_tasks(scores: pl.DataFrame) -> Iterator[tuple[str, dict[str, float]]]:
    """The same over tasks, kind of pair by kind, as the report has it: a task's paradigms count by their items."""
    correct = pl.when(pl.col("delta").is_finite()).then(pl.col("correct")).otherwise(math.nan)
    tasks = scores.group_by("kind", "region", "task", maintain_order=True).agg(correct.mean().alias("accuracy"))
    for (kind,), rows in tasks.group_by("kind", maintain_order=True):
        of_region = rows.group_by("region", maintain_order=True).agg(pl.col("accuracy").mean())
        yield f"{rows['task'].n_unique()} tasks, {kind} pairs (what a report shows)", dict(of_region.iter_rows())


def _groups(table: pl.DataFrame) -> list[str]:
    """The columns that name what is not averaged over: all before the suite but members, seeds and steps."""
    names = table.columns[: table.columns.index("suite")]
    return [n for n in names if n not in ("member", "seed", "step") and (n != "model" or "member" not in names)]


def _predictions(table: pl.DataFrame, suite: ConditionSuite, out: Path, spec: ScoreSpec, console: Console) -> None:
    found = predictions_table(table, suite, spec).with_columns(pl.lit(spec.label).alias("spec"))
    path = _beside(out)
    _write(path, found, spec)
    console.print(f"{len(found):,} rows -> {path}", highlight=False, markup=False, soft_wrap=True)
    if "step" in found.columns:
        found = found.filter(pl.col("step") == pl.col("step").max())
    by = _groups(table)
    rates = found.group_by([*by, "paradigm", "prediction"], maintain_order=True).agg(
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


def export(arguments: argparse.Namespace, console: Console) -> None:
    """Write one member of a run as a Hugging Face directory."""
    target = Path(arguments.hf)
    check_output(target, folder=True)
    if target.is_symlink() or (target.is_dir() and any(target.iterdir())):
        raise EvaluateError(f"{target} is there already; choose a name that is free")
    steps: str | list[int] = "last" if arguments.step is None else [arguments.step]
    exportable(config_of(Path(arguments.run)).model)
    models = open_models([arguments.run], steps=steps, members=[arguments.member])
    files = {} if arguments.no_tokenizer else hf_tokenizer_files(models.tokenizer)
    (stack, names), *_ = models.batches()
    # The run's name and not its path, for what is exported is often published.
    files |= origin_file({**names[0], "model": Path(arguments.run).resolve().name})
    params = jax.tree.map(lambda leaf: leaf[0], stack)
    tokenizer = models.tokenizer
    kind = save_hf(arguments.hf, models.model, params, start=tokenizer.start, end=tokenizer.end, files=files)
    name = ", ".join(f"{key} {value}" for key, value in names[0].items() if key != "model")
    console.print(f"{name} -> {arguments.hf} ({kind})", highlight=False, markup=False, soft_wrap=True)
