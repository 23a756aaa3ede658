import re

import pytest
from facts import denies, facts, sentence_with

MESSAGE = "x.jsonl, line 40: no field 'text'; there are 1,500 of 0.25 each"


@pytest.mark.parametrize("part", ["x.jsonl", "line 40", "'text'", "1,500", "0.25", ("'text'", "line 40")])
def test_whole_facts_are_seen_in_any_order(part):
    assert re.search(facts(part), MESSAGE)


@pytest.mark.parametrize("part", ["x.json", "line 4", "'tex'", "1", "500", "0", "25", "fiel", ("line 40", "line 41")])
def test_parts_of_facts_are_none(part):
    assert not re.search(facts(part), MESSAGE)


def test_facts_belong_to_one_sentence():
    text = "Full learned 3 tasks. No variant\nlearned 4 tasks."
    assert denies(sentence_with(text, "variant learned", "4 tasks"))
    assert not denies(sentence_with(text, "3"))
    with pytest.raises(AssertionError, match="no sentence"):
        sentence_with(text, "3", "4")
