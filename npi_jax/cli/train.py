"""``npi-jax train``: prepare and train an experiment."""

import argparse
from typing import Any

from npi_jax.cli.flags import add_config_command, step_range
from npi_jax.cli.invocation import Invocation
from npi_jax.experiment.environment import import_jax, start_devices
from npi_jax.terminal.output import complain


def add(commands: Any) -> None:
    """Add the command's parser."""
    add_profile(add_config_command(commands, "train", run, "prepare and train, without analysis and report"))


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add the flag for profiling."""
    parser.add_argument(
        "--profile",
        type=step_range,
        default=range(0),
        metavar="START:STOP",
        help="write XLA's trace of these steps to the folder profile of the run directory",
    )


def run(call: Invocation) -> None:
    """Train an experiment or continue training."""
    train_experiment(call, analyze=False)


def train_experiment(call: Invocation, *, analyze: bool) -> None:
    """Train alone, or jointly with the other processes of the same launch.

    Args:
        call: inputs of the command.
        analyze: also make the tables and the report after training.
    """
    with call.stop:
        from npi_jax.config.load import load_config  # noqa: PLC0415

        # Errors in the config are reported before JAX is imported, which takes long.
        config = load_config(call.arguments.config, call.overrides)
        import_jax()
        from npi_jax.experiment import jax_setup  # noqa: PLC0415
        from npi_jax.experiment import run as experiment  # noqa: PLC0415
        from npi_jax.planning.capacity import check_capacity  # noqa: PLC0415
        from npi_jax.training.devices.processes import is_first_process  # noqa: PLC0415
        from npi_jax.training.devices.startup import detect_this_launch, join_processes  # noqa: PLC0415

        launch = detect_this_launch()
        jax_setup.set_up_jax(launch.on_this_host)
        join_processes(launch, complain)
        start_devices()
        check_capacity(config)
        # Only process 0 prints.
        call.console.quiet = not is_first_process()
        profile = call.arguments.profile
        experiment.run_experiment(config, call.console, analyze=analyze, profile=profile, stop=call.stop)
