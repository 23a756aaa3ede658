"""Printing of plans."""

from collections.abc import Sequence

from rich.console import Console

from npi_jax.planning.collectives import Collective
from npi_jax.planning.plan import Plan
from npi_jax.terminal.tables import TextTable
from npi_jax.training.devices.chips import GIB

MIB = GIB >> 10


def print_plan(
    plan: Plan,
    console: Console,
    *,
    members_that_fit: int | None = None,
    peak: float | None = None,
    utilization: float,
    price: float | None = None,
) -> None:
    """Print a plan as a table.

    Args:
        plan: the plan.
        console: the console to print to.
        members_that_fit: largest number of members that fit a device; None if unknown
            (`npi_jax.planning.fit.members_that_fit`).
        peak: peak rate of one device, floating-point operations per second; the default is the rate of its kind, if
            known.
        utilization: assumed share of the peak rate that training reaches.
        price: price of one device for one hour, in any currency.
    """
    table = TextTable(f"plan for {plan.config.name}", ["", ""], words={0, 1})
    _add_devices(table, plan, members_that_fit)
    _add_memory(table, plan)
    for line, text in _exchanges(plan.exchanges):
        table.add_row(line, text)
    _add_work(table, plan)
    _add_hours(table, plan, peak, utilization, price)
    _add_checkpoints(table, plan)
    console.print(table)


def _add_devices(table: TextTable, plan: Plan, members_that_fit: int | None) -> None:
    table.add_row("members", f"{plan.members:,}")
    table.add_row("parameters of a member", f"{plan.parameters:,}")
    axes = ", ".join(f"{size} along {axis}" for axis, size in plan.mesh.items())
    table.add_row("devices", f"{plan.devices} x {plan.device_kind} ({axes})")
    group = "a device" if plan.mesh["data"] == 1 else f"each {plan.mesh['data']} devices"
    padding = plan.padded_size - plan.members
    note = f" ({padding} of {plan.padded_size} places are copies)" if padding else ""
    table.add_row(f"members {group}", f"{plan.members_per_device}{note}")
    if members_that_fit is not None:
        table.add_row(f"members that fit {group}", f"about {members_that_fit:,}")


def _add_memory(table: TextTable, plan: Plan) -> None:
    for kind, size in plan.bytes_per_device.items():
        table.add_row(f"bytes per device: {kind}", _size(size))
    for program, size in plan.scratch.items():
        table.add_row(f"scratch bytes: {program}", _size(size))
    table.add_row("bytes per device: most at once", f"{_size(plan.peak_bytes)}, in {plan.peak_program}")
    for note in plan.left_out:
        table.add_row("not counted", note)
    if plan.chip is not None:
        verdict = "fits" if plan.fits else "DOES NOT FIT (--fit looks for an arrangement that does)"
        table.add_row("bytes a device has", f"{_size(plan.chip.memory)}: {verdict}")


def _add_work(table: TextTable, plan: Plan) -> None:
    table.add_row("tokens per step, one member", f"{plan.tokens_per_step:,}")
    table.add_row("tokens per step, all members", f"{plan.tokens_per_step * plan.members:,}")
    table.add_row("FLOPs per step, all members", f"{plan.flops_per_step:.3g}")
    table.add_row("steps", f"{plan.config.train.steps:,}")
    table.add_row("tokens a member is trained on", f"{plan.tokens:,}")


def _add_checkpoints(table: TextTable, plan: Plan) -> None:
    table.add_row("checkpoints scored", f"{len(plan.scored):,} (steps {_steps(plan.scored)})")
    table.add_row("checkpoints saved", f"{len(plan.saved):,} (steps {_steps(plan.saved)})")
    disk = f"{_size(plan.checkpoint_bytes)} each, at most {plan.kept_checkpoints} at once"
    table.add_row("disk for checkpoints", f"{disk}: {plan.checkpoint_bytes * plan.kept_checkpoints / GIB:.2f} GiB")


def _add_hours(table: TextTable, plan: Plan, peak: float | None, utilization: float, price: float | None) -> None:
    peak = peak or (plan.chip.peak if plan.chip else None)
    if peak is None:
        table.add_row("hours", "unknown: give --peak, the TFLOP/s of one device")
        return
    hours = plan.hours(peak, utilization)
    at = f"at {utilization:.0%} of {peak / 1e12:,.4g} TFLOP/s a device, without scoring"
    table.add_row("hours of training", f"{hours:,.3g} ({at})")
    table.add_row("device hours", f"{hours * plan.devices:,.3g}")
    if price is not None:
        table.add_row("cost", f"{hours * plan.devices * price:,.2f} at {price:g} a device and hour")


def _exchanges(exchanges: Sequence[Collective] | None) -> list[tuple[str, str]]:
    """Return a row for each kind of exchange of the training program, and each axis of the mesh."""
    if exchanges is None:
        return [("exchanges", "not known: the compiler has not the memory for training")]
    # A program that exchanges data along ens is refused earlier, when the plan is made.
    lines = [("exchanges along ens", "none")]
    for kind, axes in dict.fromkeys((one.kind, one.axes) for one in exchanges):
        sizes = [one.bytes for one in exchanges if (one.kind, one.axes) == (kind, axes)]
        along = f"exchanges along {' and '.join(axes) or 'no axis'}"
        lines.append((along, f"in training {len(sizes)} x {kind}, {_size(sum(sizes))}; in loops counted once"))
    return lines


def _size(size: int) -> str:
    return f"{size:,} ({size / GIB:.2f} GiB)" if size >= GIB else f"{size:,} ({size / MIB:.1f} MiB)"


def _steps(steps: Sequence[int], ends: int = 4) -> str:
    if len(steps) <= 2 * ends:
        return ", ".join(map(str, steps))
    return ", ".join([*map(str, steps[:ends]), "...", *map(str, steps[-2:])])
