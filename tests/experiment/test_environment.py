"""Invalid environment variables are refused by name before any work."""

import os
import resource
import subprocess
import sys

import pytest
from calls import assert_refused, call
from facts import facts, sentence_with
from hypothesis import given, settings
from hypothesis import strategies as st

from npi_jax.corpus.storage.cache import cache_folder
from npi_jax.errors import UserError
from npi_jax.experiment.environment import check_environ, seconds, start_devices
from npi_jax.training.devices.startup import Launch, StartError, detect_launch

MORE = int(os.environ.get("TEST_FUZZ", "1"))

NUMBERS = (
    *("NPI_COORDINATOR", "NPI_NUM_PROCESSES", "NPI_PROCESS_ID", "NPI_LOCAL_PROCESSES", "NPI_START_TIMEOUT"),
    *("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "CUDA_VISIBLE_DEVICES"),
    *("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    *("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "JAX_LOCAL_DEVICE_IDS"),
    *("TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID", "MEGASCALE_NUM_SLICES", "MEGASCALE_SLICE_ID", "TPU_SKIP_MDS_QUERY"),
)
JUNK = st.one_of(
    st.integers(-2, 9).map(str),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=6),
    st.sampled_from(["²", "٣", "1" * 5000, "4(x2),1", "2,", "(x2)", "h1,h2", "h:1", "host:29400", "host:99999", "1e3"]),
)


@settings(deadline=None, max_examples=200 * MORE)
@given(st.dictionaries(st.sampled_from(NUMBERS), JUNK))
def test_a_launch_is_possible_or_refused_whatever_the_environment_holds(variables):
    refusal, launch = "", Launch()
    try:
        launch = detect_launch(variables)
    except StartError as error:
        refusal = str(error)
    named = [name for name in (*NUMBERS, "Open MPI", "Slurm", "GKE") if name in refusal]
    assert bool(named) == bool(refusal)
    assert launch.processes is not None
    assert launch.process is not None
    assert 0 <= launch.process < launch.processes
    assert launch.on_this_host >= 1


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "x"}, "SLURM_STEP_TASKS_PER_NODE='x'"),
        ({"SLURM_STEP_TASKS_PER_NODE": "0(x3)"}, "SLURM_STEP_TASKS_PER_NODE='0(x3)'"),
        ({"SLURM_PROCID": "2"}, "Slurm says that this is process 2 of 2; they go from 0 to 1"),
        ({"SLURM_PROCID": "²"}, "SLURM_PROCID='²' must be a whole number"),
        ({"SLURM_NTASKS": "0"}, "SLURM_NTASKS='0' must be a whole number from 1"),
    ],
)
def test_invalid_variables_of_slurm_are_named(variables, words):
    job = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n1", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"}
    whole = {**job, "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "2(x3),1"}
    assert detect_launch(whole).on_this_host == 2
    with pytest.raises(StartError) as caught:
        detect_launch(whole | variables)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NPI_SHARED_TIMEOUT", "abc"),
        ("NPI_SHARED_TIMEOUT", "-1"),
        ("NPI_SHARED_TIMEOUT", "nan"),
        ("NPI_SHARED_TIMEOUT", "inf"),
        ("NPI_START_TIMEOUT", "0"),
        ("NPI_START_TIMEOUT", "1e3"),
        ("JAX_NUM_CPU_DEVICES", "0"),
        ("JAX_NUM_CPU_DEVICES", "-3"),
        ("JAX_NUM_CPU_DEVICES", "two"),
    ],
)
def test_every_command_names_an_invalid_variable(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    assert f"npi-jax: {name}={text!r} must be a " in assert_refused(call("presets"))


def test_seconds_are_read():
    assert seconds({"NPI_SHARED_TIMEOUT": "2.5"}, "NPI_SHARED_TIMEOUT", 60.0) == 2.5
    assert seconds({"NPI_SHARED_TIMEOUT": ""}, "NPI_SHARED_TIMEOUT", 60.0) == 60.0
    check_environ({"NPI_SHARED_TIMEOUT": "0", "NPI_START_TIMEOUT": "600", "JAX_NUM_CPU_DEVICES": "8"})


def test_too_few_open_files_are_refused(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (24, 24))
    message = assert_refused(call("presets"))
    assert sentence_with(message, "npi-jax: ", "24", "ulimit -n")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    check_environ({})


@pytest.mark.parametrize("text", ["²", "0", "-3", "wide", "9" * 30, ""])
def test_invalid_terminal_sizes_are_ignored(monkeypatch, text):
    monkeypatch.setenv("COLUMNS", text)
    monkeypatch.setenv("LINES", text)
    assert call("presets").status == 0
    assert "COLUMNS" not in os.environ
    monkeypatch.setenv("COLUMNS", "80")
    assert call("presets").status == 0
    assert os.environ["COLUMNS"] == "80"


def test_a_home_that_nobody_has_is_named(monkeypatch):
    monkeypatch.setenv("NPI_JAX_CACHE", "~nosuchuser/cache")
    with pytest.raises(UserError, match=facts("'~nosuchuser/cache'", "corpus.cache", "NPI_JAX_CACHE")):
        cache_folder()


def test_missing_devices_are_one_line(monkeypatch):
    def fails() -> None:
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr("jax.devices", fails)
    with pytest.raises(UserError, match=facts("JAX_PLATFORMS=cuda")):
        start_devices()


@pytest.mark.parametrize(("name", "text"), [("JAX_PLATFORMS", "cuda"), ("JAX_ENABLE_X64", "abc")])
def test_variables_of_jax_are_named(name, text, tmp_path):
    words = ["score", "--suite", "grammar", "--model", str(tmp_path), "--out", str(tmp_path / "s.csv")]
    command = [sys.executable, "-m", "npi_jax", *words]
    ended = subprocess.run(command, env=os.environ | {name: text}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("npi-jax: ")]
    assert f"{name}={text}" in line
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "s.csv").exists()
