import gzip
import json
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS, RESIDUALS
from npi_jax.corpus.annotation.annotator import MAX_WORDS, annotator
from npi_jax.corpus.grammar.generate import GrammarSpec, generate
from npi_jax.corpus.text.words import split_words
from npi_jax.suites.grammar import grammar_suite
from npi_jax.suites.loaders.warstadt import ENVIRONMENT_NAMES

annotate = annotator().annotate


def key(annotation):
    return annotation.environment, annotation.licensor, annotation.npi, annotation.span


@pytest.mark.parametrize("sharing", [1.0, 0.5, 0.0])
def test_precision_and_recall_on_the_grammar(sharing):
    right, gold, found, scopes = Counter(), Counter(), Counter(), Counter()
    text = generate(GrammarSpec(6_000, seed=11, environment_rate=0.8, sharing=sharing))
    for words, row in zip(text.sentences, text.annotations, strict=True):
        wanted = {key(a): a.scope for a in row if a.npi}
        got = {key(a): a.scope for a in annotate(words)}
        gold.update(k[0] for k in wanted)
        found.update(k[0] for k in got)
        right.update(k[0] for k in wanted.keys() & got.keys())
        scopes.update(k[0] for k in wanted.keys() & got.keys() if wanted[k] == got[k])
    assert set(found) == set(ENVIRONMENTS), "the grammar holds no unlicensed NPIs"
    for name in ENVIRONMENTS:
        assert right[name] / gold[name] >= 0.99, f"recall in {name}"
        assert right[name] / found[name] >= 0.99, f"precision in {name}"
        assert scopes[name] / right[name] >= 0.95, f"scope in {name}"


def test_the_bad_sentence_of_every_minimal_pair_is_unlicensed():
    right: dict[str, list[bool]] = {}
    for item in grammar_suite(GrammarSpec(1, seed=5), items=100):
        good, bad = annotate(item.good.split()), annotate(item.bad.split())
        assert len(good) == len(bad) == 1
        assert good[0].environment == item.task, item.good
        right.setdefault(item.paradigm, []).append(bad[0].environment in RESIDUALS)
    assert all(sum(marks) / len(marks) >= 0.95 for marks in right.values())


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("He hardly ever spoke.", [("ever", "adverbs", "hardly")]),
        ("Hardly anyone came.", [("anyone", "adverbs", "Hardly")]),
        ("If you ever need me, call.", [("ever", "conditional", "If")]),
        ("I won't go unless anybody asks.", [("anyone", "conditional", "unless")]),
        ("Nobody has ever seen it.", [("ever", "determiner_negation", "Nobody")]),
        ("No man here has any money.", [("any", "determiner_negation", "No")]),
        ("I don't think he has any money.", [("any", "sentential_negation", "n't")]),
        ("He cannot see anything.", [("anything", "sentential_negation", "not")]),
        ("I've never been to any of those.", [("any", "sentential_negation", "never")]),
        ("I do not like it either.", [("either", "sentential_negation", "not")]),
        ("He has not seen her in years.", [("in years", "sentential_negation", "not")]),
        ("Only Bill would ever do that.", [("ever", "only", "Only")]),
        ("The only man who ever came left.", [("ever", "only", "only")]),
        ("Every man who has ever loved knows.", [("ever", "quantifier", "Every")]),
        ("All who have ever known him agree.", [("ever", "quantifier", "All")]),
        (
            "She asked whether any had left yet.",
            [("any", "embedded_question", "whether"), ("yet", "embedded_question", "whether")],
        ),
        ("He wondered if she ever loved him.", [("ever", "embedded_question", "if")]),
        ("Have you ever been to Paris?", [("ever", "simple_question", "Have")]),
        ('"But is there anything wrong?" he asked.', [("anything", "simple_question", "is")]),
        ("What have you ever done for me?", [("ever", "simple_question", "have")]),
        ("It was the best meal I had ever eaten.", [("ever", "superlative", "best")]),
        ("This is the most beautiful thing that I have ever seen.", [("ever", "superlative", "most")]),
        ("The prettiest girl I ever knew smiled.", [("ever", "superlative", "prettiest")]),
        ("NOBODY EVER CAME.", [("ever", "determiner_negation", "NOBODY")]),
    ],
)
def test_english_sentences(sentence, expected):
    words = split_words(sentence)
    found = [(a.npi, a.environment, words[a.licensor]) for a in annotate(words)]
    assert found == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Any child can do it.", "ambiguous"),
        ("He went away without any money.", "other"),
        ("Few people have ever seen it.", "other"),
        ("He is not taller than anyone.", "other"),
        ("He looked as if he had any money.", "other"),
        ("She came before anyone knew.", "other"),
        ("He was too tired to say anything.", "other"),
        ("She has more than three books that he ever read.", "unlicensed"),
        ("The senator that no journalists liked has ever won.", "unlicensed"),
        ("The man who no one met has ever been happy.", "unlicensed"),
        ("The students who did not read it have ever passed.", "unlicensed"),
        ("Every man who loved her ever came.", "unlicensed"),
        ("The only man who came has any sense.", "ambiguous"),
        ("Only the man who has ever come left.", "unlicensed"),
        ("If he comes, anyone can leave.", "ambiguous"),
        ("He ever said that no students came.", "unlicensed"),
        ("The people who rarely visited the cafes work with any of them.", "ambiguous"),
        ("Ever since, he has not come.", None),
        ("The hotel only paid for anyone it liked.", "ambiguous"),
        ("She had not hit him, as any woman might do.", "ambiguous"),
        ("If you had been an officer I would have gone anywhere.", "ambiguous"),
    ],
)
def test_without_a_licensor_of_the_nine_environments(sentence, expected):
    found = annotate(split_words(sentence))
    assert [a.environment for a in found] == ([expected] if expected else [])
    for a in found:
        assert (a.licensor >= 0) == (a.environment == "other") == (a.scope != (-1, -1))


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Not only has he ever won.", ["unlicensed"]),
        ("He did not -- so she said -- have any money.", ["sentential_negation"]),
        ('"Not," she said, "that I think anything of it."', ["sentential_negation"]),
        ('There was nothing "horrid" about it in any book.', ["determiner_negation"]),
        ("He did not (as we know) have any money.", ["sentential_negation"]),
        ("Nobody but her has ever been there.", ["determiner_negation"]),
        ("No longer can anyone doubt it.", ["sentential_negation"]),
        ("He indicated clearly that he did not want to have anything.", ["sentential_negation"]),
        ("Who has ever seen it?", ["simple_question"]),
        ("Why do anything at all?", ["simple_question", "simple_question"]),
        ("I mean, have you ever asked?", ["simple_question"]),
        ("As she knows, only the boys have ever been there.", ["only"]),
        ("There was only one man I could ever marry.", ["only"]),
        ("Everyone with any sense left.", ["quantifier"]),
        ("Any letter from father, girls?", ["simple_question"]),
        ("You have any money, have you?", ["ambiguous"]),
        ("Her neck was the slenderest he had ever seen.", ["superlative"]),
        ("He wondered how she had ever come here.", ["embedded_question"]),
        ("She asked him if anyone knew.", ["embedded_question"]),
        ("I will stand by you if anyone comes.", ["conditional"]),
        ("The question to which he had as yet found no answer.", ["determiner_negation"]),
        ("The only creature in all his world who ever loved him.", ["only"]),
        ("I should, only I know stones may be of any size.", ["ambiguous"]),
        ("There was no hope whatever.", ["determiner_negation"]),
        ("Whatever of it he knew, he told.", []),
        ("The fact that he had not, latterly, come near them at all.", ["sentential_negation"]),
        ("Every one, and you can have any of them.", ["ambiguous"]),
        ("Finest thing he ever wrote.", ["superlative"]),
        ("If he did not ask, nobody would ever know.", ["determiner_negation"]),
    ],
)
def test_traps(sentence, expected):
    assert [a.environment for a in annotate(split_words(sentence))] == expected


def test_licensors_without_an_item_are_contexts():
    words = split_words("If no one came , did every man who left know whether she had not ?")
    found = annotate(words, contexts=True)
    assert all(a.npi is None for a in found)
    assert [(a.environment, words[a.licensor]) for a in found] == [
        ("conditional", "If"),
        ("determiner_negation", "no"),
        ("simple_question", "did"),
        ("quantifier", "every"),
        ("embedded_question", "whether"),
        ("sentential_negation", "not"),
    ]
    assert annotate(words) == ()


@pytest.mark.parametrize(
    "sentence",
    [
        "Either you go or I go.",
        "On either side there was no light.",
        "He did not go, and yet he knew.",
        "It is not lost for ever.",
        "In any case I will not go.",
        "At any rate, he has not come.",
        "He has yet to come.",
        "He was anything but happy.",
        "He has not come ever since.",
        "They are here at all hours.",
        "She is not as happy as ever.",
    ],
)
def test_other_uses_of_the_words_are_left_out(sentence):
    assert annotate(split_words(sentence)) == ()


def test_the_innermost_licensor_is_taken():
    words = split_words("No one asked if the man had ever said that he did not see anything.")
    found = [(a.npi, a.environment, words[a.licensor]) for a in annotate(words)]
    assert found == [("ever", "embedded_question", "if"), ("anything", "sentential_negation", "not")]


def test_two_npis_of_one_licensor():
    found = annotate(split_words("nobody has ever seen any of them at all ."))
    assert [a.npi for a in found] == ["ever", "any", "at all"]
    assert {(a.environment, a.licensor, a.scope) for a in found} == {("determiner_negation", 0, (1, 9))}


def test_a_form_of_one_environment_is_licensed_only_there():
    (annotation,) = annotate(split_words("no teacher has ever_only left ."))
    assert (annotation.npi, annotation.environment) == ("ever", "unlicensed")
    (annotation,) = annotate(split_words("only this teacher has ever_only left ."))
    assert (annotation.npi, annotation.environment, annotation.licensor) == ("ever", "only", 0)


@pytest.mark.parametrize("words", [[], ["ever"], ["?"], ["not"], ["at", "all"], ["all"], [",", "yet", "who"]])
def test_fragments_do_not_fail(words):
    assert all(a.environment in RESIDUALS for a in annotate(words))


# Random sequences of these words open and close clauses around NPIs.
WORDS = split_words(
    "any ever yet at all in years either anyone not no only every if whether that who the man has said "
    "ever_only saw whom he best of , . ? while often rarely ; did and than as"
)


@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_whatever_the_words_spans_and_scopes_are_inside_and_in_order(words):
    found = annotate(words)
    assert [a.span for a in found] == sorted({a.span for a in found})
    for a in found:
        assert 0 <= a.span[0] < a.span[1] <= len(words)
        if a.licensor < 0:
            assert a.environment in RESIDUALS
            assert (a.licensor, a.scope) == (-1, (-1, -1))
        else:
            assert a.scope[0] <= a.span[0] < a.span[1] <= a.scope[1] <= len(words)
            assert 0 <= a.licensor < a.scope[0] or a.span[1] <= a.licensor < len(words)


def sentences_per_second(sentences):
    start = time.process_time()
    for words in sentences:
        annotate(words)
    return len(sentences) / (time.process_time() - start)


def test_it_is_fast():
    text = generate(GrammarSpec(20_000))
    plain = [s for s, row in zip(text.sentences, text.annotations, strict=True) if not any(a.npi for a in row)]
    assert sentences_per_second(text.sentences) > 5_000
    assert sentences_per_second(plain) > 50_000


def outcome_of(row):
    """Return what a sentence of Warstadt et al. tests, and whether the annotator reports a licensed item."""
    labels = {annotation.environment for annotation in annotate(split_words(row["sentence"])) if annotation.npi}
    if not row["npi_present"]:
        return "no npi", bool(labels)
    if row["licensor"] and row["scope"]:
        return "licensed", ENVIRONMENT_NAMES[row["environment"]] in labels
    return "not licensed", bool(labels - set(RESIDUALS))


@pytest.mark.drill
def test_the_sentences_of_warstadt_2019(data_folder):
    """All 108,000: each environment is found where it licenses, and nothing is claimed where nothing does."""
    path = data_folder / "npi_warstadt2019" / "npi_all_environments.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        counts = Counter((ENVIRONMENT_NAMES[row["environment"]], *outcome_of(row)) for row in map(json.loads, file))
    assert counts.total() == 108_000
    for name in ENVIRONMENTS:
        missed, found = (counts[name, "licensed", said] for said in (False, True))
        assert found / (found + missed) >= 0.98, name
        right, claimed = (counts[name, "not licensed", said] for said in (False, True))
        assert right / (right + claimed) >= 0.98, name
        assert not counts[name, "no npi", True], name


def test_a_very_long_sentence_gets_the_same_annotations_in_parts(monkeypatch):
    sentences = generate(GrammarSpec(400, seed=8, environment_rate=0.9)).sentences
    words = [word for sentence in sentences for word in sentence]
    assert len(words) > 3 * MAX_WORDS
    found = annotate(words, contexts=True)
    monkeypatch.setattr("npi_jax.corpus.annotation.annotator.MAX_WORDS", len(words))
    whole = annotate(words, contexts=True)
    assert sum(row.npi is not None for row in whole) > 100
    # Clauses that go on over the two or three cuts are read otherwise.
    assert len(set(found) ^ set(whole)) <= 12
    assert [row.npi is None for row in found] == sorted(row.npi is None for row in found)
    assert max(row.scope[1] for row in found) > len(words) - 40


def test_the_time_of_a_sentence_grows_as_its_length():
    began = time.process_time()
    for shape in ("n't ", "only ", "a."):
        annotate(split_words(shape * (40_000 // len(shape)) + "ab"), contexts=True)
    # A second or two; it took more than twenty when every word looked back at all that was before.
    assert time.process_time() - began < 8
