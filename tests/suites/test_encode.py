import dataclasses

import pytest
from facts import facts
from tiny import minimal_pair

from npi_jax.corpus.text.tokenizer import BPETokenizer, WordTokenizer
from npi_jax.scoring import ScoreSpec, make_scorer
from npi_jax.suites.encode import EncodedSuite, EncodingError
from npi_jax.suites.schema import Condition, ConditionItem, ConditionSuite, Suite

GOOD, BAD = "No senator has ever been there at all.", "Some senators have been there at all."


def make_suite() -> Suite:
    good = (GOOD.index("at all"), GOOD.index("at all") + 6)
    bad = (BAD.index("at all"), BAD.index("at all") + 6)
    return Suite("s", [minimal_pair(GOOD, BAD, good, bad)])


def test_critical_regions_become_tokens_of_words():
    tokenizer = WordTokenizer.train([GOOD, BAD])
    encoded = make_suite().encode(tokenizer)
    for side, text in enumerate((GOOD, BAD)):
        sentences = encoded.sentences(ScoreSpec())
        start, end = sentences.regions["critical"][side]
        ids = sentences.ids[side]
        assert [tokenizer.token(int(token)) for token in ids[start:end]] == ["at", "all"]
        assert len(ids) == len(tokenizer.encode(text).ids)
    assert encoded.unknown_items == 0


def test_critical_regions_become_tokens_of_pieces():
    tokenizer = BPETokenizer.train([GOOD, BAD] * 3, size=270)
    encoded = make_suite().encode(tokenizer)
    sentences = encoded.sentences(ScoreSpec())
    start, end = sentences.regions["critical"][0]
    text = "".join(tokenizer.token(int(token)) for token in sentences.ids[0][start:end])
    assert text.strip() == "at all"


def test_unknown_words_are_counted():
    tokenizer = WordTokenizer.train([GOOD.replace("all", "most"), BAD.replace("all", "most")])
    encoded = make_suite().encode(tokenizer)
    assert (encoded.unknown_items, encoded.unknown_critical) == (1, 1)


def test_a_region_without_tokens_names_the_item():
    suite = Suite("s", [minimal_pair("a b", "a b", (1, 2), (0, 1), item="odd/3")])
    with pytest.raises(EncodingError, match=facts("'odd/3'", "'a b'", "'critical'", "characters 1 to 2")):
        suite.encode(WordTokenizer.train(["a b"]))


def pairs(*entries: tuple[str, str, tuple[int, int], tuple[int, int]]) -> Suite:
    return Suite("s", [minimal_pair(*entry, item=f"i{n}") for n, entry in enumerate(entries)])


def unequal_regions(encoded: EncodedSuite) -> int:
    """Number of unequal regions, as a scorer counts them."""
    return make_scorer(lambda *_: None, encoded).unequal_regions


def test_regions_that_cut_tokens_and_unequal_ones_are_counted():
    suite = pairs(
        ("no one left.", "some one left.", (7, 11), (9, 13)),
        # "eft" begins inside a word.
        ("no one left.", "some one left.", (8, 11), (9, 13)),
        # "no one" ends with a word, "some on" inside one.
        ("no one left.", "some one left.", (0, 6), (0, 7)),
        # One word against two, none of them cut; the space before a word cuts nothing.
        ("no one left.", "some one left.", (2, 6), (0, 8)),
    )
    encoded = suite.encode(WordTokenizer.train(["no some one left."]))
    assert (encoded.split_regions, unequal_regions(encoded)) == (2, 1)
    assert encoded.notes() == [
        "2 of 4 items: a critical region begins or ends inside a token; all of the token is scored",
    ]
    # All of a token that a region cuts is the region's.
    spans = encoded.sentences(ScoreSpec()).regions["critical"]
    assert spans[2:6].tolist() == [[2, 3], [2, 3], [0, 2], [0, 2]]


def test_a_region_of_bytes_cuts_no_token_that_is_less_than_a_character():
    suite = pairs(("a \U0001f642 b", "a \u65e5 b", (2, 3), (2, 3)))
    encoded = suite.encode(BPETokenizer.train(["a b"] * 3, size=258))
    # Four bytes against three.
    assert (encoded.split_regions, unequal_regions(encoded)) == (0, 1)


def test_regions_of_conditions_that_cut_tokens_are_counted():
    conditions = {"one": Condition("no one left", {"1": (0, 2), "2": None}), "two": Condition("it left", {"1": (0, 4)})}
    suite = ConditionSuite("c", [ConditionItem("i", "p", "t", conditions)])
    encoded = suite.encode(WordTokenizer.train(["no one left it"]))
    assert encoded.split_regions == 1
    assert encoded.notes() == ["1 of 1 items: a region begins or ends inside a token; all of the token is scored"]


@pytest.mark.parametrize("field", ["good", "bad", "paradigm", "task", "item"])
def test_half_of_a_surrogate_pair_is_refused(field):
    item = dataclasses.replace(minimal_pair("a b", "a c", (0, 1), (0, 1)), **{field: "a \ud800"})
    for tokenizer in (WordTokenizer.train(["a b c"]), BPETokenizer.train(["a b c"] * 3, size=258)):
        with pytest.raises(EncodingError, match=facts("'\\ud800'", "character 2", "surrogate pair")):
            Suite("s", [item]).encode(tokenizer)


@pytest.mark.parametrize("task", ["mean over tasks", "lm"])
def test_reserved_names_are_no_tasks(task):
    with pytest.raises(ValueError, match=facts("suite 's'", "item 'i'", f"task '{task}'")):
        Suite("s", [minimal_pair("a", "b", (0, 1), (0, 1), task=task)])
