"""Checkpoints of the whole ensemble, through Orbax; the only module that knows Orbax."""

import itertools
import re
import shutil
from dataclasses import dataclass
from logging import CRITICAL, getLogger
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pydantic
from absl import logging
from jaxtyping import UInt

from npi_jax.config.schema import CheckpointConfig
from npi_jax.errors import UserError, first_line
from npi_jax.training.checkpoints.late_reads import hush_late_reads
from npi_jax.training.checkpoints.plain_name import PlainName

_CHECKSUMS = "member_checksums"
# Orbax would delete the files of a checkpoint one by one in place; a process killed at that would leave part of one.
_DELETED = "deleted"
_ASIDE = "damaged"
_ABOUT = "_CHECKPOINT_METADATA"
_ITEM = "default"


class CheckpointError(UserError):
    """A checkpoint that cannot be written, or is damaged."""


def scheduled_steps(steps: int, every: int) -> list[int]:
    """The steps at which members are scored: 0, 1, 2, 4, ... below `every`, its multiples, and the last step."""
    early = {0} | {1 << power for power in range(steps.bit_length()) if 1 << power < every}
    return sorted(step for step in early | set(range(every, steps, every)) | {steps} if step <= steps)


class Checkpoints:
    """Training states on disk; only whole ones are ever seen (Orbax writes beside and renames).

    Each step is judged alone: damage to one is no matter to the others. With several processes all of them make one, on
    a file system that they share, and call the same functions.

    Args:
        directory: the run's ``checkpoints`` folder.
        config: which are kept.
        read_only: nothing is written or cleaned up, so that a run that goes on is not disturbed.

    Raises:
        CheckpointError: if Orbax cannot open the folder. Call `set_aside` before to prevent it.
    """

    def __init__(self, directory: Path, config: CheckpointConfig, *, read_only: bool = False):
        self.directory = directory.absolute()
        self._plain = PlainName(self.directory)
        self._damaged: set[int] = set()
        self._saved = 0
        # What Orbax logs as an error it raises too.
        logging.set_verbosity(logging.FATAL)
        self._reader = _reader()
        self._manager = None if read_only else self._open(config)
        if self._manager is not None:
            self._empty_deleted()

    def _open(self, config: CheckpointConfig) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=config.keep,
            keep_period=config.keep_period or None,
            cleanup_tmp_directories=True,
            save_interval_steps=1,
            todelete_subdir=_DELETED,
        )
        self.directory.mkdir(parents=True, exist_ok=True)
        # Given the handler, Orbax does not take the form of a checkpoint from the folder of the latest.
        handler = ocp.StandardCheckpointHandler()
        try:
            return ocp.CheckpointManager(self._plain.path, item_handlers=handler, options=options)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{self.directory}: cannot be opened by Orbax ({first_line(error)})") from error

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint that looks whole."""
        if self._manager is not None:
            return sorted(self._manager.all_steps())
        return sorted(int(name) for name, fault in _faults(self.directory).items() if not fault)

    def faulty(self) -> dict[int, str]:
        """What is wrong with checkpoints that do not even look whole, by step."""
        return {int(name): fault for name, fault in _faults(self.directory).items() if fault}

    def aside(self) -> list[Path]:
        """Damaged checkpoints that were set aside, now or before."""
        folder = self.directory / _ASIDE
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def save(self, step: int, state: Any, checksums: UInt[np.ndarray, "members words"]) -> None:
        """Begin to write a checkpoint.

        Args:
            step: its step.
            state: stacked arrays with a leading axis of members or places, the same tree in all processes.
            checksums: of every member (`npi_jax.training.checkpoints.checksum`).

        Raises:
            CheckpointError: if an earlier one could not be written, as where the disk is full.
        """
        manager = self._manager
        assert manager is not None
        try:
            if step in self._damaged:
                manager.delete(step)
                self._damaged.remove(step)
            if step in manager.all_steps():
                return
            manager.wait_until_finished()
            self._empty_deleted()
            about = {_CHECKSUMS: checksums.tolist()}
            manager.save(step, args=ocp.args.StandardSave(state), custom_metadata=about, force=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._not_written(error) from error
        self._saved = step

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            CheckpointError: if something could not be.
        """
        if self._manager is None:
            return
        try:
            # Orbax tells of a full disk here, and nowhere before.
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            raise self._not_written(error) from error

    def _empty_deleted(self) -> None:
        """Free the room of checkpoints that are no longer kept; nothing may be being saved meanwhile."""
        deleted = self.directory / _DELETED
        if jax.process_index() == 0:
            # What stays, as an open file on a network file system does, goes next time.
            shutil.rmtree(deleted, ignore_errors=True)

    def _not_written(self, error: Exception) -> CheckpointError:
        # Each array that could not be written would complain when its future is collected, after the one error below.
        getLogger("asyncio").setLevel(CRITICAL)
        return CheckpointError(
            f"{self.directory / str(self._saved)}: the checkpoint could not be written ({first_line(error)}). Make "
            "room or mend the file system; the same command then goes on from the checkpoint before it"
        )

    def restore(self, step: int, like: Any) -> Any:
        """Read a checkpoint.

        Args:
            step: its step.
            like: arrays or their shapes. Where a shape has a sharding, what is read lies on those devices, the
                leading axis cut off or filled up with zeros to the length wanted; otherwise it is NumPy on the host,
                with as many places as were saved.

        Raises:
            CheckpointError: if it cannot be read, or its arrays are not those of `like`.
        """
        leaves = jax.tree.leaves(like)
        folder = self._plain.path / str(step) / _ITEM
        sharded = all(isinstance(leaf, jax.ShapeDtypeStruct) and leaf.sharding is not None for leaf in leaves)
        try:
            if sharded:
                found = self._reader.restore(folder, args=ocp.args.StandardRestore(like, strict=False))
            else:
                abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
                found = self._reader.restore(folder, args=ocp.args.StandardRestore(abstract))
        except Exception as error:
            # What comes of damage depends on where it is: Orbax raises nearly anything, even a bare Exception.
            raise self.damage(step, f"cannot be read ({first_line(error)})") from error
        for wanted, got in zip(leaves, jax.tree.leaves(found), strict=True):
            # Orbax gives arrays of other shapes as they are.
            if wanted.shape[1:] != got.shape[1:] or wanted.dtype != got.dtype:
                raise self.damage(
                    step, f"holds {got.dtype}{got.shape[1:]} in place of {wanted.dtype}{wanted.shape[1:]}"
                )
        return found

    def verify(self, step: int, checksums: UInt[np.ndarray, "members words"]) -> None:
        """Compare what was read with what was written.

        Args:
            step: of the checkpoint.
            checksums: of every member that was read.

        Raises:
            CheckpointError: naming the members that differ.
        """
        try:
            about = _Description.validate_json((self.directory / str(step) / _ABOUT).read_bytes(), strict=True)
            wanted = np.array(about.custom_metadata.get(_CHECKSUMS, []), np.uint32)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            raise self.damage(step, f"has a description that cannot be read ({first_line(error)})") from error
        if wanted.ndim != 2:
            raise self.damage(step, "has lost the checksums of its members")
        if wanted.shape != checksums.shape:
            raise self.damage(step, f"holds {len(wanted)} members; {len(checksums)} are wanted")
        if len(differ := np.flatnonzero((wanted != checksums).any(axis=1))):
            raise self.damage(step, f"is damaged: not what was written for member {', '.join(map(str, differ))}")

    def damage(self, step: int, what: str) -> CheckpointError:
        """The error that says so; the checkpoint will be rewritten when training comes by."""
        self._damaged.add(step)
        return CheckpointError(f"{self.directory / str(step)} {what}")

    def close(self) -> None:
        """Wait until everything is written, and let go."""
        try:
            self.wait()
            if self._manager is not None:
                self._empty_deleted()
                self._manager.close()
        finally:
            self._reader.close()
            self._plain.remove()


def set_aside(directory: Path) -> list[str]:
    """Move checkpoints that do not look whole to ``checkpoints/damaged``, where Orbax does not stumble over them.

    Nothing is deleted. Only one process may call this, before `Checkpoints` are opened for writing.

    Returns:
        what was moved, and why, a line each.
    """
    moved = []
    for name, fault in _faults(directory).items():
        if not fault:
            continue
        target = directory / _ASIDE / name
        for number in itertools.count(2):
            if not target.exists():
                break
            target = directory / _ASIDE / f"{name}.{number}"
        target.parent.mkdir(exist_ok=True)
        (directory / name).rename(target)
        moved.append(f"{directory / name} {fault}; moved to {target}")
    return moved


def _reader() -> ocp.Checkpointer:
    """A reader of this process alone, which waits for no other.

    Damage may lie in the share of one process; the others would wait for it for ever.
    """
    hush_late_reads()
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"reader{own}"
    )
    return ocp.Checkpointer(ocp.StandardCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone)


def _faults(directory: Path) -> dict[str, str]:
    """What is wrong with the folder of each step by its name; empty where it looks whole."""
    if not directory.is_dir():
        return {}
    names = (path.name for path in directory.iterdir() if re.fullmatch(r"[0-9]{1,18}", path.name, re.ASCII))
    return {name: _fault(directory / name) for name in sorted(names, key=int)}


def _fault(path: Path) -> str:
    if str(int(path.name)) != path.name:
        return "is not named by a step"
    if not path.is_dir():
        return "is not a folder"
    if not (path / _ITEM).is_dir():
        return f"holds no checkpoint: {_ITEM}/ is missing"
    try:
        _Description.validate_json((path / _ABOUT).read_bytes(), strict=True)
    except OSError as error:
        return f"has lost its description {_ABOUT} ({error.strerror})"
    except pydantic.ValidationError as error:
        return f"has a damaged description {_ABOUT} ({error.errors(include_url=False)[0]['msg']})"
    return ""


@dataclass(frozen=True)
class _About:
    item_handlers: dict[str, str] | str
    metrics: dict[str, Any]
    performance_metrics: dict[str, float]
    init_timestamp_nsecs: int
    commit_timestamp_nsecs: int
    custom_metadata: dict[str, Any]


_Description = pydantic.TypeAdapter(_About)
