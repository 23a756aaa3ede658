"""One call of a command."""

import argparse
from dataclasses import dataclass

from rich.console import Console

from npi_jax.training.monitor.stopping import StopRequest


@dataclass(frozen=True)
class Invocation:
    """Inputs of a command.

    Attributes:
        arguments: values of the command's flags.
        overrides: words ``--config.FIELD=VALUE``.
        console: prints to standard output.
        stop: request to stop; commands that save their state enter it as a context manager.
    """

    arguments: argparse.Namespace
    overrides: tuple[str, ...]
    console: Console
    stop: StopRequest
