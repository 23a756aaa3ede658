"""The live display of a training run: step, loss of each variant, tokens a second, time left."""

import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0


class Display:
    """A progress bar on a terminal, a plain line every few seconds elsewhere.

    Args:
        console: where to write.
        steps: steps of the whole run.
        variants: variant of each member.
    """

    def __init__(self, console: Console, steps: int, variants: Sequence[str]):
        self._console = console
        self._steps = steps
        self._variants = np.array(variants)
        self._names = list(dict.fromkeys(variants))
        self._losses = ""
        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=steps, rate="", losses="")
        self._started = self._last = time.monotonic()
        self._first_step: int | None = None

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, highlight=False, markup=False)

    def update(self, step: int, mean_losses: np.ndarray, tokens_per_second: float) -> None:
        """Show where training is; `mean_losses` holds each member's running loss, nats a token."""
        if self._first_step is None:
            self._first_step, self._started = step, time.monotonic()
        shown = (f"{name} {mean_losses[self._variants == name].mean():.3f}" for name in self._names[:6])
        self._losses = "loss " + "  ".join(shown) + (" ..." if len(self._names) > 6 else "")
        rate = f"{tokens_per_second:,.0f} tokens/s"
        self._bar.update(self._task, completed=step, rate=rate, losses=self._losses)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._last >= PLAIN_SECONDS or step == self._steps):
            self._last = now
            done = step - self._first_step
            # Of the first call nobody knows yet how long it took.
            left = f"{(now - self._started) / done * (self._steps - step):.0f} s left  " if done else ""
            self.say(f"step {step}/{self._steps}  {rate}  {left}{self._losses}")
