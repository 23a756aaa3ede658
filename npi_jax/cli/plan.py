"""``npi-jax plan --config``: what an experiment would take, here or on a TPU slice."""

import argparse
import sys

import jax
from rich.console import Console
from rich.text import Text

from npi_jax.config.schema import Config
from npi_jax.planning import fit_plan, make_plan, print_plan
from npi_jax.planning.fit import describe, members_that_fit
from npi_jax.training.devices.chips import GIB, topology_devices


def plan(arguments: argparse.Namespace, config: Config, console: Console) -> None:
    """Make and print the plan that the command line asks for.

    Raises:
        UserError: if nothing fits, a topology is unknown, or a compiled program lets members depend on one another.
    """
    if arguments.topology is not None:
        # Only the compiler of the TPU is wanted; nothing is to look for chips.
        jax.config.update("jax_platforms", "cpu")
        # What is compiled from afar cannot be read back.
        jax.config.update("jax_enable_compilation_cache", False)
    devices = None if arguments.topology is None else topology_devices(arguments.topology)
    memory = None if arguments.memory is None else int(arguments.memory * GIB)

    def said(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    with console.status("compiling the programs of a run") as status:

        def progress(line: str) -> None:
            # Where there is no terminal, what is printed is the plan, and what is being done goes to the log.
            if console.is_terminal:
                status.update(Text(line))
            else:
                print(line, file=sys.stderr, flush=True)

        if arguments.fit:
            made = fit_plan(config, devices, said, memory=memory, progress=progress)
            said(f"chosen: {describe(made.config)}")
        else:
            made = make_plan(config, devices, memory=memory, say=progress)
        fitting = members_that_fit(made, devices, progress)
    print_plan(
        made,
        console,
        members_that_fit=fitting,
        peak=None if arguments.peak is None else arguments.peak * 1e12,
        utilization=arguments.utilization,
        price=arguments.price,
    )
