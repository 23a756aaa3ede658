"""Memory and time that an experiment needs on this machine or on a TPU slice, for ``npi-jax plan``."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import jax
from rich.console import Console
from rich.text import Text

from npi_jax.config.schema import Config
from npi_jax.planning import Plan, fit_plan, make_plan, print_plan
from npi_jax.planning.fit import describe, members_that_fit
from npi_jax.training.devices.chips import GIB, topology_devices


def print_plan_of(arguments: argparse.Namespace, config: Config, console: Console) -> None:
    """Make the plan that the command line requests, and print it.

    Raises:
        UserError: if no arrangement fits, the topology is unknown, or members exchange data in a compiled program.
    """
    if arguments.topology is not None:
        # Only the compiler for TPUs is needed; JAX would otherwise search for chips.
        jax.config.update("jax_platforms", "cpu")
        # JAX cannot load programs from the cache that were compiled for absent devices.
        jax.config.update("jax_enable_compilation_cache", False)
    devices = None if arguments.topology is None else topology_devices(arguments.topology)
    memory = None if arguments.memory is None else int(arguments.memory * GIB)
    with console.status("compiling the programs of a run") as status:

        def progress(line: str) -> None:
            # Without a terminal, standard output contains only the plan.
            if console.is_terminal:
                status.update(Text(line))
            else:
                print(line, file=sys.stderr, flush=True)

        plan = _make(arguments, config, devices, memory, console, progress)
        fitting = members_that_fit(plan, devices, progress)
    print_plan(
        plan,
        console,
        members_that_fit=fitting,
        peak=None if arguments.peak is None else arguments.peak * 1e12,
        utilization=arguments.utilization,
        price=arguments.price,
    )


def _make(
    arguments: argparse.Namespace,
    config: Config,
    devices: Any,
    memory: int | None,
    console: Console,
    progress: Callable[[str], None],
) -> Plan:
    """Plan the config as it is; with ``--fit``, search for an arrangement that fits, and print it."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    if not arguments.fit:
        return make_plan(config, devices, memory=memory, say=progress)
    plan = fit_plan(config, devices, say, memory=memory, progress=progress)
    say(f"chosen: {describe(plan.config)}")
    return plan
