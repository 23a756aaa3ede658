"""Finds the NPIs of a sentence, apart from other uses of the same words."""

from collections.abc import Sequence
from typing import NamedTuple

from npi_jax.corpus import wordclasses as wc
from npi_jax.corpus.annotations import ENVIRONMENTS
from npi_jax.corpus.licensing import npi_forms, npi_words


class Found(NamedTuple):
    """An NPI: its span of words, its name, and the environment that owns the form (None if shared)."""

    start: int
    stop: int
    name: str
    owner: str | None


_BY_LAST_WORD: dict[str, list[tuple[tuple[str, ...], str, str | None]]] = {}
for _form, (_name, _owner) in npi_forms().items():
    _BY_LAST_WORD.setdefault(_form[-1], []).append((_form, _name, _owner))

TRIGGERS = frozenset(written for word in _BY_LAST_WORD for written in (word, word.capitalize(), word.upper()))
"""A word of every NPI form, as it may be written: a sentence without any of them holds no NPI."""

_SHARED = {
    own: shared
    for form, (_, owner) in npi_forms().items()
    if owner is None
    for environment in ENVIRONMENTS
    for own, shared in zip(npi_words(" ".join(form), environment), form, strict=True)
}

# By NPI: the words (lower case, "" the start) right before and right after which it is no NPI.
_NOT_AFTER = {
    "ever": {"for", "and", "as"},
    "yet": wc.CONJUNCTIONS | wc.BREAKS | {",", ""},
    "either": wc.PREPOSITIONS | {""},
}
_NOT_BEFORE = {
    "anything": {"but"},
    "ever": {"since", "so", "after"},
    "yet": {"another", "again", "more", "a"},
    "either": frozenset(("of", "side", "way", "hand", "end", "case", "one", "party", "direction")),
    "at all": frozenset(("times", "costs", "events", "hours", "points", "seasons", "levels", "ages", "of"))
    | wc.DETERMINERS,
}
_FIXED_PHRASES = (["at", "any", "rate"], ["in", "any", "case"])


def find_npis(words: Sequence[str]) -> list[Found]:
    """The NPIs of a sentence in lower case, in order, without "either ... or", "in any case" and such."""
    found = []
    for index, word in enumerate(words):
        for form, name, owner in _BY_LAST_WORD.get(word, ()):
            start = index + 1 - len(form)
            if start < 0 or (len(form) > 1 and tuple(words[start : index + 1]) != form):
                continue
            if owner or _is_npi(words, start, index + 1, name):
                found.append(Found(start, index + 1, name, owner))
    return found


def shared_forms(words: Sequence[str]) -> list[str]:
    """The words with every form of an environment's own written as the shared one."""
    return [_SHARED.get(word, word) for word in words]


def _is_npi(words: Sequence[str], start: int, stop: int, name: str) -> bool:
    before = words[start - 1] if start else ""
    after = words[stop] if stop < len(words) else ""
    if before in _NOT_AFTER.get(name, ()) or after in _NOT_BEFORE.get(name, ()):
        return False
    if name == "either" and "or" in words[stop:]:
        return False
    return [before, *words[start:stop], after] not in _FIXED_PHRASES
