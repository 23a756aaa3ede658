import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from facts import facts

from npi_jax.models import LSTMConfig, TransformerConfig, make_model
from npi_jax.scoring import (
    EncodedSentences,
    HiddenOutput,
    ScoreSpec,
    SpecMismatchError,
    encode_pairs,
    log_normalizers,
    make_scorer,
    predict,
)

VOCABULARY, EOS = 40, 0
compiled: dict = {}


def make_pairs(n: int, seed: int = 0) -> tuple[list, np.ndarray]:
    rng = np.random.default_rng(seed)
    pairs, critical = [], []
    for _ in range(n):
        lengths = rng.integers(2, 12, 2)
        # Half of the pairs share a beginning.
        shared = rng.integers(1, VOCABULARY, int(rng.integers(0, 5)) * int(rng.integers(0, 2)))
        pairs.append(tuple(np.concatenate([shared, rng.integers(1, VOCABULARY, n)]) for n in lengths))
        spans = [sorted(rng.choice(len(ids) + 1, 2, replace=False).tolist()) for ids in pairs[-1]]
        critical.append(spans)
    return pairs, np.array(critical)


def encode(pairs, critical=None) -> EncodedSentences:
    return encode_pairs(pairs, critical, start=EOS, end=EOS)


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
    """Log-probability of each token (end included) of one sentence, alone in its row, by log_softmax."""
    logits_fn = compiled.setdefault(id(model), jax.jit(model.logits))
    whole = np.array([*([EOS] if spec.beginning == "token" else []), *ids, EOS])
    # Zeros to the right do not change earlier logits, and one shape compiles once.
    inputs = np.zeros((1, 24), int)
    inputs[0, : len(whole) - 1] = whole[:-1]
    logits = logits_fn(params, inputs, np.ones_like(inputs), np.arange(24)[None])[0]
    log_probs = np.asarray(jax.nn.log_softmax(logits))[: len(whole) - 1]
    picked = np.take_along_axis(log_probs, whole[1:, None], axis=1)[:, 0]
    return picked if spec.beginning == "token" else np.array([np.nan, *picked])


SPECS = {
    "end": ScoreSpec(regions=("critical", "sentence", "difference", "critical_last")),
    "no end": ScoreSpec(score_end=False),
    "first unscored": ScoreSpec(score_first=False, regions=("sentence",)),
    "none": ScoreSpec(beginning="none", regions=("sentence", "critical")),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("face", ["hidden", "logits"])
def test_packed_scores_equal_one_sentence_at_a_time(model, spec, face):
    model, params = model
    pairs, critical = make_pairs(30)
    scores = make_scorer(model if face == "hidden" else model.logits, encode(pairs, critical), spec, rows_per_chunk=2)(
        params
    )
    for index, pair in enumerate(pairs):
        different = next((i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair)))
        for side, ids in enumerate(pair):
            log_probs = reference(model, params, ids, spec)
            start, end = critical[index, side]
            first = int(not spec.score_first or spec.beginning == "none")
            last = len(ids) + spec.score_end
            expected = {
                "sentence": log_probs[first:last].sum(),
                "critical": log_probs[start:end].sum(),
                "difference": log_probs[different:last].sum(),
                "critical_last": log_probs[end - 1],
            }
            for region in spec.regions:
                np.testing.assert_allclose(scores.log_prob(region)[index, side], expected[region], atol=1e-4)


def test_order_neighbors_and_packing_do_not_matter(model):
    model, params = model
    pairs, critical = make_pairs(40)
    make = lambda pairs, critical, **packing: make_scorer(model, encode(pairs, critical), **packing)(params)  # noqa: E731
    together = make(pairs, critical)
    order = np.random.default_rng(0).permutation(40)
    shuffled = make([pairs[i] for i in order], critical[order])
    np.testing.assert_allclose(together.log_prob("sentence")[order], shuffled.log_prob("sentence"), atol=1e-5)
    few = make(pairs[:3], critical[:3])
    np.testing.assert_allclose(together.log_prob("critical")[:3], few.log_prob("critical"), atol=1e-5)
    unpacked = make(pairs, critical, row_length=40, rows_per_chunk=1)
    np.testing.assert_allclose(together.log_prob("sentence"), unpacked.log_prob("sentence"), atol=1e-5)
    alone = [make([pair], critical[i : i + 1]).log_prob("sentence")[0] for i, pair in enumerate(pairs[:3])]
    np.testing.assert_allclose(together.log_prob("sentence")[:3], alone, atol=1e-5)


def test_equal_sentences_tie_exactly(model):
    model, params = model
    pairs, critical = make_pairs(20)
    for normalization in ("sum", "token", "penlp"):
        spec = ScoreSpec(normalization=normalization, regions=("sentence", "critical", "difference"))
        scores = make_scorer(model, encode([(good, good) for good, _ in pairs], critical[:, [0, 0]]), spec)(params)
        assert (scores.delta("sentence") == 0).all()
        assert (scores.delta("critical") == 0).all()
        assert normalization != "sum" or (scores.delta("difference") == 0).all()


@pytest.mark.parametrize(("spec", "accuracy"), [(ScoreSpec(), 0.5), ("lm_eval_v04", 1.0), ("blimp_paper", 0.0)])
def test_a_uniform_model_shows_the_rule_for_ties(spec, accuracy):
    def logits_fn(params, tokens, segment_ids, positions):
        return jnp.zeros((*tokens.shape, VOCABULARY))

    spec = ScoreSpec.preset(spec) if isinstance(spec, str) else spec
    pairs, critical = make_pairs(20)
    spans = critical[:, [0, 0]]
    ids = encode([(good, good[::-1]) for good, _ in pairs], spans)
    sentences = dataclasses.replace(ids, leading_space=spec.leading_space)
    scores = make_scorer(logits_fn, sentences, spec)({})
    assert scores.accuracy("sentence") == accuracy
    n_tokens = [len(good) + spec.score_end for good, _ in pairs]
    np.testing.assert_allclose(scores.log_prob("sentence")[:, 0], -np.log(VOCABULARY) * np.array(n_tokens), rtol=1e-5)


def test_stacked_parameters_score_like_each_alone(model):
    model, _ = model
    stacked = jax.jit(jax.vmap(model.init))(jax.random.split(jax.random.key(0), 4))
    score = make_scorer(model, encode(*make_pairs(10)))
    together = score.stacked(stacked)
    mapped = jax.jit(jax.vmap(score.apply, (0, None)))(stacked, score.arrays)
    mesh = jax.make_mesh((len(jax.devices()[:2]),), ("ens",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("ens"))
    sharded = score.stacked(jax.device_put(stacked, sharding))
    for member in range(4):
        alone = score(jax.tree.map(lambda leaf, member=member: leaf[member], stacked)).log_prob("sentence")
        np.testing.assert_allclose(together.log_prob("sentence")[member], alone, atol=1e-5)
        np.testing.assert_allclose(sharded.log_prob("sentence")[member], alone, atol=1e-5)
        np.testing.assert_allclose(mapped["sentence"][member].reshape(-1, 2), alone, atol=1e-5)


def test_normalizers_in_parts_equal_the_plain_formula(monkeypatch):
    rng = np.random.default_rng(0)
    hidden, weights, bias = rng.normal(size=(23, 5)), rng.normal(size=(5, 11)), rng.normal(size=11)
    expected = np.log(np.exp(hidden @ weights + bias).sum(axis=1))
    arrays = [jnp.asarray(x, jnp.float32) for x in (hidden, weights, bias)]
    for limit in (11, 80, 10_000):
        monkeypatch.setattr(predict, "MAX_LOGITS", limit)
        with jax.default_matmul_precision("highest"):
            np.testing.assert_allclose(log_normalizers(*arrays), expected, rtol=1e-5)


def test_objects_that_are_not_models_are_refused():
    pairs = encode(*make_pairs(2))
    with pytest.raises(TypeError, match=facts("dict", "function", "hidden", "output")):
        make_scorer({}, pairs)
    # JAX would read another token's row instead.
    score = make_scorer(lambda params, tokens, *_: jnp.zeros((*tokens.shape, 10)), pairs)
    with pytest.raises(ValueError, match=r"token id 3[0-9]\b.*\b10 token types"):
        score({})


def test_what_a_model_returns_besides_its_logits_is_named():
    pairs = encode(*make_pairs(2))

    def logits_fn(params, tokens, *_):
        return jnp.zeros((*tokens.shape, VOCABULARY)), {"cache": tokens}

    with pytest.raises(ValueError, match=facts("tuple", "logits [R, L, ...]", "wrap")):
        make_scorer(logits_fn, pairs)({})
    with pytest.raises(ValueError, match=facts("tuple", "hidden states")):
        make_scorer(HiddenOutput(logits_fn, lambda params: None), pairs)({})
    one = HiddenOutput(lambda params, tokens, *_: jnp.zeros((*tokens.shape, 4)), lambda params: params)
    with pytest.raises(ValueError, match=facts("output", "weights [D, V]", "bias")):
        make_scorer(one, pairs)(jnp.zeros((4, VOCABULARY)))
    with pytest.raises(ValueError, match=facts("output", "[(40, 4), (40,)]")):
        make_scorer(one, pairs)((jnp.zeros((VOCABULARY, 4)), jnp.zeros(VOCABULARY)))
    assert make_scorer(one, pairs)((jnp.zeros((4, VOCABULARY)), jnp.zeros(VOCABULARY))).accuracy() >= 0


def test_a_model_that_mixes_sentences_is_detected(model):
    model, params = model
    pairs = encode(*make_pairs(20))
    make_scorer(model, pairs).check(params)

    def mixing(params, tokens, segment_ids, positions):
        return model.logits(params, tokens, jnp.ones_like(segment_ids), positions + 1)

    with pytest.raises(ValueError, match=facts("sentences", "row", "each other")):
        make_scorer(mixing, pairs).check(params)
    turned = make_scorer(lambda p, *rows: model.logits(p, *rows).swapaxes(0, 1), pairs)
    with pytest.raises(ValueError, match=facts("logits", "shape")):
        turned(params)


def test_invalid_token_ids_are_refused():
    with pytest.raises(ValueError, match=facts("group 0, good sentence", "token ids", "whole numbers", "0")):
        encode_pairs([([1, -1], [1, 2])])
    with pytest.raises(ValueError, match=facts("token ids", "whole numbers", "0 to 2147483647")):
        encode_pairs([([1, 1 << 31], [1, 2])])
    small = make_model(CONFIGS[0], 30)
    with pytest.raises(ValueError, match=facts("token id 30", "30 token types")):
        make_scorer(small, encode([([1, 30], [1, 2])]), ScoreSpec(regions=("sentence",)))


def test_regions_of_another_shape_are_refused():
    # Tests check annotated shapes, which a user's process does not.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=facts("critical", "(2, 1, 2)", "[pairs, 2, 2]")):
            encode_pairs([([1, 2], [1, 3])], np.zeros((2, 1, 2), int))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_results_know_their_conventions(model):
    model, params = model
    pairs = encode(*make_pairs(5))
    one = make_scorer(model, pairs, ScoreSpec(regions=("sentence",)))(params)
    same = make_scorer(HiddenOutput(model.hidden, model.output), pairs, ScoreSpec(regions=("sentence",)))(params)
    np.testing.assert_allclose(one - same, 0, atol=1e-6)
    other = make_scorer(model, pairs, ScoreSpec(score_end=False, regions=("sentence",)))(params)
    with pytest.raises(SpecMismatchError, match=facts("score_end: True", "False")):
        one - other
    with pytest.raises(ValueError, match=facts("leading_space=True", "encoded")):
        make_scorer(model, pairs, ScoreSpec.preset("lm_eval_v04"))
    with pytest.raises(ValueError, match=facts("'critical'", "sentence")):
        one.delta("critical")


def test_importing_the_scorer_loads_jax_and_numpy_only():
    code = (
        "import sys, time, jax, numpy; before = set(sys.modules); start = time.process_time(); "
        "from npi_jax.scoring import *; seconds = time.process_time() - start; assert callable(make_scorer); "
        "print((sorted({m.split('.')[0] for m in set(sys.modules) - before}), seconds))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, seconds = eval(result.stdout)
    assert set(modules) - {"npi_jax", "jax", "jaxlib", "numpy"} - set(sys.stdlib_module_names) == set()
    assert seconds < 0.3
