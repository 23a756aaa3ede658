from pathlib import Path

import pytest
from facts import facts
from tiny import minimal_pair

from npi_jax.suites.loaders.reading import find_word, make_suite
from npi_jax.suites.schema import Item, SuiteError


def test_a_word_is_not_found_inside_of_another() -> None:
    assert find_word("Many ask if any company has any.", "any") == [(12, 15), (28, 31)]
    assert find_word("Kim can't, at all.", "at all") == [(11, 17)]


def items(count: int, paradigm: str) -> list[Item]:
    return [minimal_pair("a", "b", (0, 1), (0, 1), item=f"{paradigm}/{i}", paradigm=paradigm) for i in range(count)]


def test_limit_keeps_an_even_subset_of_every_paradigm() -> None:
    both = items(10, "x") + items(3, "y")
    suite = make_suite("s", both, Path("f"), 4)
    assert [item.item for item in suite] == ["x/0", "x/2", "x/5", "x/7", "y/0", "y/1", "y/2"]
    assert list(make_suite("s", both, Path("f"), None)) == both


def test_faults_of_whole_suites() -> None:
    with pytest.raises(SuiteError, match="limit is 0"):
        make_suite("s", items(1, "x"), Path("f"), 0)
    with pytest.raises(SuiteError, match=facts("f: ", "no items", "'s'")):
        make_suite("s", [], Path("f"), None)
    with pytest.raises(SuiteError, match=facts("f: ", "two items", "'x/0'")):
        make_suite("s", items(1, "x") * 2, Path("f"), None)
