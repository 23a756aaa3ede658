import signal
import subprocess
import sys
import time

import pytest

BEGIN = """
import ctypes, time
from npi_jax.training.monitor.watchdog import Watchdog
def hang_here(how):
    how()
with Watchdog(1) as watchdog:
    print("ready", flush=True)
"""
BEATS = "    for _ in range(15):\n        time.sleep(0.1)\n        watchdog.beat()\n"
WAITS = "    hang_here(lambda: time.sleep(60))\n"
# The interpreter is not given back: no other thread of Python runs.
HOLDS = """
    libc, lock = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(lock)
    hang_here(lambda: libc.pthread_mutex_lock(lock))
"""


def start(body: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + body], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("body", "status"), [(WAITS, 1), (HOLDS, -signal.SIGKILL)])
def test_a_process_that_hangs_says_where_and_ends(body, status):
    process = start(body)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == status
    assert "in hang_here" in output


def test_time_in_which_the_process_was_suspended_does_not_count():
    process = start(BEATS)
    time.sleep(0.5)
    process.send_signal(signal.SIGSTOP)
    # Twice as long as the watchdog allows.
    time.sleep(2)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")
