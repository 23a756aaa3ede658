"""The choice of an arrangement in which an experiment fits the memory of its devices."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from npi_jax.config.schema import Config, SweepMember
from npi_jax.errors import UserError
from npi_jax.models import CustomConfig
from npi_jax.planning.plan import Plan, plan_training, with_all_programs
from npi_jax.planning.progress import Say, silent
from npi_jax.training.devices.chips import GIB
from npi_jax.training.programs import TRAINING

MOST_MICRO_BATCHES = 8


def arrangements(config: Config, n_devices: int) -> Iterator[Config]:
    """Yield the experiment in every arrangement that is considered, beginning with that of the configuration.

    Four measures save memory and cost time. They are combined in this order: a measure is applied only after all
    settings of the measures above it were considered.

    - Members of a device run one after another instead of at once.
    - Batches are split into micro-batches.
    - The forward pass is recomputed (rematerialization).
    - Each member is split over more devices.

    Members and batches stay the same, and results change by rounding only.
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
    recompute = () if isinstance(config.model, CustomConfig) or train.remat != "none" else ("blocks",)
    for remat in (train.remat, *recompute):
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
    """Return the plan of the first arrangement (see `arrangements`) that fits the devices' memory.

    Args:
        config: the experiment.
        devices: the devices to compile for; the default is the devices of this machine.
        say: gets a line about each arrangement that was compiled.
        memory: memory of a device, bytes; the default is the memory of its kind.
        progress: gets a line whenever the compilation of a program starts or ends.

    Raises:
        UserError: if no arrangement fits, or the memory of the devices is unknown.
    """
    n_devices = len(jax.devices() if devices is None else devices)
    smallest: Plan | None = None
    excluded = set()
    for candidate in arrangements(config, n_devices):
        if candidate.mesh in excluded:
            continue
        plan = plan_training(candidate, devices, memory=memory, say=progress)
        if plan.chip is None:
            raise UserError(f"--fit: the memory of a {plan.device_kind} is not known; give --memory GIB")
        has = plan.chip.memory / GIB
        if plan.fits:
            plan = with_all_programs(plan, say=progress)
            # Micro-batches and rematerialization change only the training program. They cannot make other programs
            # fit.
            excluded.add(candidate.mesh)
        say(f"{describe(candidate)}: {plan.peak_bytes / GIB:.2f} of {has:.2f} GiB a device ({plan.peak_program})")
        if plan.fits:
            return plan
        if smallest is None or plan.peak_bytes < smallest.peak_bytes:
            smallest = plan
    assert smallest is not None
    raise UserError(
        f"--fit: no arrangement fits {n_devices} x {smallest.device_kind}; the least is "
        f"{smallest.peak_bytes / GIB:.2f} GiB a device in {smallest.peak_program} ({describe(smallest.config)}). Use "
        "more devices, a smaller train.batch_size or fewer members"
    )


def describe(config: Config) -> str:
    """Return the fields that `fit_plan` chooses, as overrides for the command line."""
    mesh, train = config.mesh, config.train
    fields: dict[str, object] = {"mesh.data": mesh.data, "mesh.fsdp": mesh.fsdp, "mesh.mapping": mesh.mapping}
    fields |= {"train.accumulate": train.accumulate, "train.remat": train.remat}
    return " ".join(f"--config.{name}={value}" for name, value in fields.items())


def members_that_fit(plan: Plan, devices: Sequence[Any] | None, say: Say = silent) -> int | None:
    """Estimate how many members fit a device, or a group of devices along ``data``.

    Each member needs memory for its state and scratch memory. Scratch memory per member is estimated from a second plan
    with another number of members per device, both for training and for the peak program.

    Args:
        plan: the result of `make_plan`.
        devices: the devices to compile for; the default is the devices of this machine.
        say: gets a line whenever the compilation of a program starts or ends.

    Returns:
        None if the memory of the devices is unknown.
    """
    if plan.chip is None:
        return None
    memory, each = plan.chip.memory, plan.members_per_device
    other = each - 1 if each > 1 else 2
    compared = plan_training(_with_members(plan, other), devices, memory=memory, say=say)
    if plan.peak_program != TRAINING:
        compared = with_all_programs(compared, plan.peak_program, say=say)
    state = (plan.bytes_per_device["parameters"] + plan.bytes_per_device["optimizer state"]) / each
    resident = sum(plan.bytes_per_device.values())

    def most(program: str) -> int:
        before, after = plan.scratch[program], compared.scratch[program]
        # The scratch memory of a small program may shrink with more members; the state of a member always counts.
        per_member = state + max(0.0, (after - before) / (other - each))
        return max(0, each + int((memory - resident - before) // per_member))

    return min(most(program) for program in {TRAINING, plan.peak_program})


def _with_members(plan: Plan, each: int) -> Config:
    """Return the experiment with `each` arbitrary members per device."""
    config = plan.config
    # Keep two variants if there are several, because the rows of a second variant take memory.
    variants = config.variants[:2]
    members = tuple(SweepMember(variants[n % len(variants)], n) for n in range(each * plan.mesh["ens"]))
    used = variants[: len(members)]
    mesh = dataclasses.replace(config.mesh, ens=plan.mesh["ens"])
    return dataclasses.replace(config, sweep=members, variants=used, seeds=tuple(range(len(members))), mesh=mesh)
