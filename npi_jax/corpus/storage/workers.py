"""Ordered map over a stream with several worker processes, which end with their parent."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from npi_jax.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

# The function that a worker process applies, created when the process starts.
_FUNCTION: Callable[[Any], Any] | None = None
_AHEAD = 4
"""Items per process that are read before their results are needed."""


def ordered_map(make: Callable[[], Callable[[T], R]], items: Iterable[T], *, processes: int = 1) -> Iterator[R]:
    """Apply a function to each item, and yield the results in the order of the items.

    Args:
        make: creates the function, once in each process; must be picklable for several processes.
        items: the items; only a few are read ahead of the results.
        processes: number of processes; 1 stays in this process, 0 starts one per core.

    Raises:
        Exception: an exception of the function, in place of the item's result.
        UserError: if a process dies.
    """
    processes = processes or (os.cpu_count() or 1)
    if processes == 1:
        yield from map(make(), items)
        return
    # Not fork: JAX runs threads, and a forked process can hang on their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start, initargs=(make,)) as pool:
        try:
            yield from _results(pool, items, most=_AHEAD * processes)
        except BrokenProcessPool as error:
            raise UserError(
                "a process that prepares text has died; a script that prepares text with several processes needs "
                "if __name__ == '__main__': around its calls, or corpus.processes=1"
            ) from error


def _results(pool: ProcessPoolExecutor, items: Iterable[T], *, most: int) -> Iterator[Any]:
    """Yield results in order; at most `most` items are submitted and not yet yielded."""
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(_call, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _start(make: Callable[[], Callable[[Any], Any]]) -> None:
    global _FUNCTION  # noqa: PLW0603
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C in a terminal reaches all processes; the parent alone handles it and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _FUNCTION = make()


def _end_with_parent() -> None:
    """Exit as soon as the parent ends: a parent that is killed cannot stop its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(item: Any) -> Any:
    assert _FUNCTION is not None
    return _FUNCTION(item)
