import os
import subprocess
import sys
from pathlib import Path

import pytest

from npi_jax.terminal.output import Output
from npi_jax.training.monitor.stopping import LOST_OUTPUT


def test_a_lost_reader_is_reported_once_and_writing_continues():
    reader, writer = os.pipe()
    told: list[str] = []
    with os.fdopen(writer, "w") as stream:
        output = Output(stream, told.append)
        print("a line", file=output, flush=True)
        assert os.read(reader, 100) == b"a line\n"
        os.close(reader)
        for _ in range(3):
            print("nobody reads this", file=output, flush=True)
        assert told == ["standard output can no longer be written (Broken pipe)"]
        assert output.loss == "Broken pipe"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_log_on_a_full_disk_is_a_loss():
    told: list[str] = []
    with open("/dev/full", "w") as stream:
        output = Output(stream, told.append)
        print("a line", file=output, flush=True)
    assert told == ["standard output can no longer be written (No space left on device)"]


def run(command: str) -> tuple[int, str]:
    """Exit status of the first of some commands in a pipe, and what all write to standard error."""
    words = command.replace("NPI", f"{sys.executable} -m npi_jax.cli") + "; exit ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_lost_output_shows_only_in_the_exit_status():
    # The reader is gone before anything is written.
    assert run("(sleep 0.2; NPI presets) | exec true") == (LOST_OUTPUT, "")
    assert run("NPI --help > /dev/full") == (0, "")


def test_output_closed_from_the_beginning_is_no_loss():
    assert run("NPI presets >&- 2>&- <&-") == (0, "")
