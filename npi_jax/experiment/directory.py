"""The run directory of an experiment: the first process locks it for all processes that train."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax

from npi_jax.config.schema import Config
from npi_jax.experiment.claim import Say, claim_run
from npi_jax.experiment.environment import seconds
from npi_jax.experiment.mending import mend
from npi_jax.results.directory import Run
from npi_jax.results.folder import RunError
from npi_jax.training.devices.processes import fail_together, is_first_process

SHARED_SECONDS = 60.0
"""Longest wait for a file that another machine wrote, in seconds; NPI_SHARED_TIMEOUT changes it."""


def run_directory(config: Config) -> Path:
    """Return the path of the run directory: `run_dir`, or else ``runs/NAME``."""
    return Path(config.run_dir or f"runs/{config.name}")


@contextmanager
def claim_for_all(path: Path, config: Config, say: Say) -> Iterator[Run]:
    """Open a run directory: in the first process with `claim_run`, in the others once they see its files.

    Raises:
        RunError: as in `claim_run`, or if a process does not see the files of the first process.
    """
    with ExitStack() as claimed:
        with fail_together(f"open {path}"):
            run = claimed.enter_context(claim_run(path, config.to_dict(), say)) if is_first_process() else Run(path)
            if is_first_process():
                mend(run, say)
        with fail_together(f"see {path}"):
            _wait_for(path / "config.json")
        yield run


def _wait_for(path: Path) -> None:
    """Wait until a shared file system shows a file that another machine wrote."""
    until = time.monotonic() + seconds(os.environ, "NPI_SHARED_TIMEOUT", SHARED_SECONDS)
    while not path.exists():
        if time.monotonic() > until:
            raise RunError(
                f"{path} was written by process 0, but process {jax.process_index()} on {platform.node()} does not "
                "see it: run_dir must be on a file system that all processes share"
            )
        time.sleep(0.5)
