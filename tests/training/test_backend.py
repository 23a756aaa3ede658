import os

import jax
import jax.numpy as jnp
import numpy as np

from npi_jax.training.devices.backend import compiler_options, make_gpu_sums_deterministic


def test_the_compiler_knows_the_options_and_results_stay_the_same():
    def step(values):
        return jnp.tanh(values @ values.T) + values.sum(), jnp.exp(-values)

    values = jax.random.normal(jax.random.key(0), (17, 17))
    told = jax.jit(step, compiler_options=compiler_options("cpu"))(values)
    for ours, default in zip(told, jax.jit(step)(values), strict=True):
        np.testing.assert_array_equal(ours, default)


def test_other_platforms_are_left_alone():
    assert compiler_options("gpu") == {}


def test_gpus_add_in_one_order_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=1")
    make_gpu_sums_deterministic()
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_autotune_level=1 --xla_gpu_deterministic_ops=true"
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=false")
    make_gpu_sums_deterministic()
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=false"
