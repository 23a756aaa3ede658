"""Endless work in two worker processes, which tests end from outside."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from npi_jax.corpus.storage.workers import ordered_map


class Slow:
    """Writes a file named after the process, and works slowly."""

    def __call__(self, number: int) -> int:
        (Path(sys.argv[1]) / str(os.getpid())).touch()
        time.sleep(0.05)
        return number


def numbers() -> Iterator[int]:
    """Yield numbers without end."""
    number = 0
    while True:
        yield (number := number + 1)


if __name__ == "__main__":
    assert multiprocessing.parent_process() is None
    for _ in ordered_map(Slow, numbers(), processes=2):
        pass
