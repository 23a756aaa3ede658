"""Sinks for the values of a run in progress: a log of JSON lines, and optionally TensorBoard and Weights & Biases."""

import hashlib
import importlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, runtime_checkable

from npi_jax.errors import UserError

SinkName = Literal["tensorboard", "wandb"]
Values = Mapping[str, float]
"""Numbers by name; parts of a name are separated by slashes."""


@runtime_checkable
class Sink(Protocol):
    """Receives the values of one step after another."""

    def write(self, step: int, values: Values) -> None:
        """Write the values of a step."""

    def close(self) -> None:
        """Write everything that is still buffered, and release resources."""


class JsonLines:
    """Appends one line per step to a file. If the last line was cut off earlier, it is terminated first."""

    def __init__(self, path: Path):
        self._path = path
        if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
            with path.open("ab") as file:
                file.write(b"\n")

    def write(self, step: int, values: Values) -> None:
        """Append a line with the step, the time (seconds since 1970) and the values."""
        # JSON cannot represent NaN, such as the loss of a diverged member.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "time": time.time(), **finite}) + "\n")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror or error})") from error

    def close(self) -> None:
        """No-op: the file is closed after each line."""


class TensorBoard:
    """Writes event files to RUN/tensorboard, without TensorFlow."""

    def __init__(self, folder: Path):
        self._writer = _module("tensorboardX", "tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, values: Values) -> None:
        """Write each value as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WeightsAndBiases:
    """Logs to Weights & Biases. If a run directory is resumed, its run there continues."""

    def __init__(self, folder: Path, project: str, config: Mapping[str, Any]):
        wandb = _module("wandb", "wandb")
        key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(
            project=project, name=folder.name, id=key, resume="allow", dir=str(folder), config=dict(config)
        )

    def write(self, step: int, values: Values) -> None:
        """Log all values of a step at once."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Send everything that is still buffered."""
        self._run.finish()


def open_sinks(folder: Path, names: Sequence[SinkName], project: str, config: Mapping[str, Any]) -> list[Sink]:
    """Open the sinks of a run.

    Args:
        folder: the run directory.
        names: sinks besides the log of JSON lines.
        project: project of Weights & Biases.
        config: the configuration as plain values.

    Raises:
        UserError: if a package that a sink needs is not installed; the message states the command that installs it.
    """
    make: dict[SinkName, Callable[[], Sink]] = {
        "tensorboard": lambda: TensorBoard(folder),
        "wandb": lambda: WeightsAndBiases(folder, project, config),
    }
    return [JsonLines(folder / "log.jsonl"), *(make[name]() for name in names)]


def check_sinks(names: Sequence[SinkName]) -> None:
    """Refuse sinks whose packages are not installed, before work starts.

    Raises:
        UserError: stating the command that installs the package.
    """
    for name in names:
        _module({"tensorboard": "tensorboardX", "wandb": "wandb"}[name], name)


def _module(name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"monitor.sinks has {extra!r}, which needs {name}: pip install 'npi-jax[{extra}]'") from error
