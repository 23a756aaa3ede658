"""Checkpoints of the ensemble, written and read by Orbax. No other module uses Orbax."""

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
# Orbax moves a checkpoint to this folder before it deletes its files. Otherwise a killed process could leave a part of
# the checkpoint.
_DELETED = "deleted"
_DAMAGED = "damaged"
_DESCRIPTION = "_CHECKPOINT_METADATA"
_ITEM = "default"


class CheckpointError(UserError):
    """A checkpoint cannot be written, or is damaged."""


def scheduled_steps(steps: int, every: int) -> list[int]:
    """Return the steps at which members are scored: 0, powers of 2 below `every`, its multiples, and the last."""
    early = {0} | {1 << power for power in range(steps.bit_length()) if 1 << power < every}
    return sorted(step for step in early | set(range(every, steps, every)) | {steps} if step <= steps)


class Checkpoints:
    """Checkpoints of a run on disk.

    Orbax writes a checkpoint under a temporary name and renames it, so that each checkpoint is complete or absent.
    Damage to one checkpoint does not affect the others. With several processes, each makes an instance on a shared file
    system, and all call the same methods.

    Args:
        directory: the run's ``checkpoints`` folder.
        config: the policy for keeping checkpoints.
        read_only: write and delete nothing, so that another process can train.

    Attributes:
        directory: absolute path of the folder.

    Raises:
        CheckpointError: if Orbax cannot open the folder. Call `set_aside` before, which moves damaged checkpoints.
    """

    def __init__(self, directory: Path, config: CheckpointConfig, *, read_only: bool = False):
        self.directory = directory.absolute()
        self._plain = PlainName(self.directory)
        self._damaged: set[int] = set()
        self._saved = 0
        # Orbax also raises the errors that it logs, so its log is not needed.
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
        # Without a handler Orbax would infer the format from the latest checkpoint, which may be damaged.
        handler = ocp.StandardCheckpointHandler()
        try:
            return ocp.CheckpointManager(self._plain.path, item_handlers=handler, options=options)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{self.directory}: cannot be opened by Orbax ({first_line(error)})") from error

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints that look complete."""
        if self._manager is not None:
            return sorted(self._manager.all_steps())
        return sorted(int(name) for name, fault in _faults(self.directory).items() if not fault)

    def faulty(self) -> dict[int, str]:
        """Return the fault of each checkpoint that looks incomplete, by step."""
        return {int(name): fault for name, fault in _faults(self.directory).items() if fault}

    def damaged_folders(self) -> list[Path]:
        """Return the damaged checkpoints that `set_aside` has moved, in this process or an earlier one."""
        folder = self.directory / _DAMAGED
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def save(self, step: int, state: Any, checksums: UInt[np.ndarray, "members words"]) -> None:
        """Start to write a checkpoint; returns before it is written.

        Args:
            step: step of the checkpoint.
            state: stacked arrays with a leading axis of members, the same tree in all processes.
            checksums: checksums of all members, without padding members (`npi_jax.training.checkpoints.checksum`).

        Raises:
            CheckpointError: if this or an earlier checkpoint could not be written, for example on a full disk.
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
            metadata = {_CHECKSUMS: checksums.tolist()}
            manager.save(step, args=ocp.args.StandardSave(state), custom_metadata=metadata, force=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._not_written(error) from error
        self._saved = step

    def wait(self) -> None:
        """Wait until the latest checkpoint is written.

        Raises:
            CheckpointError: if it could not be written.
        """
        if self._manager is None:
            return
        try:
            # Orbax reports a full disk only here.
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            raise self._not_written(error) from error

    def _empty_deleted(self) -> None:
        """Delete the files of checkpoints that are no longer kept; call only while no checkpoint is being written."""
        deleted = self.directory / _DELETED
        if jax.process_index() == 0:
            # Some files cannot be deleted yet, such as open files on a network file system. A later call deletes them.
            shutil.rmtree(deleted, ignore_errors=True)

    def _not_written(self, error: Exception) -> CheckpointError:
        # Otherwise each array that could not be written would log another error after the error below.
        getLogger("asyncio").setLevel(CRITICAL)
        return CheckpointError(
            f"{self.directory / str(self._saved)}: the checkpoint could not be written ({first_line(error)}). Free "
            "disk space or repair the file system; the same command then resumes from the previous checkpoint"
        )

    def restore(self, step: int, like: Any) -> Any:
        """Read a checkpoint.

        Args:
            step: step of the checkpoint.
            like: a tree of arrays or of shapes. If all leaves are shapes with a sharding, the arrays are placed on its
                devices. Their leading axis is then cut, or padded with zeros, to the given length. Otherwise the result
                has NumPy arrays of all saved members.

        Raises:
            CheckpointError: if the checkpoint cannot be read, or an array differs from `like` in dtype or in the shape
                of one member.
        """
        leaves = jax.tree.leaves(like)
        folder = self._plain.path / str(step) / _ITEM
        sharded = all(isinstance(leaf, jax.ShapeDtypeStruct) and leaf.sharding is not None for leaf in leaves)
        try:
            if sharded:
                state = self._reader.restore(folder, args=ocp.args.StandardRestore(like, strict=False))
            else:
                abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
                state = self._reader.restore(folder, args=ocp.args.StandardRestore(abstract))
        except Exception as error:
            # For a damaged file Orbax may raise any exception, even a plain Exception.
            raise self.mark_damaged(step, f"cannot be read ({first_line(error)})") from error
        for wanted, got in zip(leaves, jax.tree.leaves(state), strict=True):
            # Orbax does not refuse arrays with other shapes.
            if wanted.shape[1:] != got.shape[1:] or wanted.dtype != got.dtype:
                raise self.mark_damaged(
                    step, f"holds {got.dtype}{got.shape[1:]} in place of {wanted.dtype}{wanted.shape[1:]}"
                )
        return state

    def verify(self, step: int, checksums: UInt[np.ndarray, "members words"]) -> None:
        """Compare the checksums of the members that were read with the checksums in the checkpoint.

        Args:
            step: the step of the checkpoint.
            checksums: checksums of all members that were read.

        Raises:
            CheckpointError: naming the members that differ.
        """
        try:
            description = _read_description(self.directory / str(step))
            wanted = np.array(description.custom_metadata.get(_CHECKSUMS, []), np.uint32)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            raise self.mark_damaged(step, f"has a description that cannot be read ({first_line(error)})") from error
        if wanted.ndim != 2:
            raise self.mark_damaged(step, "has lost the checksums of its members")
        if wanted.shape != checksums.shape:
            raise self.mark_damaged(step, f"holds {len(wanted)} members; this run has {len(checksums)}")
        if len(differ := np.flatnonzero((wanted != checksums).any(axis=1))):
            raise self.mark_damaged(step, f"does not match its checksum for member {', '.join(map(str, differ))}")

    def mark_damaged(self, step: int, what: str) -> CheckpointError:
        """Mark a checkpoint as damaged, so that `save` overwrites it; return an error that describes the damage."""
        self._damaged.add(step)
        return CheckpointError(f"{self.directory / str(step)} {what}")

    def close(self) -> None:
        """Wait until the latest checkpoint is written, and release the folder."""
        try:
            self.wait()
            if self._manager is not None:
                self._empty_deleted()
                self._manager.close()
        finally:
            self._reader.close()
            self._plain.remove()


def set_aside(directory: Path) -> list[str]:
    """Move checkpoints that look incomplete to ``checkpoints/damaged``, because some would prevent Orbax from working.

    Nothing is deleted. Only one process may call this function, before `Checkpoints` opens the folder for writing.

    Returns:
        a line for each checkpoint that was moved, with the reason.
    """
    moved = []
    for name, fault in _faults(directory).items():
        if not fault:
            continue
        target = directory / _DAMAGED / name
        for number in itertools.count(2):
            if not target.exists():
                break
            target = directory / _DAMAGED / f"{name}.{number}"
        target.parent.mkdir(exist_ok=True)
        (directory / name).rename(target)
        moved.append(f"{directory / name} {fault}; moved to {target}")
    return moved


def _reader() -> ocp.Checkpointer:
    """Make a reader that does not synchronize with other processes.

    Otherwise, if one process fails to read a damaged file, the others would wait for it forever.
    """
    hush_late_reads()
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"reader{process}"
    )
    return ocp.Checkpointer(ocp.StandardCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone)


def _faults(directory: Path) -> dict[str, str]:
    """Return the fault of each checkpoint by the name of its folder; "" if the checkpoint looks complete."""
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
        _read_description(path)
    except OSError as error:
        return f"has lost its description {_DESCRIPTION} ({error.strerror})"
    except pydantic.ValidationError as error:
        return f"has a damaged description {_DESCRIPTION} ({error.errors(include_url=False)[0]['msg']})"
    return ""


@dataclass(frozen=True)
class _Description:
    item_handlers: dict[str, str] | str
    metrics: dict[str, Any]
    performance_metrics: dict[str, float]
    init_timestamp_nsecs: int
    commit_timestamp_nsecs: int
    custom_metadata: dict[str, Any]


_DescriptionAdapter = pydantic.TypeAdapter(_Description)


def _read_description(path: Path) -> _Description:
    """Read Orbax's description of a checkpoint, which contains the checksums of its members."""
    return _DescriptionAdapter.validate_json((path / _DESCRIPTION).read_bytes(), strict=True)
