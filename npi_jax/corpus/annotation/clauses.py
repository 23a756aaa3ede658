"""A shallow parse of English into clauses, left to right, by the words that open and close them.

Clauses are opened by the words that introduce them (who, that, whether, if, ...) and closed by punctuation or, for
relative clauses, by a second finite verb, which belongs to the clause outside: in "the man who no one met has ever
..." the verb "has" ends the relative clause. What licenses is noted on the clause it stands in.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from npi_jax.corpus.annotation import wordclasses as wc


class Mark(NamedTuple):
    """A licensor in a sentence: its environment, its position, where it licenses, and items beside it it licenses."""

    environment: str
    position: int
    scope: str
    direct: frozenset[str] = frozenset()


class Clause:
    """A clause being read: what licenses in it, and how far its verb has come."""

    __slots__ = (
        "auxiliary",
        "end",
        "hides_subject",
        "inverted",
        "kind",
        "marks",
        "pending",
        "predicate",
        "start",
        "verb",
    )

    def __init__(self, kind: str, start: int, hides_subject: bool = False) -> None:
        self.kind = kind  # "main", "adverbial", "complement" or "relative"
        self.start = start
        self.end = -1
        self.auxiliary = self.verb = -1  # where its finite auxiliary, and its main verb or finite verb, is
        self.marks: list[Mark] = []
        self.pending: Mark | None = None  # a determiner or superlative that waits for its relative
        self.predicate = -1  # where its verb phrase starts
        self.inverted = -1
        # A relative clause on the subject is not in the scope of a focus particle on that subject.
        self.hides_subject = hides_subject


def is_adverb(word: str) -> bool:
    """Whether a word in lower case is an adverb that may stand before a verb."""
    return word in wc.ADVERBS or word.endswith("ly")


def _is_finite(word: str) -> bool:
    return word in wc.AUXILIARIES or word in wc.IRREGULAR_VERBS or _is_past(word)


def _is_past(word: str) -> bool:
    return word.endswith("ed") and word not in wc.NOT_PAST


class ClauseReader:
    """One pass over a sentence, with a stack of open clauses; `read` takes its words one by one.

    Args:
        words: a sentence in lower case.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.stack = [Clause("main", 0)]
        self.end = len(words)
        while self.end and words[self.end - 1] in wc.ENDINGS:
            self.end -= 1
        # What an interruption has put aside: "he did not -- so she said -- have any".
        self._aside: list[Clause] | None = None
        self._aside_at = -1
        self._scare = False
        self._adverbs_end = 0  # of the last run of adverbs, so that a long one is looked through once

    def read(self, index: int, mark: Mark | None) -> None:
        """Take the next word; `mark` says what it licenses, if anything."""
        word = self.words[index]
        if mark is None:
            handler = _HANDLERS.get(word)
            if handler is None:
                self._other(index)
            else:
                handler(self, index)
        elif mark.scope in ("adverbial", "complement"):
            self._close_relatives(index)
            self._push(mark.scope, index + 1, mark)
        elif mark.scope == "relative":
            # "The only man in all the world who ever": the first counts.
            if self.stack[-1].pending is None or self.stack[-1].pending.environment == mark.environment:
                self.stack[-1].pending = mark
        else:
            if word == "cannot":
                self._finite(index, True)
            if mark.scope == "predicate" and self.stack[-1].predicate >= 0:
                # A focus particle licenses from the subject or before it: the subject of another clause, or none.
                if self.word(index - 1) != "," or self.stack[-1].kind != "main":
                    return
                self._on_break(index - 1)
            self.stack[-1].marks.append(mark)

    def expect(self, index: int) -> None:
        """Before an item at `index` is looked at: an adverb before a finite verb already belongs to that verb."""
        if is_adverb(self.words[index]):
            self._adverb(index)

    def close(self) -> None:
        """The sentence is over."""
        self._unwind(0, self.end)

    def word(self, index: int) -> str:
        """A word, "" beyond the ends."""
        return self.words[index] if 0 <= index < len(self.words) else ""

    # -- clauses --------------------------------------------------------------------------------------

    def _unwind(self, depth: int, index: int) -> None:
        """Close the clauses above a depth."""
        while len(self.stack) > depth:
            self.stack.pop().end = min(index, self.end)

    def _push(self, kind: str, start: int, mark: Mark | None = None) -> None:
        outer = self.stack[-1]
        clause = Clause(kind, start, kind == "relative" and outer.auxiliary < 0 and outer.verb < 0)
        if mark:
            clause.marks.append(mark)
        self.stack.append(clause)

    def _relative(self, start: int) -> None:
        """A relative clause, licensed if the noun phrase it stands in has a universal or a superlative."""
        pending, self.stack[-1].pending = self.stack[-1].pending, None
        self._push("relative", start, pending)

    def _close_relatives(self, index: int) -> None:
        while self.stack[-1].kind == "relative":
            self._unwind(len(self.stack) - 1, index)

    def _end_full_relatives(self, index: int) -> None:
        """A finite verb comes: relative clauses that have theirs end."""
        while self.stack[-1].kind == "relative" and self.stack[-1].verb >= 0:
            self._unwind(len(self.stack) - 1, index)

    # -- verbs ----------------------------------------------------------------------------------------

    def _finite(self, index: int, auxiliary: bool) -> None:
        """A finite verb: a second one in a relative clause belongs to the clause outside."""
        self._end_full_relatives(index)
        clause = self.stack[-1]
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

    def _adverb(self, index: int) -> None:
        clause, following = self.stack[-1], index + 1
        if clause.verb < 0 and (clause.auxiliary >= 0 or clause.predicate >= 0):
            return
        if clause.pending and clause.pending.direct:  # "the largest area ever tilled"
            return
        following = max(following, self._adverbs_end)
        while is_adverb(self.word(following)):
            following += 1
        self._adverbs_end = following
        word = self.word(following)
        present = word not in _HANDLERS and (word.endswith("s") or (word.isalpha() and self._ends_in_plural(index)))
        if present or _is_finite(word):
            self._end_full_relatives(index)
            if self.stack[-1].predicate < 0:
                self.stack[-1].predicate = index

    def _is_infinitive(self, index: int) -> bool:
        """Whether a form stands after "to" or after an auxiliary, adverbs between them apart."""
        before = index - 1
        while is_adverb(self.word(before)) or self.word(before) == "been":
            before -= 1
        return self.word(before) == "to" or self.word(before) in wc.MODALS

    def _on_contraction(self, index: int) -> None:
        """The "'s" of "everything 's", not that of "John 's"."""
        if self.word(index - 1) in wc.PRONOUNS or self.word(index - 1) in wc.BEFORE_IS:
            self._finite(index, True)

    def _on_auxiliary(self, index: int) -> None:
        clause = self.stack[-1]
        before = self.word(index - 1)
        if clause.kind != "relative" and clause.verb >= 0 and (before == "," or before in wc.WH_WORDS):
            clause.inverted = index  # "..., have you ever ...?"
        if self.words[index] in wc.NOT_FINITE or self._is_infinitive(index):
            return
        self._finite(index, True)

    def _on_verb(self, index: int) -> None:
        clause, before = self.stack[-1], self.word(index - 1)
        if before in wc.DETERMINERS or (clause.verb >= 0 and (before in wc.BE or before in wc.COORDINATORS)):
            return
        if clause.auxiliary >= 0 and clause.verb < 0:
            clause.verb = index
        elif not self._is_infinitive(index):
            self._finite(index, False)

    # -- words that open and close clauses ---------------------------------------------------------------

    def _nothing(self, _: int) -> None:
        """A word that neither licenses nor says where a clause ends."""

    def _on_subordinator(self, index: int) -> None:
        if self.word(index - 1) not in wc.DETERMINERS:  # "for a while"
            self._close_relatives(index)
            self._push("complement", index + 1)

    def _on_concessive(self, index: int) -> None:
        """What follows "although" is not in the scope of what stands before it; at the start it is a clause."""
        if self.stack[0].predicate >= 0:
            self._on_break(index)
        else:
            self._on_subordinator(index)

    def _on_if(self, index: int) -> None:
        """An "if" that no table takes for a licensor still opens a clause."""
        self._close_relatives(index)
        self._push("adverbial", index + 1)

    def _on_that(self, index: int) -> None:
        before = self.word(index - 1)
        if before in wc.COMPLEMENT_VERBS or before.endswith("ly"):
            self._push("complement", index + 1)
            return
        pending = self.stack[-1].pending
        if pending and index > pending.position + (_NEAR + 2 if pending.direct else _NEAR):
            self.stack[-1].pending = None  # "all part of the general growth and concentration that ..."
        if before and before not in wc.NOT_A_NOUN:
            self._relative(index)

    def _on_relativizer(self, index: int) -> None:
        before = self.word(index - 1)
        if before and before not in wc.CONJUNCTIONS | wc.BREAKS:
            self._relative(index)

    def _on_pronoun(self, index: int) -> None:
        clause = self.stack[-1]
        if self._takes_contact_relative(index):
            self._relative(index)
        elif clause.kind == "main" and clause.predicate >= 0 and self._begins_sentence(index):
            self._on_break(index - 1)  # "he could not be rescued, still he was ..."
        elif clause.kind == "adverbial" and clause.predicate >= 0 and self._begins_consequence(index):
            self._unwind(len(self.stack) - 1, index)  # "if he had asked I would have ..."

    def _takes_contact_relative(self, index: int) -> bool:
        """Whether a pronoun begins a relative clause without "that": "the best book I have ever read"."""
        pending = self.stack[-1].pending
        # "All of his fears he ...", "all this she must ..."
        if not pending or self.word(pending.position + 1) in ("of", "this", "these"):
            return False
        if self.word(index - 1) in wc.PREPOSITIONS:
            return False
        return bool(pending.direct) or (
            index <= pending.position + _NEAR and self.word(index - 1) not in wc.TIMES  # "every evening he ..."
        )

    def _on_determiner(self, index: int) -> None:
        """The subject of a relative clause without "that", after a superlative: "the best thing my father ever did"."""
        pending = self.stack[-1].pending
        before = self.word(index - 1)
        if pending and pending.direct and index > pending.position + 1 and before not in _HANDLERS:
            self._relative(index)

    def _begins_consequence(self, index: int) -> bool:
        verbs = wc.AUXILIARIES if self.words[index] == "there" else wc.MODALS | {"can", "may"}
        return self.word(index + 1) in verbs and self.word(index - 1) not in wc.COMPLEMENT_VERBS

    def _begins_sentence(self, index: int) -> bool:
        """Whether a pronoun begins a main clause after a comma, and no "he said" in commas."""
        before = index - 1
        if self.word(before) in ("so", "still", "for", "then", "and"):
            before -= 1
        return self.word(before) == "," and "," not in self.words[index : index + 4]

    def _on_with(self, index: int) -> None:
        """What follows a universal with "with" restricts it as a relative does: "everyone with any sense"."""
        pending = self.stack[-1].pending
        if pending and index <= pending.position + 3:
            self._relative(index)
            self.stack[-1].verb = index

    def _on_comma(self, index: int) -> None:
        self._close_relatives(index)
        clause = self.stack[-1]
        pending = clause.pending
        # A relative after a comma does not restrict; but "the biggest, fattest man who ever ..."
        if pending and (index > pending.position + 1 or self.words[pending.position] in ("first", "last")):
            clause.pending = None
        for depth, clause in enumerate(self.stack):
            if clause.kind == "adverbial" and index > clause.start:
                self._unwind(depth, index)
                return

    def _on_break(self, index: int) -> None:
        self._unwind(0, index)
        self.stack = [Clause("main", index + 1)]

    def _on_stop(self, index: int) -> None:
        if self.word(index - 1) not in wc.ABBREVIATED:
            self._on_break(index)

    def _on_but(self, index: int) -> None:
        if self.word(index - 1) not in wc.NEGATED and self.word(index + 1) not in wc.ENDINGS:  # "nobody but him"
            self._on_break(index)

    def _set_aside(self, index: int) -> None:
        self._aside, self._aside_at = self.stack, index
        self.stack = [Clause("main", index + 1)]

    def _take_up(self, index: int) -> None:
        assert self._aside is not None
        self._unwind(0, index)
        self.stack, self._aside = self._aside, None

    def _on_dash(self, index: int) -> None:
        if self.word(index + 1) in wc.COORDINATORS:
            self._on_comma(index)
        elif self._aside is not None and self.words[self._aside_at] == self.words[index]:
            self._take_up(index)
        elif self.words.count(self.words[index]) == 2:
            self._set_aside(index)
        else:
            self._on_break(index)

    def _on_bracket(self, index: int) -> None:
        if self.words[index] == "(" and self._aside is None:
            self._set_aside(index)
        elif self.words[index] == ")" and self._aside is not None:
            self._take_up(index)
        else:
            self._on_break(index)

    def _on_quote(self, index: int) -> None:
        """A quotation mark: of a quoted word, of speech, or around what interrupts speech."""
        before = self.word(index - 1)
        if self._scare or (before and before not in wc.ENDINGS and before not in wc.BREAKS):
            self._scare = not self._scare  # nothing " horrid " about it
        elif before != ",":
            self._on_break(index)
            self._aside = None
        elif self._aside is not None and index - self._aside_at <= _INTERRUPTION:
            self._take_up(index)
        else:
            self._set_aside(index)

    def _other(self, index: int) -> None:
        """A word of an open class."""
        word = self.words[index]
        if word.endswith("ly"):
            return
        clause = self.stack[-1]
        if _is_past(word):
            self._on_verb(index)
        elif clause.predicate < 0 and self.word(index - 1) in wc.PRONOUNS:
            self._finite(index, False)  # "if we hope", of a verb in no list
        elif clause.verb < 0:
            if clause.auxiliary >= 0 or self._follows_relativizer(index):
                clause.verb = index
        elif clause.kind == "relative" and self._follows_plural(index):
            self._finite(index, False)
        if clause.pending and not clause.pending.direct and self._follows_plural(index):
            clause.pending = None  # "all those things tell us ..."

    def _follows_relativizer(self, index: int) -> bool:
        """Whether only adverbs stand between "who" or "that" and the word, which then is a verb."""
        clause = self.stack[-1]
        if clause.kind != "relative" or self.words[clause.start] in wc.DETERMINERS:
            return False
        return all(map(is_adverb, self.words[clause.start + 1 : index]))

    def _ends_in_plural(self, index: int) -> bool:
        """Whether the words before end in a plural noun."""
        before = self.word(index - 1)
        if before in wc.IRREGULAR_PLURALS:
            return True
        plural = before.endswith("s") and not before.endswith(("ss", "'s", "us"))
        return plural and before not in _HANDLERS and index - 1 != self.stack[-1].verb

    def _follows_plural(self, index: int) -> bool:
        """Whether the word is an open-class word right after a plural noun, and so its verb ("the cafes work")."""
        word = self.words[index]
        return self._ends_in_plural(index) and word.isalpha() and not word.endswith(("ing", "er"))


# How far from a universal a clause that restricts it may begin, in words.
_NEAR = 6
# Words that "he said" and its like may take between two parts of what is quoted.
_INTERRUPTION = 12
_Handler = Callable[[ClauseReader, int], None]


def _handlers() -> dict[str, _Handler]:
    """What each word of a closed class does; later groups win."""
    groups: list[tuple[_Handler, frozenset[str] | tuple[str, ...]]] = [
        (ClauseReader._nothing, wc.BE | wc.ADVERBS | wc.PARTICLES),
        (ClauseReader._on_determiner, wc.DETERMINERS),
        (ClauseReader._on_contraction, ("'s", "’s")),
        (ClauseReader._nothing, wc.PREPOSITIONS | wc.CONJUNCTIONS | wc.NEGATED),
        (ClauseReader._on_verb, wc.IRREGULAR_VERBS),
        (ClauseReader._on_auxiliary, wc.AUXILIARIES),
        (ClauseReader._on_pronoun, wc.PRONOUNS),
        (ClauseReader._on_relativizer, wc.RELATIVIZERS),
        (ClauseReader._on_subordinator, wc.SUBORDINATORS),
        (ClauseReader._on_concessive, wc.CONCESSIVES),
        (ClauseReader._on_if, ("if", "unless", "whether", "than")),
        (ClauseReader._on_that, ("that",)),
        (ClauseReader._on_with, ("with",)),
        (ClauseReader._on_comma, (",",)),
        (ClauseReader._on_break, wc.BREAKS | {"?", "!"}),
        (ClauseReader._on_stop, (".",)),
        (ClauseReader._on_but, ("but",)),
        (ClauseReader._on_dash, wc.DASHES),
        (ClauseReader._on_bracket, ("(", ")")),
        (ClauseReader._on_quote, wc.QUOTES),
    ]
    return {word: handler for handler, words in groups for word in words}


_HANDLERS = _handlers()
