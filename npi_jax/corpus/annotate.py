"""Finds NPIs and what licenses each, in tokenized text, by word patterns over the table of licensing.

The parse is shallow. Clauses are opened by the words that introduce them (who, that, whether, if, ...) and
closed by punctuation or, for relative clauses, by a second finite verb, which belongs to the clause outside:
in "the man who no one met has ever ..." the verb "has" ends the relative clause and the scope of "no". An NPI
goes to the nearest licensor before it in its own clause, else to one in the clauses around that one.
"""

from collections.abc import Callable, Sequence

from npi_jax.corpus import wordclasses as wc
from npi_jax.corpus.annotations import ENVIRONMENTS, UNLICENSED, Annotation
from npi_jax.corpus.licensing import TABLE
from npi_jax.corpus.npis import TRIGGERS, Found, find_npis, shared_forms


class _Clause:
    """A clause being read: what licenses in it, and how far its verb has come."""

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
        self.kind = kind  # "main", "if", "complement", "comparison" or "relative"
        self.start = start
        self.end = -1
        self.auxiliary = self.verb = -1  # where its finite auxiliary, and its main verb or finite verb, is
        self.licensors: list[tuple[str, int]] = []
        self.pending: tuple[str, int] | None = None  # a determiner or superlative that waits for its relative
        self.predicate = -1  # where its verb phrase starts
        self.inverted = -1
        # A relative clause on the subject is not in the scope of a focus particle on that subject.
        self.hides_subject = hides_subject


def annotate(words: Sequence[str]) -> tuple[Annotation, ...]:
    """Find the NPIs of a sentence and the licensor of each.

    Args:
        words: one sentence as `split_words` splits it ("do n't", "can not"), in any case.

    Returns:
        One annotation for each NPI, in order; none for licensors without an NPI. An NPI without a licensor of
        the nine environments before it has the environment `UNLICENSED`. Uses of the same words that are no
        NPIs ("either ... or", "in any case", "for ever", "and yet") are left out. What else is known of the
        rules is in `licensing.TABLE`. Free-choice "any" cannot be told from the NPI and is reported as one.
    """
    if TRIGGERS.isdisjoint(words):
        return ()
    lower = [word.lower() for word in words]
    found = find_npis(lower)
    return _Reader(shared_forms(lower), found).read() if found else ()


def _is_adverb(word: str) -> bool:
    return word in wc.ADVERBS or word.endswith("ly")


def _is_finite(word: str) -> bool:
    return word in wc.AUXILIARIES or word in wc.IRREGULAR_VERBS or _is_past(word)


def _is_past(word: str) -> bool:
    return word.endswith("ed") and word not in wc.NOT_PAST


# "the best result yet": within the noun phrase, where "any" would be free choice ("the best of any").
_AFTER_SUPERLATIVE = frozenset(("ever", "yet", "in years"))


class _Reader:
    """One pass over a sentence, left to right, with a stack of open clauses."""

    def __init__(self, words: list[str], npis: list[Found]) -> None:
        self.words = words
        self.npis = npis
        self.stack = [_Clause("main", 0)]
        self.end = len(words)
        while self.end and words[self.end - 1] in wc.ENDINGS:
            self.end -= 1

    def read(self) -> tuple[Annotation, ...]:
        """Read the sentence; returns its annotations."""
        waiting = iter((*self.npis, Found(len(self.words), 0, "", None)))
        start, stop, name, owner = next(waiting)
        found = []
        for index, word in enumerate(self.words):
            if _is_adverb(word):
                self.adverb(index)
            if index == start:
                found.append((start, stop, name, self.licensor(index, name, owner)))
                start, stop, name, owner = next(waiting)
            if (handle := _HANDLERS.get(word)) is not None:
                handle(self, index)
            else:
                self.other(index)
        self.unwind(0, self.end)
        return tuple(self.annotation(*row) for row in found)

    def annotation(self, start: int, stop: int, name: str, licensor: tuple[str, int, _Clause] | None) -> Annotation:
        """The annotation of one NPI, once the end of every clause is known."""
        if licensor is None:
            return Annotation(UNLICENSED, -1, (-1, -1), name, (start, stop))
        environment, index, clause = licensor
        kind = TABLE[environment].scope
        first = index + 1
        if kind == "relative":
            first = max(first, clause.start)
        elif kind == "predicate":
            first = max(first, clause.predicate)
        last = max(clause.end, stop)
        while last > stop and self.words[last - 1] in wc.ENDINGS:
            last -= 1
        return Annotation(environment, index, (min(first, start), last), name, (start, stop))

    def licensor(self, index: int, name: str, owner: str | None) -> tuple[str, int, _Clause] | None:
        """The nearest licensor whose scope the position is in: (environment, index, clause)."""
        hidden = False
        for clause in reversed(self.stack):
            for environment, position in reversed(clause.licensors):
                if hidden and environment == "only":
                    continue
                if owner in (None, environment):
                    return environment, position, clause
            pending = clause.pending
            direct = pending and pending[0] == "superlative" and name in _AFTER_SUPERLATIVE
            if pending and direct and owner in (None, "superlative"):
                return "superlative", pending[1], clause
            if clause.kind == "comparison":  # licensed by the comparative, which is none of the nine
                return None
            hidden = clause.hides_subject
        if owner in (None, "simple_question") and "?" in self.words[index:]:
            for clause in reversed(self.stack):
                if clause.inverted >= 0:
                    return "simple_question", clause.inverted, clause
        return None

    # -- what the words do ----------------------------------------------------------------------------

    def before(self, index: int) -> str:
        """The word before, "" at the start."""
        return self.words[index - 1] if index else ""

    def after(self, index: int) -> str:
        """The word after, "." at the end."""
        return self.words[index + 1] if index + 1 < len(self.words) else "."

    def unwind(self, depth: int, index: int) -> None:
        """Close the clauses above a depth."""
        while len(self.stack) > depth:
            clause = self.stack.pop()
            clause.end = min(index, self.end)

    def add(self, environment: str, index: int) -> None:
        """A licensor in the clause being read."""
        self.stack[-1].licensors.append((environment, index))

    def push(self, kind: str, start: int, licensor: tuple[str, int] | None = None) -> None:
        """Open a clause."""
        outer = self.stack[-1]
        hides = kind == "relative" and outer.auxiliary < 0 and outer.verb < 0
        clause = _Clause(kind, start, hides)
        if licensor:
            clause.licensors.append(licensor)
        self.stack.append(clause)

    def relative(self, start: int) -> None:
        """A relative clause, licensed if the noun phrase it stands in has a universal or a superlative."""
        pending, self.stack[-1].pending = self.stack[-1].pending, None
        self.push("relative", start, pending)

    def finite(self, index: int, auxiliary: bool) -> None:
        """A finite verb: a second one in a relative clause belongs to the clause outside."""
        while self.stack[-1].kind == "relative" and self.stack[-1].verb >= 0:
            self.unwind(len(self.stack) - 1, index)
        clause = self.stack[-1]
        clause.pending = None
        if clause.predicate < 0:
            clause.predicate = index
        if not auxiliary:
            if clause.verb < 0:
                clause.verb = index
        elif clause.auxiliary < 0:
            clause.auxiliary = index
            before = self.before(index)
            opens = not before or before in wc.CONJUNCTIONS or before in wc.BREAKS or before in wc.WH_WORDS
            if clause.verb < 0 and clause.kind == "main" and (opens or before == ","):
                clause.inverted = index

    def adverb(self, index: int) -> None:
        """An adverb right before a finite verb already belongs to that verb's clause."""
        clause, following = self.stack[-1], index + 1
        if clause.verb < 0 and (clause.auxiliary >= 0 or clause.predicate >= 0):
            return
        while following < len(self.words) and _is_adverb(self.words[following]):
            following += 1
        word = self.words[following] if following < len(self.words) else ""
        present = word.endswith("s") and word not in _HANDLERS
        if present or _is_finite(word):
            while self.stack[-1].kind == "relative" and self.stack[-1].verb >= 0:
                self.unwind(len(self.stack) - 1, index)
            if self.stack[-1].predicate < 0:
                self.stack[-1].predicate = index

    def on_auxiliary(self, index: int) -> None:
        clause = self.stack[-1]
        if clause.kind != "relative" and clause.verb >= 0 and self.before(index) == ",":
            clause.inverted = index  # "..., have you ever ...?"
        self.finite(index, True)

    def on_verb(self, index: int) -> None:
        clause, before = self.stack[-1], self.before(index)
        if before in wc.DETERMINERS or (clause.verb >= 0 and (before in wc.BE or before in wc.COORDINATORS)):
            return
        if clause.auxiliary >= 0 and clause.verb < 0:
            clause.verb = index
            return
        self.finite(index, False)

    def on_negation(self, index: int) -> None:
        following = self.after(index)
        if self.words[index] == "cannot":
            self.finite(index, True)
        if following != "only":
            self.add("sentential_negation", index)

    def on_adverb(self, index: int) -> None:
        self.add("adverbs", index)

    def on_no(self, index: int) -> None:
        if self.after(index) not in wc.ENDINGS:
            self.add("determiner_negation", index)

    def on_only(self, index: int) -> None:
        before = self.before(index)
        if before in wc.DETERMINERS:  # "the only man who ever": licenses where a superlative would
            self.stack[-1].pending = ("only", index)
        elif before != "not":
            self.add("only", index)

    def on_universal(self, index: int) -> None:
        if self.before(index) != "at":
            self.stack[-1].pending = ("quantifier", index)

    def on_superlative(self, index: int) -> None:
        before = self.before(index)
        if before in wc.DETERMINERS or before in ("very", "'s"):
            self.stack[-1].pending = ("superlative", index)

    def on_if(self, index: int) -> None:
        if self.before(index) == "as":  # "as if nothing had happened"
            return
        word = self.words[index]
        asking = word == "whether" or (word == "if" and self.before(index) in wc.ASKING_VERBS)
        self.close_relatives(index)
        if asking:
            self.push("complement", index + 1, ("embedded_question", index))
        else:
            self.push("if", index + 1, ("conditional", index))

    def on_subordinator(self, index: int) -> None:
        if self.before(index) not in wc.DETERMINERS:  # "for a while"
            self.close_relatives(index)
            self.push("complement", index + 1)

    def on_than(self, index: int) -> None:
        self.push("comparison", index + 1)

    def on_that(self, index: int) -> None:
        before = self.before(index)
        if before in wc.COMPLEMENT_VERBS:
            self.push("complement", index + 1)
        elif before and before not in wc.NOT_A_NOUN:
            self.relative(index)

    def on_relativizer(self, index: int) -> None:
        before = self.before(index)
        if before and before not in wc.CONJUNCTIONS | wc.BREAKS:
            self.relative(index)

    def on_pronoun(self, index: int) -> None:
        pending = self.stack[-1].pending
        if pending and index > pending[1] + 1:  # "the best book I have ever read"
            self.relative(index)

    def on_comma(self, index: int) -> None:
        self.close_relatives(index)
        for depth, clause in enumerate(self.stack):
            if clause.kind == "if":
                self.unwind(depth, index)
                return

    def on_break(self, index: int) -> None:
        self.unwind(0, index)
        self.stack = [_Clause("main", index + 1)]

    def nothing(self, _: int) -> None:
        """A word that neither licenses nor says where a clause ends."""

    def close_relatives(self, index: int) -> None:
        while self.stack[-1].kind == "relative":
            self.unwind(len(self.stack) - 1, index)

    def other(self, index: int) -> None:
        """A word of an open class."""
        word = self.words[index]
        if word.endswith("ly"):
            return
        clause = self.stack[-1]
        if _is_past(word):
            self.on_verb(index)
        elif word.endswith("est") and word not in wc.NOT_SUPERLATIVE:
            self.on_superlative(index)
        elif clause.verb < 0 and (clause.auxiliary >= 0 or self.follows_relativizer(index)):
            clause.verb = index

    def follows_relativizer(self, index: int) -> bool:
        """Whether only adverbs stand between "who" or "that" and the word, which then is a verb."""
        clause = self.stack[-1]
        return clause.kind == "relative" and all(map(_is_adverb, self.words[clause.start + 1 : index]))


_Handler = Callable[[_Reader, int], None]


def _handlers() -> dict[str, _Handler]:
    """What each word of a closed class does; licensors come last and win."""
    groups: list[tuple[_Handler, frozenset[str] | tuple[str, ...]]] = [
        (_Reader.nothing, wc.DETERMINERS | wc.BE | wc.ADVERBS | wc.PARTICLES),
        (_Reader.nothing, wc.PREPOSITIONS | wc.CONJUNCTIONS),
        (_Reader.on_verb, wc.IRREGULAR_VERBS),
        (_Reader.on_auxiliary, wc.AUXILIARIES),
        (_Reader.on_pronoun, wc.PRONOUNS),
        (_Reader.on_relativizer, wc.RELATIVIZERS),
        (_Reader.on_subordinator, wc.SUBORDINATORS),
        (_Reader.on_that, ("that",)),
        (_Reader.on_than, ("than",)),
        (_Reader.on_comma, (",",)),
        (_Reader.on_break, wc.BREAKS | {"but"}),
    ]
    by_environment: dict[str, _Handler] = {
        "adverbs": _Reader.on_adverb,
        "conditional": _Reader.on_if,
        "determiner_negation": _Reader.on_no,
        "sentential_negation": _Reader.on_negation,
        "only": _Reader.on_only,
        "quantifier": _Reader.on_universal,
        "embedded_question": _Reader.on_if,
        "superlative": _Reader.on_superlative,
    }
    for name in ENVIRONMENTS:
        if name in by_environment:  # a question's licensor is known by its place, not its form
            groups.append((by_environment[name], (*TABLE[name].licensors, *TABLE[name].variants)))
    handlers = {word: handler for handler, words in groups for word in words}
    return handlers | {"n’t": _Reader.on_negation}


_HANDLERS = _handlers()
