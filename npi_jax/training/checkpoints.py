"""Checkpoints of the whole ensemble, through Orbax; the only module that knows Orbax."""

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

from npi_jax.config import CheckpointConfig
from npi_jax.errors import UserError, first_line

_CHECKSUMS = "member_checksums"
# Orbax would delete the files of a checkpoint one by one in place; a process killed at that would leave part of one.
_DELETED = "deleted"


class CheckpointError(UserError):
    """A checkpoint that cannot be written, or is damaged."""


def scheduled_steps(steps: int, every: int) -> list[int]:
    """The steps at which members are scored: 0, 1, 2, 4, ... below `every`, its multiples, and the last step."""
    early = {0} | {1 << power for power in range(steps.bit_length()) if 1 << power < every}
    return sorted(step for step in early | set(range(every, steps, every)) | {steps} if step <= steps)


class Checkpoints:
    """Training states on disk; only whole ones are ever seen (Orbax writes beside and renames).

    With several processes all of them make one, on a file system that they share, and call the same functions.

    Args:
        directory: the run's ``checkpoints`` folder.
        config: which are kept.
        read_only: nothing is written or cleaned up, so that a run that goes on is not disturbed.

    Raises:
        CheckpointError: if the description of one is damaged.
    """

    def __init__(self, directory: Path, config: CheckpointConfig, *, read_only: bool = False):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else config.keep,
            keep_period=config.keep_period or None,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=not read_only,
            save_interval_steps=0 if read_only else 1,
            todelete_subdir=None if read_only else _DELETED,
        )
        self.directory = directory.absolute()
        self._read_only = read_only
        self._damaged: set[int] = set()
        self._saved = 0
        # What Orbax logs as an error it raises too, and its warning of a manager that only reads is no news.
        logging.set_verbosity(logging.FATAL)
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
            self._reader = self._manager if jax.process_count() == 1 else _own_reader(self.directory)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            damaged = ", ".join(str(path) for path in _misdescribed(self.directory)) or str(self.directory)
            raise CheckpointError(
                f"{damaged}: the description of a checkpoint is damaged ({first_line(error)}). Remove the folder that "
                "it is in, and the checkpoint before it is used"
            ) from error
        if not read_only:
            self._empty_deleted()

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, checksums: UInt[np.ndarray, "members words"]) -> None:
        """Begin to write a checkpoint.

        Args:
            step: its step.
            state: stacked arrays with a leading axis of members or places, the same tree in all processes.
            checksums: of every member (`npi_jax.training.checksum`).

        Raises:
            CheckpointError: if an earlier one could not be written, as where the disk is full.
        """
        try:
            if step in self._damaged:
                self._manager.delete(step)
                self._damaged.remove(step)
            if step in self._manager.all_steps():
                return
            self._manager.wait_until_finished()
            self._empty_deleted()
            about = {_CHECKSUMS: checksums.tolist()}
            self._manager.save(step, args=ocp.args.StandardSave(state), custom_metadata=about, force=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._not_written(error) from error
        self._saved = step

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            CheckpointError: if something could not be.
        """
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
        sharded = all(isinstance(leaf, jax.ShapeDtypeStruct) and leaf.sharding is not None for leaf in leaves)
        try:
            if sharded:
                found = self._reader.restore(step, args=ocp.args.StandardRestore(like, strict=False))
            else:
                abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
                found = self._reader.restore(step, args=ocp.args.StandardRestore(abstract))
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
            stored = (self._manager.metadata(step).custom_metadata or {}).get(_CHECKSUMS)
            wanted = None if stored is None else np.array(stored, np.uint32)
        except Exception as error:
            # As at restoring: what Orbax raises depends on where the damage is.
            raise self.damage(step, f"has metadata that cannot be read ({first_line(error)})") from error
        if wanted is None:
            raise self.damage(step, "has lost the checksums of its members")
        if wanted.shape != checksums.shape:
            raise self.damage(step, f"holds {len(wanted)} members; {len(checksums)} are wanted")
        if len(differ := np.flatnonzero((wanted != checksums).any(axis=1))):
            raise self.damage(step, f"is damaged: not what was written for member {', '.join(map(str, differ))}")

    def damage(self, step: int, what: str) -> CheckpointError:
        """The error that says so; the checkpoint will be written anew when training comes by."""
        self._damaged.add(step)
        return CheckpointError(f"{self.directory / str(step)} {what}")

    def close(self) -> None:
        """Wait until everything is written, and let go."""
        self.wait()
        if not self._read_only:
            self._empty_deleted()
        self._manager.close()


def _own_reader(directory: Path) -> ocp.CheckpointManager:
    """A manager of this process alone, which waits for no other.

    Damage may lie in the share of one process; the others would wait for it for ever.
    """
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"reader{own}"
    )
    options = ocp.CheckpointManagerOptions(
        read_only=True, create=False, save_interval_steps=0, multiprocessing_options=alone
    )
    return ocp.CheckpointManager(directory, options=options)


def _misdescribed(directory: Path) -> list[Path]:
    """Descriptions of checkpoints that have not the form that Orbax gives them."""
    found = []
    for path in sorted(directory.glob("[0-9]*/_CHECKPOINT_METADATA")):
        try:
            _Description.validate_json(path.read_bytes(), strict=True)
        except pydantic.ValidationError:
            found.append(path)
    return found


@dataclass(frozen=True)
class _About:
    item_handlers: dict[str, str] | str
    metrics: dict[str, Any]
    performance_metrics: dict[str, float]
    init_timestamp_nsecs: int
    commit_timestamp_nsecs: int
    custom_metadata: dict[str, Any]


_Description = pydantic.TypeAdapter(_About)
