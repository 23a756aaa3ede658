"""Flags of ``npi-jax plan``."""

import argparse

from npi_jax.cli.arguments import positive

_POWER_FLAGS = ("effect", "items", "run", "seed_sd", "item_sd", "residual_sd")


def add_devices(plan: argparse.ArgumentParser) -> None:
    """Flags of what an experiment would take."""
    group = plan.add_argument_group(
        "what it would take", "for --config: compiled for this machine unless told otherwise"
    )
    group.add_argument("--topology", help="a TPU slice, such as v5e:4x4; needs npi-jax[topology], and no TPU")
    group.add_argument("--fit", action="store_true", help="look for an arrangement that fits the devices' memory")
    group.add_argument("--memory", type=positive, metavar="GIB", help="memory of a device (default: of its kind)")
    group.add_argument("--peak", type=positive, metavar="TFLOPS", help="peak of a device (default: of its kind)")
    group.add_argument(
        "--utilization", type=positive, default=0.3, help="share of the peak that is reached (default: 0.3)"
    )
    group.add_argument("--price", type=positive, help="of a device for an hour, in any currency")


def add_power(plan: argparse.ArgumentParser) -> None:
    """Flags of how many seeds an effect takes."""
    group = plan.add_argument_group(
        "how many seeds",
        "instead of --config; needs --effect, and --run or three SDs. Effects found at p < .05, before any adjustment",
    )
    group.add_argument(
        "--power", action="store_true", help="print how often an effect is found with 3, 5, 10, 20 seeds"
    )
    group.add_argument(
        "--effect", type=float, help="the true effect of an intervention on a task, in the outcome's unit"
    )
    group.add_argument("--outcome", choices=("delta", "accuracy"), default="delta", help="(default: delta, in nats)")
    group.add_argument("--items", type=int, help="items of the task (default: as in --run, otherwise 40)")
    group.add_argument("--run", help="a run that shows how much differences vary (over its tasks)")
    for name, of in (("seed", "between seeds"), ("item", "between items"), ("residual", "within both")):
        group.add_argument(f"--{name}-sd", type=float, help=f"standard deviation of paired differences {of}")


def check_plan(arguments: argparse.Namespace, plan: argparse.ArgumentParser) -> None:
    """Refuse flags that are for the other use of the command; ends with exit status 2."""
    if arguments.config is None:
        plan.error("plan needs a config, or --power")
    for name in _POWER_FLAGS:
        if getattr(arguments, name) is not None:
            plan.error(f"--{name.replace('_', '-')} is for plan --power; plan of a config takes no such flag")
