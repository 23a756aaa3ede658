"""What the compiler is told about the devices that the ensemble runs on."""


def compiler_options(platform: str) -> dict[str, bool]:
    """Options for `jax.jit(..., compiler_options=...)` of a program whose devices run members in turn.

    On CPU every core is a device with work of its own, so there is nothing to gain from running a program's
    small operations concurrently: handing them to other threads costs about 5 % of a small LSTM's step.
    Results do not change. Other platforms get no options.
    """
    if platform != "cpu":
        return {}
    return {"xla_cpu_enable_concurrency_optimized_scheduler": False}
