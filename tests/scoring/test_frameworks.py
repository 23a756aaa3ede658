"""One model written for four frameworks: the scorer sees pure functions, and gives the same for all."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from facts import facts
from flax import nnx

from npi_jax.scoring import HiddenOutput, ScoreSpec, encode_pairs, make_scorer

TYPES, WIDTH = 20, 8
PAIRS = encode_pairs([([3, 4, 5], [3, 6, 5]), ([7, 8], [9, 8, 2])], start=0, end=0)
SPEC = ScoreSpec(regions=("sentence",))


def mean_of_the_past(vectors, segment_ids):
    """A model's only look at its context: the mean of what the segment holds up to each position."""
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    seen = same & jnp.tril(jnp.ones(same.shape[-2:], bool))
    return seen @ vectors / seen.sum(axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    return rng.normal(size=(TYPES, WIDTH)).astype(np.float32), rng.normal(size=(WIDTH, TYPES)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(weights):
    def logits_fn(params, tokens, segment_ids, positions):
        embedding, output = params
        return mean_of_the_past(embedding[tokens], segment_ids) @ output

    return make_scorer(logits_fn, PAIRS, SPEC)(weights).score()


def test_in_two_parts(weights, expected):
    model = HiddenOutput(
        lambda params, tokens, segment_ids, positions: mean_of_the_past(params[0][tokens], segment_ids),
        lambda params: (params[1], jnp.zeros(TYPES)),
    )
    np.testing.assert_allclose(make_scorer(model, PAIRS, SPEC)(weights).score(), expected, atol=1e-5)


def test_flax_linen(weights, expected):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens, segment_ids):
            hidden = mean_of_the_past(nn.Embed(TYPES, WIDTH, name="embedding")(tokens), segment_ids)
            return nn.Dense(TYPES, use_bias=False, name="output")(hidden)

    model = Model()
    params = {"params": {"embedding": {"embedding": weights[0]}, "output": {"kernel": weights[1]}}}
    score = make_scorer(lambda params, tokens, segment_ids, _: model.apply(params, tokens, segment_ids), PAIRS, SPEC)
    np.testing.assert_allclose(score(params).score(), expected, atol=1e-5)


def test_flax_nnx(weights, expected):
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embedding = nnx.Embed(TYPES, WIDTH, rngs=rngs)
            self.output = nnx.Linear(WIDTH, TYPES, use_bias=False, rngs=rngs)

        def __call__(self, tokens, segment_ids):
            return self.output(mean_of_the_past(self.embedding(tokens), segment_ids))

    model = Model(nnx.Rngs(0))
    model.embedding.embedding[...] = jnp.asarray(weights[0])
    model.output.kernel[...] = jnp.asarray(weights[1])
    graph, state = nnx.split(model)

    def logits_fn(state, tokens, segment_ids, _):
        return nnx.merge(graph, state, copy=True)(tokens, segment_ids)

    np.testing.assert_allclose(make_scorer(logits_fn, PAIRS, SPEC)(state).score(), expected, atol=1e-5)


class Block(nnx.Module):
    """A layer that looks at one position, for `nnx.scan` and `nnx.remat`."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, vectors):
        return vectors + jnp.tanh(self.linear(vectors))


def test_flax_nnx_with_rematerialized_layers_in_a_scan():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embedding = nnx.Embed(TYPES, WIDTH, rngs=rngs)
            self.output = nnx.Linear(WIDTH, TYPES, rngs=rngs)
            self.blocks = nnx.vmap(Block, in_axes=0, out_axes=0)(rngs.split(3))

        def __call__(self, tokens):
            @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
            @nnx.remat
            def through(vectors, block):
                return block(vectors)

            return self.output(through(self.embedding(tokens), self.blocks))

    graph, state = nnx.split(Model(nnx.Rngs(0)))
    scores = make_scorer(lambda state, tokens, *_: nnx.merge(graph, state, copy=True)(tokens), PAIRS, SPEC)(state)
    pure = nnx.to_pure_dict(state)
    kernel, bias = pure["blocks"]["linear"]["kernel"], pure["blocks"]["linear"]["bias"]

    def by_hand(_, tokens, *rows):
        vectors = pure["embedding"]["embedding"][tokens]
        for layer in range(3):
            vectors = vectors + jnp.tanh(vectors @ kernel[layer] + bias[layer])
        return vectors @ pure["output"]["kernel"] + pure["output"]["bias"]

    np.testing.assert_allclose(scores.score(), make_scorer(by_hand, PAIRS, SPEC)({}).score(), atol=1e-5)


def test_flax_nnx_rnn_with_a_row_for_each_sentence():
    """`nnx.RNN` does not start anew within a row."""

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embedding = nnx.Embed(TYPES, WIDTH, rngs=rngs)
            self.recurrent = nnx.RNN(nnx.SimpleCell(WIDTH, WIDTH, rngs=rngs))
            self.output = nnx.Linear(WIDTH, TYPES, rngs=rngs)

        def __call__(self, tokens):
            return self.output(self.recurrent(self.embedding(tokens)))

    model = Model(nnx.Rngs(0))
    graph, state = nnx.split(model)

    def logits_fn(state, tokens, *_):
        return nnx.merge(graph, state, copy=True)(tokens)

    score = make_scorer(logits_fn, PAIRS, SPEC, one_per_row=True)
    score.check(state)
    expected = []
    for ids in PAIRS.ids:
        log_probs = jax.nn.log_softmax(model(jnp.array([[0, *ids]]))[0])
        expected.append(sum(log_probs[place, token] for place, token in enumerate([*ids, 0])))
    scale = score.suite.affine["sentence"].scale
    np.testing.assert_allclose(score(state).score().reshape(-1) / scale, expected, atol=1e-5)
    with pytest.raises(ValueError, match=facts("sentences", "row", "each other")):
        make_scorer(logits_fn, PAIRS, SPEC).check(state)


def test_equinox(weights, expected):
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        embedding: jax.Array
        output: jax.Array

        def __call__(self, tokens, segment_ids):
            return mean_of_the_past(self.embedding[tokens], segment_ids) @ self.output

    params, static = eqx.partition(Model(*map(jnp.asarray, weights)), eqx.is_array)
    score = make_scorer(lambda params, *rows: eqx.combine(params, static)(*rows[:2]), PAIRS, SPEC)
    np.testing.assert_allclose(score(params).score(), expected, atol=1e-5)


def test_equinox_with_a_perceptron_and_dropout():
    """Both hold what is no array: functions, and whether anything is dropped."""
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        embedding: jax.Array
        perceptron: eqx.nn.MLP
        dropout: eqx.nn.Dropout

        def __call__(self, tokens):
            each = lambda vector: self.dropout(self.perceptron(vector))  # noqa: E731
            return jax.vmap(jax.vmap(each))(self.embedding[tokens])

    embedding, perceptron = jax.random.split(jax.random.key(0))
    mlp = eqx.nn.MLP(WIDTH, TYPES, 16, 1, key=perceptron)
    model = Model(jax.random.normal(embedding, (TYPES, WIDTH)), mlp, eqx.nn.Dropout(0.5))
    params, static = eqx.partition(eqx.nn.inference_mode(model), eqx.is_array)
    scores = make_scorer(lambda params, tokens, *_: eqx.combine(params, static)(tokens), PAIRS, SPEC)(params)
    first, last = mlp.layers

    def by_hand(_, tokens, *rows):
        hidden = jax.nn.relu(model.embedding[tokens] @ first.weight.T + first.bias)
        return hidden @ last.weight.T + last.bias

    np.testing.assert_allclose(scores.score(), make_scorer(by_hand, PAIRS, SPEC)({}).score(), atol=1e-5)
