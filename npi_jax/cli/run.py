"""``npi-jax run``: prepare, train, analyze and report an experiment."""

from typing import Any

from npi_jax.cli.flags import add_config_command
from npi_jax.cli.invocation import Invocation
from npi_jax.cli.train import add_profile, train_experiment


def add(commands: Any) -> None:
    """Add the command's parser."""
    text = "prepare, train (or continue training), analyze and report"
    add_profile(add_config_command(commands, "run", run, text))


def run(call: Invocation) -> None:
    """Run an experiment or continue it."""
    train_experiment(call, analyze=True)
