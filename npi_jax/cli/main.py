"""The command line ``npi-jax COMMAND``: its parser, and the exit status of every command."""

import argparse
import contextlib
import io
import os
import sys
import time
from collections.abc import Sequence
from typing import IO, cast

from rich.console import Console

from npi_jax import __version__
from npi_jax.cli import annotate, audit, bench, export, plan, prepare, presets, report, run, score, train
from npi_jax.cli.arguments import Parser, parse
from npi_jax.cli.invocation import Invocation
from npi_jax.experiment.environment import check_environ, forget_odd_sizes
from npi_jax.terminal.output import Output, complain, hold_standard_streams
from npi_jax.terminal.tables import output_width
from npi_jax.training.monitor.stopping import EXIT_CODE, LOST_OUTPUT, Interrupted, Stopped, StopRequest

COMMANDS = (run, train, prepare, bench, plan, report, score, export, annotate, audit, presets)

EXAMPLES = """examples:
  npi-jax run quickstart                                train, score and report the built-in experiment
  npi-jax run quickstart --config.train.steps=2000 --config.run_dir=runs/longer
  npi-jax run my.py                                     your own experiment; the same command resumes it
  npi-jax prepare english                               only build the corpus and show what each variant changes
  npi-jax plan weber2021                                compile from shapes alone and print memory and time
  npi-jax bench quickstart                              measure how members run fastest on these devices
  npi-jax plan weber2021 --topology v5e:4x4 --fit --price 1.2
  npi-jax plan --power --effect 0.5 --run runs/pilot    number of seeds that detects an effect (in nats)
  npi-jax report runs/quickstart                        rebuild tables and report
  npi-jax report runs/lstm runs/transformer             compare two runs
  npi-jax score --suite blimp --path blimp/data --model runs/my --out scores.parquet
  npi-jax annotate notes.txt --examples 3               the NPIs of a text, with their licensors
  npi-jax audit 'corpus/*.txt' --out audit              judge a sample by hand: precision and recall
  npi-jax export runs/my --member 0 --hf exported       write a member for Hugging Face transformers
"""

EXIT_STATUS = """exit status:
  0 done; 1 refused or failed; 2 bad usage; 130 interrupted
  42 run or train was asked to stop (SIGTERM, ctrl-C): nothing is lost, and the same command continues
  43 the same, because the terminal or the reader of the output is gone; for other commands, output was lost
"""

GRACE = 2.0
"""Seconds after which a run that was asked to stop may be interrupted at any point, if it has no state to save."""

FAILURE_DELAY = 2.0
"""Seconds that a failed process waits before it exits, so that other processes can print their errors."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    main = Parser(
        prog="npi-jax",
        description="Train many small language models at once and score minimal pairs while they learn.",
        epilog=f"{EXAMPLES}\n{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    main.add_argument("--version", action="version", version=f"npi-jax {__version__}")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status (`EXIT_STATUS`).

    Status 42: ``run`` or ``train`` was asked to stop (SIGTERM, ctrl-C). The state, if there is one, is saved, and the
    same command continues.

    Status 43: ``run`` or ``train`` stopped in the same way because its output was lost: SIGHUP, a closed pipe, or a log
    on a full disk. Other commands with this status did all their work, but output was lost.
    """
    hold_standard_streams()
    _escape_unknown_letters()
    stop = StopRequest(GRACE)
    output = Output(sys.stdout, lambda reason: stop.ask(reason, LOST_OUTPUT))
    try:
        with contextlib.redirect_stdout(output):
            status = _run(argv, output, stop)
    finally:
        output.flush()
    return LOST_OUTPUT if status == 0 and output.loss else status


def _run(argv: Sequence[str] | None, output: Output, stop: StopRequest) -> int:
    arguments, overrides = parse(parser(), argv)
    forget_odd_sizes()
    console = _console(output)
    try:
        check_environ()
        arguments.handler(Invocation(arguments, overrides, console, stop))
    except Interrupted as error:
        complain(f"npi-jax: stopped ({error}) before anything was done; the same command begins or continues the run")
        return _leave(stop.status)
    except KeyboardInterrupt:
        console.print("interrupted")
        return _leave(130)
    except Exception as error:
        return _leave(_report_error(error, console))
    return 0


def _console(output: Output) -> Console:
    """Return a console that prints names and paths unchanged, and does not fold lines of a log."""
    terminal = output.isatty()
    width = output_width(terminal=terminal)
    return Console(file=cast(IO[str], output), width=width, markup=False, emoji=False, soft_wrap=not terminal)


def _escape_unknown_letters() -> None:
    """Make standard streams print escapes for characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report_error(error: Exception, console: Console) -> int:
    """Print a user error as one line, or a bug with its traceback; return the exit status."""
    from npi_jax.terminal.messages import bug_report, message_of  # noqa: PLC0415

    if isinstance(error, Stopped):
        # Scripts search for this line; folding would hide it from them.
        console.print(str(error), highlight=False, markup=False, soft_wrap=True)
        if error.status == LOST_OUTPUT:
            complain(f"npi-jax: {error}")
        return error.status
    message = message_of(error)
    complain(bug_report(error) if message is None else f"npi-jax: {message}")
    return 1


def _leave(status: int) -> int:
    """Return the exit status; if other processes train jointly, end a failed process instead of returning.

    A regular exit would wait for the other processes, which may be waiting for this one.
    """
    if status not in (EXIT_CODE, LOST_OUTPUT) and _is_one_of_several():
        sys.stdout.flush()
        sys.stderr.flush()
        # JAX ends the other processes when the first one has ended, perhaps before they print errors.
        time.sleep(FAILURE_DELAY)
        os._exit(status)
    return status


def _is_one_of_several() -> bool:
    """Return whether other processes train jointly with this one, without importing JAX."""
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()
