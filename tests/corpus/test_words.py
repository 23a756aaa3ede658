import pytest
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.corpus.text.words import split_spans, split_words

# English-like strings, where contractions, abbreviations and numbers meet by chance.
PIECES = "don n't ' ’ t can not cannot 'll 's s Mr . U.S. - -- 3 , é _ ever @-@ <unk> ` N'T CANNOT / : \u00a0"
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from([*PIECES.split(" "), " ", "\n"])).map("".join))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't.", ["I", "do", "n't", "."]),
        ("She cannot; WE CAN'T!", ["She", "can", "not", ";", "WE", "CA", "N'T", "!"]),
        ("I'll, he's, they’ve", ["I", "'ll", ",", "he", "'s", ",", "they", "’ve"]),
        ("mustn't've", ["must", "n't", "'ve"]),
        ("Mr. Smith's U.S. trip", ["Mr.", "Smith", "'s", "U.S.", "trip"]),
        ("at 10:30, 1,000 or 3.5%", ["at", "10:30", ",", "1,000", "or", "3.5", "%"]),
        ("a well-known o'clock", ["a", "well-known", "o'clock"]),
        ("one--two ...three", ["one", "--", "two", "...", "three"]),
        ("ever_only any", ["ever_only", "any"]),
        ('"No." (No.)', ['"', "No", ".", '"', "(", "No", ".", ")"]),
        ("the students' <unk> @-@", ["the", "students", "'", "<unk>", "@-@"]),
        ("cannot't cannots cannotn't", ["can", "not't", "cannots", "can", "not", "n't"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_split_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(TEXTS)
def test_spans_cover_every_character_but_spaces_once_and_in_order(text: str) -> None:
    end, covered = 0, []
    for word, start, stop in split_spans(text):
        assert end <= start < stop
        assert text[start:stop] == word
        covered += range(start, stop)
        end = stop
    assert covered == [i for i, character in enumerate(text) if not character.isspace()]


@given(TEXTS)
def test_words_joined_by_spaces_split_into_the_same_words(text: str) -> None:
    words = split_words(text)
    assert words == [word for word, _, _ in split_spans(text)]
    assert split_words(" ".join(words)) == words
