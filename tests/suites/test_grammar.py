from collections import Counter

import pytest
from facts import facts

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.annotation.npi_en import NPIS, TABLE, environment_forms, npi_words
from npi_jax.corpus.grammar.generate import GrammarSpec, generate
from npi_jax.suites.grammar import grammar_suite

SPEC = GrammarSpec(2_000, seed=3)


@pytest.fixture(scope="module")
def suite():
    return grammar_suite(SPEC, items=60)


def critical(item):
    return item.good[slice(*item.critical_good)], item.bad[slice(*item.critical_bad)]


def test_every_environment_has_its_pairs(suite):
    counts = Counter((item.task, item.kind) for item in suite)
    kinds = {(name, kind) for name in ENVIRONMENTS for kind in ("licensor", "scope")}
    assert counts == dict.fromkeys(kinds - {("simple_question", "scope")}, 60)
    assert suite.name == "grammar"


def test_names_are_unique_and_say_what_the_item_is(suite):
    assert len({item.item for item in suite}) == len(suite)
    for item in suite:
        environment, kind, number = item.item.split("/")
        assert (environment, kind, f"{environment}_{kind}") == (item.task, item.kind, item.paradigm)
        assert 0 <= int(number) < 60


def test_pairs_are_distinct_and_no_good_sentence_is_bad_elsewhere(suite):
    assert len({(item.good, item.bad) for item in suite}) == len(suite)
    assert not {item.good for item in suite} & {item.bad for item in suite}


def test_the_critical_region_is_the_one_npi_of_the_sentence(suite):
    forms = {*NPIS, *(" ".join(form) for form in environment_forms())}
    for item in suite:
        good, bad = critical(item)
        assert good == bad
        assert good in NPIS
        for text, span in ((item.good, item.critical_good), (item.bad, item.critical_bad)):
            padded = f" {text} "
            assert padded[span[0]] == padded[span[1] + 1] == " ", "the region is whole words"
            assert sum(padded.count(f" {form} ") for form in forms) == 1


def test_licensor_pairs_differ_in_licensor_and_non_licensor_only(suite):
    for item in suite:
        if item.kind != "licensor" or item.task == "simple_question":
            continue
        entry = TABLE[item.task]
        changed = [(a, b) for a, b in zip(item.good.split(), item.bad.split(), strict=True) if a != b]
        assert changed[-1][0] in entry.contrasts
        assert changed[-1][1] in entry.contrasts[changed[-1][0]]
        assert len(changed) == 1 or (item.task == "embedded_question" and len(changed) == 2)


def test_question_pairs_are_question_and_statement(suite):
    for item in suite:
        if item.task == "simple_question":
            good, bad = item.good.split(), item.bad.split()
            assert (good[-1], bad[-1]) == ("?", ".")
            assert good[0] in TABLE["simple_question"].contrasts
            assert sorted(good[:-1]) == sorted(bad[:-1])
            assert good[1] == bad[0]


def test_scope_pairs_have_the_same_words(suite):
    for item in suite:
        if item.kind == "scope":
            assert item.good != item.bad
            same = Counter(item.good.split()) == Counter(item.bad.split())
            assert same or item.task not in ("adverbs", "sentential_negation", "determiner_negation", "only")
            assert len(set(item.good.split()) ^ set(item.bad.split())) <= 2


def test_scope_pairs_keep_the_licensor(suite):
    for item in suite:
        if item.kind == "scope":
            licensors = set(TABLE[item.task].contrasts) - {"all"}
            assert licensors & set(item.good.split()) == licensors & set(item.bad.split())


def test_all_npis_and_licensors_are_tested():
    suite = grammar_suite(SPEC, items=200)
    for name in ENVIRONMENTS:
        items = [item for item in suite if item.task == name and item.kind == "licensor"]
        assert {critical(item)[0] for item in items} == {n for n, npi in NPIS.items() if name not in npi.grammar.barred}
        words = {word for item in items for word in item.good.split()}
        assert words >= set(TABLE[name].contrasts)


def test_pairs_use_the_forms_of_the_sharing_rule():
    for item in grammar_suite(GrammarSpec(10, sharing=0.0), items=20):
        owned = {" ".join(npi_words(name, item.task)) for name in NPIS}
        assert set(critical(item)) <= owned
    marks = ["_" in critical(item)[0] for item in grammar_suite(GrammarSpec(10, sharing=0.5), items=50)]
    assert 0.4 < sum(marks) / len(marks) < 0.6


@pytest.mark.parametrize("side", ["good", "bad"])
def test_pairs_are_not_among_excluded_sentences(side):
    first = grammar_suite(SPEC, items=30)
    barred = {getattr(item, side) for item in list(first)[::2]}
    second = grammar_suite(SPEC, items=30, exclude=barred)
    assert len(second) == len(first)
    assert not barred & {text for item in second for text in (item.good, item.bad)}


def test_pairs_do_not_occur_in_the_training_text():
    training = {" ".join(words) for words in generate(SPEC).sentences}
    suite = grammar_suite(SPEC, items=30, exclude=training)
    assert not training & {text for item in suite for text in (item.good, item.bad)}


def test_exclude_may_be_a_list_and_one_spec_gives_one_suite(suite):
    assert grammar_suite(SPEC, items=60, exclude=["nothing"]).items == suite.items
    assert grammar_suite(GrammarSpec(99, seed=3), items=60).items == suite.items
    assert grammar_suite(GrammarSpec(99, seed=4), items=60).items != suite.items


class Everything(frozenset):
    def __contains__(self, item):
        return True


def test_a_suite_that_cannot_be_filled_is_an_error():
    with pytest.raises(ValueError, match=facts("0 of 2", "adverbs", "'licensor'")):
        grammar_suite(SPEC, items=2, exclude=Everything())
    with pytest.raises(ValueError, match=facts("items", "0", "at least 1")):
        grammar_suite(SPEC, items=0)
