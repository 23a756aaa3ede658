"""Search for the words of a sentence that license, by the table of a phenomenon."""

from collections.abc import Sequence
from typing import NamedTuple

from npi_jax.corpus.annotation.annotations import OTHER
from npi_jax.corpus.annotation.entries import Licensor, resolve
from npi_jax.corpus.annotation.phenomenon import Phenomenon

_CLAUSE_BOUNDARIES = frozenset(("to", "and", "that", ";", ".", "!", "?"))


class LicensorMatch(NamedTuple):
    """A licensor in a sentence.

    Attributes:
        environment: environment of the licensor, or `OTHER`.
        position: index of the licensor's word.
        scope: kind of scope, see `npi_jax.corpus.annotation.entries.Environment`.
        direct: items that the licensor also licenses in its noun phrase.
    """

    environment: str
    position: int
    scope: str
    direct: frozenset[str] = frozenset()


class _Rule:
    """One group of licensors of the table, and its conditions on neighboring words."""

    def __init__(self, environment: str, scope: str, group: Licensor) -> None:
        self.environment, self.scope, self.group = environment, scope, group
        self.before, self.after = resolve(group.before), resolve(group.after)
        self.not_before, self.not_after = resolve(group.not_before), resolve(group.not_after)
        self.direct, self.excepted, self.skip = frozenset(group.direct), resolve(group.except_), resolve(group.skip)

    def fits(self, words: Sequence[str], index: int) -> bool:
        """Return True if the neighbors of a word meet the conditions."""
        before = index - 1
        while before >= 0 and words[before] in self.skip:
            before -= 1
        left = words[before] if before >= 0 else ""
        right = words[index + 1] if index + 1 < len(words) else ""
        if left in self.not_after or right in self.not_before:
            return False
        if self.after and left not in self.after and not self._is_near(words, before):
            return False
        return not self.before or right in self.before

    def _is_near(self, words: Sequence[str], before: int) -> bool:
        """Return True if a word of ``after`` precedes the position, within the distance that the table allows."""
        for at in range(before - 1, max(before - self.group.within, -1), -1):
            if words[at] in _CLAUSE_BOUNDARIES:
                return False
            if words[at] in self.after:
                return True
        return False

    def match(self, index: int) -> LicensorMatch:
        """Return the word at a position as a licensor."""
        return LicensorMatch(self.environment, index, self.scope, self.direct)


class LicensorFinder:
    """Finds the words that license, by the table of a phenomenon.

    Args:
        phenomenon: the phenomenon.

    Attributes:
        question: the environment with the scope ``"question"``; None if the phenomenon has none. `match` ignores the
            forms of this environment: `LicensingReader` and `ParseAnnotator` recognize questions.
    """

    def __init__(self, phenomenon: Phenomenon) -> None:
        questions = [entry.name for entry in phenomenon.environments if entry.scope == "question"]
        self.question = questions[0] if questions else None
        rules = [
            _Rule(entry.name, group.scope or entry.scope, group)
            for entry in phenomenon.environments
            for group in entry.licensors
        ]
        rules += [_Rule(OTHER, str(group.scope), group) for group in phenomenon.outside]
        rules = [rule for rule in rules if rule.scope != "question"]
        self._by_form: dict[str, list[_Rule]] = {}
        for rule in sorted(rules, key=lambda rule: not rule.after):
            for form in rule.group.forms:
                self._by_form.setdefault(form, []).append(rule)
        self._suffixes = [rule for rule in rules if rule.group.suffix]
        self._longest_suffix = max((len(rule.group.suffix) for rule in self._suffixes), default=0)

    def match(self, words: Sequence[str], index: int) -> LicensorMatch | None:
        """Return the word at a position of a lower-case sentence as a licensor; None if it does not license."""
        word = words[index]
        rules = self._by_form.get(word, ())
        for rule in rules:
            if rule.fits(words, index):
                return rule.match(index)
        if rules or len(word) <= self._longest_suffix + 1:
            return None
        for rule in self._suffixes:
            if word.endswith(rule.group.suffix) and word not in rule.excepted and rule.fits(words, index):
                return rule.match(index)
        return None
