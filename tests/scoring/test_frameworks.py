"""One model written for four frameworks: the scorer sees pure functions, and gives the same for all."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
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
    score = make_scorer(lambda state, tokens, segment_ids, _: nnx.merge(graph, state)(tokens, segment_ids), PAIRS, SPEC)
    np.testing.assert_allclose(score(state).score(), expected, atol=1e-5)


def test_equinox(weights, expected):
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        embedding: jax.Array
        output: jax.Array

        def __call__(self, tokens, segment_ids):
            return mean_of_the_past(self.embedding[tokens], segment_ids) @ self.output

    score = make_scorer(lambda model, tokens, segment_ids, _: model(tokens, segment_ids), PAIRS, SPEC)
    np.testing.assert_allclose(score(Model(*map(jnp.asarray, weights))).score(), expected, atol=1e-5)
