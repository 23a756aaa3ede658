"""What all tests share: two CPU devices, a compile cache of their own, the folder of real data."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
import type_checks

type_checks.check_annotations()

from npi_jax.training.devices.compile_cache import verify_compile_cache  # noqa: E402 - its annotations are checked too


def heed_signals() -> None:
    """Give SIGINT and SIGHUP their usual effect where they are ignored, which processes inherit.

    Programs that start tests in the background, such as nohup or a scheduler, may ignore them. The TPU library ignores
    SIGHUP when it is loaded, without Python's knowledge.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


heed_signals()

# Before any backend starts: several tests compare one device with two.
jax.config.update("jax_num_cpu_devices", int(os.environ.get("TEST_DEVICES", "2")))

# Tests compile many programs that run for a moment. Without LLVM's optimizations that takes half the time. Drills set
# TEST_OPTIMIZED, which compiles programs as a user's are; processes that tests start inherit the flag.
if "TEST_OPTIMIZED" not in os.environ:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()

# Many tests compile the same programs. The cache begins empty and goes with the tests, unless TEST_COMPILE_CACHE names
# a folder; workers and the processes that tests start inherit it.
if "TEST_COMPILE_CACHE" not in os.environ:
    os.environ["TEST_COMPILE_CACHE"] = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, os.environ["TEST_COMPILE_CACHE"], ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["TEST_COMPILE_CACHE"]
jax.config.update("jax_compilation_cache_dir", os.environ["TEST_COMPILE_CACHE"])
# Programs of tests are small: all are kept. Processes that tests start read this variable.
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
# The same folder of the cache as the commands use.
verify_compile_cache(lambda line: None)


def pytest_runtest_setup() -> None:
    """Give signals their usual effect when a test begins."""
    heed_signals()


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prepared text is kept with the tests' other files, not in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPI_JAX_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real corpora and suites; tests that need it skip where it is absent."""
    folder = os.environ.get("NPI_JAX_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NPI_JAX_DATA does not name a folder of real data")
    return Path(folder)
