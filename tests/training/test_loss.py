import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from reference_loss import cross_entropy_reference

from npi_jax.training.member.loss import cross_entropy

ROWS, FEATURES, VOCAB = 11, 5, 17


def operands(seed=0):
    rng = np.random.default_rng(seed)
    hidden, weights, bias = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((ROWS, FEATURES), (FEATURES, VOCAB), (VOCAB,))
    )
    targets = jnp.asarray(rng.integers(0, VOCAB, ROWS), jnp.int32)
    mask = jnp.asarray(rng.random(ROWS) < 0.7, jnp.float32) * 1.5
    return (hidden, weights, bias), targets, mask


@pytest.mark.parametrize("chunk", [1, 4, 11, 64], ids=["ones", "remainder", "whole", "larger"])
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_value_and_gradients_equal_the_references(chunk, jit):
    arrays, targets, mask = operands()
    ours = jax.value_and_grad(lambda a: 3.0 * cross_entropy(*a, targets, mask, chunk=chunk))
    reference = jax.value_and_grad(lambda a: 3.0 * cross_entropy_reference(*a, targets, mask))
    value, gradients = (jax.jit(ours) if jit else ours)(arrays)
    expected, expected_gradients = reference(arrays)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, other, atol=2e-5)
    np.testing.assert_allclose(3.0 * cross_entropy(*arrays, targets, mask, chunk=chunk), value, rtol=1e-5)


def test_a_masked_row_counts_for_nothing():
    (hidden, weights, bias), targets, mask = operands()
    mask = mask.at[3].set(0.0)
    other = hidden.at[3].set(1e4)

    def loss(hidden):
        return cross_entropy(hidden, weights, bias, targets, mask, chunk=4)

    np.testing.assert_array_equal(loss(hidden), loss(other))
    np.testing.assert_array_equal(jax.grad(loss)(other)[3], np.zeros(FEATURES))


def test_large_logits_do_not_overflow():
    (hidden, weights, bias), targets, mask = operands()
    arrays = (1e4 * hidden, weights, bias)
    value, gradients = jax.value_and_grad(lambda a: cross_entropy(*a, targets, mask, chunk=4))(arrays)
    np.testing.assert_allclose(value, cross_entropy_reference(*arrays, targets, mask), rtol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_bfloat16_operands_are_close():
    arrays, targets, mask = operands()
    ours = jax.value_and_grad(lambda a: cross_entropy(*a, targets, mask, chunk=4, compute_dtype="bfloat16"))
    value, gradients = ours(arrays)
    expected, expected_gradients = jax.value_and_grad(lambda a: cross_entropy_reference(*a, targets, mask))(arrays)
    assert value != expected
    np.testing.assert_allclose(value, expected, rtol=0.02)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == jnp.float32
        np.testing.assert_allclose(gradient, other, atol=0.05)


def test_no_array_of_all_logits_is_held():
    arrays, targets, mask = operands()
    ours = jax.jit(jax.grad(lambda a: cross_entropy(*a, targets, mask, chunk=4)))
    assert f"[{ROWS},{VOCAB}]" not in ours.lower(arrays).compile().as_text()
    reference = jax.jit(jax.grad(lambda a: cross_entropy_reference(*a, targets, mask)))
    assert f"[{ROWS},{VOCAB}]" in reference.lower(arrays).compile().as_text()


def test_without_gradients_none_are_computed():
    arrays, targets, mask = operands()
    text = str(jax.make_jaxpr(lambda a: cross_entropy(*a, targets, mask, chunk=4))(arrays))
    assert text.count("dot_general") == 1


def test_maps_over_members_and_shards_of_rows():
    arrays, targets, mask = operands()
    loss = jax.value_and_grad(lambda a, t, m: cross_entropy(*a, t, m, chunk=4))
    expected = loss(arrays, targets, mask)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), (arrays, targets, mask))
    mapped = jax.vmap(loss)(*stacked)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def shard(arrays, targets, mask):
        value, gradients = loss(arrays, targets, mask)
        return jax.lax.psum(value, "data"), gradients

    rows = (P("data"), P(), P())
    sharded = jax.jit(jax.shard_map(shard, mesh=mesh, in_specs=(rows, P("data"), P("data")), out_specs=(P(), rows)))(
        arrays, targets, mask
    )
    for result in (jax.tree.map(lambda leaf: leaf[1], mapped), sharded):
        for ours, theirs in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_chunk_of_no_rows_is_refused():
    arrays, targets, mask = operands()
    with pytest.raises(ValueError, match="chunk is 0"):
        cross_entropy(*arrays, targets, mask, chunk=0)
