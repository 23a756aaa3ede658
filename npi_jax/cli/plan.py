"""``npi-jax plan``: memory and time of an experiment; with ``--power`` the number of seeds that it needs."""

import argparse
from typing import Any

from npi_jax.cli.flags import add_config_command, positive
from npi_jax.cli.invocation import Invocation
from npi_jax.experiment.environment import import_jax, start_devices

_POWER_FLAGS = ("effect", "items", "run", "seed_sd", "item_sd", "residual_sd")


def add(commands: Any) -> None:
    """Add the command's parser."""
    text = "compile a run's programs from shapes and print memory, exchanges, hours and checkpoints"
    parser = add_config_command(commands, "plan", run, text, writes=False, check=_check)
    _add_cost(parser)
    _add_power(parser)


def _add_cost(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "memory and time", "for a config; compiled for this machine unless --topology is given"
    )
    group.add_argument("--topology", help="a TPU slice, such as v5e:4x4; needs npi-jax[topology] but no TPU")
    group.add_argument("--fit", action="store_true", help="search for an arrangement that fits the devices' memory")
    group.add_argument("--memory", type=positive, metavar="GIB", help="memory of a device (default: of its kind)")
    group.add_argument("--peak", type=positive, metavar="TFLOPS", help="peak of a device (default: of its kind)")
    group.add_argument(
        "--utilization", type=positive, default=0.3, help="share of the peak that is reached (default: 0.3)"
    )
    group.add_argument("--price", type=positive, help="price of a device for an hour, in any currency")


def _add_power(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "number of seeds",
        "without a config; needs --effect, and --run or three standard deviations. An effect is detected if it is "
        "significant at p < .05, without adjustment for several tests",
    )
    group.add_argument(
        "--power", action="store_true", help="print how often an effect is detected with 3, 5, 10, 20 seeds"
    )
    group.add_argument(
        "--effect", type=float, help="true effect of an intervention on a task, in the unit of the outcome"
    )
    group.add_argument("--outcome", choices=("delta", "accuracy"), default="delta", help="(default: delta, in nats)")
    group.add_argument("--items", type=int, help="items of the task (default: as in --run, otherwise 40)")
    group.add_argument("--run", help="a run from which the standard deviations are estimated")
    for name, where in (("seed", "between seeds"), ("item", "between items"), ("residual", "within seeds and items")):
        group.add_argument(f"--{name}-sd", type=float, help=f"standard deviation of paired differences {where}")


def _check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End with exit status 2 if flags of ``--power`` are given without ``--power``, or if no config is given."""
    if arguments.power:
        return
    if arguments.config is None:
        parser.error("plan needs a config, or --power")
    for name in _POWER_FLAGS:
        if getattr(arguments, name) is not None:
            parser.error(f"--{name.replace('_', '-')} needs --power; it has no meaning for a config")


def run(call: Invocation) -> None:
    """Print the memory and time that a run needs, or the power of an experiment."""
    if call.arguments.power:
        from npi_jax.cli.actions.power import print_power_of  # noqa: PLC0415

        print_power_of(call.arguments, call.console)
        return
    from npi_jax.config.load import load_config  # noqa: PLC0415

    config = load_config(call.arguments.config, call.overrides)
    import_jax()
    from npi_jax.cli.actions.plan import print_plan_of  # noqa: PLC0415
    from npi_jax.experiment import jax_setup  # noqa: PLC0415

    jax_setup.set_up_jax()
    if call.arguments.topology is None:
        start_devices()
    print_plan_of(call.arguments, config, call.console)
