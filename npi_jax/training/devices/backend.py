"""Settings of XLA's CPU and GPU backends."""

import os

import jax


def use_all_cpu_devices(processes_here: int = 1) -> None:
    """Make each CPU core a device of JAX, so that members spread over cores; call before any computation.

    Processes on the same machine divide its cores evenly, unless each process is bound to some of the cores. The number
    of devices is not changed if the user has set it (``JAX_NUM_CPU_DEVICES`` or XLA's flag). Set it in a container that
    may not use all processors of the machine.

    Args:
        processes_here: number of processes on this machine.
    """
    in_flags = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not in_flags and "JAX_NUM_CPU_DEVICES" not in os.environ:
        # Only Linux reports the cores to which a process is bound.
        affinity = getattr(os, "sched_getaffinity", None)
        all_cores = os.cpu_count() or 1
        cores = len(affinity(0)) if affinity else all_cores
        per_process = cores // processes_here if cores == all_cores else cores
        jax.config.update("jax_num_cpu_devices", max(1, per_process))


def make_gpu_sums_deterministic() -> None:
    """Make XLA add in a fixed order on GPUs, so that repeated runs are equal bit by bit; call before any computation.

    Otherwise GPUs add the gradients of embeddings in varying order, and two runs diverge. A flag that the user has set
    is not changed: ``XLA_FLAGS=--xla_gpu_deterministic_ops=false`` is faster. Other devices are not affected.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def compiler_options(platform: str) -> dict[str, bool]:
    """Return ``compiler_options`` for `jax.jit`; there are none except on CPU.

    On CPU each core is a device with its members, so that running operations of a program concurrently saves no time.
    Passing small operations to other threads takes about 5 % of a small LSTM's step. Results do not change.
    """
    if platform != "cpu":
        return {}
    return {"xla_cpu_enable_concurrency_optimized_scheduler": False}
