"""A watchdog: a process that hangs says where, and ends, so that whatever started it can start it again."""

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from types import TracebackType

from npi_jax.errors import UserError
from npi_jax.training.monitor import watcher

STDERR = 2


class Watchdog:
    """While entered, ends the process with exit status 1 if `beat` is not called for some time.

    Before that it writes the stacks of all threads to standard error. The time is counted by a process of its own
    (`npi_jax.training.monitor.watcher`), while this one could run: time in which it was suspended does not count, and a
    library that never gives Python's interpreter back is seen too. Such a process is killed, if need be.

    Args:
        seconds: the time; 0 for no watchdog.
    """

    def __init__(self, seconds: int):
        self._seconds = seconds
        self._watcher: subprocess.Popen[bytes] | None = None

    def beat(self) -> None:
        """Say that the process is alive: the time restarts."""
        if self._watcher is not None and self._watcher.stdin is not None:
            # Without its watcher a process goes on; one that has not read for long needs no further beat.
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self._watcher.stdin.fileno(), b".")

    def __enter__(self) -> "Watchdog":
        if self._seconds:
            # Handled in C, whatever Python does. By its number, which stays the process's own where somebody put
            # another object in the place of sys.stderr.
            faulthandler.register(signal.SIGQUIT, file=STDERR, all_threads=True)
            self._watcher = _start(self._seconds)
            threading.Thread(target=self._await_end, args=(self._watcher,), name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watching, self._watcher = self._watcher, None
        if watching is not None and watching.stdin is not None:
            watching.stdin.close()
            watching.kill()
            watching.wait()
            faulthandler.unregister(signal.SIGQUIT)

    def _await_end(self, watching: subprocess.Popen[bytes]) -> None:
        """End this process when its watcher says so; that one kills it where this thread cannot run."""
        assert watching.stdout is not None
        with watching.stdout as said:
            if said.read(1) != watcher.TIME_IS_UP:
                return
            os.write(STDERR, f"Timeout ({timedelta(seconds=self._seconds)})!\n".encode())
            faulthandler.dump_traceback(file=STDERR, all_threads=True)
            os._exit(1)


def _start(seconds: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-S", watcher.__file__, str(os.getpid()), str(seconds)]
    try:
        started = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    except OSError as error:
        raise UserError(
            f"monitor.watchdog: its process cannot be started ({error.strerror or error}); 0 is for no watchdog"
        ) from error
    assert started.stdin is not None
    os.set_blocking(started.stdin.fileno(), False)
    return started
