"""Sentences of all lengths: rows of several lengths give the same scores as rows of one, at the cost of the tokens."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from npi_jax.models import LSTMConfig, TransformerConfig, make_model
from npi_jax.scoring import ScoreSpec, encode_pairs, make_scorer, pack

TYPES = 40
SPEC = ScoreSpec(regions=("sentence", "critical"))


def encoded(lengths, seed: int = 0):
    rng = np.random.default_rng(seed)
    pairs = [tuple(rng.integers(1, TYPES, n) for n in pair) for pair in lengths]
    critical = np.array([[(n - 2, n - 1) for n in pair] for pair in lengths])
    return encode_pairs(pairs, critical, start=0, end=0)


MIXED = encoded([(5, 4), (70, 71), (6, 6), (150, 140), (3, 3), (7, 8), (40, 30)])


@pytest.fixture(scope="module")
def model():
    model = make_model(LSTMConfig(embedding=8, hidden=8, layers=1), TYPES)
    return model, jax.tree.map(lambda leaf: leaf * 4, jax.jit(model.init)(jax.random.key(1)))


def test_scores_do_not_depend_on_the_bucket(model):
    model, params = model
    score, reference = make_scorer(model, MIXED, SPEC), make_scorer(model, MIXED, SPEC, row_length=300)
    assert len(score.packed.buckets) == 3
    assert len(reference.packed.buckets) == 1
    for region in SPEC.regions:
        np.testing.assert_allclose(
            score(params).log_prob(region), reference(params).log_prob(region), rtol=1e-6, atol=1e-5
        )
    for index in range(len(MIXED.ids)):
        np.testing.assert_allclose(
            score.tokens(params).log_probs(index), reference.tokens(params).log_probs(index), atol=1e-5
        )
    np.testing.assert_array_equal(score.greedy(params), reference.greedy(params))


def test_members_share_buckets(model):
    model, params = model
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), params)
    score = make_scorer(model, MIXED, SPEC)
    mesh = jax.make_mesh((2,), ("ens",), devices=jax.devices()[:2])
    sharded = score.stacked(jax.device_put(stack, jax.NamedSharding(mesh, jax.P("ens")))).log_prob()
    together = score.stacked(stack).log_prob()
    for member, sign in enumerate((1, -1)):
        alone = score(jax.tree.map(lambda leaf, sign=sign: sign * leaf, params)).log_prob()
        np.testing.assert_allclose(together[member], alone, atol=1e-4)
        np.testing.assert_allclose(sharded[member], alone, atol=1e-4)


def test_normalizations_know_the_bucket():
    unigram = -np.arange(1.0, TYPES + 1)
    spec = ScoreSpec(regions=("sentence",), normalization="normlp")
    scores = make_scorer(lambda _, tokens, *rows: jnp.zeros((*tokens.shape, TYPES)), MIXED, spec, unigram=unigram)({})
    expected = [-(len(ids) + 1) * np.log(TYPES) / (unigram[ids].sum() + unigram[0]) for ids in MIXED.ids]
    np.testing.assert_allclose(scores.score().reshape(-1), -np.array(expected), rtol=1e-5)


def cost(lengths) -> tuple[int, int]:
    """Positions computed, and pairs of positions that attention compares."""
    buckets = pack(encoded(lengths), SPEC).buckets
    return sum(b.tokens.size for b in buckets), sum(b.tokens.size * b.tokens.shape[2] for b in buckets)


def test_one_long_pair_costs_what_it_takes_alone():
    short = [(5, 6), (9, 9), (7, 4)] * 200
    for long in (100, 1000):
        both, apart = cost([*short, (long, long)]), np.add(cost(short), cost([(long, long)]))
        np.testing.assert_array_equal(both, apart)


def test_buckets_and_chunks_are_few():
    lengths = [(n, n) for n in range(2, 1000, 7)]
    buckets = pack(encoded(lengths), SPEC).buckets
    widths = [bucket.tokens.shape[2] for bucket in buckets]
    # From 2 x 997 positions in halves down to 128.
    assert len(widths) == 5
    assert widths == sorted(widths)
    assert max(widths) <= 2 * 1000
    for bucket in buckets:
        _, rows, width = bucket.tokens.shape
        assert rows * width**2 <= 32 * max(256, width) ** 2
        assert rows == 1 or rows * width**2 <= 32 * 256**2
    numbers = np.sort(np.concatenate([bucket.sentences for bucket in buckets]))
    np.testing.assert_array_equal(numbers, np.arange(2 * len(lengths)))


def test_up_to_128_positions_there_is_one_bucket():
    (bucket,) = pack(encoded([(3, 3), (63, 63)]), SPEC).buckets
    assert bucket.tokens.shape[2] == 128


def test_a_row_for_each_sentence(model):
    """A model that knows nothing of segments and positions scores right where each sentence has a row."""
    model, params = model

    def without_segments(params, tokens, *_):
        ones, places = jnp.ones_like(tokens), jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        return model.logits(params, tokens, ones, places)

    score = make_scorer(without_segments, MIXED, SPEC, one_per_row=True)
    np.testing.assert_allclose(
        score(params).log_prob(), make_scorer(model, MIXED, SPEC)(params).log_prob(), rtol=1e-6, atol=1e-5
    )
    for bucket in score.packed.buckets:
        # Padding follows the sentence, and there is one segment.
        assert (np.diff(bucket.segment_ids, axis=2) <= 0).all()
        assert bucket.segment_ids.max() == 1
        np.testing.assert_array_equal(bucket.positions[bucket.segment_ids > 0], np.nonzero(bucket.segment_ids)[2])
    # Read are a start token and all words: 9, 72 and 151 at most; lengths are halved from 151 on.
    assert [bucket.tokens.shape[2] for bucket in score.packed.buckets] == [9, 72, 151]


COST = """
import json, sys, time
import jax, numpy as np
from npi_jax.models import TransformerConfig, make_model
from npi_jax.scoring import ScoreSpec, encode_pairs, make_scorer

rng = np.random.default_rng(0)
draw = lambda *lengths: tuple(rng.integers(1, 2000, n) for n in lengths)
short, long = [draw(*rng.integers(5, 12, 2)) for _ in range(2000)], [draw(1000, 999)]
model = make_model(TransformerConfig(width=64, layers=2, heads=2, mlp=128), 2000)
params = jax.jit(model.init)(jax.random.key(0))
scorers = [make_scorer(model, encode_pairs(p, start=0, end=0), ScoreSpec(regions=("sentence",)))
           for p in (short, long, short + long)]
calls = [jax.jit(s.apply).lower(params, s.arrays).compile() for s in scorers]
memory = [call.memory_analysis().temp_size_in_bytes for call in calls]
seconds = [[], [], []]
for _ in range(7):
    for scorer, call, found in zip(scorers, calls, seconds):
        before = time.process_time()
        jax.block_until_ready(call(params, scorer.arrays))
        found.append(time.process_time() - before)
ratios = [both / (one + other) for one, other, both in zip(*seconds)]
print(json.dumps({"time": float(np.median(ratios)), "memory": memory[2] / (memory[0] + memory[1])}))
"""


@pytest.mark.drill
def test_a_thousand_tokens_among_two_thousand_short_pairs():
    done = subprocess.run([sys.executable, "-c", COST], capture_output=True, text=True, check=True, timeout=300)
    ratios = json.loads(done.stdout.splitlines()[-1])
    assert ratios["time"] < 1.3
    assert ratios["memory"] < 1.5


@pytest.mark.drill
def test_attention_does_not_depend_on_the_bucket():
    model = make_model(TransformerConfig(width=8, layers=2, heads=2, mlp=16), TYPES)
    params = jax.tree.map(lambda leaf: leaf * 4, jax.jit(model.init)(jax.random.key(1)))
    reference = make_scorer(model, MIXED, SPEC, row_length=300)(params)
    np.testing.assert_allclose(make_scorer(model, MIXED, SPEC)(params).log_prob(), reference.log_prob(), atol=1e-4)
