"""Settings of JAX for all commands that compute: devices, and a cache of compiled programs."""

import os
from pathlib import Path

import jax

from npi_jax.terminal.output import complain
from npi_jax.training.devices.backend import make_gpu_sums_deterministic, use_all_cpu_devices
from npi_jax.training.devices.chips import expect_no_chips
from npi_jax.training.devices.compile_cache import verify_compile_cache
from npi_jax.training.devices.startup import has_tpu_chips


def set_up_jax(processes_here: int = 1) -> None:
    """Make one CPU device for each core, make sums on GPUs deterministic, and cache compiled programs on disk.

    Args:
        processes_here: number of processes that share this machine's cores.
    """
    if not has_tpu_chips():
        expect_no_chips()
    use_all_cpu_devices(processes_here)
    make_gpu_sums_deterministic()
    verify_compile_cache(complain)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            jax.config.update("jax_compilation_cache_dir", str(_private_cache()))
        except OSError as error:
            complain(f"npi-jax: programs will be compiled again each time: {error}")
            return
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _private_cache() -> Path:
    """Return the cache folder of compiled programs; create it if needed.

    Raises:
        OSError: if it cannot be made, or if others can write to it.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = base / "npi_jax" / "compiled"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    about = cache.stat()
    # No other user may be able to write to the cache, because its programs are executed.
    if about.st_mode & 0o022 or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
        raise PermissionError(f"others can write to {cache}, and programs in it are executed; chmod 700 it")
    return cache
