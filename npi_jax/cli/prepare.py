"""``npi-jax prepare``: build the corpus and its variants."""

from typing import Any

from npi_jax.cli.flags import add_config_command
from npi_jax.cli.invocation import Invocation
from npi_jax.experiment.environment import import_jax


def add(commands: Any) -> None:
    """Add the command's parser."""
    add_config_command(commands, "prepare", run, "build the corpus and its variants, and show what each changes")


def run(call: Invocation) -> None:
    """Build the corpus and print the variants."""
    from npi_jax.config.load import load_config  # noqa: PLC0415

    config = load_config(call.arguments.config, call.overrides)
    import_jax()
    from npi_jax.experiment import jax_setup  # noqa: PLC0415
    from npi_jax.experiment import run as experiment  # noqa: PLC0415

    jax_setup.set_up_jax()
    experiment.prepare_experiment(config, call.console)
