"""``npi-jax report``: write tables and report of a run, or compare two runs."""

import argparse
from pathlib import Path
from typing import Any

from npi_jax.cli.flags import add_command
from npi_jax.cli.invocation import Invocation
from npi_jax.experiment.environment import import_jax


def add(commands: Any) -> None:
    """Add the command's parser."""
    text = "rebuild tables and report of a run directory, or compare two that have their tables"
    parser = add_command(commands, "report", run, text, check=_check)
    parser.add_argument("run", help="the run directory")
    parser.add_argument("other", nargs="?", help="another run directory to compare it with")
    parser.add_argument("--out", help="page of the comparison (default: report/against_OTHER.html of the first run)")


def _check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End with exit status 2 if ``--out`` is given for a single run."""
    if arguments.other is None and arguments.out is not None:
        parser.error("--out is for comparisons; the report of one run is RUN/report/index.html")


def run(call: Invocation) -> None:
    """Write the report of a run, or the comparison of two runs."""
    import_jax()
    from npi_jax.experiment.reporting import compare_runs, report_run  # noqa: PLC0415
    from npi_jax.results.directory import open_run  # noqa: PLC0415

    arguments = call.arguments
    if arguments.other is None:
        report_run(open_run(arguments.run), call.console)
    else:
        out = None if arguments.out is None else Path(arguments.out)
        compare_runs(open_run(arguments.run), open_run(arguments.other), out, call.console)
