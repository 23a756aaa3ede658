"""Models are refused, with the reason, if they score a sentence in a row differently than alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from facts import facts

from npi_jax.models import TransformerConfig, make_model
from npi_jax.scoring import ScoreSpec, encode_pairs, make_scorer

TYPES, WIDTH, PLACES = 30, 8, 400


def params(scale: float = 1.0):
    words, places, output = jax.random.split(jax.random.key(0), 3)
    return {
        "words": scale * jax.random.normal(words, (TYPES, WIDTH)),
        "places": scale * jax.random.normal(places, (PLACES, WIDTH)),
        "output": scale * jax.random.normal(output, (WIDTH, TYPES)),
    }


def averaging(places, seen):
    """A model that averages the words it sees, each with its place; `places` and `seen` say which these are."""

    def logits(params, tokens, segment_ids, positions):
        words = params["words"][tokens] + params["places"][places(segment_ids, positions)]
        mask = seen(segment_ids, jnp.arange(tokens.shape[1]))
        hidden = mask @ words / mask.sum(-1, keepdims=True) + words
        return jnp.tanh(hidden) @ params["output"]

    return logits


def positions_given(segment_ids, positions):
    return positions


def own_past(segment_ids, column):
    return (segment_ids[:, :, None] == segment_ids[:, None, :]) & (column[:, None] >= column[None, :])


def own_sentence(segment_ids, column):
    return segment_ids[:, :, None] == segment_ids[:, None, :]


def one_ahead(segment_ids, column):
    return own_sentence(segment_ids, column) & (column[:, None] + 1 >= column[None, :])


def whole_past(segment_ids, column):
    return jnp.broadcast_to(column[:, None] >= column[None, :], (*segment_ids.shape, segment_ids.shape[1]))


def last_of_the_sentence_before(segment_ids, column):
    """From the third segment on."""
    before = (segment_ids[:, :, None] == segment_ids[:, None, :] + 1) & (segment_ids[:, :, None] > 2)
    last = jnp.append(segment_ids[:, 1:], 0 * segment_ids[:, :1], axis=1) != segment_ids
    return own_past(segment_ids, column) | (before & last[:, None, :])


# What each advice names: a mask, the segments, the positions of a sentence.
LATER, MIXED, PLACED = "causal mask", "segment_ids are equal", "which count from 0 in each sentence"
FAULTS = {
    "column for position": (lambda s, p: jnp.broadcast_to(jnp.arange(p.shape[1]), p.shape), own_past, PLACED),
    "number of the segment": (lambda s, p: s, own_past, PLACED),
    "no causal mask": (positions_given, own_sentence, LATER),
    "one token ahead": (positions_given, one_ahead, LATER),
    "no segments": (positions_given, whole_past, MIXED),
    "the token before, from the third on": (positions_given, last_of_the_sentence_before, MIXED),
}


def encoded(lengths):
    rng = np.random.default_rng(0)
    return encode_pairs([tuple(rng.integers(1, TYPES, n) for n in pair) for pair in lengths], start=0, end=0)


MANY = encoded(np.random.default_rng(1).integers(3, 12, (40, 2)).tolist())
SPEC = ScoreSpec(regions=("sentence",))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scale", [1.0, pytest.param(0.05, marks=pytest.mark.drill)], ids=["large", "small"])
def test_each_fault_is_detected_and_named(fault, scale):
    places, seen, words = FAULTS[fault]
    with pytest.raises(ValueError, match=facts("model", words)) as refused:
        make_scorer(averaging(places, seen), MANY, SPEC).check(params(scale))
    others = {LATER, MIXED, PLACED} - {words}
    assert not any(other in str(refused.value) for other in others)


@pytest.mark.parametrize("pairs", [encoded([(5, 4)]), encoded([(3, 3), (150, 140)])], ids=["one pair", "a long pair"])
@pytest.mark.parametrize("fault", ["column for position", "the token before, from the third on", "one token ahead"])
def test_few_sentences_are_enough(pairs, fault):
    places, seen, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words):
        make_scorer(averaging(places, seen), pairs, SPEC).check(params())


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_right_models_pass(scale):
    make_scorer(averaging(positions_given, own_past), MANY, SPEC).check(params(scale))


def test_a_right_model_passes_with_long_sentences():
    make_scorer(averaging(positions_given, own_past), encoded([(3, 3), (150, 140)]), SPEC).check(params())


@pytest.mark.drill
def test_rounding_passes():
    half = make_model(TransformerConfig(width=8, layers=1, heads=2, mlp=16, compute_dtype="bfloat16"), TYPES)
    weights = jax.tree.map(lambda leaf: leaf * 4, jax.jit(half.init)(jax.random.key(0)))
    make_scorer(half, MANY, SPEC).check(weights)


def test_with_one_sentence_per_row_only_later_tokens_are_checked():
    no_segments = averaging(lambda s, p: jnp.broadcast_to(jnp.arange(p.shape[1]), p.shape), whole_past)
    make_scorer(no_segments, MANY, SPEC, one_per_row=True).check(params())
    with pytest.raises(ValueError, match=LATER):
        make_scorer(averaging(positions_given, one_ahead), MANY, SPEC, one_per_row=True).check(params())


def test_the_difference_is_that_of_the_worst_sentence():
    """Of a model of single words and segment numbers everything can be written out: softmax of two terms."""

    def logits(params, tokens, segment_ids, positions):
        return jnp.stack([jnp.zeros_like(tokens), 2.0 * segment_ids], axis=-1).astype(jnp.float32)

    pairs = encode_pairs([([1, 1], [1, 1, 1])], start=0)
    spec = ScoreSpec(regions=("sentence",), score_end=False)
    with pytest.raises(ValueError, match=PLACED) as refused:
        make_scorer(logits, pairs, spec, row_length=12).check({})
    # Rows of 12 hold at most six times the two tokens read of the shorter sentence; in the first segment token 0 after
    # the last context costs 2 + log(1 + exp(-2)) nats, in segment k it costs 2 k + log(1 + exp(-2 k)).
    cost = lambda k: 2 * k + np.log1p(np.exp(-2 * k))  # noqa: E731
    assert f"{cost(6) - cost(1):.2g} nats" in str(refused.value)
