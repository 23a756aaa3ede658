import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rows import VOCAB, batch

from npi_jax.models import LSTMConfig, TransformerConfig, make_model
from npi_jax.models.numerics import matmul, project, transposed


def operands():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in [(3, 5, 7), (7, 4), (3, 5, 4)]]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_products_and_their_gradients_are_those_of_plain_ones(dtype, tolerance):
    values, kernel, weight = operands()

    def loss(product):
        return lambda values, kernel: (product(values, kernel) * weight).sum()

    ours = jax.value_and_grad(loss(lambda v, k: project(v, k, dtype)), (0, 1))(values, kernel)
    exact = jax.value_and_grad(loss(lambda v, k: matmul(v, k, "float32")), (0, 1))(values, kernel)
    for got, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(exact), strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, wanted, atol=tolerance)


def test_gradients_have_the_dtypes_of_their_arguments():
    values, kernel, _ = operands()
    kernel = kernel.astype(jnp.bfloat16)
    gradients = jax.grad(lambda v, k: project(v, k, "bfloat16").sum(), (0, 1))(values, kernel)
    assert [leaf.dtype for leaf in gradients] == [jnp.float32, jnp.bfloat16]


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (7, 5), (16, 1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_transposing_moves_every_element(shape, dtype):
    matrix = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
    np.testing.assert_array_equal(jax.jit(lambda m: transposed(m, dtype))(matrix), matrix.T)


@pytest.mark.parametrize("words", [3, 500])
def test_words_are_projected_once_or_step_by_step_with_the_same_result(words):
    """The vocabulary decides which it is; dropout that drops nothing takes the other way."""
    model = make_model(LSTMConfig(embedding=6, hidden=5, layers=2), words)
    params = jax.jit(model.init)(jax.random.key(0))
    tokens, *rest = batch()
    tokens = tokens % words

    def loss(params, **dropout):
        return jnp.square(model.hidden(params, tokens, *rest, **dropout)).sum()

    once, other = (
        jax.jit(jax.value_and_grad(lambda p, d=dropout: loss(p, **d)))(params)
        for dropout in ({}, {"dropout_key": jax.random.key(1), "dropout_rate": 0.0})
    )
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize(
    "config", [LSTMConfig(8, 8, 2), TransformerConfig(width=8, layers=2, heads=2, mlp=16)], ids=["lstm", "transformer"]
)
def test_training_in_bfloat16_runs_and_agrees_roughly(config):
    import dataclasses  # noqa: PLC0415

    rows = batch()
    gradients = []
    for dtype in ("float32", "bfloat16"):
        model = make_model(dataclasses.replace(config, compute_dtype=dtype), VOCAB)
        params = jax.jit(model.init)(jax.random.key(0))
        gradients.append(jax.jit(jax.grad(lambda p, m=model: jnp.square(m.hidden(p, *rows)).sum()))(params))
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        scale = float(jnp.abs(a).max())
        np.testing.assert_allclose(a, b, atol=0.1 * scale + 1e-6)
