import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rows import VOCAB, batch, pack, sentences

from npi_jax.models import LSTMConfig, make_model
from npi_jax.models.recurrence import lstm_layer

CONFIG = LSTMConfig(embedding=6, hidden=8, layers=2)


def layer_operands(seed=0, time=7, rows=3, features=5, hidden=4):
    rng = np.random.default_rng(seed)
    shapes = [(time, rows, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,)]
    arrays = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    starts = rng.random((time, rows)) < 0.3
    starts[0] = True
    return arrays, jnp.asarray(starts)


def test_forward_and_gradients_equal_pytorchs():
    torch = pytest.importorskip("torch")
    model = make_model(CONFIG, VOCAB)
    params = jax.jit(model.init)(jax.random.key(0))
    reference = torch.nn.LSTM(CONFIG.embedding, CONFIG.hidden, CONFIG.layers, batch_first=True)
    with torch.no_grad():
        for index in range(CONFIG.layers):
            layer = params[f"recurrent_{index}"]
            for ours, theirs in (
                ("input_kernel", "weight_ih"),
                ("hidden_kernel", "weight_hh"),
                ("bias", "bias_ih"),
            ):
                getattr(reference, f"{theirs}_l{index}").copy_(torch.tensor(np.array(layer[ours]).T))
            getattr(reference, f"bias_hh_l{index}").zero_()
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (3, 9)), jnp.int32)
    segments, positions = jnp.ones_like(tokens), jnp.tile(jnp.arange(9, dtype=jnp.int32), (3, 1))
    weight = np.random.default_rng(1).normal(size=(3, 9, CONFIG.hidden)).astype(np.float32)

    embedded = torch.tensor(np.array(params["embedding"])[tokens])
    theirs, _ = reference(embedded)
    ours = jax.jit(model.hidden)(params, tokens, segments, positions)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-5)

    (theirs * torch.tensor(weight)).sum().backward()
    gradients = jax.jit(jax.grad(lambda p: (model.hidden(p, tokens, segments, positions) * weight).sum()))(params)
    for index in range(CONFIG.layers):
        expected = getattr(reference, f"weight_hh_l{index}").grad.numpy().T
        np.testing.assert_allclose(gradients[f"recurrent_{index}"]["hidden_kernel"], expected, atol=1e-5)


def test_the_custom_backward_pass_equals_automatic_differentiation():
    arrays, starts = layer_operands()
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(7, 3, 4)), jnp.float32)

    def loss(arrays, plain):
        return (lstm_layer(*arrays, starts, plain=plain) * weight).sum()

    both = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    (value, gradients), (plain_value, plain_gradients) = both(arrays, False), both(arrays, True)
    np.testing.assert_allclose(value, plain_value, rtol=1e-6)
    for ours, plain in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(ours, plain, atol=2e-5)


def test_plain_path_differentiates_forwards():
    model = make_model(CONFIG, VOCAB, plain=True)
    params = jax.jit(model.init)(jax.random.key(0))
    rows = batch()
    tangent = jax.tree.map(jnp.ones_like, params)
    _, forwards = jax.jit(lambda *both: jax.jvp(lambda p: model.logits(p, *rows).sum(), *both))((params,), (tangent,))
    gradients = jax.jit(jax.grad(lambda p: make_model(CONFIG, VOCAB).logits(p, *rows).sum()))(params)
    backwards = sum(leaf.sum() for leaf in jax.tree.leaves(gradients))
    np.testing.assert_allclose(forwards, backwards, rtol=1e-4)


def test_packed_segments_equal_separate_sentences():
    model = make_model(CONFIG, VOCAB)
    params = jax.jit(model.init)(jax.random.key(1))
    parts = sentences(np.random.default_rng(0), (4, 1, 6))
    packed = jax.jit(model.hidden)(params, *pack(parts, 13))[0]
    start = 0
    for part in parts:
        alone = jax.jit(model.hidden)(params, *pack([part], len(part)))[0]
        np.testing.assert_allclose(packed[start : start + len(part)], alone, atol=1e-6)
        start += len(part)


def test_no_gradient_crosses_a_start():
    arrays, _ = layer_operands()
    starts = jnp.zeros((7, 3), bool).at[0].set(True).at[4].set(True)

    def second_segment(inputs):
        return lstm_layer(inputs, *arrays[1:], starts)[4:].sum()

    gradient = np.asarray(jax.jit(jax.grad(second_segment))(arrays[0]))
    assert not gradient[:4].any()
    # A forget gate has nothing to forget at a start.
    assert gradient[4:].any(axis=-1).all()


def test_first_state_is_zero_even_where_a_row_starts_inside_a_segment():
    arrays, starts = layer_operands()
    inside = lstm_layer(*arrays, starts.at[0].set(False))
    np.testing.assert_array_equal(inside, lstm_layer(*arrays, starts))


def test_initial_weights_are_drawn_as_published():
    params = jax.jit(make_model(LSTMConfig(embedding=50, hidden=64, layers=1), 200).init)(jax.random.key(0))
    assert 0.098 < float(jnp.abs(params["embedding"]).max()) < 0.1
    assert 0.098 < float(jnp.abs(params["output_kernel"]).max()) < 0.1
    assert not params["output_bias"].any()
    assert 0.123 < float(jnp.abs(params["recurrent_0"]["hidden_kernel"]).max()) < 0.125
