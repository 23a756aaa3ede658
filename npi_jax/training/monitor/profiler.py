"""XLA's trace of some steps, for TensorBoard's profiler or Perfetto."""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax


class Profiler:
    """Traces the calls that hold the steps asked for.

    Args:
        folder: where the trace goes.
        steps: which steps; an empty range for none.
    """

    def __init__(self, folder: Path, steps: range):
        self._folder, self._steps = folder, steps
        self._tracing = False

    def before(self, step: int, n_steps: int, state: Any) -> None:
        """Begin or end the trace before the call of steps ``step`` to ``step + n_steps - 1``.

        Args:
            step, n_steps: of the call.
            state: what the call before gives; a trace ends when that is there.
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
