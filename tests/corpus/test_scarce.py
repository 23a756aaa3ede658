"""Variants in which the data of one environment are scarce: `scarce`, `alone`, `pair`, and their random controls."""

import itertools

import numpy as np
import pytest
from corpora import build_corpus
from facts import facts
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS, Annotation
from npi_jax.corpus.annotation.npi_en import NPI_EN
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.grammar.generate import GrammarSpec, generate
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.corpus.variants.builder import VariantBuilder
from npi_jax.corpus.variants.changes import find_change
from npi_jax.corpus.variants.interventions import Dose, parse_intervention
from npi_jax.corpus.variants.variant import Variant
from npi_jax.errors import UserError

ROW = 40
SHARES = (0, 0.03, 0.1, 0.3)
EVERY = [f"scarce(only, {share})" for share in SHARES] + [f"alone(only, {share})" for share in (*SHARES, 1)]
EVERY += ["pair(only, 0.1, superlative)", "scarce(only, 0.1) + without(superlative)"]


@pytest.mark.parametrize(
    ("text", "canonical", "dose"),
    [
        ("scarce( only,0.10 )", "scarce(only, 0.1)", Dose("only", 0.1, False, "sentences")),
        ("alone(only, 0)", "alone(only, 0)", Dose("only", 0.0, True, "sentences")),
        ("pair(only,.03, adverbs)", "pair(only, 0.03, adverbs)", Dose("only", 0.03, True, "sentences", "adverbs")),
        ("random( alone(only, 1))", "random(alone(only, 1))", None),
        ("scarce(only, 0.1) + only(only)", "scarce(only, 0.1) + only(only)", None),
        (
            "pair('my env', 1, \"don't\")",
            "pair('my env', 1, \"don't\")",
            Dose("my env", 1.0, True, "sentences", "don't"),
        ),
        ("downsample(only, 0.1)", "downsample(only, 0.1)", Dose("only", 0.1, False, "items")),
    ],
)
def test_parse_reads_what_str_writes(text, canonical, dose):
    intervention = parse_intervention(text)
    assert str(intervention) == canonical
    assert parse_intervention(canonical) == intervention
    assert intervention.dose == dose
    assert intervention.removed == ""


NAMES = st.one_of(st.sampled_from(ENVIRONMENTS), st.sampled_from(["my env", "don't", 'say "x"', "a-b", "random"]))
CALLS = st.one_of(
    st.builds("{}({!r}, {})".format, st.sampled_from(["scarce", "alone"]), NAMES, st.floats(0, 1)),
    st.builds("pair({0[0]!r}, {1}, {0[1]!r})".format, st.permutations(["my env", *ENVIRONMENTS]), st.floats(0, 1)),
)


@given(st.lists(CALLS, min_size=1, max_size=3).map(" + ".join), st.booleans())
def test_every_name_is_read_as_itself(text, control):
    name = str(parse_intervention(f"random({text})" if control else text))
    assert str(parse_intervention(name)) == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scarce(only)", "write it as scarce(ENVIRONMENT, SHARE)"),
        ("alone(only, 0.1, adverbs)", "write it as alone(ENVIRONMENT, SHARE)"),
        ("pair(only, 0.1)", "write it as pair(ENVIRONMENT, SHARE, ANOTHER)"),
        ("pair(only, 0.1, only)", "two different environments"),
        ("scarce(only, 10)", "from 0 to 1"),
        ("scarce(only & npi, 0.1)", "'only & npi' must be the name of one environment"),
        ("pair(only, 0.1, adverbs | quantifier)", "'adverbs | quantifier' must be the name of one environment"),
    ],
)
def test_parse_says_what_is_wrong(text, words):
    with pytest.raises(ValueError, match=facts(words)):
        parse_intervention(text)


@pytest.mark.parametrize(
    "text", ["scarce(onyl, 0.1)", "alone(npi, 0.1)", "random(pair(only, 0.1, ever))", "scarce(other, 1)"]
)
def test_their_words_are_environments(text):
    with pytest.raises(ValueError, match=facts(repr(text))):
        parse_intervention(text).check(NPI_EN)


def table_of(*sentences: str) -> AnnotationTable:
    """One sentence an argument: the environments of its licensors, with + after those that license an NPI."""

    def annotation(name: str) -> Annotation:
        item = ("ever", (1, 2)) if name.endswith("+") else (None, (-1, -1))
        return Annotation(name.removesuffix("+"), 0, (0, 2), *item)

    return AnnotationTable.from_sentences([tuple(map(annotation, text.split())) for text in sentences], NPI_EN)


def removed(text: str, table: AnnotationTable, n: int) -> set[int]:
    change = find_change(parse_intervention(text), table, NPI_EN, np.full(n, 5), seed=0)
    return set(np.flatnonzero(change.removed).tolist())


def test_each_removes_what_it_says():
    texts = (
        "",
        "only+",
        "only",
        "adverbs+",
        "adverbs",
        "only adverbs+",
        "only+ adverbs+",
        "superlative+",
        "other+",
        "",
    )
    table, n = table_of(*texts), len(texts)
    assert removed("scarce(only, 0)", table, n) == {1, 2, 5, 6} == removed("remove(only)", table, n)
    assert removed("scarce(only, 1)", table, n) == set()
    assert removed("alone(only, 1)", table, n) == {3, 5, 7, 8} == removed("only(only)", table, n)
    assert removed("alone(only, 0)", table, n) == {1, 2, 3, 5, 6, 7, 8}
    assert removed("pair(only, 1, adverbs)", table, n) == {7, 8}
    assert removed("pair(only, 0, adverbs)", table, n) == {1, 2, 3, 5, 6, 7, 8} - {3}
    half = removed("scarce(only, 0.5)", table, n)
    assert len(half) == 2
    assert half < {1, 2, 5, 6}


def test_shares_nest_and_others_do_not_change_what_is_kept():
    texts = ["only+", "only", "only adverbs+", "adverbs+", "superlative+", "superlative"] * 100
    table, n = table_of(*texts), len(texts)
    only = {place for place, text in enumerate(texts) if "only" in text}
    items = {place for place, text in enumerate(texts) if text in ("adverbs+", "superlative+")}
    kept = {share: only - removed(f"scarce(only, {share})", table, n) for share in (*SHARES, 1)}
    assert [len(found) for found in kept.values()] == [0, 9, 30, 90, 300]
    assert all(less < more for less, more in itertools.pairwise(kept.values()))
    with_others = {place for place in only if "adverbs" in texts[place]}
    for share, found in kept.items():
        assert only - removed(f"alone(only, {share})", table, n) == found - with_others
        assert only - removed(f"pair(only, {share}, adverbs)", table, n) == found
        assert removed(f"alone(only, {share})", table, n) >= items
        assert removed(f"pair(only, {share}, superlative)", table, n) & items == {
            place for place, text in enumerate(texts) if text == "adverbs+"
        }


@pytest.fixture(scope="module")
def grammar() -> tuple[Corpus, WordTokenizer]:
    written = generate(GrammarSpec(sentences=4000, seed=1))
    texts = [" ".join(words) for words in written.sentences]
    tokenizer = WordTokenizer.train(texts, max_size=None)
    return build_corpus(texts, written.annotations, tokenizer, row_length=ROW), tokenizer


def count_sentences(grammar, builder: VariantBuilder, variant: Variant, word: str) -> int:
    """Count the sentences of a variant that have a word, read back from its rows; donor sentences are counted, too."""
    corpus, tokenizer = grammar
    pool = builder.pool()
    tokens = np.concatenate([pool.tokens[row, 1 : pool.used[row] + 1] for row in variant.rows])
    number = next(token for token in range(tokens.max() + 1) if tokenizer.token(token) == word)
    return len(np.unique(np.cumsum(tokens == corpus.eos)[tokens == number]))


def test_an_environment_stays_as_scarce_as_asked(grammar):
    corpus, _ = grammar
    builder = VariantBuilder(corpus, ROW)
    full = builder.build(parse_intervention("full"))
    label = NPI_EN.labels.index("only")

    def count(variant: Variant) -> int:
        # Only licensors of this environment have this word.
        return count_sentences(grammar, builder, variant, "only")

    before = count(full)
    table = corpus.annotations
    assert before == len(np.unique(table.sentence[table.label == label])) > 150
    for text in EVERY:
        intervention = parse_intervention(text)
        variant = builder.build(intervention)
        assert count(variant) == round(intervention.steps[0].share * before), text
        control = builder.build(parse_intervention(f"random({text})"))
        assert count(control) == before, text
        assert control.items.tolist() == full.items.tolist()
    # `downsample` does not promise this: donor sentences have the licensor.
    loose = builder.build(parse_intervention("downsample(only | (only & npi), 0.3)"))
    assert count(loose) > round(0.3 * before)


def test_items_of_others_are_removed_or_kept(grammar):
    builder = VariantBuilder(grammar[0], ROW)
    full, scarce, alone, pair = (
        builder.build(parse_intervention(text)).items
        for text in ("full", "scarce(only, 0.1)", "alone(only, 0.1)", "pair(only, 0.1, superlative)")
    )
    only, superlative = (NPI_EN.labels.index(name) for name in ("only", "superlative"))
    assert 0 < scarce[only] == alone[only] == pair[only] < 0.25 * full[only]
    assert (np.delete(scarce, only) == np.delete(full, only)).all()
    assert not np.delete(alone, only).any()
    assert pair[superlative] == full[superlative] > 0
    assert not np.delete(pair, [only, superlative]).any()


def test_variants_agree_outside_of_the_slots_that_they_change(grammar):
    corpus, _ = grammar
    builder = VariantBuilder(corpus, ROW)
    texts = ("full", *EVERY, *(f"random({text})" for text in EVERY))
    variants = {text: builder.build(parse_intervention(text)) for text in texts}
    log = builder.log.table()
    # Slots end at the same tokens in all variants; a slot without a donor of its length holds several sentences.
    pool, lengths = builder.pool(), np.asarray(corpus.lengths)
    rows = {text: pool.tokens[variant.rows] for text, variant in variants.items()}
    assert all(variant.tokens == variants["full"].tokens for variant in variants.values())
    for text in texts[1:]:
        changed = log.filter(variant=text)["slot"].unique()
        assert len(changed) == variants[text].removed > 0
        assert (rows[text] != rows["full"]).sum() <= lengths[changed.to_numpy()].sum()
        assert rows[text].shape == rows["full"].shape
        untouched = ~np.isin(builder._base.packing.row, builder._base.packing.row[changed.to_numpy()])
        same = np.unique(builder._base.packing.row[untouched])
        assert (rows[text][same] == rows["full"][same]).all()
    # The same slot has the same donor sentence with and without the others.
    scarce, alone = (
        dict(log.filter(variant=text).select("slot", "donor").iter_rows())
        for text in ("scarce(only, 0.1)", "alone(only, 0.1)")
    )
    assert scarce.keys() < alone.keys()
    assert all(alone[slot] == donor for slot, donor in scarce.items())


def test_a_control_never_puts_in_what_is_scarce():
    # All sentences have the same length, and only those of the scarce environment lack an item: no donor is left.
    texts = [f"only the man saw w{n} ." for n in range(20)] + [f"rarely the man saw any{n} ." for n in range(20)]
    annotations = [(Annotation("only", 0, (1, 5)),)] * 20 + [(Annotation("adverbs", 0, (1, 5), "any", (4, 5)),)] * 20
    corpus = build_corpus(texts, annotations, WordTokenizer.train(texts), row_length=ROW)
    builder = VariantBuilder(corpus, ROW)
    assert builder.build(parse_intervention("downsample(only | adverbs, 0.5)")).contexts.sum() > 10
    with pytest.raises(UserError, match=facts("item", "corpus.removal='delete'")):
        builder.build(parse_intervention("scarce(only, 0.5)"))
    control = builder.build(parse_intervention("random(scarce(only, 0.5))"))
    assert (control.removed, control.unmatched, control.contexts.sum()) == (0, 10, 20)
    deleting = VariantBuilder(corpus, ROW, mode="delete")
    kept = deleting.build(parse_intervention("alone(only, 0.5)"))
    assert (kept.sentences, kept.contexts.sum(), kept.items.sum()) == (10, 10, 0)


def test_a_control_injects_nothing_of_what_is_scarce(grammar):
    corpus, _ = grammar
    builder = VariantBuilder(corpus, ROW, batch_size=8, seeds=(0, 1))
    text = "random(scarce(only, 0.1) + inject(superlative & npi, 6, 0, 1, 2))"
    assert builder.build(parse_intervention(text)).injected > 20
    injected = builder.log.table().filter(variant=text, action="injected")["donor"].to_list()
    table = corpus.annotations
    assert not np.isin(injected, table.sentence[table.label == NPI_EN.labels.index("only")]).any()
