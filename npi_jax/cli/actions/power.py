"""Power of the test of transfer by number of seeds, for ``npi-jax plan --power``."""

import argparse
import math

import polars as pl
from rich.console import Console

from npi_jax.analysis.transfer.power import SDS, pooled, power_table, print_power, variance_components, varying
from npi_jax.errors import UserError
from npi_jax.results.directory import open_run
from npi_jax.results.rules import main_kind

ITEMS = 40
"""Default number of items of a task."""


def print_power_of(arguments: argparse.Namespace, console: Console) -> None:
    """Print the power of the test of transfer with 3, 5, 10 and 20 seeds.

    Raises:
        UserError: if the effect or a standard deviation is missing or out of range, or the run cannot give one.
    """
    _check(arguments)
    given = {name: getattr(arguments, name) for name in SDS if getattr(arguments, name) is not None}
    missing = [name for name in SDS if name not in given]
    if missing and arguments.run is None:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise UserError(f"--power needs {flags}, or --run RUN with a run of several seeds to estimate them from")
    estimated = _estimates(arguments.run, arguments.outcome) if arguments.run is not None else {}
    items = int(estimated.get("n_items", ITEMS)) if arguments.items is None else arguments.items
    deviations = {name: given.get(name, estimated.get(name, 0.0)) for name in SDS}
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in deviations.items())
    console.print(f"differences of paired members on {arguments.outcome}: {shown}", highlight=False)
    if missing:
        low, high = estimated["lowest"], estimated["highest"]
        console.print(
            f"(pooled over {estimated['cells']:.0f} combinations of task and variant in which scores vary; their seed "
            f"sd is {low:.2g} to {high:.2g}: tasks at the upper end need more seeds than this table shows)",
            highlight=False,
        )
    try:
        table = power_table(arguments.effect, items=items, outcome=arguments.outcome, **deviations)
    except ValueError as error:
        raise UserError(f"--power: {error}") from error
    print_power(table, console)


def _check(arguments: argparse.Namespace) -> None:
    effect, outcome = arguments.effect, arguments.outcome
    if arguments.config is not None:
        raise UserError("--power reads no config; give standard deviations, or a run to estimate them from (--run RUN)")
    if effect is None:
        raise UserError(
            "--power needs --effect, such as --effect 0.5 (delta, nats) or --effect 0.05 --outcome accuracy"
        )
    if not math.isfinite(effect) or effect == 0:
        raise UserError(f"--effect {effect}: the effect must be a finite number other than 0")
    if outcome == "accuracy" and abs(effect) > 1:
        raise UserError(f"--effect {effect:g} --outcome accuracy: accuracies differ by at most 1 (0.05 is five points)")
    if arguments.items is not None and arguments.items < 2:
        raise UserError(f"--items {arguments.items}: at least 2 items are needed")


def _estimates(path: str, outcome: str) -> dict[str, float]:
    """Estimate standard deviations from a run, pooled over the tasks and variants whose scores vary.

    Only the config's first suite is used, and only its main kind of pairs.
    """
    run = open_run(path)
    table = variance_components(run.scores(), run.members()).filter(outcome=outcome)
    # Differences of random removals do not show how effects vary, because they should affect no task.
    table = table.filter(~pl.col("intervention").str.starts_with("random("))
    if table.is_empty():
        raise UserError(
            f"{path} has no two variants with two or more seeds in common: their variation cannot be estimated"
        )
    # Only one suite and one kind of pairs are used, because scores vary by different amounts in different ones.
    suites = [name for name in run.config["score"]["suites"] if name in set(table["suite"])]
    table = table.filter(suite=suites[0] if suites else table["suite"][0])
    kinds = table["kind"].unique(maintain_order=True).to_list()
    table = table.filter(kind=main_kind(kinds))
    try:
        spread = pooled(table)
    except ValueError as error:
        raise UserError(f"{path}, outcome {outcome}: {error}; try the other --outcome") from error
    rows = varying(table)
    seeds = rows["seed_sd"]
    return spread | {
        "n_items": float(rows["n_items"].median()),  # type: ignore[arg-type]
        "cells": float(len(rows)),
        "lowest": float(seeds.min()),  # type: ignore[arg-type]
        "highest": float(seeds.max()),  # type: ignore[arg-type]
    }
