import dataclasses

import numpy as np
import pytest

from npi_jax.corpus.annotations import ENVIRONMENTS, Annotation
from npi_jax.corpus.interventions import parse_intervention
from npi_jax.corpus.store import Corpus, VariantBuilder, build_corpus, row_orders, variant_table
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


def sentences_of(corpus: Corpus, rows: np.ndarray, used: np.ndarray) -> list[tuple[int, ...]]:
    """The sentences in rows, read back from the tokens."""
    found = []
    for row, length in zip(rows, used, strict=True):
        sentence: list[int] = []
        assert row[0] == corpus.eos
        for token in row[1 : length + 1]:
            if token == corpus.eos:
                found.append(tuple(sentence))
                sentence = []
            else:
                sentence.append(int(token))
        assert not sentence
    return found


def originals(corpus: Corpus) -> list[tuple[int, ...]]:
    return [
        tuple(corpus.tokens[start : end - 1].tolist())
        for start, end in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    ]


def test_full_holds_every_sentence_once(corpus):
    builder = VariantBuilder(corpus, ROW)
    variant = builder.build(parse_intervention("full"))
    pool = builder.pool()
    assert sorted(sentences_of(corpus, pool.tokens[variant.rows], pool.used[variant.rows])) == sorted(originals(corpus))
    assert variant.tokens == len(corpus.tokens)


@pytest.mark.parametrize(
    "text", ["no_npi", "without(adverbs)", "only(adverbs)", "random(no_npi)", "downsample(adverbs, 0.5)"]
)
def test_replacing_keeps_slots_and_everything_else(corpus, text):
    builder = VariantBuilder(corpus, ROW)
    full, variant = builder.build(parse_intervention("full")), builder.build(parse_intervention(text))
    pool = builder.pool()
    before, after = pool.tokens[full.rows], pool.tokens[variant.rows]
    assert before.shape == after.shape
    assert (pool.used[full.rows] == pool.used[variant.rows]).all()
    # Sentences end at the same places: the same packing.
    assert ((before == corpus.eos) == (after == corpus.eos)).all()
    assert variant.tokens == full.tokens
    old, new = (sentences_of(corpus, rows, pool.used[full.rows]) for rows in (before, after))
    changed = [index for index, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
    assert len(changed) == variant.removed > 0
    place = {sentence: index for index, sentence in enumerate(originals(corpus))}
    has_npi = corpus.npi_counts.sum(axis=1) > 0
    assert not has_npi[[place[new[index]] for index in changed]].any()
    counted = corpus.npi_counts[[place[sentence] for sentence in new]].sum(axis=0)
    assert counted.tolist() == variant.npis.tolist()


def test_no_npi_leaves_none_and_without_leaves_the_others(corpus):
    builder = VariantBuilder(corpus, ROW)
    full, none, without = (builder.build(parse_intervention(t)) for t in ("full", "no_npi", "without(adverbs)"))
    assert none.npis.sum() == 0
    assert without.npis[0] == 0
    assert without.npis[1:].tolist() == full.npis[1:].tolist()


def test_variants_share_what_they_share(corpus):
    builder = VariantBuilder(corpus, ROW)
    full, none, without = (builder.build(parse_intervention(t)) for t in ("full", "no_npi", "without(adverbs)"))
    pool = builder.pool()
    rows = [pool.tokens[variant.rows] for variant in (full, none, without)]
    # A slot that two variants both empty gets the same donor in both.
    both = (rows[0] != rows[1]) & (rows[0] != rows[2])
    assert both.any()
    assert (rows[1][both] == rows[2][both]).all()
    untouched = (rows[0] == rows[2]).all(axis=1)
    assert (full.rows[untouched] == without.rows[untouched]).all()


def test_deleting_drops_tokens(corpus):
    builder = VariantBuilder(corpus, ROW, mode="delete")
    full, none = builder.build(parse_intervention("full")), builder.build(parse_intervention("no_npi"))
    pool = builder.pool()
    left = sentences_of(corpus, pool.tokens[none.rows], pool.used[none.rows])
    free = corpus.npi_counts.sum(axis=1) == 0
    assert sorted(left) == sorted(s for s, keep in zip(originals(corpus), free, strict=True) if keep)
    assert none.tokens < full.tokens
    assert none.tokens == sum(len(s) + 1 for s in left)


def test_slots_without_a_donor_of_their_length_are_filled_and_counted():
    sentences = ["a b c d e f g", "h i", "j k", "l m n"]
    annotations = [npi("only"), (), (), ()]
    tokenizer = WordTokenizer.train(sentences, max_size=None)
    corpus = build_corpus(sentences, annotations, tokenizer, row_length=ROW)
    builder = VariantBuilder(corpus, ROW)
    variant = builder.build(parse_intervention("no_npi"))
    assert variant.unmatched == 1
    assert variant.npis.sum() == 0
    assert variant.tokens == len(corpus.tokens)


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


def test_a_corpus_of_npis_alone_cannot_be_refilled():
    tokenizer = WordTokenizer.train(["a b"], max_size=None)
    corpus = build_corpus(["a b"], [npi("only")], tokenizer, row_length=6)
    with pytest.raises(ValueError, match="no sentence without an NPI"):
        VariantBuilder(corpus, 6).build(parse_intervention("no_npi"))
    with pytest.raises(ValueError, match="variant no_npi: no sentence is left"):
        VariantBuilder(corpus, 6, mode="delete").build(parse_intervention("no_npi"))


def test_the_table_says_what_changed(corpus):
    builder = VariantBuilder(corpus, ROW)
    variants = [builder.build(parse_intervention(text)) for text in ("full", "random(no_npi)")]
    table = variant_table(variants)
    assert table["variant"].to_list() == ["full", "random(no_npi)"]
    assert table["control_of"].to_list() == [None, "no_npi"]
    assert table["npi_adverbs"][0] == corpus.npi_counts[:, 0].sum()
    assert table["slots_changed"].to_list() == [0, variants[1].removed]


def test_the_digest_tells_corpora_apart(corpus):
    tokens = corpus.tokens.copy()
    tokens[0] += 1
    assert dataclasses.replace(corpus, tokens=tokens).digest() != corpus.digest()


def test_orders_name_the_variant_that_is_too_small(corpus):
    builder = VariantBuilder(corpus, ROW, mode="delete")
    variants = [builder.build(parse_intervention(text)) for text in ("full", "no_npi")]
    with pytest.raises(ValueError, match="variant no_npi: the corpus fills"):
        row_orders(variants, len(variants[0].rows))
