from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.corpus.words import split_words
from npi_jax.suites.records import SuiteError, differing_region, find_word, make_suite
from npi_jax.suites.schema import Item

WORDS = st.lists(st.sampled_from(["a", "b", "c", "."]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("good", "bad", "region_good", "region_bad"),
    [
        ("Kim has left.", "Kim have left.", "has", "have"),
        ("Who did Kim see?", "Who saw Kim?", "did Kim see", "saw Kim"),
        ("Kim has not left.", "Kim has left.", "not left", "left"),
        ("Kim has left", "Kim has left early", "left", "left early"),
        ("Kim, Kim left.", "Kim left.", ", Kim left", "left"),
        ("It was so so good.", "It was so good.", "so good", "good"),
        ("Kim isn't in.", "Kim is in.", "n't in", "in"),
        ("Kim left.", "Kim left.", "Kim left.", "Kim left."),
    ],
)
def test_differing_region(good: str, bad: str, region_good: str, region_bad: str) -> None:
    spans = differing_region(good, bad)
    assert (good[slice(*spans[0])], bad[slice(*spans[1])]) == (region_good, region_bad)


@given(WORDS, WORDS)
def test_outside_the_differing_region_sentences_are_the_same(one: list[str], other: list[str]) -> None:
    good, bad = " ".join(one), " ".join(other)
    (a, b), (c, d) = differing_region(good, bad)
    assert split_words(good[:a]) == split_words(bad[:c])
    assert split_words(good[b:]) == split_words(bad[d:])
    assert a < b
    assert c < d


def test_words_are_found_whole() -> None:
    assert find_word("Many ask if any company has any.", "any") == [(12, 15), (28, 31)]
    assert find_word("Kim can't, at all.", "at all") == [(11, 17)]


def items(count: int, paradigm: str) -> list[Item]:
    return [Item(f"{paradigm}/{i}", paradigm, paradigm, "other", "a", "b", (0, 1), (0, 1)) for i in range(count)]


def test_limit_keeps_an_even_subset_of_every_paradigm() -> None:
    both = items(10, "x") + items(3, "y")
    suite = make_suite("s", both, Path("f"), 4)
    assert [item.item for item in suite] == ["x/0", "x/2", "x/5", "x/7", "y/0", "y/1", "y/2"]
    assert list(make_suite("s", both, Path("f"), None)) == both


def test_faults_of_whole_suites() -> None:
    with pytest.raises(SuiteError, match="limit is 0"):
        make_suite("s", items(1, "x"), Path("f"), 0)
    with pytest.raises(SuiteError, match="f: no items for the suite 's'"):
        make_suite("s", [], Path("f"), None)
    with pytest.raises(SuiteError, match="f: two items are named 'x/0'"):
        make_suite("s", items(1, "x") * 2, Path("f"), None)
