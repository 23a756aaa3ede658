"""Facts of a message (a file, a field, a number, a value of the user's), whatever the sentence around them."""

import re


def facts(*parts: str | tuple[str, ...]) -> str:
    """Return a pattern for `pytest.raises(match=...)`: all the parts as whole words, in any order."""
    flat = [part for some in parts for part in (some if isinstance(some, tuple) else (some,))]
    return "(?s)" + "".join(rf"(?=.*{_whole(part)})" for part in flat)


def sentence_with(text: str, *parts: str) -> str:
    """Return the first sentence of a text that has all the parts as whole words; fail where there is none."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z“])", " ".join(text.split()))
    pattern = facts(*(" ".join(part.split()) for part in parts))
    found = next((sentence for sentence in sentences if re.match(pattern, sentence)), None)
    assert found is not None, f"no sentence has all of {parts} in: {text}"
    return found


def denies(sentence: str) -> bool:
    """Return whether a sentence says that something is not so, or cannot be said."""
    words = r"\b(no|not|cannot|nor|none|neither|unlike|unknown|without)\b"
    return re.search(words, sentence, re.IGNORECASE) is not None


def _whole(part: str) -> str:
    """Return a pattern of a part that no letter or digit continues, so that 4 is not found in 4,500 or 0.4."""
    before = r"(?<!\w)(?<!\d[.,])" if part[0].isalnum() else ""
    after = r"(?!\w)(?![.,]\d)" if part[-1].isalnum() else ""
    return before + re.escape(part) + after
