import pytest

from npi_jax.corpus.tokenizer import BPETokenizer, WordTokenizer
from npi_jax.scoring import ScoreSpec
from npi_jax.suites.encode import EncodingError
from npi_jax.suites.schema import Item, Suite

GOOD, BAD = "No senator has ever been there at all.", "Some senators have been there at all."


def make_suite() -> Suite:
    good = (GOOD.index("at all"), GOOD.index("at all") + 6)
    bad = (BAD.index("at all"), BAD.index("at all") + 6)
    return Suite("s", [Item("i", "p", "t", "licensor", GOOD, BAD, good, bad)])


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
    suite = Suite("s", [Item("odd/3", "p", "t", "other", "a b", "a b", (1, 2), (0, 1))])
    with pytest.raises(
        EncodingError, match=r"item 'odd/3': no token of 'a b' lies in its region 'critical', characters 1 to 2"
    ):
        suite.encode(WordTokenizer.train(["a b"]))
