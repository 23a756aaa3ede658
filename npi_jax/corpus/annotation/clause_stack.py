"""Stack of the open clauses of a sentence, while the sentence is read from left to right."""

from collections.abc import Sequence

from npi_jax.corpus.annotation import wordclasses as wc
from npi_jax.corpus.annotation.licensors import LicensorMatch


class Clause:
    """One clause as far as it has been read: its licensors, and the positions of its verbs (-1 for none).

    Attributes:
        kind: ``"main"``, ``"adverbial"``, ``"complement"`` or ``"relative"``.
        start, end: its words, ``[start, end)``; the end is set when the clause is closed.
        auxiliary: position of the finite auxiliary.
        verb: position of the main verb or the finite verb.
        predicate: start of the verb phrase.
        inverted: position of an auxiliary before the subject.
        licensors: licensors in the clause.
        pending: a determiner or superlative that will license in a relative clause, if one follows.
        hides_subject: True for a relative clause on the subject. A focus particle ("only") on that subject does not
            license in it.
    """

    __slots__ = (
        "auxiliary",
        "end",
        "hides_subject",
        "inverted",
        "kind",
        "licensors",
        "pending",
        "predicate",
        "start",
        "verb",
    )

    def __init__(self, kind: str, start: int, hides_subject: bool = False) -> None:
        self.kind = kind
        self.start = start
        self.end = self.auxiliary = self.verb = self.predicate = self.inverted = -1
        self.licensors: list[LicensorMatch] = []
        self.pending: LicensorMatch | None = None
        self.hides_subject = hides_subject


def is_adverb(word: str) -> bool:
    """Return True if a lower-case word is an adverb that can precede a verb."""
    return word in wc.ADVERBS or word.endswith("ly")


def is_past(word: str) -> bool:
    """Return True if a lower-case word looks like a regular past form."""
    return word.endswith("ed") and word not in wc.NOT_PAST


def is_finite(word: str) -> bool:
    """Return True if a lower-case word is a known finite verb form, or looks like a regular past form."""
    return word in wc.AUXILIARIES or word in wc.IRREGULAR_VERBS or is_past(word)


class ClauseStack:
    """The open clauses of a sentence; the innermost clause is on top.

    Args:
        words: a sentence in lower case.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.stack = [Clause("main", 0)]
        self.end = len(words)
        while self.end and words[self.end - 1] in wc.ENDINGS:
            self.end -= 1
        # The clauses around an interruption while it is read: "he did not -- so she said -- have any".
        self._aside: list[Clause] | None = None
        self._aside_at = -1

    @property
    def top(self) -> Clause:
        """The innermost open clause."""
        return self.stack[-1]

    def word(self, index: int) -> str:
        """Return the word at a position; "" outside of the sentence."""
        return self.words[index] if 0 <= index < len(self.words) else ""

    def unwind(self, depth: int, index: int) -> None:
        """Close the clauses above a depth at a word."""
        while len(self.stack) > depth:
            self.stack.pop().end = min(index, self.end)

    def push(self, kind: str, start: int, licensor: LicensorMatch | None = None) -> None:
        """Open a clause."""
        outer = self.top
        clause = Clause(kind, start, kind == "relative" and outer.auxiliary < 0 and outer.verb < 0)
        if licensor:
            clause.licensors.append(licensor)
        self.stack.append(clause)

    def push_relative(self, start: int) -> None:
        """Open a relative clause, in which the pending licensor of the outer clause licenses."""
        pending, self.top.pending = self.top.pending, None
        self.push("relative", start, pending)

    def close_relatives(self, index: int) -> None:
        """Close all relative clauses on top of the stack."""
        while self.top.kind == "relative":
            self.unwind(len(self.stack) - 1, index)

    def close_full_relatives(self, index: int) -> None:
        """Close the relative clauses on top that have a main verb already, because another verb follows."""
        while self.top.kind == "relative" and self.top.verb >= 0:
            self.unwind(len(self.stack) - 1, index)

    def restart(self, index: int) -> None:
        """Close all clauses, and open a main clause after a word."""
        self.unwind(0, index)
        self.stack = [Clause("main", index + 1)]

    def set_aside(self, index: int) -> None:
        """Open an interruption after a word."""
        self._aside, self._aside_at = self.stack, index
        self.stack = [Clause("main", index + 1)]

    def resume(self, index: int) -> None:
        """Close an interruption, and return to the clauses around it."""
        assert self._aside is not None
        self.unwind(0, index)
        self.stack, self._aside = self._aside, None

    def set_finite_verb(self, index: int, *, auxiliary: bool) -> None:
        """Record a finite verb; a second one in a relative clause belongs to the outer clause."""
        self.close_full_relatives(index)
        clause = self.top
        clause.pending = None
        if clause.predicate < 0:
            clause.predicate = index
        if not auxiliary:
            if clause.verb < 0:
                clause.verb = index
        elif clause.auxiliary < 0:
            clause.auxiliary = index
            before = self.word(index - 1)
            opens = not before or before in wc.CONJUNCTIONS or before in wc.BREAKS or before in wc.WH_WORDS
            if clause.verb < 0 and clause.kind == "main" and (opens or before == ","):
                clause.inverted = index

    def is_infinitive(self, index: int) -> bool:
        """Return True if a verb form follows "to" or a modal, with only adverbs between."""
        before = index - 1
        while is_adverb(self.word(before)) or self.word(before) == "been":
            before -= 1
        return self.word(before) == "to" or self.word(before) in wc.MODALS
