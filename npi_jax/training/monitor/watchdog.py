"""A watchdog: a process that hangs prints its stacks and ends, so that its launcher can start it again."""

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
    """Context manager that ends the process with exit status 1 if `beat` is not called for some time.

    Before, the stacks of all threads are written to standard error. A separate process, the watcher
    (`npi_jax.training.monitor.watcher`), measures the time. Time in which this process is suspended does not count. If
    a library never releases Python's interpreter lock, the watcher kills this process instead.

    Args:
        seconds: maximum time without a call of `beat`; 0 for no watchdog.
    """

    def __init__(self, seconds: int):
        self._seconds = seconds
        self._watcher: subprocess.Popen[bytes] | None = None

    def beat(self) -> None:
        """Restart the time, because the process is alive."""
        if self._watcher is not None and self._watcher.stdin is not None:
            # A lost watcher must not end the run. If the pipe is full, the watcher already has beats to read.
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self._watcher.stdin.fileno(), b".")

    def __enter__(self) -> "Watchdog":
        if self._seconds:
            # faulthandler runs in C, even if Python is blocked. Pass the file descriptor, since sys.stderr may be
            # replaced.
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
        """End this process when the watcher reports a timeout; if this fails, the watcher kills the process."""
        assert watching.stdout is not None
        with watching.stdout as reports:
            if reports.read(1) != watcher.TIME_IS_UP:
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
            f"monitor.watchdog: its process cannot be started ({error.strerror or error}); 0 turns the watchdog off"
        ) from error
    assert started.stdin is not None
    os.set_blocking(started.stdin.fileno(), False)
    return started
