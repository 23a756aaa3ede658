import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import polars as pl
import pytest
from facts import facts
from tiny import tiny_values

from npi_jax.analysis.ngrams import FALLBACK, KneserNey, ngram_scores, ngram_table, variant_text, with_ngram
from npi_jax.config.build import make_config
from npi_jax.preparation.prepare import prepare
from npi_jax.results.names import MEAN_OVER_TASKS
from npi_jax.scoring import ScoreSpec, encode_pairs

START = "start"


def corpus(*sentences):
    return np.concatenate([np.asarray(s, np.int64) for s in sentences]), np.cumsum([0, *map(len, sentences)])


def random_corpus(seed, sentences=60, vocabulary=7):
    """Sentences of 1 to 9 tokens, the last of each being 0, with tokens that depend on the one before."""
    rng = np.random.default_rng(seed)
    drawn = []
    for length in rng.integers(0, 9, sentences):
        words = [int(rng.integers(1, vocabulary))]
        for _ in range(length):
            words.append(int(rng.choice([words[-1], rng.integers(1, vocabulary)])))
        drawn.append([*words[:length], 0])
    return drawn


class Brute:
    """The same model from the formulas, with dictionaries."""

    def __init__(self, sentences, vocabulary, order):
        self.vocabulary, self.order = vocabulary, order
        seen = {n: Counter() for n in range(1, order + 1)}
        for sentence in sentences:
            words = (START, *sentence)
            for n, counter in seen.items():
                counter.update(words[i : i + n] for i in range(len(words) - n + 1))
        del seen[1][(START,)]
        self.counts = {order: dict(seen[order])}
        for n in range(1, order):
            lefts = defaultdict(set)
            for gram in seen[n + 1]:
                lefts[gram[1:]].add(gram[0])
            self.counts[n] = {g: c if g[0] == START else len(lefts[g]) for g, c in seen[n].items()}

    def discount(self, n):
        times = Counter(self.counts[n].values())
        return times[1] / (times[1] + 2 * times[2]) if times[1] else FALLBACK

    def probability(self, word, context):
        context = tuple(context)[-(self.order - 1) :] if self.order > 1 else ()
        n = len(context) + 1
        lower = self.probability(word, context[1:]) if context else 1 / self.vocabulary
        following = {g[-1]: c for g, c in self.counts[n].items() if g[:-1] == context}
        if not following:
            return lower
        kept = max(following.get(word, 0) - self.discount(n), 0)
        return (kept + self.discount(n) * len(following) * lower) / sum(following.values())

    def log_prob(self, sentence, start=True):
        before = (START,) if start else ()
        return [math.log(self.probability(word, (*before, *sentence[:index]))) for index, word in enumerate(sentence)]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("start", [True, False])
def test_a_model_made_of_dictionaries_agrees(order, start):
    sentences = random_corpus(0)
    model = KneserNey.fit(*corpus(*sentences), 8, order)
    brute = Brute(sentences, 8, order)
    held_out = random_corpus(1, sentences=20, vocabulary=8)
    for sentence, values in zip(held_out, model.log_prob([np.array(s) for s in held_out], start=start), strict=True):
        np.testing.assert_allclose(values, brute.log_prob(sentence, start), rtol=1e-10)
    np.testing.assert_allclose(model.discounts, [brute.discount(n) for n in range(1, order + 1)])


@pytest.mark.parametrize("order", [1, 2, 5])
def test_probabilities_sum_to_one_after_any_context(order):
    model = KneserNey.fit(*corpus(*random_corpus(2)), 9, order)  # tokens 7 and 8 never occur
    contexts = [(), (3,), (8,), (1, 1), (0, 1), (2, 3, 4, 5), (1, 1, 1, 1, 1, 1), (5, 7, 1, 2, 2)]
    for context, start in itertools.product(contexts, [True, False]):
        rows = [np.array([*context, word]) for word in range(9)]
        last = np.array([values[-1] for values in model.log_prob(rows, start=start)])
        assert np.exp(last).sum() == pytest.approx(1, abs=1e-12)
        assert np.isfinite(last).all()


def test_a_hand_made_model():
    # Bigrams: <s> 1 (2), 1 2 (1), 1 0 (1), 2 0 (1): n1 = 3, n2 = 1, D = 3/5.
    # Preceded by different tokens: 0 by two, 1 by one, 2 by one: n1 = 2, n2 = 1, D = 1/2.
    model = KneserNey.fit(*corpus([1, 2, 0], [1, 0]), 3, 2)
    assert model.discounts == pytest.approx((0.5, 0.6))
    unigram = np.array([1.5, 0.5, 0.5]) / 4 + 0.5 * 3 / 4 / 3
    first = (2 - 0.6) / 2 + 0.6 * 1 / 2 * unigram[1]
    second = (1 - 0.6) / 2 + 0.6 * 2 / 2 * unigram[2]
    third = (1 - 0.6) / 1 + 0.6 * 1 / 1 * unigram[0]
    np.testing.assert_allclose(model.log_prob([np.array([1, 2, 0])])[0], np.log([first, second, third]))


def test_unseen_contexts_back_off():
    model = KneserNey.fit(*corpus(*random_corpus(3)), 9, 5)
    unseen, shorter = model.log_prob([np.array([8, 2, 3]), np.array([2, 3])], start=False)
    assert unseen[1:] == pytest.approx(shorter)
    assert unseen[2] != pytest.approx(model.log_prob([np.array([3])], start=False)[0][0])


def test_contexts_do_not_cross_sentences():
    tokens, offsets = corpus([1, 2, 0], [3, 4, 0], [1, 2, 0], [3, 1, 0])
    model = KneserNey.fit(tokens, offsets, 5, 3)
    turned = KneserNey.fit(*corpus([3, 4, 0], [3, 1, 0], [1, 2, 0], [1, 2, 0]), 5, 3)
    scored = np.array([3, 1, 2, 0])
    np.testing.assert_array_equal(model.log_prob([scored])[0], turned.log_prob([scored])[0])
    joined = KneserNey.fit(tokens, np.array([0, len(tokens)]), 5, 3)
    assert not np.allclose(model.log_prob([scored])[0], joined.log_prob([scored])[0])


def test_order_one_counts_occurrences_in_natural_logs():
    model = KneserNey.fit(*corpus([1, 1, 1, 0], [2, 2, 0], [3, 0]), 4, 1)
    # Counts 3 (token 0), 3, 2, 1: n1 = n2 = 1, so D = 1/3.
    expected = math.log((3 - 1 / 3) / 9 + 4 / 3 / 9 / 4)
    assert model.log_prob([np.array([1])])[0][0] == pytest.approx(expected)


def test_sequences_may_be_empty_and_start_one_by_one():
    model = KneserNey.fit(*corpus(*random_corpus(4)), 8, 4)
    sentence = np.array([1, 2, 3])
    values = model.log_prob([sentence, np.zeros(0, np.int64), sentence], start=[True, True, False])
    assert [len(v) for v in values] == [3, 0, 3]
    np.testing.assert_array_equal(values[0], model.log_prob([sentence])[0])
    np.testing.assert_array_equal(values[2], model.log_prob([sentence], start=False)[0])
    assert values[0][0] != values[2][0]
    assert [v.tolist() for v in model.log_prob([np.zeros(0, np.int64)])] == [[]]


@pytest.mark.parametrize(
    ("tokens", "offsets", "order", "message"),
    [
        ([], [0, 0], 5, "no tokens"),
        ([1, 0], [0, 2], 0, ("order", "0")),
        ([1, 7], [0, 2], 2, "1 to 7"),
        ([1, 0], [0, 1], 2, ("offsets", "0 to 2")),
    ],
)
def test_what_cannot_be_counted(tokens, offsets, order, message):
    with pytest.raises(ValueError, match=facts(message)):
        KneserNey.fit(np.array(tokens, np.int64), np.array(offsets), 5, order)


def test_unknown_tokens_are_refused():
    with pytest.raises(ValueError, match="tokens run from 2 to 5"):
        KneserNey.fit(*corpus([1, 0]), 5, 2).log_prob([np.array([2, 5])])


# -- scores -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config():
    return make_config(tiny_values(variants=("full", "no_npi", "without(only)")))


@pytest.fixture(scope="module")
def ready(config):
    return prepare(config, lambda line: None)


def test_a_variants_text_is_its_sentences(ready):
    eos = ready.corpus.eos
    texts = [variant_text(variant, ready.pool, eos) for variant in ready.variants]
    for (tokens, offsets), variant in zip(texts, ready.variants, strict=True):
        assert len(tokens) == variant.tokens == offsets[-1]
        assert (tokens[offsets[1:] - 1] == eos).all()
    whole, offsets = texts[0]
    rows = {tuple(whole[a:b]) for a, b in itertools.pairwise(offsets)}
    own = ready.corpus
    assert rows == {tuple(own.tokens[a:b]) for a, b in itertools.pairwise(own.offsets)}


def test_regions_and_specials_are_those_of_the_scorer(ready):
    suite, eos = ready.suites["grammar"], ready.corpus.eos
    model = KneserNey.fit(*variant_text(ready.variants[0], ready.pool, eos), ready.tokenizer.vocab_size)
    spec = ScoreSpec(regions=("critical", "sentence", "difference"))
    table = ngram_scores(model, suite, spec, eos=eos)
    encoded = suite.sentences(spec)
    for pair in (0, 20):
        good, bad = (np.append(encoded.ids[2 * pair + side], eos) for side in range(2))
        read = model.log_prob([good, bad])
        (a, b), (c, d) = encoded.regions["critical"][2 * pair : 2 * pair + 2]
        differs = next(i for i, (x, y) in enumerate(zip(good, bad, strict=False)) if x != y)
        wanted = {
            "critical": read[0][a:b].sum() - read[1][c:d].sum(),
            "sentence": read[0].sum() - read[1].sum(),
            "difference": read[0][differs:].sum() - read[1][differs:].sum(),
        }
        rows = table.filter(pl.col("item") == encoded.labels["item"][pair])
        assert dict(rows.select("region", "delta").iter_rows()) == pytest.approx(wanted, abs=1e-9)
    assert table.columns == ["suite", "paradigm", "task", "kind", "item", "region", "delta", "correct"]


@pytest.mark.parametrize(
    ("spec", "start", "first"),
    [
        (ScoreSpec(regions=("sentence",), score_end=False), True, 0),
        (ScoreSpec(regions=("sentence",), score_end=False, score_first=False), True, 1),
        (ScoreSpec(regions=("sentence",), score_end=False, beginning="none"), False, 1),
    ],
)
def test_what_comes_before_the_sentence(spec, start, first):
    model = KneserNey.fit(*corpus(*random_corpus(5)), 8, 5)
    good, bad = np.array([1, 2, 3]), np.array([4, 4, 1])
    labels = {name: ["x"] for name in ("suite", "paradigm", "task", "kind", "item")}
    pairs = encode_pairs([(good, bad)], start=0, end=0)
    pairs = type(pairs)(**{**vars(pairs), "labels": labels})
    read = model.log_prob([good, bad], start=start)
    delta = ngram_scores(model, pairs, spec, eos=0)["delta"].item()
    assert delta == pytest.approx(read[0][first:].sum() - read[1][first:].sum())


def test_equal_beginnings_tie():
    model = KneserNey.fit(*corpus(*random_corpus(6)), 8, 3)
    labels = {name: ["x"] for name in ("suite", "paradigm", "task", "kind", "item")}
    pairs = encode_pairs([([1, 5, 2, 3, 4, 1], [2, 2, 5, 2, 3, 4, 1])], np.array([[[3, 6], [4, 7]]]), start=0, end=0)
    pairs = type(pairs)(**{**vars(pairs), "labels": labels})
    row = ngram_scores(model, pairs, ScoreSpec(regions=("critical",)), eos=0)
    assert row.select("delta", "correct").row(0) == (0.0, 0.5)


def test_all_variants_and_suites_are_in_the_table(ready, config):
    table = ngram_table(ready, config)
    assert table["variant"].unique(maintain_order=True).to_list() == ["full", "no_npi", "without(only)"]
    assert set(table["suite"]) == {"grammar"}
    assert not table.is_duplicated().any()
    assert table["delta"].is_finite().all()
    # Critical regions often tie: what differs in the pair lies more than four words back.
    deltas = table.filter(region="sentence").pivot("variant", index="item", values="delta")
    assert (deltas["full"] != deltas["no_npi"]).mean() > 0.9


def ngram_rows(rows):
    names = ["variant", "task", "item", "correct"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(
        suite=pl.lit("s"), paradigm=pl.lit("p"), kind=pl.lit("licensor"), region=pl.lit("critical"), delta=pl.lit(1.0)
    )


def test_the_final_table_gets_the_accuracy_of_each_cell():
    ngram = ngram_rows(
        [("full", "a", "1", 1.0), ("full", "a", "2", 0.5), ("full", "b", "1", 0.0), ("no_npi", "a", "1", math.nan)]
    )
    cells = [("full", "a"), ("full", "b"), ("full", MEAN_OVER_TASKS), ("no_npi", "a"), ("only(only)", "a")]
    final = pl.DataFrame(cells, schema=["variant", "task"], orient="row").with_columns(
        suite=pl.lit("s"), kind=pl.lit("licensor"), region=pl.lit("critical"), accuracy=pl.lit(0.9)
    )
    joined = with_ngram(final, ngram)
    assert joined.drop("ngram").equals(final)
    values = joined["ngram"].to_list()
    assert values[:3] == [0.75, 0.0, 0.375]
    assert math.isnan(values[3])
    assert values[4] is None
    assert with_ngram(joined, ngram).equals(joined, null_equal=True)


def test_the_same_tables_give_the_same_bits_each_time():
    # The mean over tasks depends on their order in its last bit; polars' groups come in any order unless told.
    rng = np.random.default_rng(0)
    sizes = [(variant, task, 31 + task) for variant in range(40) for task in range(9)]
    rows = [
        (f"v{variant}", f"t{task}", str(item), float(rng.random() < 0.6))
        for variant, task, size in sizes
        for item in range(size)
    ]
    final = pl.DataFrame({"variant": [f"v{variant}" for variant in range(40)]}).with_columns(
        suite=pl.lit("s"), kind=pl.lit("licensor"), region=pl.lit("critical"), task=pl.lit(MEAN_OVER_TASKS)
    )
    assert len({tuple(with_ngram(final, ngram_rows(rows))["ngram"]) for _ in range(30)}) == 1
