"""Search for a phenomenon's items in a sentence; other uses of the same words are skipped."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from npi_jax.corpus.annotation import wordclasses as wc
from npi_jax.corpus.annotation.entries import Item, resolve
from npi_jax.corpus.annotation.phenomenon import Phenomenon

EnvironmentForms = Mapping[tuple[str, ...], tuple[str, str]]
"""Forms that only one environment licenses, as the grammar can write them: words -> (item, environment)."""


class ItemMatch(NamedTuple):
    """An item in a sentence.

    Attributes:
        start, stop: words of the item, ``[start, stop)``.
        entry: the item's entry in the table.
        environment: the only environment that licenses this form; None for a form that all environments license.
        free: True if the preceding word excludes a licensor.
        ahead: True if the preceding word allows a licensor after the item.
    """

    start: int
    stop: int
    entry: Item
    environment: str | None
    free: bool = False
    ahead: bool = False


class _Conditions:
    """Conditions under which the words of an item count as the item."""

    def __init__(self, item: Item) -> None:
        self.before, self.after = resolve(item.before), resolve(item.after)
        self.not_before, self.not_after = resolve(item.not_before), resolve(item.not_after)
        self.not_with_later, self.free_after = frozenset(item.not_with_later), frozenset(item.free_after)
        self.ahead_after = frozenset(item.licensed_ahead_after)
        self.joins = item.joins
        self.phrases = tuple(tuple(phrase.split()) for phrase in item.not_in)

    def hold(self, words: Sequence[str], start: int, stop: int) -> bool:
        """Return True if the words ``[start, stop)`` are the item."""
        left = words[start - 1] if start else ""
        right = words[stop] if stop < len(words) else ""
        if left in self.not_after or right in self.not_before:
            return False
        if (self.after and left not in self.after) or (self.before and right not in self.before):
            return False
        if self.joins and _is_open_class(left) and _is_open_class(right) and not right.endswith(("ed", "ly")):
            return False
        if self.not_with_later and not self.not_with_later.isdisjoint(words[stop:]):
            return False
        return not any(_is_inside(words, phrase, start, stop) for phrase in self.phrases)


def _is_open_class(word: str) -> bool:
    return word.isalpha() and word not in wc.CLOSED


def _is_inside(words: Sequence[str], phrase: tuple[str, ...], start: int, stop: int) -> bool:
    """Return True if a phrase occurs at a position that includes the span."""
    first = max(0, stop - len(phrase))
    return any(tuple(words[at : at + len(phrase)]) == phrase for at in range(first, start + 1))


class ItemFinder:
    """Finds the items of one phenomenon in sentences.

    Args:
        phenomenon: the phenomenon.
        environment_forms: further forms that only one environment licenses.
    """

    def __init__(self, phenomenon: Phenomenon, environment_forms: EnvironmentForms | None = None) -> None:
        items = {entry.name: entry for entry in phenomenon.items}
        forms: dict[tuple[str, ...], tuple[Item, str | None]] = {
            tuple(form.split()): (entry, None) for entry in phenomenon.items for form in entry.all_forms
        }
        self._shared: dict[str, str] = {}
        for form, (name, environment) in (environment_forms or {}).items():
            forms[form] = (items[name], environment)
            self._shared.update(zip(form, name.split(), strict=True))
        self._conditions = {name: _Conditions(entry) for name, entry in items.items()}
        self._by_first_word: dict[str, list[tuple[tuple[str, ...], Item, str | None]]] = {}
        # Longer forms come first, so that the longer of two forms with the same beginning counts.
        for form, (entry, owner) in sorted(forms.items(), key=lambda pair: -len(pair[0])):
            self._by_first_word.setdefault(form[0], []).append((form, entry, owner))
        # The longest word of a form is likely its rarest.
        longest = {max(form, key=len) for form in forms}
        self.triggers = frozenset(written for word in longest for written in (word, word.capitalize(), word.upper()))
        """One word of every form, in lower, title and upper case; a sentence without any of them has no item."""

    def shared_forms(self, words: Sequence[str]) -> list[str]:
        """Return the words with every form of a single environment replaced by the form that all environments share."""
        return [self._shared.get(word, word) for word in words]

    def find(self, words: Sequence[str]) -> Iterator[ItemMatch]:
        """Yield the items of a lower-case sentence in order, without overlap."""
        end = 0
        for start, word in enumerate(words):
            if start < end or word not in self._by_first_word:
                continue
            for form, item, environment in self._by_first_word[word]:
                stop = start + len(form)
                if len(form) > 1 and tuple(words[start:stop]) != form:
                    continue
                conditions = self._conditions[item.name]
                if environment or conditions.hold(words, start, stop):
                    left = words[start - 1] if start else ""
                    free, ahead = left in conditions.free_after, left in conditions.ahead_after
                    yield ItemMatch(start, stop, item, environment, free, ahead)
                    end = stop
                    break
