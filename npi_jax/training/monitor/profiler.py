"""Traces of training steps by XLA, for TensorBoard's profiler or Perfetto."""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax


class Profiler:
    """Traces the training calls that contain the given steps.

    Args:
        folder: folder of the trace.
        steps: range of steps; an empty range traces nothing.
    """

    def __init__(self, folder: Path, steps: range):
        self._folder, self._steps = folder, steps
        self._tracing = False

    def before(self, step: int, n_steps: int, state: Any) -> None:
        """Start or stop the trace before a training call, as needed.

        Args:
            step, n_steps: first step of the call, and number of its steps.
            state: result of the previous call. A trace starts or stops only after that call has ended.
        """
        wanted = bool(self._steps) and step < self._steps.stop and step + n_steps > self._steps.start
        if wanted and not self._tracing:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self._folder))
        elif self._tracing and not wanted:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
        self._tracing = wanted

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
