"""The process of a watchdog: counts for how long the one that started it could run and did not beat.

Run by path, with the standard library alone: ``python watcher.py PID SECONDS``. Beats come on standard input, which
ends with the process that is watched, and this one with it.
"""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

TIME_IS_UP = b"!"
TICKS = 20
"""Looks in the time that is allowed."""

LAST_WORDS = 2.0
"""Seconds in which a process may end by itself when it is told that its time is up."""

DUMP = 1.0
"""Seconds to write its stacks, before it is killed."""


def is_suspended(pid: int) -> bool:
    """Return whether a process is stopped, as by ctrl-Z, SIGSTOP or a debugger."""
    try:
        # The name of the program, in parentheses, may hold anything.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        if Path("/proc/self").exists():
            return False
        # Other systems have no /proc.
        found = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state = found.stdout.strip()[:1]
    return state in ("T", "t")


def watch(pid: int, seconds: float) -> bool:
    """Return whether a process did not beat for so many seconds in which it could run; not, when it ends."""
    tick, silent = min(seconds / TICKS, 10.0), 0.0
    while silent < seconds:
        # One tick counts as one, however long it was: this process may have been suspended too.
        if not select.select([0], [], [], tick)[0]:
            silent = silent if is_suspended(pid) else silent + tick
        elif os.read(0, 65_536):
            silent = 0.0
        else:
            return False
    return True


def end(pid: int) -> None:
    """Tell a process to end; where it cannot, have it write its stacks, and kill it."""
    os.write(1, TIME_IS_UP)
    until = time.monotonic() + LAST_WORDS
    while time.monotonic() < until:
        if select.select([0], [], [], LAST_WORDS)[0] and not os.read(0, 65_536):
            return
    os.kill(pid, signal.SIGQUIT)
    time.sleep(DUMP)
    os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Watch the process that the command line names."""
    # These are for the process that is watched; this one ends with it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    pid, seconds = int(sys.argv[1]), float(sys.argv[2])
    if watch(pid, seconds):
        end(pid)


if __name__ == "__main__":
    main()
