"""Choosing how an experiment lies on given devices, so that it fits their memory."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from npi_jax.config.schema import Config, SweepMember
from npi_jax.errors import UserError
from npi_jax.models import CustomConfig
from npi_jax.planning.calls import TRAINING
from npi_jax.planning.plan import Plan, plan_training, with_other_programs
from npi_jax.planning.progress import Say, silent
from npi_jax.training.devices.chips import GIB

MOST_MICRO_BATCHES = 8


def arrangements(config: Config, n_devices: int) -> Iterator[Config]:
    """The experiment in every arrangement that is considered, the fastest first.

    Memory is bought with ever more time: members of a device in turn instead of at once, micro-batches, the
    forward pass computed anew, and at last each member split over more devices. Members and batches stay as they
    are, and so do results but for rounding.
    """
    data = config.mesh.data
    while data <= n_devices and not (config.train.batch_size % data):
        split = config.mesh.fsdp or data > config.mesh.data
        for mapping, accumulate, remat in _within_a_device(config, data):
            mesh = dataclasses.replace(config.mesh, ens=0, data=data, fsdp=split, mapping=mapping)
            train = dataclasses.replace(config.train, accumulate=accumulate, remat=remat)
            yield dataclasses.replace(config, mesh=mesh, train=train)
        data *= 2


def _within_a_device(config: Config, data: int) -> Iterator[tuple[Any, int, Any]]:
    train = config.train
    yield config.mesh.mapping, train.accumulate, train.remat
    splits = [
        parts
        for parts in (1, 2, 4, MOST_MICRO_BATCHES)
        if parts >= train.accumulate and train.batch_size % (parts * data) == 0
    ]
    forgetful = () if isinstance(config.model, CustomConfig) or train.remat != "none" else ("blocks",)
    for remat in (train.remat, *forgetful):
        for parts in splits:
            yield "map", parts, remat


def fit_plan(
    config: Config,
    devices: Sequence[Any] | None,
    say: Say,
    *,
    memory: int | None = None,
    progress: Say = silent,
) -> Plan:
    """The first of the `arrangements` that fits the devices' memory.

    Args:
        config: the experiment.
        devices: those to compile for; by default this machine's.
        say: gets a line about each arrangement that was compiled.
        memory: as for `make_plan`.
        progress: gets a line whenever a program begins or ends to be compiled.

    Raises:
        UserError: if none fits, or the memory of the devices is not known.
    """
    n_devices = len(jax.devices() if devices is None else devices)
    smallest: Plan | None = None
    hopeless = set()
    for candidate in arrangements(config, n_devices):
        if candidate.mesh in hopeless:
            continue
        plan = plan_training(candidate, devices, memory=memory, say=progress)
        if plan.chip is None:
            raise UserError(f"--fit: the memory of a {plan.device_kind} is not known; give --memory GIB")
        has = plan.chip.memory / GIB
        if plan.fits:
            plan = with_other_programs(plan, say=progress)
            # Micro-batches and what is computed anew are of training alone.
            hopeless.add(candidate.mesh)
        say(f"{describe(candidate)}: {plan.bytes_in_all / GIB:.2f} of {has:.2f} GiB a device ({plan.peak_program})")
        if plan.fits:
            return plan
        if smallest is None or plan.bytes_in_all < smallest.bytes_in_all:
            smallest = plan
    assert smallest is not None
    raise UserError(
        f"--fit: no arrangement fits {n_devices} x {smallest.device_kind}; the least is "
        f"{smallest.bytes_in_all / GIB:.2f} GiB a device in {smallest.peak_program} ({describe(smallest.config)}). Use "
        "more devices, a smaller train.batch_size or fewer members"
    )


def describe(config: Config) -> str:
    """The fields that `fit_plan` chooses, as overrides of the command line."""
    mesh, train = config.mesh, config.train
    fields: dict[str, object] = {"mesh.data": mesh.data, "mesh.fsdp": mesh.fsdp, "mesh.mapping": mesh.mapping}
    fields |= {"train.accumulate": train.accumulate, "train.remat": train.remat}
    return " ".join(f"--config.{name}={value}" for name, value in fields.items())


def members_that_fit(plan: Plan, devices: Sequence[Any] | None, say: Say = silent) -> int | None:
    """About how many members fit a device (or a group along ``data``); None if its memory is not known.

    A member takes its state, and what the scratch of training and of the peak program grows by: the difference
    between the plan and another of fewer (or more) members a device.
    """
    if plan.chip is None:
        return None
    each = plan.members_per_device
    other = each - 1 if each > 1 else 2
    compared = plan_training(_with_members(plan, other), devices, memory=plan.chip.memory, say=say)
    if plan.peak_program != TRAINING:
        compared = with_other_programs(compared, plan.peak_program, say=say)
    state = (plan.bytes_per_device["parameters"] + plan.bytes_per_device["optimizer state"]) / each
    resident = sum(plan.bytes_per_device.values())

    def most(program: str) -> int:
        before, after = plan.scratch[program], compared.scratch[program]
        # A small program's scratch may even shrink; what a member keeps is there in any case.
        of_one = state + max(0.0, (after - before) / (other - each))
        assert plan.chip is not None
        return max(0, each + int((plan.chip.memory - resident - before) // of_one))

    return min(most(program) for program in {TRAINING, plan.peak_program})


def _with_members(plan: Plan, each: int) -> Config:
    """The experiment with so many members a device; which they are does not matter."""
    config = plan.config
    # Two variants, if there are several: their rows are counted.
    variants = config.variants[:2]
    members = tuple(SweepMember(variants[n % len(variants)], n) for n in range(each * plan.mesh["ens"]))
    used = variants[: len(members)]
    mesh = dataclasses.replace(config.mesh, ens=plan.mesh["ens"])
    return dataclasses.replace(config, sweep=members, variants=used, seeds=tuple(range(len(members))), mesh=mesh)
