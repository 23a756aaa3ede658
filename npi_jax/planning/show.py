"""Plans as tables for people."""

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
    """Print a plan.

    Args:
        plan: what to print.
        console: where to.
        members_that_fit: a device's members at most, if that was found out.
        peak: operations a second of one device; by default those of its kind, if they are known.
        utilization: share of the peak that training is taken to reach.
        price: of one device for one hour, in any currency.
    """
    config = plan.config
    table = TextTable(f"plan for {config.name}", ["", ""], words={0, 1})
    table.add_row("members", f"{plan.members:,}")
    table.add_row("parameters of a member", f"{plan.parameters:,}")
    axes = ", ".join(f"{size} along {axis}" for axis, size in plan.mesh.items())
    table.add_row("devices", f"{plan.devices} x {plan.device_kind} ({axes})")
    whole = "a device" if plan.mesh["data"] == 1 else f"each {plan.mesh['data']} devices"
    unfilled = plan.padded_size - plan.members
    note = f" ({unfilled} of {plan.padded_size} places are copies)" if unfilled else ""
    table.add_row(f"members {whole}", f"{plan.members_per_device}{note}")
    if members_that_fit is not None:
        table.add_row(f"members that fit {whole}", f"about {members_that_fit:,}")
    for kind, size in plan.bytes_per_device.items():
        table.add_row(f"bytes per device: {kind}", _size(size))
    for program, size in plan.scratch.items():
        table.add_row(f"scratch bytes: {program}", _size(size))
    table.add_row("bytes per device: most at once", f"{_size(plan.bytes_in_all)}, in {plan.peak_program}")
    for note in plan.left_out:
        table.add_row("not counted", note)
    if plan.chip is not None:
        verdict = "fits" if plan.fits else "DOES NOT FIT (--fit looks for an arrangement that does)"
        table.add_row("bytes a device has", f"{_size(plan.chip.memory)}: {verdict}")
    for line, text in _exchanges(plan.exchanges):
        table.add_row(line, text)
    table.add_row("tokens per step, one member", f"{plan.tokens_per_step:,}")
    table.add_row("tokens per step, all members", f"{plan.tokens_per_step * plan.members:,}")
    table.add_row("FLOPs per step, all members", f"{plan.flops_per_step:.3g}")
    table.add_row("steps", f"{config.train.steps:,}")
    table.add_row("tokens a member is trained on", f"{plan.tokens:,}")
    _add_hours(table, plan, peak, utilization, price)
    table.add_row("checkpoints scored", f"{len(plan.scored):,} (steps {_steps(plan.scored)})")
    table.add_row("checkpoints saved", f"{len(plan.saved):,} (steps {_steps(plan.saved)})")
    disk = f"{_size(plan.checkpoint_bytes)} each, at most {plan.kept_checkpoints} at once"
    table.add_row("disk for checkpoints", f"{disk}: {plan.checkpoint_bytes * plan.kept_checkpoints / GIB:.2f} GiB")
    console.print(table)


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


def _exchanges(found: Sequence[Collective] | None) -> list[tuple[str, str]]:
    """One line for each kind and axis of the training step; that nothing passes between members holds for all."""
    if found is None:
        return [("exchanges", "not known: the compiler has not the memory for training")]
    lines = [("exchanges along ens", "none")]
    for kind, axes in dict.fromkeys((one.kind, one.axes) for one in found):
        sizes = [one.bytes for one in found if (one.kind, one.axes) == (kind, axes)]
        along = f"exchanges along {' and '.join(axes) or 'no axis'}"
        lines.append((along, f"in training {len(sizes)} x {kind}, {_size(sum(sizes))}; in loops counted once"))
    return lines


def _size(size: int) -> str:
    return f"{size:,} ({size / GIB:.2f} GiB)" if size >= GIB else f"{size:,} ({size / MIB:.1f} MiB)"


def _steps(steps: Sequence[int], ends: int = 4) -> str:
    if len(steps) <= 2 * ends:
        return ", ".join(map(str, steps))
    return ", ".join([*map(str, steps[:ends]), "...", *map(str, steps[-2:])])
