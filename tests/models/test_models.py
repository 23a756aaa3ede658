from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from facts import facts
from jax.sharding import PartitionSpec as P
from rows import VOCAB, batch

from npi_jax.models import LSTMConfig, TransformerConfig, make_model
from npi_jax.models.numerics import dropout

LSTM = LSTMConfig(embedding=8, hidden=8, layers=2)
TRANSFORMER = TransformerConfig(width=8, layers=2, heads=2, mlp=12)
both = pytest.mark.parametrize("config", [LSTM, TRANSFORMER], ids=["lstm", "transformer"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LSTMConfig(hidden=0), ("LSTMConfig.hidden", "0")),
        (lambda: LSTMConfig(layers=True), ("LSTMConfig.layers", "True")),
        (lambda: LSTMConfig(embedding=4, hidden=8, tie=True), ("LSTMConfig.embedding", "4")),
        (lambda: TransformerConfig(mlp=-2), ("TransformerConfig.mlp", "-2")),
        (lambda: TransformerConfig(width=6, heads=2), ("TransformerConfig.heads", "2")),
        (lambda: make_model(LSTM, 0), ("vocab_size", "0")),
    ],
)
def test_a_config_that_cannot_be_built_names_its_field(build, message):
    with pytest.raises(ValueError, match=facts(message)):
        build()


@pytest.mark.parametrize("field", ["tie", "compute_dtype"])
def test_a_value_of_the_wrong_type_is_refused(field):
    # Where types are checked at run time, that check speaks first; the field is named either way.
    with pytest.raises(Exception, match=f"(?s)TransformerConfig.*{field}"):
        TransformerConfig(**{field: "float16"})


@both
def test_logits_are_the_output_layer_on_the_hidden_states(config):
    model, rows = make_model(config, VOCAB), batch()
    params = jax.jit(model.init)(jax.random.key(0))
    params["output_bias"] = jnp.arange(VOCAB, dtype=jnp.float32)
    weights, bias = model.output(params)
    logits = jax.jit(model.logits)(params, *rows)
    assert logits.shape == (3, 12, VOCAB)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, jax.jit(model.hidden)(params, *rows) @ weights + bias, rtol=1e-5)


@both
def test_tied_output_is_the_transposed_embedding(config):
    model = make_model(replace(config, tie=True), VOCAB)
    params = jax.jit(model.init)(jax.random.key(0))
    assert "output_kernel" not in params
    np.testing.assert_array_equal(model.output(params)[0], params["embedding"].T)
    rows = batch()
    gradient = jax.jit(jax.grad(lambda p: model.logits(p, *rows).sum()))(params)["embedding"]
    assert gradient.any(axis=-1).all()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LSTM, {"embedding", "recurrent_0", "recurrent_1", "output"}),
        (TRANSFORMER, {"embedding", "blocks_0", "blocks_1", "output"}),
    ],
    ids=["lstm", "transformer"],
)
def test_every_parameter_has_a_group(config, expected):
    model = make_model(config, VOCAB)
    params = jax.jit(model.init)(jax.random.key(0))
    groups = model.groups(params)
    assert jax.tree.structure(groups) == jax.tree.structure(params)
    assert set(jax.tree.leaves(groups)) == expected
    assert groups["output_kernel"] == "output"


@both
def test_shapes_come_without_computing(config):
    model = make_model(config, 50_000)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert shapes["embedding"].shape == (50_000, 8)
    row = jax.ShapeDtypeStruct((4, 16), jnp.int32)
    assert jax.eval_shape(model.logits, shapes, row, row, row).shape == (4, 16, 50_000)


@both
def test_dropout_needs_a_key_and_follows_it(config):
    model, rows = make_model(config, VOCAB), batch()
    params = jax.jit(model.init)(jax.random.key(0))
    hidden = jax.jit(model.hidden)
    still = hidden(params, *rows)
    first = hidden(params, *rows, dropout_key=jax.random.key(1), dropout_rate=0.5)
    np.testing.assert_array_equal(first, hidden(params, *rows, dropout_key=jax.random.key(1), dropout_rate=0.5))
    assert (first != hidden(params, *rows, dropout_key=jax.random.key(2), dropout_rate=0.5)).any()
    assert (first != still).any()
    np.testing.assert_allclose(hidden(params, *rows, dropout_key=jax.random.key(1), dropout_rate=0.0), still, atol=1e-6)
    with pytest.raises(ValueError, match="dropout_rate"):
        model.hidden(params, *rows, dropout_key=jax.random.key(1))


def test_dropout_keeps_the_mean_and_drops_the_rate():
    ones = jnp.ones((101, 301))
    dropped = np.asarray(dropout(ones, jax.random.key(0), 0.2))
    assert abs((dropped == 0).mean() - 0.2) < 0.01
    np.testing.assert_allclose(np.unique(dropped), [0, 1.25])
    # Neighbors, in either direction, must be dropped independently of each other.
    for shift in ((0, 1), (1, 0)):
        both_dropped = (dropped == 0) & (np.roll(dropped, shift, (0, 1)) == 0)
        assert abs(both_dropped.mean() - 0.04) < 0.005


@both
def test_dropout_of_a_row_depends_on_its_key_alone(config):
    model, rows = make_model(config, VOCAB), batch()
    params, keys = jax.jit(model.init)(jax.random.key(0)), jax.random.split(jax.random.key(1), len(rows[0]))
    hidden = jax.jit(model.hidden)
    whole = hidden(params, *rows, dropout_key=keys, dropout_rate=0.5)
    for row in range(len(keys)):
        part = [array[row : row + 1] for array in rows]
        alone = hidden(params, *part, dropout_key=keys[row : row + 1], dropout_rate=0.5)
        np.testing.assert_allclose(whole[row], alone[0], atol=1e-6)
        other = hidden(params, *part, dropout_key=keys[row - 1][None], dropout_rate=0.5)
        assert (alone != other).any()


def test_rows_with_keys_of_their_own_drop_independently():
    keys = jax.random.split(jax.random.key(0), 101)
    for axis in (0, 1):
        ones = jnp.ones((101, 301) if axis == 0 else (301, 101))
        dropped = np.asarray(dropout(ones, keys, 0.2, axis=axis)) == 0
        assert abs(dropped.mean() - 0.2) < 0.01
        beside = dropped & np.roll(dropped, 1, axis)
        assert abs(beside.mean() - 0.04) < 0.005


def test_dropout_of_a_member_does_not_depend_on_the_others():
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(0), seed))(jnp.arange(3))
    rates = jnp.array([0.1, 0.5, 0.0])
    ones = jnp.ones((5, 7))
    together = jax.vmap(lambda key, rate: dropout(ones, key, rate))(keys, rates)
    for member in range(3):
        np.testing.assert_array_equal(together[member], dropout(ones, keys[member], rates[member]))


@both
def test_bfloat16_is_close_and_keeps_float32_parameters(config):
    rows = batch()
    wide, narrow = make_model(config, VOCAB), make_model(replace(config, compute_dtype="bfloat16"), VOCAB)
    params = jax.jit(narrow.init)(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    exact, rounded = (jax.jit(model.logits)(params, *rows) for model in (wide, narrow))
    assert rounded.dtype == jnp.float32
    assert (exact != rounded).any()
    np.testing.assert_allclose(exact, rounded, atol=0.02 * float(jnp.abs(exact).max()))
    gradients, expected = (
        jax.jit(jax.grad(lambda p, model=model: model.logits(p, *rows).sum()))(params) for model in (narrow, wide)
    )
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, atol=0.05 * float(jnp.abs(theirs).max()) + 1e-6)


@pytest.mark.drill
@both
def test_vmap_map_and_shard_map_agree(config):
    model, rows = make_model(config, VOCAB), batch()
    members = 2
    keys = jax.vmap(jax.random.key)(jnp.arange(members))
    params = jax.vmap(model.init)(keys)
    rates = jnp.array([0.1, 0.4])

    def step(operands):
        params, key, rate = operands

        def loss(params):
            hidden = model.hidden(params, *rows, dropout_key=key, dropout_rate=rate)
            weights, bias = model.output(params)
            return jnp.square(hidden @ weights + bias).mean()

        return jax.value_and_grad(loss)(params)

    mesh = jax.make_mesh((1,), ("ens",), axis_types=(jax.sharding.AxisType.Auto,))

    def mapped(operands):
        return jax.lax.map(step, operands)

    sharded = jax.shard_map(mapped, mesh=mesh, in_specs=P("ens"), out_specs=P("ens"))
    operands = (params, keys, rates)
    results = [jax.jit(function)(operands) for function in (mapped, jax.vmap(step), sharded)]
    for result in results[1:]:
        for ours, theirs in zip(jax.tree.leaves(result), jax.tree.leaves(results[0]), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
