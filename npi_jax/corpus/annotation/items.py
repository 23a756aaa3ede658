"""Finds a phenomenon's items in a sentence, apart from other uses of the same words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from npi_jax.corpus.annotation import wordclasses as wc
from npi_jax.corpus.annotation.phenomenon import Item, Phenomenon, resolve


class Found(NamedTuple):
    """An item: its span, the environment that owns its form (None if shared), and what the word before says.

    `free`: nothing licenses it here; `ahead`: a licensor after it counts too.
    """

    start: int
    stop: int
    item: Item
    owner: str | None
    free: bool = False
    ahead: bool = False


class _Rules:
    """The conditions of one item, resolved."""

    def __init__(self, item: Item) -> None:
        self.before, self.after = resolve(item.before), resolve(item.after)
        self.not_before, self.not_after = resolve(item.not_before), resolve(item.not_after)
        self.later, self.free_after = frozenset(item.not_with_later), frozenset(item.free_after)
        self.ahead_after = frozenset(item.licensed_ahead_after)
        self.joins = item.joins
        self.phrases = tuple(tuple(phrase.split()) for phrase in item.not_in)

    def allow(self, words: Sequence[str], start: int, stop: int) -> bool:
        """Whether the words at ``[start, stop)`` are the item."""
        left = words[start - 1] if start else ""
        right = words[stop] if stop < len(words) else ""
        if left in self.not_after or right in self.not_before:
            return False
        if (self.after and left not in self.after) or (self.before and right not in self.before):
            return False
        if self.joins and _open(left) and _open(right) and not right.endswith(("ed", "ly")):
            return False
        if self.later and not self.later.isdisjoint(words[stop:]):
            return False
        return not any(_covers(words, phrase, start, stop) for phrase in self.phrases)


def _open(word: str) -> bool:
    return word.isalpha() and word not in wc.CLOSED


def _covers(words: Sequence[str], phrase: tuple[str, ...], start: int, stop: int) -> bool:
    """Whether a phrase stands somewhere around a span."""
    first = max(0, stop - len(phrase))
    return any(tuple(words[at : at + len(phrase)]) == phrase for at in range(first, start + 1))


class ItemFinder:
    """Finds the items of one phenomenon.

    Args:
        phenomenon: whose items.
        own_forms: forms that only one environment licenses, as the grammar writes them: words -> (item, environment).
    """

    def __init__(
        self, phenomenon: Phenomenon, own_forms: Mapping[tuple[str, ...], tuple[str, str]] | None = None
    ) -> None:
        items = {entry.name: entry for entry in phenomenon.items}
        rules = {name: _Rules(entry) for name, entry in items.items()}
        forms: dict[tuple[str, ...], tuple[Item, str | None]] = {
            tuple(form.split()): (entry, None) for entry in phenomenon.items for form in entry.all_forms
        }
        self._shared: dict[str, str] = {}
        for form, (name, environment) in (own_forms or {}).items():
            forms[form] = (items[name], environment)
            self._shared.update(zip(form, name.split(), strict=True))
        self._rules = rules
        self._by_first: dict[str, list[tuple[tuple[str, ...], Item, str | None]]] = {}
        # Longer forms first: of two that start alike the longer counts.
        for form, (entry, owner) in sorted(forms.items(), key=lambda pair: -len(pair[0])):
            self._by_first.setdefault(form[0], []).append((form, entry, owner))
        # Of each form the longest word, which is likely to be its rarest.
        longest = {max(form, key=len) for form in forms}
        self.triggers = frozenset(written for word in longest for written in (word, word.capitalize(), word.upper()))
        """A word of every form, as it is usually written: a sentence without any of them holds no item."""

    def shared_forms(self, words: Sequence[str]) -> list[str]:
        """The words with every form of an environment's own written as the shared one."""
        return [self._shared.get(word, word) for word in words]

    def find(self, words: Sequence[str]) -> Iterator[Found]:
        """The items of a sentence in lower case, in order; none overlaps another."""
        done = 0
        for start, word in enumerate(words):
            if start < done or word not in self._by_first:
                continue
            for form, item, owner in self._by_first[word]:
                stop = start + len(form)
                if len(form) > 1 and tuple(words[start:stop]) != form:
                    continue
                rules = self._rules[item.name]
                if owner or rules.allow(words, start, stop):
                    left = words[start - 1] if start else ""
                    yield Found(start, stop, item, owner, left in rules.free_after, left in rules.ahead_after)
                    done = stop
                    break
