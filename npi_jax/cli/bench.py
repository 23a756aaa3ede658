"""``npi-jax bench``: measure the fastest way to run the members of a device."""

from typing import Any

from npi_jax.cli.flags import add_config_command, positive
from npi_jax.cli.invocation import Invocation
from npi_jax.experiment.environment import import_jax, start_devices


def add(commands: Any) -> None:
    """Add the command's parser."""
    text = "measure how members run fastest on these devices, and keep the choice for run and train"
    parser = add_config_command(commands, "bench", run, text)
    parser.add_argument("--seconds", type=positive, default=1.0, help="length of one timing in seconds (default: 1)")


def run(call: Invocation) -> None:
    """Measure the speed of training, and save the fastest choice."""
    from npi_jax.config.load import load_config  # noqa: PLC0415

    config = load_config(call.arguments.config, call.overrides)
    import_jax()
    from npi_jax.cli.actions.bench import bench  # noqa: PLC0415
    from npi_jax.experiment import jax_setup  # noqa: PLC0415

    jax_setup.set_up_jax()
    start_devices()
    bench(config, call.console, call.arguments.seconds)
