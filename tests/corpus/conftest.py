"""What tests of the corpus share."""

import numpy as np
import pytest
from corpora import build_corpus
from tiny import npi

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.text.tokenizer import WordTokenizer


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
    return build_corpus(sentences, annotations, tokenizer, row_length=24)
