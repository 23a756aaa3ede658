"""One call of a command."""

import argparse
from dataclasses import dataclass

from rich.console import Console

from npi_jax.training.monitor.stopping import StopRequest


@dataclass(frozen=True)
class Invocation:
    """Everything that a command is called with.

    Attributes:
        arguments: values of the command's flags.
        overrides: words ``--config.FIELD=VALUE``.
        console: prints to standard output.
        stop: request to stop, entered by the commands that save their state.
    """

    arguments: argparse.Namespace
    overrides: tuple[str, ...]
    console: Console
    stop: StopRequest
