"""``npi-jax presets``: list the presets."""

from typing import Any

from npi_jax.cli.flags import add_command
from npi_jax.cli.invocation import Invocation


def add(commands: Any) -> None:
    """Add the command's parser."""
    add_command(commands, "presets", run, "list the presets with the purpose of each")


def run(call: Invocation) -> None:
    """Print the names and purposes of the presets."""
    from npi_jax.config import load  # noqa: PLC0415

    for name in load.preset_names():
        call.console.print(f"{name:18} {load.summary(name)}", highlight=False, markup=False)
