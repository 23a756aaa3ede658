"""Scoring of models on disk for ``npi-jax score``: reads flags, writes tables, and prints a summary."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.progress import Progress

from npi_jax.analysis.summary import SPEC_KEY
from npi_jax.cli.actions.score_tables import print_predictions, print_summary
from npi_jax.evaluation.digest import same_models
from npi_jax.evaluation.models import EvaluateError, ModelSet, open_models
from npi_jax.evaluation.scoring import (
    check_predictions,
    default_spec,
    open_suite,
    predictions_table,
    score_models,
    unscored,
    with_regions,
)
from npi_jax.files.csv_cells import write_csv
from npi_jax.files.writing import check_output, write_table
from npi_jax.results.folder import refuse_own
from npi_jax.scoring import Scorer, ScoreSpec
from npi_jax.suites import ConditionSuite, Suite


def score(arguments: argparse.Namespace, console: Console) -> None:
    """Score models, write the table of scores, and print a summary.

    Raises:
        UserError: naming the flag, file or field, if models, suite or spec cannot be used.
    """
    out = Path(arguments.out)
    _check_outputs(out, arguments.path)
    models = open_models(
        arguments.model,
        steps=_steps(arguments.steps),
        members=_numbers(arguments.members, "--members"),
        run_code=arguments.run_code,
    )
    suite = open_suite(arguments.suite, arguments.path, models, limit=arguments.limit)
    spec = _spec(arguments, suite, models)
    plural = "s" * (models.size > 1)
    _print(f"{len(suite):,} items of {suite.name}, {models.size:,} model{plural}", console)
    encoded = suite.encode(models.tokenizer)
    notes = [*models.notes, *encoded.notes(), *suite.notes().lines()]
    _print_notes([*notes, *_differences_from_training(arguments.suite, spec, models)], console)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=models.size)
        table, scorer = score_models(models, encoded, spec, progress=lambda done: bar.advance(task, done))
    _print_notes(_notes_on_scores(table, scorer), console)
    _write(out, table, scorer.spec)
    _print(f"{len(table):,} rows -> {out}", console)
    if isinstance(suite, Suite):
        print_summary(table, scorer.spec, console)
    elif suite.predictions:
        results = predictions_table(table, suite, scorer.spec).with_columns(pl.lit(scorer.spec.label).alias("spec"))
        _write(_predictions_path(out), results, scorer.spec)
        _print(f"{len(results):,} rows -> {_predictions_path(out)}", console)
        print_predictions(results, table, scorer.spec, console)


def _check_outputs(out: Path, suite: str | None) -> None:
    if out.suffix not in (".parquet", ".csv"):
        raise EvaluateError(f"--out {out}: the name must end in .parquet or .csv")
    for path in (out, _predictions_path(out)):
        check_output(path, inputs=[Path(suite)] if suite else [])
        refuse_own(path)


def _predictions_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}_predictions{out.suffix}")


def _spec(arguments: argparse.Namespace, suite: Suite | ConditionSuite, models: ModelSet) -> ScoreSpec:
    """Return the spec that the flags request; refuse one under which the suite's predictions cannot be evaluated."""
    spec = make_spec(arguments.spec, arguments.set, default_spec(suite, models))
    if not isinstance(suite, ConditionSuite):
        return spec
    if arguments.spec and not any(change.startswith("regions=") for change in arguments.set):
        spec = with_regions(spec, suite)
    check_predictions(suite, spec)
    return spec


def make_spec(preset: str | None, changes: Sequence[str], default: ScoreSpec) -> ScoreSpec:
    """Return a preset, or else the default, with the changes ``FIELD=VALUE``.

    Raises:
        EvaluateError: naming the preset, field or value that is not valid.
    """
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals or field not in default.to_dict() or field == "name":
            fields = ", ".join(name for name in default.to_dict() if name != "name")
            raise EvaluateError(f"--set {change}: write FIELD=VALUE with one of the fields {fields}")
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


def _steps(text: str) -> str | list[int]:
    return text if text in ("last", "all") else _numbers(text, "--steps") or []


def _numbers(text: str | None, flag: str) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise EvaluateError(f"{flag} {text}: give whole numbers separated by commas") from None


def _differences_from_training(loader: str, spec: ScoreSpec, models: ModelSet) -> list[str]:
    """Return notes on how the conventions differ from those that the run used for suites of this loader."""
    if models.config is None:
        return []
    notes = []
    for name, suite in models.config.score.suites.items():
        if (suite.loader or name) == loader and (differing := spec.differences(suite.spec)):
            notes.append(f"unlike the run's own scores of {name} ({suite.spec.label} there): {'; '.join(differing)}")
    return notes


def _notes_on_scores(table: pl.DataFrame, scorer: Scorer) -> list[str]:
    return [
        *(f"warning: {line}" for line in same_models(table)),
        f"spec {scorer.spec.described}",
        *scorer.notes(),
        *(
            f"{count:,} sentences left out: no token of the region {region!r} can be scored"
            for region, count in unscored(scorer).items()
        ),
    ]


def _write(path: Path, table: pl.DataFrame, spec: ScoreSpec) -> None:
    if path.suffix == ".csv":
        write_csv(path, table)
    else:
        write_table(path, table, {SPEC_KEY: json.dumps(spec.to_dict())})


def _print_notes(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False)


def _print(line: str, console: Console) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
