"""Pace of training: number of training tokens, and the time that this process spent on each part of its work."""

import time
from dataclasses import dataclass


@dataclass
class Seconds:
    """Seconds that this process spent on each part of its work."""

    compile: float = 0.0
    train: float = 0.0
    score: float = 0.0
    gradients: float = 0.0
    save: float = 0.0


class Pace:
    """Counter of tokens and seconds. Tokens per second refer to training without scoring and saving.

    Args:
        tokens_per_step: mean number of tokens of all members in one step.
        token_flops: floating-point operations of training for one token.
        peak: peak rate of all devices, operations per second; None if unknown.

    Attributes:
        seconds: time spent so far on each part of the work.
        tokens: number of training tokens of all members since this process started.
    """

    def __init__(self, *, tokens_per_step: int, token_flops: int, peak: float | None):
        self._tokens_per_step, self._token_flops, self._peak = tokens_per_step, token_flops, peak
        self.seconds = Seconds()
        self.tokens = 0
        self._step = 0
        self._since: float | None = None

    def start(self, step: int) -> None:
        """Start the clock of training before step `step`."""
        self._step, self._since = step, time.monotonic()

    def reach(self, step: int) -> float:
        """Add the tokens of all new steps before step `step`; return the tokens per second so far."""
        self.tokens += (step - self._step) * self._tokens_per_step
        self._step = step
        return self.tokens / (self.seconds.train + self._running())

    def pause(self) -> None:
        """Stop the clock of training."""
        self.seconds.train += self._running()
        self._since = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all members per second of training."""
        return self.tokens / self.seconds.train if self.seconds.train else 0.0

    def values(self) -> dict[str, float]:
        """Return tokens, tokens per second, utilization of the devices (``mfu``, if known) and seconds of each part."""
        rate = self.tokens_per_second
        mfu = {} if self._peak is None else {"mfu": rate * self._token_flops / self._peak}
        seconds = {f"seconds/{part}": value for part, value in vars(self.seconds).items()}
        return {"tokens": float(self.tokens), "tokens_per_second": rate, **mfu, **seconds}

    def _running(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since
