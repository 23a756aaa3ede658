import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from facts import facts, sentence_with
from tiny import minimal_pair

from npi_jax.corpus.text.tokenizer import BPETokenizer, WordTokenizer
from npi_jax.scoring import EncodedSentences, ScoreSpec, encode_pairs, make_scorer
from npi_jax.suites.schema import Suite

TEXTS = [("no one has ever slept", "some one has ever slept"), ("nobody came", "somebody ever came")]
ITEMS = [
    minimal_pair(*TEXTS[0], (11, 15), (13, 17), item="i0", kind="licensor", regions={"extra": ((0, 2), None)}),
    minimal_pair(*TEXTS[1], (0, 6), (0, 8), item="i1", paradigm="q", kind="licensor"),
]
SUITE = Suite("tiny", ITEMS)
TOKENIZER = WordTokenizer.train([text for pair in TEXTS for text in pair])
LOGITS = jnp.arange(TOKENIZER.vocab_size) / 4
UNIGRAM = -np.linspace(1, 3, TOKENIZER.vocab_size)


def unigram_logits(params, tokens, segment_ids, positions):
    """A unigram model, whose log-probabilities are known."""
    return jnp.broadcast_to(params, (*tokens.shape, TOKENIZER.vocab_size))


def log_probs() -> np.ndarray:
    logits = np.arange(TOKENIZER.vocab_size) / 4
    return logits - np.logaddexp.reduce(logits)


def score(spec: ScoreSpec, suite=None, **options):
    scorer = make_scorer(unigram_logits, suite or SUITE.encode(TOKENIZER), spec, **options)
    return scorer(LOGITS)


def test_a_model_of_single_words_has_known_scores():
    scores = score(ScoreSpec())
    for index, pair in enumerate(TEXTS):
        for side, text in enumerate(pair):
            ids = [*TOKENIZER.encode(text).ids, TOKENIZER.eos]
            np.testing.assert_allclose(scores.log_prob("sentence")[index, side], log_probs()[ids].sum(), rtol=1e-5)
    # Both sentences of the first pair have the same critical word.
    assert scores.delta("critical")[0] == 0
    assert scores.correct("critical")[0] == 0.5


@pytest.mark.parametrize(
    ("normalization", "formula"),
    [
        ("token", lambda lp, n, lpu, text: lp / n),
        ("word", lambda lp, n, lpu, text: lp / len(text.split())),
        ("character", lambda lp, n, lpu, text: lp / len(text)),
        ("byte", lambda lp, n, lpu, text: lp / len(text.encode())),
        ("penlp", lambda lp, n, lpu, text: lp / ((5 + n) / (5 + 1)) ** 0.8),
        ("slor", lambda lp, n, lpu, text: (lp - lpu) / n),
        ("normlp", lambda lp, n, lpu, text: -lp / lpu),
    ],
)
def test_normalizations_follow_their_formulas(normalization, formula):
    spec = ScoreSpec(regions=("sentence",), score_end=False, normalization=normalization)
    scores = score(spec, unigram=UNIGRAM)
    for index, pair in enumerate(TEXTS):
        for side, text in enumerate(pair):
            ids = TOKENIZER.encode(text).ids
            expected = formula(log_probs()[ids].sum(), len(ids), UNIGRAM[ids].sum(), text)
            np.testing.assert_allclose(scores.score()[index, side], expected, rtol=1e-5)


def test_pairs_of_unequal_length_are_matched_by_default():
    """The second pair has 2 and 3 words, with the end token 3 and 4 predictions: means times 3.5."""
    scores = score(ScoreSpec())
    assert scores.spec.normalization == "matched"
    sums = [[log_probs()[[*TOKENIZER.encode(text).ids, TOKENIZER.eos]].sum() for text in pair] for pair in TEXTS]
    np.testing.assert_allclose(scores.score("sentence")[0], sums[0], rtol=1e-5)
    np.testing.assert_allclose(scores.score("sentence")[1], [sums[1][0] / 3 * 3.5, sums[1][1] / 4 * 3.5], rtol=1e-5)
    np.testing.assert_array_equal(scores.score("critical"), scores.log_prob("critical"))
    # Normalized scores do not depend on the length.
    uniform = make_scorer(lambda _, tokens, *rows: jnp.zeros((*tokens.shape, 20)), SUITE.encode(TOKENIZER))({})
    np.testing.assert_array_equal(uniform.correct("sentence"), [0.5, 0.5])
    equal = Suite("equal", ITEMS[:1]).encode(TOKENIZER)
    scorer = make_scorer(unigram_logits, equal)
    assert scorer.spec == ScoreSpec(normalization="sum")
    assert scorer.notes() == []


def test_unequal_regions_are_counted_and_noted():
    scorer = make_scorer(unigram_logits, SUITE.encode(TOKENIZER), ScoreSpec(regions=("sentence",)))
    assert (scorer.covered, scorer.unequal_regions) == ("sentence", 1)
    said = "compared by their means over tokens, times the pair's mean length"
    assert scorer.notes() == [f"1 of 2 pairs have sentences of different numbers of tokens: {said}"]
    summed = make_scorer(unigram_logits, SUITE.encode(TOKENIZER), ScoreSpec.preset("blimp_paper"))
    assert sentence_with(summed.notes()[0], "sum", "shorter")
    critical = make_scorer(unigram_logits, SUITE.encode(TOKENIZER))
    assert (critical.covered, critical.unequal_regions) == ("critical", 0)
    whole = Suite("whole", [minimal_pair(*TEXTS[1], (0, 11), (0, 18))])
    assert make_scorer(unigram_logits, whole.encode(TOKENIZER)).covered == "sentence"


def test_matched_is_of_pairs():
    ids = EncodedSentences(ids=[np.array([1, 2]), np.array([3])], groups=np.array([0, 1]), start=0, end=0)
    assert score(ScoreSpec(regions=("sentence",)), ids).spec.normalization == "sum"
    with pytest.raises(ValueError, match=facts("'matched'", "pairs")):
        score(ScoreSpec(regions=("sentence",), normalization="matched"), ids)


def test_missing_inputs_of_a_normalization_are_named():
    with pytest.raises(ValueError, match=facts("'slor'", "unigram")):
        score(ScoreSpec(normalization="slor"))
    with pytest.raises(ValueError, match=facts("log-probability")):
        score(ScoreSpec(normalization="slor"), unigram=np.ones(TOKENIZER.vocab_size))
    with pytest.raises(ValueError, match=facts("unigram", "(2,)", "token id")):
        score(ScoreSpec(normalization="normlp"), unigram=np.full(2, -1.0))
    ids = encode_pairs([([1, 2], [1, 3])], start=0, end=0)
    with pytest.raises(ValueError, match=facts("'word'", "texts and offsets")):
        score(ScoreSpec(regions=("sentence",), normalization="word"), ids)


def test_tables_are_tidy_and_name_their_spec(tmp_path):
    spec = ScoreSpec(regions=("critical", "sentence", "extra"))
    scorer = make_scorer(unigram_logits, SUITE.encode(TOKENIZER), spec)
    scores = scorer(LOGITS)
    table = scores.to_polars()
    assert table.height == 4
    # One side of the only pair with the region lacks it.
    assert "extra" not in table["region"].to_list()
    row = table.row(by_predicate=(pl.col("item") == "i1") & (pl.col("region") == "sentence"), named=True)
    assert row["suite"] == "tiny"
    assert (row["paradigm"], row["task"], row["kind"]) == ("q", "t", "licensor")
    assert (row["n_good"], row["n_bad"]) == (3, 4)
    assert row["delta"] == pytest.approx(row["good"] - row["bad"])
    assert row["spec"] == scores.spec.label
    stacked = scorer.stacked(jnp.stack([LOGITS] * 3)).to_polars()
    assert stacked.height == 12
    assert stacked.filter(pl.col("member") == 2).drop("member").equals(table)


def test_pandas_and_polars_tables_agree():
    pytest.importorskip("pandas")
    scores = score(ScoreSpec())
    assert scores.to_pandas()["delta"].tolist() == scores.to_polars()["delta"].to_list()


def test_tokens_and_words_are_aligned_with_the_text():
    tokenizer = BPETokenizer.train([text for pair in TEXTS for text in pair], size=262)
    suite = SUITE.encode(tokenizer)

    def logits_fn(params, tokens, segment_ids, positions):
        return jnp.broadcast_to(jnp.arange(tokenizer.vocab_size) / 50.0, (*tokens.shape, tokenizer.vocab_size))

    scorer = make_scorer(logits_fn, suite, ScoreSpec(regions=("sentence",)))
    tokens = pl.DataFrame(scorer.tokens({}).columns())
    one = tokens.filter((pl.col("item") == "i1") & (pl.col("sentence") == 1))
    text = TEXTS[1][1]
    assert one["text"].to_list()[:-1] == [text[a:b] for a, b in zip(one["start"][:-1], one["end"][:-1], strict=True)]
    assert "".join(one["text"]) == text.replace(" ", "")
    assert one["start"].to_list()[-1] == -1
    np.testing.assert_allclose(one["bits"], -one["log_prob"] / math.log(2))
    total = scorer({}).log_prob()[1, 1]
    assert one["log_prob"].sum() == pytest.approx(total, rel=1e-5)
    words = pl.DataFrame(scorer.tokens({}).word_columns([3]))
    assert words["text"].to_list() == text.split()
    by_word = [one.filter(pl.col("word") == number)["surprisal"].sum() for number in range(3)]
    np.testing.assert_allclose(words["surprisal"], by_word)
    # Without a start token the first token has no surprisal, and the word neither.
    unscored = make_scorer(logits_fn, suite, ScoreSpec(beginning="none", regions=("sentence",)))
    assert np.isnan(unscored.tokens({}).word_columns([0])["surprisal"]).tolist() == [True, False, False, False, False]


def test_scores_of_other_items_are_not_compared():
    other = Suite("tiny", [ITEMS[0], dataclasses.replace(ITEMS[1], item="i2")])
    with pytest.raises(ValueError, match="different items"):
        score(ScoreSpec()) - score(ScoreSpec(), other.encode(TOKENIZER))
    assert jax.tree.leaves(score(ScoreSpec()) - score(ScoreSpec()))[0].tolist() == [0.0, 0.0]


def test_the_text_of_a_word_is_intact_if_tokens_share_a_character():
    good, bad = "the na\u00efve \U0001f642\u65e5 sings", "the  \U0001f642 sings"
    suite = Suite("s", [minimal_pair(good, bad, (0, 3), (0, 3))])
    tokenizer = BPETokenizer.train(["the sings"] * 3, size=260)

    def logits_fn(params, tokens, segment_ids, positions):
        return jnp.zeros((*tokens.shape, tokenizer.vocab_size))

    tokens = make_scorer(logits_fn, suite.encode(tokenizer), ScoreSpec(regions=("sentence",))).tokens({})
    for side, text in enumerate((good, bad)):
        words = tokens.word_columns([side])
        assert words["text"].tolist() == text.split()
        # A uniform model: each of a word's bytes that are no merge costs as much as any other token.
        np.testing.assert_allclose(words["surprisal"], words["tokens"] * math.log(tokenizer.vocab_size), rtol=1e-5)
    # Four bytes of one face and three of one ideograph.
    assert tokens.word_columns([0])["tokens"][2] >= 7


def test_special_tokens_around_a_sentence_count_but_the_first():
    ids = [[TOKENIZER.encode(text).ids.tolist() for text in pair] for pair in TEXTS]
    pairs = encode_pairs([tuple(pair) for pair in ids], prefix=(2, 3), suffix=(4, 5))
    special = ScoreSpec(beginning="special", score_end=False, regions=("sentence",), normalization="token")
    scores, known = score(special, pairs), log_probs()
    for index, pair in enumerate(ids):
        for side, own in enumerate(pair):
            assert scores.score()[index, side] == pytest.approx(known[[3, *own, 4, 5]].mean(), rel=1e-5)
    # With beginning="tokenizer" the added tokens are read and not scored.
    plain = ScoreSpec(beginning="tokenizer", score_end=False, regions=("sentence",))
    assert score(plain, pairs).log_prob()[0, 0] == pytest.approx(known[ids[0][0]].sum(), rel=1e-5)
    # Tokens: the sentence's own, then those after it.
    columns = make_scorer(unigram_logits, pairs, special).tokens(jnp.arange(TOKENIZER.vocab_size) / 4).columns([2])
    assert columns["id"].tolist() == [*ids[1][0], 4, 5]
    np.testing.assert_allclose(columns["log_prob"], known[columns["id"]], rtol=1e-5)
    # Without any, the first token has nothing before it.
    bare = encode_pairs([tuple(pair) for pair in ids])
    assert score(special, bare).score()[0, 0] == pytest.approx(known[ids[0][0][1:]].mean(), rel=1e-5)


def test_absent_regions_pass_jax_debug_nans():
    spec = ScoreSpec(regions=("extra", "sentence"))
    with jax.debug_nans(True):
        scorer = make_scorer(unigram_logits, SUITE.encode(TOKENIZER), spec)
        scores, stacked = scorer(LOGITS), scorer.stacked(jnp.stack([LOGITS] * 2))
    np.testing.assert_array_equal(np.isnan(scores.log_prob("extra")), [[False, True], [True, True]])
    np.testing.assert_array_equal(np.isnan(stacked.log_prob("extra")[1]), [[False, True], [True, True]])
    assert np.isfinite(scores.log_prob("sentence")).all()
