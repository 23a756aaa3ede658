"""Checkpoints of the whole ensemble, through Orbax; the only module that knows Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from npi_jax.config import CheckpointConfig


def scheduled_steps(steps: int, every: int) -> list[int]:
    """The steps at which members are scored: 0, 1, 2, 4, ... below `every`, its multiples, and the last step."""
    early = {0} | {1 << power for power in range(steps.bit_length()) if 1 << power < every}
    return sorted(step for step in early | set(range(every, steps, every)) | {steps} if step <= steps)


class Checkpoints:
    """Training states on disk; only whole ones are ever seen (Orbax writes beside and renames).

    Args:
        directory: the run's ``checkpoints`` folder.
        config: which are kept.
        read_only: nothing is written or cleaned up, so that a run that goes on is not disturbed.
    """

    def __init__(self, directory: Path, config: CheckpointConfig, *, read_only: bool = False):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else config.keep,
            keep_period=config.keep_period or None,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=not read_only,
            save_interval_steps=0 if read_only else 1,
        )
        before = logging.get_verbosity()
        if read_only:
            # Orbax warns that it was asked for just this.
            logging.set_verbosity(logging.ERROR)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)
        logging.set_verbosity(before)

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any) -> None:
        """Begin to write a checkpoint; errors of an earlier write are raised here."""
        self._manager.check_for_errors()
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state), force=True)

    def restore(self, step: int, like: Any) -> Any:
        """Read a checkpoint into host arrays with the structure, shapes and dtypes of `like`."""
        abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    def close(self) -> None:
        """Wait until everything is written."""
        self._manager.wait_until_finished()
        self._manager.close()
