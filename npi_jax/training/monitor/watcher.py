"""Separate process of a watchdog: measures the time in which the watched process could run and sent no beat.

It is started by path and uses only the standard library: ``python watcher.py PID SECONDS``. Beats arrive on standard
input. When the watched process ends, standard input closes, and the watcher ends too.
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
"""Minimum number of checks within the allowed time."""

END_SECONDS = 2.0
"""Seconds that the watched process has to end by itself after the report of a timeout."""

DUMP_SECONDS = 1.0
"""Seconds that the watched process has to write its stacks before it is killed."""


def is_suspended(pid: int) -> bool:
    """Return whether a process is suspended, for example by ctrl-Z, SIGSTOP or a debugger."""
    try:
        # The state follows the name of the program, which is in parentheses and may contain any character.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        if Path("/proc/self").exists():
            return False
        # Systems other than Linux have no /proc.
        shown = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state = shown.stdout.strip()[:1]
    return state in ("T", "t")


def watch(pid: int, seconds: float) -> bool:
    """Wait until a process sends no beat for some seconds in which it could run; return False if it ends before."""
    tick, silent = min(seconds / TICKS, 10.0), 0.0
    while silent < seconds:
        # Count every check as one tick, even if it took longer, because the watcher may have been suspended too.
        if not select.select([0], [], [], tick)[0]:
            silent = silent if is_suspended(pid) else silent + tick
        elif os.read(0, 65_536):
            silent = 0.0
        else:
            return False
    return True


def end(pid: int) -> None:
    """Report a timeout to a process; if it does not end, make it write its stacks and kill it."""
    os.write(1, TIME_IS_UP)
    until = time.monotonic() + END_SECONDS
    while time.monotonic() < until:
        if select.select([0], [], [], END_SECONDS)[0] and not os.read(0, 65_536):
            return
    os.kill(pid, signal.SIGQUIT)
    time.sleep(DUMP_SECONDS)
    os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Watch the process that the command line names."""
    # These signals are meant for the watched process. The watcher ends when the watched process ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    pid, seconds = int(sys.argv[1]), float(sys.argv[2])
    if watch(pid, seconds):
        end(pid)


if __name__ == "__main__":
    main()
