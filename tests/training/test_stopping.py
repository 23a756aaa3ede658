import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
from facts import sentence_with
from rich.console import Console
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.config.schema import Config
from npi_jax.experiment import run as experiment
from npi_jax.preparation.inputs import Inputs
from npi_jax.training.monitor.stopping import EXIT_CODE, LOST_OUTPUT, Interrupted, StopRequest

SIGNALS = [(signal.SIGTERM, EXIT_CODE), (signal.SIGINT, EXIT_CODE), (signal.SIGHUP, LOST_OUTPUT)]


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_where_there_is_a_state_a_signal_is_remembered_and_handlers_come_back(number, status):
    before = signal.getsignal(number)
    with StopRequest() as stop, stop.deferred():
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.status == status
        with pytest.raises(Interrupted), stop.interruptible():
            raise AssertionError("a request that came before ends what begins")
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_where_there_is_none_a_signal_ends_at_once_and_a_second_does_not_disturb_the_end(number, status):
    with StopRequest() as stop:
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.requested, stop.interrupted, stop.status) == (True, True, status)


def test_processes_that_exchange_something_end_together():
    with StopRequest() as stop, stop.deferred():
        stop.multi_process = True
        with stop.interruptible(exchanging=True):
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested


def test_where_a_library_took_a_signal_for_itself_it_is_taken_again():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop, stop.deferred():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stop.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
    assert signal.getsignal(signal.SIGTERM) is before


POLARS = """
import os, signal, threading
from npi_jax.training.monitor.stopping import StopRequest

with StopRequest() as stop, stop.deferred():
    import polars
    stop.listen()
    table = polars.DataFrame({"value": polars.arange(3_000_000, eager=True).shuffle(seed=0)})
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    while not stop.requested:
        table.sort("value").group_by("value").len()
    print(stop.reason)
"""


def test_polars_does_not_take_ctrl_c_for_itself():
    words = [sys.executable, "-c", POLARS]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "ctrl-C\n"), done.stderr


def test_a_run_listens_again_when_libraries_are_loaded(monkeypatch, tmp_path):
    heard = []

    def check_inputs(config: Config) -> Inputs:
        heard.append(signal.getsignal(signal.SIGINT))
        return Inputs()

    monkeypatch.setattr(experiment, "check_inputs", check_inputs)
    monkeypatch.setattr(experiment, "claim_for_all", lambda *arguments: pytest.fail(str(heard)))
    with StopRequest() as stop:
        ours = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(pytest.fail.Exception):
            experiment.run_experiment(make_config(tiny_values()), Console(), stop=stop)
    assert heard == [ours]


def test_a_second_interrupt_interrupts():
    with StopRequest() as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_comes_while_garbage_is_collected_ends_what_goes_on(capsys):
    hook = sys.unraisablehook
    with StopRequest() as stop:
        thing = threading.Event()
        noticed = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del thing
        with pytest.raises(Interrupted):
            time.sleep(5)
        assert stop.interrupted
    assert noticed() is None
    assert sys.unraisablehook is hook
    # Python prints a traceback where it drops what is raised there.
    assert capsys.readouterr().err == ""


def test_a_reason_that_is_no_signal_counts_as_one():
    with StopRequest() as stop, stop.deferred():
        stop.ask("standard output is gone", LOST_OUTPUT)
        assert (stop.requested, stop.reason, stop.status) == (True, "standard output is gone", LOST_OUTPUT)


# Python waits for threads at its end.
AT_THE_END = """
import sys, threading, time
from npi_jax.training.monitor.stopping import StopRequest, Interrupted
try:
    with StopRequest(0.5) as stop:
        threading.Thread(target=time.sleep, args=(60,)).start()
        print("ready", flush=True)
        time.sleep(60)
except Interrupted:
    sys.exit(42)
"""
# One call of a library, which does not come back and lets other threads run.
SLOW_CALL = """
import ctypes, threading
from npi_jax.training.monitor.stopping import StopRequest
libc = ctypes.CDLL(None)
with StopRequest(0.5):
    # Said when the main thread is in the call for long.
    threading.Timer(0.5, lambda: print("ready", flush=True)).start()
    lock = ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)
"""
HELD = """
import time
from npi_jax.training.monitor.stopping import StopRequest
with StopRequest(0.1) as stop, stop.deferred():
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    time.sleep(1.0)
    print("saved")
"""


def asked_to_stop(code: str, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, float]:
    """Exit status, output, and seconds from the signal to the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output, time.monotonic() - began


def test_a_process_that_waits_for_its_threads_or_for_a_library_ends_soon():
    status, _, seconds = asked_to_stop(AT_THE_END)
    assert status == EXIT_CODE
    assert seconds < 10
    status, output, seconds = asked_to_stop(SLOW_CALL, signal.SIGHUP)
    assert status == LOST_OUTPUT
    assert sentence_with(output, "same command")
    assert seconds < 10


def test_a_state_is_saved_however_long_it_takes():
    assert asked_to_stop(HELD)[:2] == (0, "saved\n")
