"""The promise of our own conventions: a model that knows nothing gets one half, on every suite that can be loaded."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.corpus.text.tokenizer import BPETokenizer, Tokenizer, WordTokenizer
from npi_jax.models import LSTMConfig, make_model
from npi_jax.scoring import Scores, ScoreSpec, make_scorer
from npi_jax.suites import Suite, load_suite
from npi_jax.suites.grammar import grammar_suite

DATA = Path(os.environ.get("NPI_JAX_DATA", ""))
SEEDS = 20
FILES = {
    "blimp": ("blimp", 6),
    "blimp_npi": ("blimp", 10),
    "supplement": ("babylm_blimp_supplement", 60),
    "warstadt2019": ("npi_warstadt2019", 20),
    "zorro": ("zorro", 20),
}


def untrained(suite: Suite, tokenizer: Tokenizer, spec: ScoreSpec) -> Scores:
    """Scores of twenty models that have seen nothing."""
    model = make_model(LSTMConfig(embedding=16, hidden=16, layers=1), tokenizer.vocab_size)
    stack = jax.jit(jax.vmap(model.init))(jax.random.split(jax.random.key(1), SEEDS))
    return make_scorer(model, suite.encode(tokenizer), spec).stacked(stack)


def interval(accuracies: np.ndarray, level: float = 0.99) -> tuple[float, float]:
    """Interval of the mean over seeds, by Student's t."""
    half = stats.t.ppf((1 + level) / 2, SEEDS - 1) * accuracies.std(ddof=1) / SEEDS**0.5
    return accuracies.mean() - half, accuracies.mean() + half


def assert_chance(suite: Suite, tokenizer: Tokenizer) -> None:
    scores = untrained(suite, tokenizer, ScoreSpec())
    for region in scores.spec.regions:
        low, high = interval(scores.accuracy(region))
        assert low <= 0.5 <= high, (region, low, high)


def texts(suite: Suite) -> list[str]:
    return [text for item in suite for text in (item.good, item.bad)]


@pytest.mark.drill
@pytest.mark.parametrize("name", FILES)
def test_an_untrained_model_gets_one_half(name: str) -> None:
    folder, limit = FILES[name]
    if not (DATA / folder).is_dir():
        pytest.skip(f"NPI_JAX_DATA has no folder {folder}")
    suite = load_suite(name, DATA / folder, limit=limit)
    assert_chance(suite, WordTokenizer.train(texts(suite)))


def test_an_untrained_model_gets_one_half_on_the_grammar() -> None:
    suite = grammar_suite(GrammarSpec(sentences=1), items=10)
    assert_chance(suite, WordTokenizer.train(texts(suite)))


OWN = ["good\tbad\tparadigm"]
for _noun in ("teacher", "doctor", "pilot", "farmer", "baker", "poet"):
    OWN.append(f"no {_noun} has ever left\ta few of the {_noun}s have ever left\tshort")
    OWN.append(f"none of the other {_noun}s has ever left\ta {_noun} has ever left\tlong")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    path = tmp_path_factory.mktemp("own") / "pairs.tsv"
    path.write_text("\n".join(OWN) + "\n")
    return load_suite("table", path)


@pytest.mark.parametrize("kind", ["word", pytest.param("bpe", marks=pytest.mark.drill)])
def test_an_untrained_model_gets_one_half_in_each_paradigm_of_a_table(own: Suite, kind: str) -> None:
    tokenizer = WordTokenizer.train(texts(own)) if kind == "word" else BPETokenizer.train(texts(own), size=300)
    scores = untrained(own, tokenizer, ScoreSpec())
    assert scores.suite.covered == "sentence"
    assert scores.suite.unequal_regions == len(own)
    paradigms = np.array([item.paradigm for item in own])
    for paradigm in ("short", "long"):
        low, high = interval(scores.correct()[:, paradigms == paradigm].mean(axis=1))
        assert low <= 0.5 <= high, (paradigm, low, high)


def test_sums_prefer_short_sentences(own: Suite) -> None:
    """Every word costs about log V nats: without the default's matching, length decides."""
    scores = untrained(own, WordTokenizer.train(texts(own)), ScoreSpec(normalization="sum"))
    paradigms = np.array([item.paradigm for item in own])
    assert (scores.correct()[:, paradigms == "short"] == 1).all()
    assert (scores.correct()[:, paradigms == "long"] == 0).all()
