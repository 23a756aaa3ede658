"""``npi-jax plan --power``: how many seeds an experiment needs."""

import argparse
import math

import polars as pl
from rich.console import Console

from npi_jax.analysis.transfer.power import SDS, pooled, power_table, print_power, variance_components, varying
from npi_jax.errors import UserError
from npi_jax.results.directory import open_run

ITEMS = 40


def power(arguments: argparse.Namespace, console: Console) -> None:
    """Print how often the test of transfer finds an effect with 3, 5, 10 and 20 seeds.

    Raises:
        UserError: if the effect or what differences vary by is not given or out of range, or a run cannot tell.
    """
    _check(arguments)
    given = {name: getattr(arguments, name) for name in SDS if getattr(arguments, name) is not None}
    missing = [name for name in SDS if name not in given]
    if missing and arguments.run is None:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise UserError(f"--power needs {flags}, or --run RUN with a run of several seeds to estimate them from")
    found = _of_run(arguments.run, arguments.outcome) if arguments.run is not None else {}
    items = int(found.get("n_items", ITEMS)) if arguments.items is None else arguments.items
    chosen = {name: given.get(name, found.get(name, 0.0)) for name in SDS}
    sources = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in chosen.items())
    console.print(f"differences of paired members on {arguments.outcome}: {sources}", highlight=False)
    if missing:
        low, high = found["lowest"], found["highest"]
        console.print(
            f"(over the {found['cells']:.0f} tasks times variants in which anything varies; seed sd from {low:.2g} to "
            f"{high:.2g}: one at the upper end needs more seeds than this table says)",
            highlight=False,
        )
    try:
        table = power_table(arguments.effect, items=items, outcome=arguments.outcome, **chosen)
    except ValueError as error:
        raise UserError(f"--power: {error}") from error
    print_power(table, console)


def _check(arguments: argparse.Namespace) -> None:
    effect, outcome = arguments.effect, arguments.outcome
    if arguments.config is not None:
        raise UserError("--power simulates from what differences vary by and reads no --config; --run RUN takes a run")
    if effect is None:
        raise UserError(
            "--power needs --effect, such as --effect 0.5 (delta, nats) or --effect 0.05 --outcome accuracy"
        )
    if not math.isfinite(effect) or effect == 0:
        raise UserError(f"--effect {effect}: the effect that is to be found, a number other than 0")
    if outcome == "accuracy" and abs(effect) > 1:
        raise UserError(f"--effect {effect:g} --outcome accuracy: accuracies differ by at most 1 (0.05 is five points)")
    if arguments.items is not None and arguments.items < 2:
        raise UserError(f"--items {arguments.items}: at least 2 items are needed")


def _of_run(path: str, outcome: str) -> dict[str, float]:
    """Standard deviations over the cells of the run's main kind of pairs in which anything varies."""
    run = open_run(path)
    table = variance_components(run.scores(), run.members()).filter(outcome=outcome)
    # Controls take away what no task needs: they say nothing of how much effects vary.
    table = table.filter(~pl.col("intervention").str.starts_with("random("))
    if table.is_empty():
        raise UserError(f"{path} has no two variants with two or more seeds in common: how much they vary is not known")
    # One suite and kind of pairs, the first that the configuration names: others vary by something else.
    suites = [name for name in run.config["score"]["suites"] if name in set(table["suite"])]
    table = table.filter(suite=suites[0] if suites else table["suite"][0])
    kinds = table["kind"].unique(maintain_order=True).to_list()
    table = table.filter(kind="licensor" if "licensor" in kinds else kinds[0])
    try:
        spread = pooled(table)
    except ValueError as error:
        raise UserError(f"{path}, outcome {outcome}: {error}; the other --outcome may vary") from error
    rows = varying(table)
    seeds = rows["seed_sd"]
    return spread | {
        "n_items": float(rows["n_items"].median()),  # type: ignore[arg-type]
        "cells": float(len(rows)),
        "lowest": float(seeds.min()),  # type: ignore[arg-type]
        "highest": float(seeds.max()),  # type: ignore[arg-type]
    }
