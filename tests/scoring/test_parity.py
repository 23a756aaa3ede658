"""Every preset against its tool, or where that does not install against its rule written out."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files, load_hf_tokenizer
from npi_jax.corpus.text.tokenizer import BPETokenizer, WordTokenizer
from npi_jax.models import LSTMConfig, TransformerConfig, load_hf, make_model, save_hf
from npi_jax.scoring import ScoreSpec, make_scorer
from npi_jax.suites.grammar import grammar_suite
from npi_jax.suites.schema import Item, Suite

SUITE = grammar_suite(GrammarSpec(sentences=1), items=2)
PAIRS = [(item.good, item.bad) for item in SUITE]
# One pair that ties: each rule has its own word on that.
EQUAL = Item(
    item="i",
    paradigm="p",
    task="t",
    kind="other",
    good="a b c",
    bad="a b c",
    critical_good=(0, 1),
    critical_bad=(0, 1),
)
TIE = Suite("tie", [*SUITE.items[:3], EQUAL])


def write_gpt2(path: Path, *, template: str | None) -> None:
    """A random GPT-2; with a template its tokenizer puts special tokens around every text."""
    tokenizer = BPETokenizer.train([text for pair in PAIRS for text in pair], size=320)
    config = TransformerConfig(
        width=32, layers=2, heads=4, mlp=64, tie=True, norm="layer", norm_epsilon=1e-5, positions="learned",
        max_positions=96, activation="gelu_tanh", gated=False, attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    model = make_model(config, tokenizer.vocab_size)
    params = jax.tree.map(lambda leaf: leaf * 3, jax.jit(model.init)(jax.random.key(0)))
    files = hf_tokenizer_files(tokenizer)
    if template:
        import tokenizers  # noqa: PLC0415

        backend = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single=template, special_tokens=[("<eos>", tokenizer.eos)]
        )
        files["tokenizer.json"] = backend.to_str().encode()
    save_hf(path, model, params, start=0, end=0, files=files)


@pytest.fixture(scope="module", params=[None, "<eos> $A", "<eos> $A <eos>"], ids=["bare", "prefix", "around"])
def directory(request, tmp_path_factory):
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("gpt2") / "model"
    write_gpt2(path, template=request.param)
    return path


def ours(directory: Path, preset: str, suite: Suite = SUITE, **changes):
    loaded, tokenizer = load_hf(directory), load_hf_tokenizer(directory)
    spec = ScoreSpec.preset(preset, **changes)
    return make_scorer(loaded.model, suite.encode(tokenizer), spec)(loaded.params)


@pytest.mark.filterwarnings("ignore")
def test_minicons(directory):
    scorer = pytest.importorskip("minicons.scorer")
    theirs = scorer.IncrementalLMScorer(str(directory), "cpu")
    expected = np.array([theirs.sequence_score(list(pair)) for pair in PAIRS])
    got = ours(directory, "minicons")
    np.testing.assert_allclose(got.score(), expected, atol=1e-4)
    np.testing.assert_array_equal(got.correct(), expected[:, 0] > expected[:, 1])
    summed = np.array([theirs.sequence_score(list(pair), reduction=lambda x: x.sum(0).item()) for pair in PAIRS])
    np.testing.assert_allclose(ours(directory, "minicons", normalization="sum").score(), summed, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("preset", "space"), [("lm_eval_v04", " "), ("lm_eval_v03", "")])
def test_lm_evaluation_harness(directory, preset, space):
    """0.4 through the harness's task; 0.3 by its rule, loglikelihood("", sentence) and >."""
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance  # noqa: PLC0415
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415

    theirs = HFLM(pretrained=str(directory), device="cpu", batch_size=4, dtype="float32")
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=("", space + text), idx=0)
        for pair in PAIRS
        for text in pair
    ]
    found = theirs.loglikelihood(requests, disable_tqdm=True)
    expected = np.array([value for value, _ in found]).reshape(-1, 2)
    got = ours(directory, preset)
    np.testing.assert_allclose(got.score(), expected, atol=1e-3)
    rule = expected.argmax(axis=1) == 0 if preset == "lm_eval_v04" else expected[:, 0] > expected[:, 1]
    np.testing.assert_array_equal(got.correct(), rule)
    assert ours(directory, preset, TIE).correct()[-1] == (preset == "lm_eval_v04")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def test_babylm_2025(directory):
    """evaluation-pipeline-2025: the tokenizer's own tokens, the first of them unscored, argmax over (good, bad)."""
    transformers = pytest.importorskip("transformers")
    import torch  # noqa: PLC0415

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    expected = np.zeros((len(PAIRS), 2))
    for index, pair in enumerate(PAIRS):
        for side, text in enumerate(pair):
            encoded = tokenizer(text, return_offsets_mapping=True)
            ids, is_text = np.array(encoded["input_ids"]), np.array([a < b for a, b in encoded["offset_mapping"]])
            with torch.no_grad():
                log_probs = log_softmax(model(torch.tensor(ids[None])).logits[0].double().numpy())
            targets = ids[1:]
            expected[index, side] = (log_probs[np.arange(len(targets)), targets] * is_text[1:]).sum()
    got = ours(directory, "babylm2025")
    np.testing.assert_allclose(got.score(), expected, atol=1e-3)
    np.testing.assert_array_equal(got.correct(), expected.argmax(axis=1) == 0)
    assert ours(directory, "babylm2025", TIE).correct()[-1] == 1


def alone(model, params, ids: list[int]) -> np.ndarray:
    """Log-probabilities after each token of one sentence, float64."""
    row = jnp.array([ids], jnp.int32)
    logits = jax.jit(model.logits)(params, row, jnp.ones_like(row), jnp.arange(len(ids), dtype=jnp.int32)[None])
    return log_softmax(np.asarray(logits[0], np.float64))


@pytest.fixture(scope="module")
def lstm():
    tokenizer = WordTokenizer.train([text for pair in PAIRS for text in pair])
    model = make_model(LSTMConfig(embedding=8, hidden=8, layers=2), tokenizer.vocab_size)
    return model, jax.tree.map(lambda leaf: leaf * 6, jax.jit(model.init)(jax.random.key(1))), tokenizer


def test_blimp_paper(lstm):
    """Warstadt et al. 2020: the sentence with the higher probability, words after a start token, strictly."""
    model, params, tokenizer = lstm
    expected = np.zeros((6, 2))
    for index, pair in enumerate(PAIRS[:6]):
        for side, text in enumerate(pair):
            ids = [tokenizer.eos, *tokenizer.encode(text).ids.tolist()]
            expected[index, side] = alone(model, params, ids)[np.arange(len(ids) - 1), ids[1:]].sum()
    suite = Suite("grammar", SUITE.items[:6])
    got = make_scorer(model, suite.encode(tokenizer), ScoreSpec.preset("blimp_paper"))(params)
    np.testing.assert_allclose(got.score(), expected, atol=1e-3)
    np.testing.assert_array_equal(got.correct(), expected[:, 0] > expected[:, 1])
    tie = make_scorer(model, TIE.encode(tokenizer), ScoreSpec.preset("blimp_paper"))(params)
    assert tie.correct()[-1] == 0


def test_diagnnose(lstm):
    """Its Warstadt task: the NPI's last token after the words before it, the state begun by ". <eos>", strictly."""
    model, params, tokenizer = lstm
    period = tokenizer.encode(".").ids.tolist()
    expected = np.zeros((6, 2))
    for index, item in enumerate(SUITE.items[:6]):
        for side, (text, span) in enumerate(((item.good, item.critical_good), (item.bad, item.critical_bad))):
            *before, last = tokenizer.encode(text[: span[1]]).ids.tolist()
            expected[index, side] = alone(model, params, [*period, tokenizer.eos, *before])[-1, last]
    suite = Suite("grammar", SUITE.items[:6])
    got = make_scorer(model, suite.encode(tokenizer), ScoreSpec.preset("diagnnose"))(params)
    np.testing.assert_allclose(got.score(), expected, atol=1e-3)
    np.testing.assert_array_equal(got.correct(), expected[:, 0] > expected[:, 1])
