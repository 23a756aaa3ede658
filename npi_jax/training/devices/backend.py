"""The devices that the ensemble runs on, and what the compiler is told about them."""

import os

import jax


def use_all_cpu_devices(processes_here: int = 1) -> None:
    """Give the CPU backend one device a core, so that members spread over cores; call before any computation.

    Processes that share a machine share its cores evenly, unless each was bound to cores of its own. What the user
    has set (``JAX_NUM_CPU_DEVICES`` or the flag of XLA) stays as it is: set it in a container whose share of the
    processors is smaller than what the machine has.
    """
    told = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not told and "JAX_NUM_CPU_DEVICES" not in os.environ:
        # Only Linux knows which cores a process may use.
        allowed = getattr(os, "sched_getaffinity", None)
        cores, there = len(allowed(0)) if allowed else os.cpu_count() or 1, os.cpu_count() or 1
        share = cores // processes_here if cores == there else cores
        jax.config.update("jax_num_cpu_devices", max(1, share))


def make_gpu_sums_deterministic() -> None:
    """Have XLA add up in one order on GPUs, so that a run repeats every bit; call before any computation.

    Otherwise GPUs add the gradients of embeddings in whatever order they come, and two runs drift apart. What the user
    has set (``XLA_FLAGS=--xla_gpu_deterministic_ops=false`` is faster) stays as it is; other devices are not concerned.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def compiler_options(platform: str) -> dict[str, bool]:
    """Options for `jax.jit(..., compiler_options=...)` of a program whose devices run members in turn.

    On CPU every core is a device with work of its own, so there is nothing to gain from running a program's
    small operations concurrently: handing them to other threads costs about 5 % of a small LSTM's step.
    Results do not change. Other platforms get no options.
    """
    if platform != "cpu":
        return {}
    return {"xla_cpu_enable_concurrency_optimized_scheduler": False}
