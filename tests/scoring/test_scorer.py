import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from npi_jax.models import LSTMConfig, TransformerConfig, make_model
from npi_jax.scoring import EncodedPairs, ScoreSpec, make_scorer, pair_accuracy, token_log_probs

VOCABULARY, EOS = 40, 0
compiled: dict = {}


def make_pairs(n: int, seed: int = 0) -> EncodedPairs:
    rng = np.random.default_rng(seed)
    sentences, critical = [], []
    for _ in range(n):
        lengths = rng.integers(2, 12, 2)
        sentences.append(tuple(rng.integers(1, VOCABULARY, length) for length in lengths))
        starts = [int(rng.integers(0, length)) for length in lengths]
        critical.append([(s, int(rng.integers(s + 1, length + 1))) for s, length in zip(starts, lengths, strict=True)])
    return EncodedPairs(tuple(sentences), np.array(critical))


CONFIGS = [
    LSTMConfig(embedding=8, hidden=8, layers=2),
    TransformerConfig(width=8, layers=2, heads=2, mlp=16),
]


@pytest.fixture(params=CONFIGS, ids=["lstm", "transformer"], scope="module")
def model(request):
    model = make_model(request.param, VOCABULARY)
    params = jax.jit(model.init)(jax.random.key(1))
    # Weights larger than at the start, so that contexts matter.
    return model, jax.tree.map(lambda leaf: leaf * 4, params)


def reference(model, params, ids: np.ndarray, spec: ScoreSpec) -> np.ndarray:
    """Log-probability of each scored token of one sentence, alone in its row, by log_softmax."""
    logits_fn = compiled.setdefault(id(model), jax.jit(model.logits))
    whole = np.array([*([EOS] if spec.beginning == "token" else []), *ids, *([EOS] if spec.score_end else [])])
    # Zeros to the right change nothing before them, and one shape compiles once.
    inputs = np.zeros((1, 16), int)
    inputs[0, : len(whole) - 1] = whole[:-1]
    logits = logits_fn(params, inputs, np.ones_like(inputs), np.arange(16)[None])[0]
    log_probs = np.asarray(jax.nn.log_softmax(logits))[: len(whole) - 1]
    return np.take_along_axis(log_probs, whole[1:, None], axis=1)[:, 0]


@pytest.mark.parametrize("spec", [ScoreSpec(), ScoreSpec(score_end=False)], ids=["end", "no end"])
@pytest.mark.parametrize("face", ["hidden", "logits"])
def test_packed_scores_equal_one_sentence_at_a_time(model, spec, face):
    model, params = model
    pairs = make_pairs(30)
    functions = (
        {"hidden_fn": model.hidden, "output_fn": model.output} if face == "hidden" else {"logits_fn": model.logits}
    )
    scores = make_scorer(pairs, spec, start=EOS, end=EOS, rows_per_chunk=4, **functions)(params)
    for index, pair in enumerate(pairs.sentences):
        for side, ids in enumerate(pair):
            expected = reference(model, params, ids, spec)
            start, end = pairs.critical[index, side]
            np.testing.assert_allclose(scores.sentence[index, side], expected.sum(), atol=1e-4)
            np.testing.assert_allclose(scores.critical[index, side], expected[start:end].sum(), atol=1e-4)


def test_order_and_neighbors_do_not_matter(model):
    model, params = model
    pairs = make_pairs(40)
    make = lambda pairs: make_scorer(  # noqa: E731
        pairs, ScoreSpec(), hidden_fn=model.hidden, output_fn=model.output, start=EOS, end=EOS
    )(params)
    together = make(pairs)
    order = np.random.default_rng(0).permutation(40)
    shuffled = make(EncodedPairs(tuple(pairs.sentences[i] for i in order), pairs.critical[order]))
    np.testing.assert_allclose(together.sentence[order], shuffled.sentence, atol=1e-5)
    few = make(EncodedPairs(pairs.sentences[:3], pairs.critical[:3]))
    np.testing.assert_allclose(together.critical[:3], few.critical, atol=1e-5)


def test_equal_sentences_tie_exactly(model):
    model, params = model
    pairs = make_pairs(20)
    equal = EncodedPairs(tuple((good, good) for good, _ in pairs.sentences), pairs.critical[:, [0, 0]])
    scores = make_scorer(equal, ScoreSpec(), hidden_fn=model.hidden, output_fn=model.output, start=EOS, end=EOS)(params)
    assert (scores.sentence[:, 0] == scores.sentence[:, 1]).all()
    assert (scores.critical[:, 0] == scores.critical[:, 1]).all()


def test_a_uniform_model_is_right_half_of_the_time():
    def logits_fn(params, tokens, segment_ids, positions):
        return jnp.zeros((*tokens.shape, VOCABULARY))

    pairs = make_pairs(20)
    equal_lengths = EncodedPairs(tuple((good, good[::-1]) for good, _ in pairs.sentences), pairs.critical[:, [0, 0]])
    scores = make_scorer(equal_lengths, ScoreSpec(), logits_fn=logits_fn, start=EOS, end=EOS)({})
    delta = np.asarray(scores.sentence[:, 0] - scores.sentence[:, 1])
    assert pair_accuracy(delta).mean() == 0.5
    n_tokens = [len(good) + 1 for good, _ in equal_lengths.sentences]
    np.testing.assert_allclose(scores.sentence[:, 0], -np.log(VOCABULARY) * np.array(n_tokens), rtol=1e-5)


def test_scores_map_over_stacked_parameters(model):
    model, _ = model
    keys = jax.random.split(jax.random.key(0), 3)
    stacked = jax.jit(jax.vmap(model.init))(keys)
    scorer = make_scorer(
        make_pairs(10), ScoreSpec(), hidden_fn=model.hidden, output_fn=model.output, start=EOS, end=EOS
    )
    together = jax.jit(jax.vmap(scorer.apply, (0, None)))(stacked, scorer.arrays)
    for member in range(3):
        alone = scorer(jax.tree.map(lambda leaf, member=member: leaf[member], stacked))
        np.testing.assert_allclose(together.sentence[member], alone.sentence, atol=1e-4)


def test_log_probs_in_chunks_equal_the_plain_formula():
    rng = np.random.default_rng(0)
    hidden, weights, bias = rng.normal(size=(23, 5)), rng.normal(size=(5, 11)), rng.normal(size=11)
    targets = rng.integers(0, 11, 23)
    logits = hidden @ weights + bias
    expected = logits[np.arange(23), targets] - np.log(np.exp(logits).sum(axis=1))
    arrays = (jnp.asarray(x, jnp.float32) for x in (hidden, weights, bias))
    with jax.default_matmul_precision("highest"):
        got = token_log_probs(*arrays, jnp.asarray(targets), chunk=7)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_half_a_model_is_refused():
    with pytest.raises(ValueError, match="either logits_fn, or hidden_fn together with output_fn"):
        make_scorer(make_pairs(2), ScoreSpec(), hidden_fn=lambda *_: None, start=EOS, end=EOS)


def test_importing_the_scorer_loads_jax_and_numpy_only():
    code = (
        "import sys, jax, numpy; before = set(sys.modules); import npi_jax.scoring; "
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    extra = set(eval(result.stdout)) - {"npi_jax", "jax", "jaxlib", "numpy"} - set(sys.stdlib_module_names)
    assert extra == set()
