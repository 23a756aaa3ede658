"""``npi-jax plan --power``: how many seeds an experiment needs."""

import argparse

import polars as pl
from rich.console import Console

from npi_jax.analysis.power import power_table, print_power, variance_components
from npi_jax.errors import UserError
from npi_jax.run import open_run

SDS = ("seed_sd", "item_sd", "residual_sd")
ITEMS = 40


def power(arguments: argparse.Namespace, console: Console) -> None:
    """Print how often the test of transfer finds an effect with 3, 5, 10 and 20 seeds.

    Raises:
        UserError: if the effect or what differences vary by is not given, or a run cannot tell.
    """
    if arguments.effect is None:
        raise UserError(
            "--power needs --effect, such as --effect 0.05 (accuracy) or --effect 0.2 --outcome delta (nats)"
        )
    given = {name: getattr(arguments, name) for name in SDS if getattr(arguments, name) is not None}
    missing = [name for name in SDS if name not in given]
    if missing and arguments.run is None:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise UserError(f"--power needs {flags}, or --run RUN with a run of several seeds to estimate them from")
    found = _of_run(arguments.run, arguments.outcome) if missing else {}
    items = arguments.items or int(found.get("n_items", ITEMS))
    chosen = {name: given.get(name, found.get(name, 0.0)) for name in SDS}
    sources = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in chosen.items())
    console.print(f"differences of paired members: {sources}", highlight=False)
    try:
        table = power_table(arguments.effect, items=items, outcome=arguments.outcome, **chosen)
    except ValueError as error:
        raise UserError(f"--power: {error}") from error
    print_power(table, console)


def _of_run(path: str, outcome: str) -> dict[str, float]:
    run = open_run(path)
    table = variance_components(run.scores(), run.members()).filter(outcome=outcome)
    # Controls take away what no task needs: they say nothing of how much effects vary.
    table = table.filter(~pl.col("intervention").str.starts_with("random("))
    if table.is_empty():
        raise UserError(f"{path} has no two variants with two or more seeds in common: how much they vary is not known")
    return {name: float(table[name].median()) for name in (*SDS, "n_items")}  # type: ignore[arg-type]
