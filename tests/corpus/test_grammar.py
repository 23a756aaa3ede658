import math
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from facts import facts

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.annotation.npi_en import NPIS, TABLE, environment_forms, npi_words
from npi_jax.corpus.grammar import lexicon
from npi_jax.corpus.grammar.draws import POSITIONS, npis_in
from npi_jax.corpus.grammar.generate import GrammarSpec, generate
from npi_jax.corpus.grammar.lexicon import zipf_weights
from npi_jax.corpus.text.words import split_words


@pytest.fixture(scope="module")
def text():
    return generate(GrammarSpec(sentences=8_000, seed=1))


def rows(text):
    return zip(text.sentences, text.annotations, strict=True)


def occurrences(words):
    """Return every span of a sentence that has the form of an NPI, by exhaustive search."""
    forms = {npi_words(name) for name in NPIS} | environment_forms().keys()
    spans = [(i, j) for i in range(len(words)) for j in (i + 1, i + 2)]
    return {(i, j) for i, j in spans if j <= len(words) and words[i:j] in forms}


def test_sentences_are_lower_case_with_final_punctuation_and_split_back(text):
    for words in text.sentences:
        sentence = " ".join(words)
        assert sentence == sentence.lower()
        assert words[-1] in (".", "?")
        assert not {".", "?"} & set(words[:-1])
        assert tuple(split_words(sentence)) == words


@pytest.fixture(scope="module")
def own():
    return generate(GrammarSpec(2_000, sharing=0.0))


def test_environment_forms_split_back_too(own):
    for words in own.sentences:
        assert tuple(split_words(" ".join(words))) == words


def test_lengths_are_those_of_short_sentences(text):
    lengths = np.array([len(words) for words in text.sentences])
    assert lengths.min() >= 4
    assert 10 < lengths.mean() < 16
    assert np.quantile(lengths, 0.9) <= 20


@pytest.mark.parametrize("sharing", [1.0, 0.5, 0.0])
def test_every_npi_form_is_annotated_once_and_in_scope(sharing):
    for words, annotations in rows(generate(GrammarSpec(3_000, seed=2, sharing=sharing))):
        npis = [a for a in annotations if a.npi is not None]
        assert occurrences(words) == {a.span for a in npis}
        assert len({a.span for a in npis}) == len(npis)
        for a in npis:
            own = npi_words(a.npi, a.environment)
            assert words[slice(*a.span)] in (npi_words(a.npi), own)
            assert a.scope[0] <= a.span[0] < a.span[1] <= a.scope[1]


def test_a_licensor_without_an_npi_has_one_annotation_that_says_so(text):
    for _, annotations in rows(text):
        if any(a.npi is None for a in annotations):
            assert [(a.npi, a.span) for a in annotations] == [(None, (-1, -1))]
    empty = sum(annotations[0].npi is None for annotations in text.annotations if annotations)
    assert 0.2 < empty / sum(map(bool, text.annotations)) < 0.6


def test_annotations_point_at_licensors_and_scopes_follow_them(text):
    for words, annotations in rows(text):
        for a in annotations:
            assert words[a.licensor] in TABLE[a.environment].contrasts
            assert a.licensor < a.scope[0] < a.scope[1] < len(words)
            assert words[a.scope[1] - 1] not in (".", "?", ",")


def test_a_sentence_holds_no_other_licensor(text):
    forms = {word for name in ENVIRONMENTS if name != "simple_question" for word in TABLE[name].contrasts} - {
        "all"
    }  # also the second word of "at all"
    for words, annotations in rows(text):
        held = [i for i, word in enumerate(words) if word in forms]
        asked = words[-1] == "?"
        assert held == [a.licensor for a in annotations[:1] if not asked and words[a.licensor] != "all"]


def test_every_licensor_and_non_licensor_occurs(text):
    licensors = {(a.environment, words[a.licensor]) for words, annotations in rows(text) for a in annotations}
    for name in ENVIRONMENTS:
        assert {word for environment, word in licensors if environment == name} == set(TABLE[name].contrasts)
    unlicensed = " ".join(" ".join(words) for words, annotations in rows(text) if not annotations)
    for name in ENVIRONMENTS:
        for word in TABLE[name].non_licensors:
            assert f" {word} " in unlicensed


def test_every_npi_occurs_wherever_it_is_not_barred(text):
    counts = Counter((a.environment, a.npi) for annotations in text.annotations for a in annotations)
    for npi in NPIS.values():
        for name in ENVIRONMENTS:
            assert (counts[name, npi.name] >= 2) == (name not in npi.grammar.barred), (name, npi.name)


def test_counterparts_occur_in_and_out_of_scope(text):
    inside, outside = Counter(), Counter()
    for words, annotations in rows(text):
        first, last = annotations[0].scope if annotations else (0, 0)
        for i, word in enumerate(words):
            (inside if first <= i < last else outside)[word] += 1
    for word in (w for npi in NPIS.values() for text in npi.counterparts for w in text.split()):
        assert inside[word] >= 10, word
        assert outside[word] >= 10, word


def test_sentences_with_licensors_hold_counterparts_outside_of_scope(text):
    """Co-occurrence with a licensor alone must not show where NPIs stand."""
    counterparts = set(NPIS["ever"].counterparts)
    found = Counter()
    for words, annotations in rows(text):
        for a in annotations[:1]:
            rest = {word for i, word in enumerate(words) if not a.scope[0] <= i < a.scope[1]}
            found[a.environment] += bool(rest & counterparts)
    # In a question all words are in scope.
    assert all(found[name] > 20 for name in ENVIRONMENTS if name != "simple_question")


def test_what_fills_a_position_without_npis_does_not_depend_on_licensing(text):
    """Otherwise a model that has seen no NPI could distinguish licensed from unlicensed contexts."""
    adverbs = set(NPIS["ever"].counterparts)
    share = {}
    for licensed in (True, False):
        filled = total = 0
        for words, annotations in rows(text):
            if bool(annotations) == licensed and not any(a.npi for a in annotations):
                total += 1
                filled += bool(adverbs & set(words))
        share[licensed] = filled / total
    assert abs(share[True] - share[False]) < 0.08


def test_distances_between_licensor_and_npi_vary(text):
    for name in ENVIRONMENTS:
        distances = Counter(
            a.span[0] - a.licensor for row in text.annotations for a in row if a.npi and a.environment == name
        )
        assert len([d for d, n in distances.items() if n >= 3]) >= 5, name
        assert max(distances) >= 8, name


NOUNS = (*lexicon.PERSONS, *lexicon.PLACES, *lexicon.WORKS)
SINGULAR = {noun.singular for noun in NOUNS} | {"this"}
PLURAL = {noun.plural for noun in NOUNS} | {"these"}


def test_verbs_agree_with_the_subject_they_stand_next_to(text):
    seen = Counter()
    for words in text.sentences:
        for before, word in pairwise(words):
            if word in ("has", "have") and before in SINGULAR | PLURAL and near_subject(words):
                seen[word, before in SINGULAR] += 1
    assert seen["has", True] > 200
    assert seen["have", False] > 200
    assert not seen["has", False]
    assert not seen["have", True]


def near_subject(words):
    """Return whether the sentence has no phrase or relative clause that could separate a subject from its verb."""
    return not {"who", "that", *lexicon.PREPOSITIONS} & set(words)


def test_relative_clauses_agree_with_their_noun(text):
    for words in text.sentences:
        for noun, who, verb in zip(words, words[1:], words[2:], strict=False):
            if who == "who" and verb in ("has", "have"):
                assert (noun in SINGULAR) == (verb == "has"), " ".join(words)


def test_embedding_verbs_agree_in_the_present(text):
    verbs = (*lexicon.ASK_VERBS, *lexicon.KNOW_VERBS)
    for words in text.sentences:
        if not near_subject(words):
            continue
        for noun, verb in pairwise(words):
            assert not (noun in PLURAL and verb in {v.third for v in verbs})
            assert not (noun in SINGULAR and verb in {v.base for v in verbs})


def test_determiners_agree_with_nouns(text):
    for words in text.sentences:
        for determiner, noun in pairwise(words):
            assert not (determiner in ("this", "every", "each") and noun in PLURAL - SINGULAR)
            assert not (determiner in ("these", "all", "many") and noun in SINGULAR - PLURAL)


def test_word_frequencies_follow_zipf(text):
    counts = Counter(word for words in text.sentences for word in words)
    observed = np.array([counts[noun.singular] + counts[noun.plural] for noun in lexicon.PERSONS])
    expected = zipf_weights(len(lexicon.PERSONS))
    np.testing.assert_allclose(observed / observed.sum(), expected, rtol=0.15)
    ranked = np.array(sorted(counts.values(), reverse=True)[:200])
    slope = np.polyfit(np.log(np.arange(1, 201)), np.log(ranked), 1)[0]
    assert -1.5 < slope < -0.7


def test_the_vocabulary_is_a_few_hundred_words(text):
    assert 300 < len({word for words in text.sentences for word in words}) < 600


def test_sentences_hardly_repeat(text):
    assert len(set(text.sentences)) > 0.99 * len(text.sentences)


def test_one_spec_gives_one_text_and_a_seed_another():
    spec = GrammarSpec(500, seed=4)
    first, second = generate(spec), generate(spec)
    assert (first.sentences, first.annotations) == (second.sentences, second.annotations)
    other = generate(GrammarSpec(500, seed=5))
    assert len(set(first.sentences) & set(other.sentences)) < 10


def test_sharing_changes_forms_and_nothing_else(own):
    shared = generate(GrammarSpec(2_000, sharing=1.0))
    assert shared.annotations == own.annotations
    back = [tuple(word.partition("_")[0] for word in words) for words in own.sentences]
    assert back == shared.sentences


def test_sharing_is_the_share_of_shared_forms():
    text = generate(GrammarSpec(3_000, environment_rate=1.0, sharing=0.3))
    shared = ["_" not in words[a.span[0]] for words, row in rows(text) for a in row if a.npi]
    assert np.mean(shared) == pytest.approx(0.3, abs=0.04)


def test_at_sharing_zero_no_form_is_in_two_environments(own):
    owners: dict[str, set[str]] = {}
    for words, row in rows(own):
        for a in row:
            for word in words[slice(*a.span)] if a.npi else ():
                owners.setdefault(word, set()).add(a.environment)
    assert owners
    assert all(len(environments) == 1 for environments in owners.values())


def test_environment_rate_splits_evenly():
    text = generate(GrammarSpec(4_000, environment_rate=0.45))
    counts = Counter(row[0].environment for row in text.annotations if row)
    for name in ENVIRONMENTS:
        assert counts[name] / 4_000 == pytest.approx(0.05, abs=0.015)


def test_environment_rate_by_name():
    text = generate(GrammarSpec(2_000, environment_rate={"only": 0.3, "adverbs": 0.1}))
    counts = Counter(row[0].environment for row in text.annotations if row)
    assert set(counts) == {"only", "adverbs"}
    assert counts["only"] / 2_000 == pytest.approx(0.3, abs=0.04)
    assert counts["adverbs"] / 2_000 == pytest.approx(0.1, abs=0.03)


def test_npi_rate_is_the_chance_of_a_position():
    assert not any(a.npi for row in generate(GrammarSpec(500, npi_rate=0.0)).annotations for a in row)
    full = generate(GrammarSpec(500, environment_rate=1.0, npi_rate=1.0))
    assert all(a.npi for row in full.annotations for a in row)
    text = generate(GrammarSpec(3_000, environment_rate={"conditional": 1.0}, npi_rate=0.3))
    ever = sum(any(a.npi == "ever" for a in row) for row in text.annotations)
    assert ever / 3_000 == pytest.approx(0.3, abs=0.04)


def test_rates_of_npis_leave_the_rest_of_the_text_alone():
    none = generate(GrammarSpec(1_000, npi_rate=0.0))
    some = generate(GrammarSpec(1_000, npi_rate=0.3))
    heads = zip(none.annotations, some.annotations, strict=True)
    assert all([a.environment for a in x[:1]] == [a.environment for a in y[:1]] for x, y in heads)
    same = [x == y for x, y in zip(none.sentences, some.sentences, strict=True)]
    assert same == [not any(a.npi for a in row) for row in some.annotations]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sentences": 0}, ("GrammarSpec.sentences", "0", "whole number from 1")),
        ({"sentences": True}, ("GrammarSpec.sentences", "True", "whole number")),
        ({"sentences": 1, "seed": -1}, ("GrammarSpec.seed", "-1", "whole number from 0")),
        ({"sentences": 1, "npi_rate": 1.2}, ("GrammarSpec.npi_rate", "1.2", "0 to 1")),
        ({"sentences": 1, "npi_rate": math.nan}, ("GrammarSpec.npi_rate", "nan", "0 to 1")),
        ({"sentences": 1, "sharing": -0.1}, ("GrammarSpec.sharing", "-0.1", "0 to 1")),
        ({"sentences": 1, "environment_rate": 2.0}, ("GrammarSpec.environment_rate", "2.0", "0 to 1")),
        ({"sentences": 1, "environment_rate": {"if": 0.1}}, ("'if'", "adverbs, conditional")),
        ({"sentences": 1, "environment_rate": {"only": 1.5}}, ("environment_rate['only']", "1.5")),
        ({"sentences": 1, "environment_rate": {"only": 0.7, "adverbs": 0.7}}, ("1.4", "at most 1")),
    ],
)
def test_a_bad_spec_is_refused(fields, message):
    with pytest.raises(ValueError, match=facts(message)):
        GrammarSpec(**fields)


def test_every_position_has_an_npi_in_every_environment():
    assert all(npis_in(position, name) for position in POSITIONS for name in ENVIRONMENTS)
    assert {npi.name for npi in npis_in("final perfect", "adverbs")} == {"at all", "in years", "either"}
    assert {npi.name for npi in npis_in("final", "only")} == {"at all", "either"}


def test_it_is_fast():
    start = time.process_time()
    generate(GrammarSpec(20_000))
    assert 20_000 / (time.process_time() - start) > 5_000
