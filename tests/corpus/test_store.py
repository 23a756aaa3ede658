import dataclasses

import numpy as np
import pytest

from npi_jax.corpus.annotations import ENVIRONMENTS, Annotation
from npi_jax.corpus.store import Corpus, build_corpus
from npi_jax.corpus.tokenizer import WordTokenizer

ROW = 24


def npi(environment: str) -> tuple[Annotation, ...]:
    return (Annotation(environment, 0, (0, 2), "any", (1, 2)),)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """400 sentences of 2 to 9 words, each word once, so that a token names its sentence; a third has an NPI."""
    rng = np.random.default_rng(0)
    sentences, annotations, word = [], [], 0
    for _ in range(400):
        length = int(rng.integers(2, 10))
        sentences.append(" ".join(f"w{word + i}" for i in range(length)))
        word += length
        has_npi = rng.random() < 0.3
        annotations.append(npi(ENVIRONMENTS[int(rng.integers(3))]) if has_npi else ())
    tokenizer = WordTokenizer.train(sentences, max_size=None)
    return build_corpus(sentences, annotations, tokenizer, row_length=ROW)


def test_long_sentences_are_cut_and_counted():
    sentences = [" ".join("abcdefgh"), "a b"]
    tokenizer = WordTokenizer.train(sentences, max_size=None)
    corpus = build_corpus(sentences, [(), ()], tokenizer, row_length=6)
    assert corpus.cut == 1
    assert corpus.lengths.tolist() == [6, 3]
    assert corpus.tokens[5] == corpus.eos


def test_empty_text_is_refused():
    tokenizer = WordTokenizer.train(["a"], max_size=None)
    with pytest.raises(ValueError, match="no sentences"):
        build_corpus([], [], tokenizer, row_length=6)
    with pytest.raises(ValueError, match="sentence 2 of the corpus has no tokens"):
        build_corpus(["a", " "], [(), ()], tokenizer, row_length=6)


def test_the_digest_tells_corpora_apart(corpus):
    tokens = corpus.tokens.copy()
    tokens[0] += 1
    assert dataclasses.replace(corpus, tokens=tokens).digest() != corpus.digest()
