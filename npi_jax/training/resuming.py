"""Selection and reading of the checkpoint from which a run continues."""

from collections.abc import Callable, Sequence
from pathlib import Path

from npi_jax.errors import UserError
from npi_jax.results.directory import Run, RunError
from npi_jax.training.checkpoints.checkpoints import CheckpointError, Checkpoints
from npi_jax.training.devices.processes import (
    OtherProcessError,
    broadcast_from_first,
    fail_together,
    is_first_process,
)
from npi_jax.training.member.step import MemberState
from npi_jax.training.runner import Runner

_NONE = -1
"""Integer in place of None, because processes exchange integers."""


def resume(
    runner: Runner,
    run: Run,
    checkpoints: Checkpoints,
    schedule: Sequence[int],
    folders: Sequence[str],
    say: Callable[[str], None],
) -> tuple[int, MemberState]:
    """Read the latest undamaged checkpoint, or initialize the members if the run has none.

    Args:
        runner: runner of the ensemble.
        run: the run directory.
        checkpoints: its checkpoints.
        schedule: the steps at which members are scored.
        folders: folders that have a file for every step of the schedule.
        say: gets a line for each damaged checkpoint, and for the checkpoint that is used.

    Returns:
        the step of the checkpoint (0 without a checkpoint), and the members' states.

    Raises:
        CheckpointError: if checkpoints are damaged and no other can be used.
        RunError: if there are checkpoints, and each lacks an intact table of its step or an earlier step.
    """
    failure: UserError | None = None
    before: int | None = None
    while (step := latest_complete_step(run, checkpoints, schedule, folders, before)) is not None:
        try:
            state = _read(runner, checkpoints, step)
        except (CheckpointError, OtherProcessError) as error:
            say(f"{error}; trying the one before")
            # Mark it in all processes, so that all write it again.
            checkpoints.mark_damaged(step, "is damaged")
            failure, before = error, step
        else:
            say(f"resuming at step {step}")
            return step, state
    if failure is not None:
        raise CheckpointError(
            f"{failure}. No checkpoint is left to resume from. {_restart_advice(checkpoints.directory)}"
        )
    return 0, runner.init()


def _read(runner: Runner, checkpoints: Checkpoints, step: int) -> MemberState:
    with fail_together(f"read the checkpoint of step {step}"):
        state: MemberState = checkpoints.restore(step, runner.ensemble.state_shapes)
    checksums = runner.checksums(state)
    with fail_together(f"verify the checkpoint of step {step}"):
        checkpoints.verify(step, checksums)
    return state


def latest_complete_step(
    run: Run, checkpoints: Checkpoints, schedule: Sequence[int], folders: Sequence[str], before: int | None = None
) -> int | None:
    """Find the latest checkpoint for which every table up to its step exists and is intact.

    Args:
        run, checkpoints, schedule, folders: as for `resume`.
        before: consider only checkpoints before this step.

    Returns:
        the step of the checkpoint, the same in all processes; None if there is no such checkpoint.

    Raises:
        CheckpointError: if every checkpoint was set aside as damaged; only without `before`.
        RunError: if there are checkpoints, but none with all tables; only without `before`.
    """
    step = None
    # Process 0 decides, because a network file system may show new files to some machines later than to others.
    with fail_together("look for checkpoints"):
        if is_first_process():
            step = _latest_complete_step(run, checkpoints, schedule, folders, before)
    agreed = broadcast_from_first(_NONE if step is None else step)
    return None if agreed == _NONE else agreed


def _latest_complete_step(
    run: Run, checkpoints: Checkpoints, schedule: Sequence[int], folders: Sequence[str], before: int | None
) -> int | None:
    written = set.intersection(*(set(run.whole_steps(folder)) for folder in folders))
    steps = [step for step in checkpoints.steps() if before is None or step < before]
    missing = {step: [scored for scored in schedule if scored <= step and scored not in written] for step in steps}
    complete = [step for step in steps if not missing[step]]
    if before is None and not complete:
        _check_nothing_is_lost(run, checkpoints, folders, missing)
    return max(complete, default=None)


def _check_nothing_is_lost(
    run: Run, checkpoints: Checkpoints, folders: Sequence[str], missing: dict[int, list[int]]
) -> None:
    """Refuse to train from the beginning if there are checkpoints but none can be used."""
    if not missing and (damaged := checkpoints.damaged_folders()):
        raise CheckpointError(
            f"{damaged[0]} and all other checkpoints are damaged. {_restart_advice(checkpoints.directory)}"
        )
    if missing:
        steps = ", ".join(map(str, missing[min(missing)]))
        raise RunError(
            f"{run.path}: tables are missing or damaged in {', '.join(folders)} (of steps {steps}), so that the "
            f"run cannot be resumed from any checkpoint. {_restart_advice(checkpoints.directory)}"
        )


def _restart_advice(checkpoints: Path) -> str:
    return (
        f"Restore the lost files from a copy; or rename {checkpoints}: the same command then trains from the "
        "beginning, and nothing is lost"
    )
