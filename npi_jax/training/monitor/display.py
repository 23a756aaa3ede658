"""The live display of a run: stage, step, loss of each variant, tokens per second, time left."""

import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from datetime import timedelta
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

PLAIN_SECONDS = 10.0
"""Minimum number of seconds between two plain lines of one stage."""

REFRESH_SECONDS = 0.25

SHORTEST_BAR, LONGEST_BAR = 8, 24
"""Minimum and maximum number of columns of the progress bar."""

SHOWN = 6
"""Maximum number of variants whose losses are shown."""


class Display:
    """Two lines on a terminal that show the progress of a run.

    Without a terminal, a plain line is printed for each stage, and at most one every `PLAIN_SECONDS` within a stage.

    Args:
        console: the console to write to.
        steps: number of steps of the run.
        variants: names of the members' variants.

    Attributes:
        doing: name of the current work.
    """

    def __init__(self, console: Console, steps: int = 0, variants: Sequence[str] = ()):
        self._console = console
        self._steps, self._step = steps, -1
        self._variants = np.array(variants)
        self._names = list(dict.fromkeys(variants))
        self._losses: list[float] = []
        self._rate = ""
        self.doing = ""
        self._began = self._last = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._live = Live(
            self,
            console=console,
            transient=True,
            refresh_per_second=1 / REFRESH_SECONDS,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> "Display":
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal and not self._console.is_dumb_terminal and not self._console.quiet

    def say(self, line: str) -> None:
        """Print a line above the display."""
        self._console.print(line, highlight=False, markup=False)

    def stage(self, what: str) -> None:
        """Start a stage of the run, such as "compiling"."""
        self.doing = what
        if not self._is_live:
            self._last = time.monotonic()
            self.say(f"{what} ...")

    def detail(self, what: str) -> None:
        """Show the current work within a stage; without a terminal, at most every `PLAIN_SECONDS`."""
        self.doing = what
        if not self._is_live and time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            self.say(f"{what} ...")

    def track(self, items: Iterable[Any], what: str) -> Iterator[Any]:
        """Iterate over items of a long task, and show the number of completed items."""
        of = f" of {len(items):,}" if isinstance(items, Sized) else ""
        before, due = self.doing, 0.0
        for number, item in enumerate(items):
            # Do not update the display for each item, because there may be millions.
            if (now := time.monotonic()) >= due:
                due = now + REFRESH_SECONDS
                self.detail(f"{what}: {number:,}{of}" if number else what)
            yield item
        self.doing = before

    def update(self, step: int, mean_losses: Float[np.ndarray, " members"], tokens_per_second: float) -> None:
        """Show the progress of training.

        Args:
            step: number of completed steps.
            mean_losses: running training loss of each member, nats per token.
            tokens_per_second: rate of all members.
        """
        now = time.monotonic()
        self._first = self._first or (step, now)
        self._step = step
        self._losses = [float(mean_losses[self._variants == name].mean()) for name in self._names[:SHOWN]]
        self._rate = f"{tokens_per_second:,.0f} tokens/s"
        ends = step == self._steps
        if ends or (not self._is_live and now - self._last >= PLAIN_SECONDS):
            self._last = now
            left = "" if ends or (seconds := self._seconds_left()) is None else f"{seconds:.0f} s left  "
            self.say(f"step {step}/{self._steps}  {self._rate}  {left}{self._loss_text(None)}")

    def _seconds_left(self) -> float | None:
        """Estimate the remaining seconds of training; None until two calls have ended."""
        if self._first is None or self._step == self._first[0]:
            return None
        first, since = self._first
        return (time.monotonic() - since) / (self._step - first) * (self._steps - self._step)

    def _loss_text(self, width: int | None) -> str:
        """Format the losses. If the width (columns) is too small, names are cut; then the last losses are omitted."""
        numbers = [f"{loss:.3f}" for loss in self._losses]
        more = " ..." if len(self._names) > SHOWN else ""
        longest = max(map(cell_len, self._names), default=0)
        if width is not None:
            while numbers and len(f"loss {'  '.join(numbers)}{more}") > width:
                numbers.pop()
                more = " ..."
            if not numbers:
                return ""
            # Count "loss", two spaces before each name, and one space before its number.
            space = width - len("loss" + more) - sum(len(number) + 3 for number in numbers)
            longest = _cut_to(self._names[: len(numbers)], space)
        named = (
            f"{_short(name, longest)} {number}".strip() for name, number in zip(self._names, numbers, strict=False)
        )
        return f"loss {'  '.join(named)}{more}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the two lines, the second only during training. Parts that do not fit are omitted."""
        width = options.max_width
        clock = _clock(time.monotonic() - self._began)
        if self._step < 0 or self._step >= self._steps:
            yield Text(f"{self.doing}  {clock}", no_wrap=True, overflow="ellipsis")
            return
        left = self._seconds_left()
        step = f"step {self._step}/{self._steps} "
        times = f" {clock} left {'-:--:--' if left is None else _clock(left)}"
        yield self._first_line(width, step, times)
        rest = f"{self._rate}  "
        yield Text(rest + self._loss_text(width - len(rest)), no_wrap=True, overflow="ellipsis")

    def _first_line(self, width: int, step: str, times: str) -> Text:
        space = width - len(step) - len(times)
        bar = max(SHORTEST_BAR, min(LONGEST_BAR, space - len(self.doing) - 2))
        line = Text(no_wrap=True)
        if space >= bar + 2 + min(len(self.doing), SHORTEST_BAR):
            line.append(f"{_short(self.doing, space - bar - 2):{SHORTEST_BAR}}  ")
        line.append(step)
        if space >= bar:
            done = round(bar * self._step / self._steps)
            line.append("━" * done, "bar.complete").append("─" * (bar - done), "bar.back")
        fitting = (part for part in (times, times[times.index(" left") :], "") if len(step + part) <= width)
        return line.append(next(fitting, ""))


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _short(name: str, width: int) -> str:
    """Cut a name to a number of columns; some characters take two columns."""
    if cell_len(name) <= width:
        return name
    return f"{set_cell_size(name, width - 1).rstrip()}…" if width > 1 else ""


def _cut_to(names: Sequence[str], space: int) -> int:
    """Return the width to which long names are cut so that all names fit; 0 if none can be shown."""
    longest = max(map(cell_len, names), default=0)
    while longest > 0 and sum(min(cell_len(name), longest) for name in names) > space:
        longest -= 1
    return longest if longest > 1 else 0
