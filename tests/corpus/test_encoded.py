import dataclasses

import numpy as np
import pytest
from corpora import build_corpus
from facts import facts

from npi_jax.corpus.encoded import token_dtype
from npi_jax.corpus.text.tokenizer import WordTokenizer


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
    with pytest.raises(ValueError, match=facts("sentence 2", "no tokens")):
        build_corpus(["a", " "], [(), ()], tokenizer, row_length=6)


def test_the_digest_tells_corpora_apart(corpus):
    tokens = corpus.tokens.copy()
    tokens[0] += 1
    assert dataclasses.replace(corpus, tokens=tokens).digest() != corpus.digest()


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2, "uint16"), (65_536, "uint16"), (65_537, "uint32")])
def test_token_ids_are_stored_in_the_smallest_dtype_that_holds_them(vocab_size, dtype):
    assert token_dtype(vocab_size) == dtype
    assert np.iinfo(token_dtype(vocab_size)).max >= vocab_size - 1
