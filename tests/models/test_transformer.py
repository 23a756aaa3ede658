import jax
import jax.numpy as jnp
import numpy as np
from rows import VOCAB, batch, pack, sentences

from npi_jax.models import TransformerConfig, make_model
from npi_jax.models.transformer import rotate, rotation, segment_mask

CONFIG = TransformerConfig(width=16, layers=2, heads=2, mlp=24)


def turn(values, positions):
    return rotate(values, rotation(TransformerConfig(width=8, heads=1), positions))


def sharp_model():
    """A model whose attention is far from uniform, so that what it attends to shows."""
    model = make_model(CONFIG, VOCAB)
    params = jax.jit(model.init)(jax.random.key(0))
    return model, jax.tree.map(lambda leaf: leaf * 20 if leaf.ndim == 2 else leaf, params)


def test_a_later_token_changes_nothing_before_it():
    model, params = sharp_model()
    tokens, _, _ = batch()
    segments, positions = jnp.ones_like(tokens), jnp.tile(jnp.arange(12, dtype=jnp.int32), (3, 1))
    changed = tokens.at[:, 7].set((tokens[:, 7] + 1) % VOCAB)
    before = np.asarray(model.hidden(params, tokens, segments, positions))
    after = np.asarray(model.hidden(params, changed, segments, positions))
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert (np.abs(before - after)[:, 7:].max(axis=-1) > 1e-4).all()


def test_segments_do_not_see_each_other():
    model, params = sharp_model()
    tokens, segments, positions = pack(sentences(np.random.default_rng(0), (4, 5)), 11)
    changed = tokens.at[0, 1].set((tokens[0, 1] + 1) % VOCAB)
    before = np.asarray(model.hidden(params, tokens, segments, positions))
    after = np.asarray(model.hidden(params, changed, segments, positions))
    np.testing.assert_array_equal(before[:, 4:], after[:, 4:])
    assert (before[:, 1:4] != after[:, 1:4]).any()


def test_packed_segments_equal_separate_sentences():
    model, params = sharp_model()
    parts = sentences(np.random.default_rng(0), (4, 1, 6))
    packed = jax.jit(model.hidden)(params, *pack(parts, 13))[0]
    start = 0
    for part in parts:
        alone = jax.jit(model.hidden)(params, *pack([part], len(part)))[0]
        np.testing.assert_allclose(packed[start : start + len(part)], alone, atol=1e-5)
        start += len(part)


def test_padding_gives_finite_values():
    model, params = sharp_model()
    nothing = jnp.zeros((1, 5), jnp.int32)
    assert np.isfinite(model.hidden(params, nothing, nothing, nothing)).all()


def test_segment_mask_is_block_diagonal_and_causal():
    mask = np.asarray(segment_mask(jnp.array([[1, 1, 2, 0]])))[0, 0]
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(mask, np.array(expected, bool))


def test_rotary_products_depend_on_the_distance_alone():
    rng = np.random.default_rng(0)
    query, key = (jnp.asarray(rng.normal(size=(1, 1, 1, 8)), jnp.float32) for _ in range(2))

    def product(at, to):
        return float((turn(query, jnp.array([[at]])) * turn(key, jnp.array([[to]]))).sum())

    np.testing.assert_allclose(product(9, 4), product(25, 20), rtol=1e-4)
    assert abs(product(9, 4) - product(9, 5)) > 1e-2
    np.testing.assert_array_equal(turn(query, jnp.array([[0]])), query)
