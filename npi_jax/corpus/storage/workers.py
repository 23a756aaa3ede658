"""One function over a stream, in several processes, results in order; the processes end with the one they work for."""

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

# In a worker: its function, made once.
_FUNCTION: Callable[[Any], Any] | None = None
_AHEAD = 4


def ordered_map(make: Callable[[], Callable[[T], R]], items: Iterable[T], *, processes: int = 1) -> Iterator[R]:
    """Apply a function to each item; results come in the order of the items.

    Args:
        make: makes the function, in each process once; must be picklable for several processes.
        items: read a few ahead of what is being worked on, never all at once.
        processes: 1 works in this process; 0 takes one for each core.

    Raises:
        Exception: what the function raises, at its place in the order.
        UserError: if a process dies.
    """
    processes = processes or (os.cpu_count() or 1)
    if processes == 1:
        function = make()
        yield from map(function, items)
        return
    # Forking a process that runs JAX's threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start, initargs=(make,)) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(_call, item))
                if len(waiting) >= _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that prepares text has died; a script that prepares text with several processes needs "
                "if __name__ == '__main__': around its calls, or corpus.processes=1"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _start(make: Callable[[], Callable[[Any], Any]]) -> None:
    global _FUNCTION  # noqa: PLW0603
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C reaches all processes of a terminal; the parent ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _FUNCTION = make()


def _end_with_parent() -> None:
    """Wait for the parent's end, and follow it: killed, it can tell nobody, and workers would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(item: Any) -> Any:
    assert _FUNCTION is not None
    return _FUNCTION(item)
