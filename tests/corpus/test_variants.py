import re

import numpy as np
import pytest
from corpora import build_corpus
from facts import facts
from tiny import npi

from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.npi_en import NPI_EN
from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.pipeline import order_rows
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.corpus.text.words import split_words
from npi_jax.corpus.variants.builder import VariantBuilder
from npi_jax.corpus.variants.edits import Editor
from npi_jax.corpus.variants.interventions import parse_intervention
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.corpus.variants.summary import check_changes, variant_table
from npi_jax.errors import UserError

ROW = 24
annotate = annotator().annotate


def item_counts(corpus: Corpus) -> np.ndarray:
    """Items of each sentence by label."""
    counts = np.zeros((len(corpus), len(NPI_EN.labels)), int)
    table = corpus.annotations.where(corpus.annotations.holds_item)
    np.add.at(counts, (table.sentence, table.label), 1)
    return counts


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
    has_npi = item_counts(corpus).sum(axis=1) > 0
    assert not has_npi[[place[new[index]] for index in changed]].any()
    counted = item_counts(corpus)[[place[sentence] for sentence in new]].sum(axis=0)
    assert counted.tolist() == variant.items.tolist()


def test_no_npi_leaves_none_and_without_leaves_the_others(corpus):
    builder = VariantBuilder(corpus, ROW)
    full, none, without = (builder.build(parse_intervention(t)) for t in ("full", "no_npi", "without(adverbs)"))
    assert none.items.sum() == 0
    assert without.items[0] == 0
    assert without.items[1:].tolist() == full.items[1:].tolist()


def test_variants_share_equal_rows_and_donors(corpus):
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
    free = item_counts(corpus).sum(axis=1) == 0
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
    assert variant.items.sum() == 0
    assert variant.tokens == len(corpus.tokens)


def test_a_corpus_of_npis_alone_cannot_be_refilled():
    tokenizer = WordTokenizer.train(["a b"], max_size=None)
    corpus = build_corpus(["a b"], [npi("only")], tokenizer, row_length=6)
    with pytest.raises(ValueError, match=facts("sentence", "item")):
        VariantBuilder(corpus, 6).build(parse_intervention("no_npi"))
    with pytest.raises(ValueError, match=facts("no_npi", "sentence")):
        VariantBuilder(corpus, 6, mode="delete").build(parse_intervention("no_npi"))


def test_the_table_says_what_changed(corpus):
    builder = VariantBuilder(corpus, ROW)
    variants = [builder.build(parse_intervention(text)) for text in ("full", "random(no_npi)")]
    table = variant_table(variants, NPI_EN.labels)
    assert table["variant"].to_list() == ["full", "random(no_npi)"]
    assert table["control_of"].to_list() == [None, "no_npi"]
    assert table["npi_adverbs"][0] == item_counts(corpus)[:, 0].sum()
    assert table["slots_changed"].to_list() == [0, variants[1].removed]


def test_orders_name_the_variant_that_is_too_small(corpus):
    builder = VariantBuilder(corpus, ROW, mode="delete")
    variants = [builder.build(parse_intervention(text)) for text in ("full", "no_npi")]
    with pytest.raises(ValueError, match=facts("no_npi", "fills")):
        order_rows(variants, len(variants[0].rows))


TEXT = [
    "nobody has ever seen the house .",
    "no man has any money .",
    "No man here has ever slept .",
    "all who have ever seen it know .",
    "he did n't see any of it .",
    "only the man who came has slept .",
    *(f"the man saw the house number w{n} ." for n in range(40)),
    *(f"the man saw w{n} and slept ." for n in range(40)),
]


@pytest.fixture(scope="module")
def english() -> tuple[Corpus, WordTokenizer]:
    tokenizer = WordTokenizer.train([*TEXT, "some also really the No Some many each"], max_size=None)
    annotations = [annotate(split_words(text), contexts=True) for text in TEXT]
    return build_corpus(TEXT, annotations, tokenizer, row_length=ROW), tokenizer


def english_builder(english, **changes):
    corpus, tokenizer = english
    return VariantBuilder(corpus, ROW, editor=Editor(corpus, tokenizer, annotator(), 0), **changes)


def decoded(english, builder, variant, base):
    """Sentences of a variant that differ from those of another, as text: before -> after."""
    _, tokenizer = english
    pool = builder.pool()

    def texts(rows):
        lists = sentences_of(english[0], pool.tokens[rows], pool.used[rows])
        return [" ".join(tokenizer.token(token) for token in ids) for ids in lists]

    pairs = zip(texts(base.rows), texts(variant.rows), strict=True)
    return {before: after for before, after in pairs if before != after}


def test_replacing_a_licensor_keeps_everything_else(english):
    builder = english_builder(english)
    full, variant = (
        builder.build(parse_intervention(t)) for t in ("full", "replace(licensor, npi & determiner_negation)")
    )
    changed = decoded(english, builder, variant, full)
    assert changed.pop("no man has any money .") == "some man has any money ."
    assert changed.pop("No man here has ever slept .") == "Some man here has ever slept ."
    # "Nobody" has no counterpart: the sentence is removed, and counted.
    assert list(changed) == ["nobody has ever seen the house ."]
    assert (variant.edited, variant.removed, variant.unmatched) == (2, 1, 1)
    assert variant.tokens == full.tokens
    assert variant.items[NPI_EN.labels.index("determiner_negation")] == 0
    shown = builder.log.examples(english[0].text)
    assert set(shown["action"]) == {"edited", "removed"}
    assert "some man has any money ." in shown["after"].to_list()


def test_replacing_an_item_takes_its_counterpart(english):
    builder = english_builder(english)
    full, variant = (builder.build(parse_intervention(t)) for t in ("full", "replace(npi, any | ever)"))
    changed = decoded(english, builder, variant, full)
    assert len(changed) == 5
    assert all(len(before.split()) == len(after.split()) for before, after in changed.items())
    assert variant.items.sum() == 0
    assert "he did n't see any of it ." in changed


def test_a_composed_intervention_does_both(english):
    builder = english_builder(english)
    text = "without(quantifier) + replace(licensor, determiner_negation & any)"
    full, variant = (builder.build(parse_intervention(t)) for t in ("full", text))
    changed = decoded(english, builder, variant, full)
    assert changed["no man has any money ."] == "some man has any money ."
    assert "all who have ever seen it know ." in changed
    assert len(changed) == 2


def test_an_environment_alone_means_its_contexts_too(english):
    builder = english_builder(english)
    full, both, bare = (builder.build(parse_intervention(t)) for t in ("full", "without(only)", "remove(only)"))
    assert both.removed == 0
    assert list(decoded(english, builder, bare, full)) == ["only the man who came has slept ."]
    assert full.contexts[NPI_EN.labels.index("only")] == 1
    assert bare.contexts[NPI_EN.labels.index("only")] == 0


def test_injecting_changes_only_the_batches_of_its_steps(english):
    corpus, _ = english
    builder = english_builder(english, batch_size=4, seeds=(0, 1))
    text = "no_npi + inject(npi, 2, 1, 3)"
    without, variant, control = (builder.build(parse_intervention(t)) for t in ("no_npi", text, f"random({text})"))
    pool = builder.pool()
    order = RowOrder(len(variant.rows), 4)
    items = set(originals(corpus)[:5])
    for seed in (0, 1):
        for step in range(5):
            plain, put = (pool.tokens[v.batch(order, seed, step)] for v in (without, variant))
            used = pool.used[variant.batch(order, seed, step)]
            assert (used == pool.used[without.batch(order, seed, step)]).all()
            if step not in (1, 3):
                assert (plain == put).all()
                continue
            found = [s for s in sentences_of(corpus, put, used) if s in items]
            assert len(found) == 2
    put, matched = (
        builder.log.table().filter(variant=name, action="injected").sort("seed", "step", "slot")
        for name in (str(variant.intervention), str(control.intervention))
    )
    # The control changes the same slots, with as long sentences, but none with an item.
    assert put.select("seed", "step", "slot", "tokens").equals(matched.select("seed", "step", "slot", "tokens"))
    assert set(put["donor"]) <= set(range(5))
    assert not set(matched["donor"]) & set(range(5))
    assert (variant.injected, variant.unmatched - without.unmatched) == (8, 0)


def test_injections_that_find_no_slot_are_counted(english):
    builder = english_builder(english, batch_size=2, seeds=(0,))
    variant = builder.build(parse_intervention("inject(quantifier, 50, 0)"))
    assert variant.injected + variant.unmatched == 50
    assert variant.injected <= 1


def test_the_log_has_every_changed_slot(corpus):
    builder = VariantBuilder(corpus, ROW)
    variant = builder.build(parse_intervention("no_npi"))
    slots = builder.log.table()
    assert slots["slot"].n_unique() == variant.removed
    assert slots["tokens"].sum() == corpus.lengths[item_counts(corpus).sum(axis=1) > 0].sum()


def test_a_removed_sentence_is_no_donor():
    sentences = [f"only the man saw w{n} ." for n in range(60)] + [f"so the man saw w{n} ." for n in range(60)]
    annotations = [annotate(split_words(text), contexts=True) for text in sentences]
    corpus = build_corpus(sentences, annotations, WordTokenizer.train(sentences), row_length=ROW)
    builder = VariantBuilder(corpus, ROW)
    variant = builder.build(parse_intervention("remove(only)"))
    assert (variant.removed, variant.contexts.sum(), variant.unmatched) == (60, 0, 0)
    control = builder.build(parse_intervention("random(remove(only))"))
    slots = builder.log.table().filter(variant=str(control.intervention))
    assert (slots["slot"] >= 60).all(), "the control removes none of what it controls for"


def test_edited_sentences_are_no_donors(english):
    builder = english_builder(english)
    text = "replace(licensor, only) + no_npi"
    variant = builder.build(parse_intervention(text))
    edited = builder.log.table().filter(variant=text, action="edited")["slot"].to_list()
    assert len(edited) == variant.edited == 1
    assert not set(builder.log.table().filter(variant=text, action="removed")["donor"]) & set(edited)


def test_words_without_a_counterpart_are_named(english):
    variant = english_builder(english).build(parse_intervention("replace(licensor, npi)"))
    assert dict(variant.unreplaced) == {"nobody": 1, "n't": 1}


def test_a_sentence_longer_than_a_row_is_edited_and_cut():
    long = "no man has ever seen " + " ".join(f"w{n}" for n in range(40))
    sentences = [long, *(f"the man saw w{n} ." for n in range(30))]
    tokenizer = WordTokenizer.train([*sentences, "some"])
    annotations = [annotate(split_words(text), contexts=True) for text in sentences]
    corpus = build_corpus(sentences, annotations, tokenizer, row_length=ROW)
    builder = VariantBuilder(corpus, ROW, editor=Editor(corpus, tokenizer, annotator(), 0))
    variant = builder.build(parse_intervention("replace(licensor, npi)"))
    assert (variant.edited, variant.removed) == (1, 0)
    (shown,) = builder.log.examples(corpus.text)["after"]
    assert shown.startswith("some man has ever")


def test_a_cut_that_takes_the_licensor_leaves_the_item():
    sentences = ["any news " + " ".join(f"w{n}" for n in range(40)) + " ?", *(f"the man w{n} ." for n in range(30))]
    annotations = [annotate(split_words(text), contexts=True) for text in sentences]
    assert annotations[0][0].environment == "simple_question"
    corpus = build_corpus(sentences, annotations, WordTokenizer.train(sentences), row_length=ROW)
    assert item_counts(corpus)[:, NPI_EN.labels.index("ambiguous")].sum() == 1
    assert VariantBuilder(corpus, ROW).build(parse_intervention("no_npi")).removed == 1


def test_replacing_words_has_no_control_where_slots_are_dropped(english):
    with pytest.raises(ValueError, match=facts("replaced words")):
        english_builder(english, mode="delete").build(parse_intervention("random(replace(npi, any))"))


def fillers(n: int) -> list[str]:
    return [f"the man saw the w{number} ." for number in range(n)]


def corpus_of(sentences: list[str]) -> Corpus:
    annotations = [annotate(split_words(text), contexts=True) for text in sentences]
    return build_corpus(sentences, annotations, WordTokenizer.train(sentences), row_length=ROW)


def test_a_barred_donor_changes_no_other_slot():
    sentences = [f"nobody ever saw the v{n} ." for n in range(100)] + fillers(200) + ["only the man saw w0 ."]
    corpus = corpus_of(sentences)
    builder = VariantBuilder(corpus, ROW)
    for text in ("no_npi", "no_npi + remove(only)"):
        builder.build(parse_intervention(text))
    one, both = (
        dict(builder.log.table().filter(variant=name).select("slot", "donor").iter_rows())
        for name in ("no_npi", "no_npi + remove(only)")
    )
    assert set(both) - set(one) == {300}
    assert 300 not in both.values()
    assert {slot: both[slot] for slot in one if one[slot] != 300} == {s: d for s, d in one.items() if d != 300}


def test_a_control_is_built_where_items_are_common():
    corpus = corpus_of([f"nobody ever saw the v{n} ." for n in range(120)] + fillers(80))
    builder = VariantBuilder(corpus, ROW)
    control = builder.build(parse_intervention("random(no_npi)"))
    assert (control.removed, control.unmatched) == (80, 40)
    assert control.items.sum() == 120


def test_a_control_of_injections_puts_back_nothing_that_it_removed():
    corpus = corpus_of([f"nobody ever saw the v{n} ." for n in range(60)] + fillers(200))
    builder = VariantBuilder(corpus, ROW, batch_size=8, seeds=(0, 1))
    text = "random(no_npi + inject(npi, 6, 0, 1, 2))"
    control = builder.build(parse_intervention(text))
    slots = builder.log.table().filter(variant=text)
    removed = set(slots.filter(action="removed")["slot"])
    injected = slots.filter(action="injected")
    assert control.injected == 36
    assert not removed & set(injected["donor"])
    assert not injected.select("seed", "step", "donor").is_duplicated().any()


def test_variants_that_change_nothing_are_refused_and_few_changes_warned_of():
    # One of 1,500 sentences holds an item, and none is licensed by "only".
    rows = [npi("adverbs"), *[()] * 1499]
    texts = ["rarely any dog", *(f"the dog {n % 7} ran" for n in range(1499))]
    corpus = build_corpus(texts, rows, WordTokenizer.train(texts), row_length=32)
    names = ("full", "no_npi", "without(only)", "random(without(only))", "downsample(adverbs, 1)")
    builder = VariantBuilder(corpus, 32)
    full, some, *none = (builder.build(parse_intervention(name)) for name in names)
    said: list[str] = []
    with pytest.raises(UserError, match=facts("without(only)", "random(", "downsample(", "0 of 1,500 sentences")):
        check_changes([full, some, *none], 1500, said.append)
    with pytest.raises(UserError, match=facts("variants", "without(only)", "0 of 1,500 sentences", "allow_empty")):
        check_changes([full, none[0]], 1500, said.append)
    check_changes([full, none[0]], 1500, said.append, allow_empty=True)
    assert len(said) == 1
    said.clear()
    check_changes([full, some], 1500, said.append)
    assert len(said) == 1
    assert re.match(facts("warning", "no_npi", "1 of 1,500 sentences"), said[0])
    check_changes([full, some], 1000, said.append)
    assert len(said) == 1, "one in a thousand is enough"
    table = variant_table([full, none[0]], NPI_EN.labels)
    assert table.select("slots_changed", "edited", "injected").rows() == [(0, 0, 0), (0, 0, 0)]
