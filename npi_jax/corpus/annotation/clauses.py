"""A shallow parse of English into clauses, from left to right, by the words that open and close clauses.

Words such as "who", "that", "whether" and "if" open a clause. Punctuation closes it. A second finite verb also closes a
relative clause, because that verb belongs to the outer clause. An example is "has" in "the man who no one met has ever
...". Each clause keeps a list of its licensors.
"""

from collections.abc import Callable, Sequence

from npi_jax.corpus.annotation import wordclasses as wc
from npi_jax.corpus.annotation.clause_stack import ClauseStack, is_adverb, is_finite, is_past
from npi_jax.corpus.annotation.licensors import LicensorMatch

_NEAR = 6
"""Largest distance, in words, between a universal and a clause that restricts it."""
_INTERRUPTION = 12
"""Largest number of words of an interruption such as "he said" between two parts of a quotation."""


class ClauseReader(ClauseStack):
    """Reads the words of a sentence one by one, in a single pass, and tracks the open clauses.

    Args:
        words: a sentence in lower case.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words)
        self._in_quoted_word = False
        self._adverbs_end = 0  # end of the last run of adverbs, so that each run is scanned once

    def read(self, index: int, licensor: LicensorMatch | None) -> None:
        """Read the next word, which may be a licensor."""
        if licensor is not None:
            self._read_licensor(index, licensor)
            return
        handler = _HANDLERS.get(self.words[index])
        if handler is None:
            self._on_open_class_word(index)
        else:
            handler(self, index)

    def prepare_for_item(self, index: int) -> None:
        """Assign an adverb at `index`, where an item may start, to the clause of the finite verb after it."""
        if is_adverb(self.words[index]):
            self._on_adverb(index)

    def close(self) -> None:
        """Close all clauses at the end of the sentence."""
        self.unwind(0, self.end)

    def _read_licensor(self, index: int, licensor: LicensorMatch) -> None:
        if licensor.scope in ("adverbial", "complement"):
            self.close_relatives(index)
            self.push(licensor.scope, index + 1, licensor)
        elif licensor.scope == "relative":
            # Of two environments the first counts: "the only man in all the world who ever". Within one, the last.
            if self.top.pending is None or self.top.pending.environment == licensor.environment:
                self.top.pending = licensor
        else:
            if self.words[index] == "cannot":
                self.set_finite_verb(index, auxiliary=True)
            if licensor.scope == "predicate" and self.top.predicate >= 0:
                # A focus particle licenses only before the predicate of its clause. Later in a main clause it begins a
                # new main clause after a comma, and otherwise does not license.
                if self.word(index - 1) != "," or self.top.kind != "main":
                    return
                self.restart(index - 1)
            self.top.licensors.append(licensor)

    # -- verbs ----------------------------------------------------------------------------------------

    def _on_adverb(self, index: int) -> None:
        clause = self.top
        if clause.verb < 0 and (clause.auxiliary >= 0 or clause.predicate >= 0):
            return
        if clause.pending and clause.pending.direct:  # "the largest area ever tilled"
            return
        following = max(index + 1, self._adverbs_end)
        while is_adverb(self.word(following)):
            following += 1
        self._adverbs_end = following
        word = self.word(following)
        present = word not in _HANDLERS and (word.endswith("s") or (word.isalpha() and self._follows_plural(index)))
        if present or is_finite(word):
            self.close_full_relatives(index)
            if self.top.predicate < 0:
                self.top.predicate = index

    def _on_contraction(self, index: int) -> None:
        """Read "'s" as a verb in "everything 's", not in "John 's"."""
        if self.word(index - 1) in wc.PRONOUNS or self.word(index - 1) in wc.BEFORE_IS:
            self.set_finite_verb(index, auxiliary=True)

    def _on_auxiliary(self, index: int) -> None:
        clause = self.top
        before = self.word(index - 1)
        if clause.kind != "relative" and clause.verb >= 0 and (before == "," or before in wc.WH_WORDS):
            clause.inverted = index  # "..., have you ever ...?"
        if self.words[index] in wc.NOT_FINITE or self.is_infinitive(index):
            return
        self.set_finite_verb(index, auxiliary=True)

    def _on_verb(self, index: int) -> None:
        clause, before = self.top, self.word(index - 1)
        if before in wc.DETERMINERS or (clause.verb >= 0 and (before in wc.BE or before in wc.COORDINATORS)):
            return
        if clause.auxiliary >= 0 and clause.verb < 0:
            clause.verb = index
        elif not self.is_infinitive(index):
            self.set_finite_verb(index, auxiliary=False)

    def _on_open_class_word(self, index: int) -> None:
        word = self.words[index]
        if word.endswith("ly"):
            return
        clause = self.top
        if is_past(word):
            self._on_verb(index)
        elif clause.predicate < 0 and self.word(index - 1) in wc.PRONOUNS:
            self.set_finite_verb(index, auxiliary=False)  # "if we hope": a verb in none of the lists
        elif clause.verb < 0:
            if clause.auxiliary >= 0 or self._follows_relativizer(index):
                clause.verb = index
        elif clause.kind == "relative" and self._is_verb_of_plural(index):
            self.set_finite_verb(index, auxiliary=False)
        if clause.pending and not clause.pending.direct and self._is_verb_of_plural(index):
            clause.pending = None  # "all those things tell us ..."

    def _follows_relativizer(self, index: int) -> bool:
        """Return True if only adverbs stand between "who" or "that" and the word, which is then a verb."""
        clause = self.top
        if clause.kind != "relative" or self.words[clause.start] in wc.DETERMINERS:
            return False
        return all(map(is_adverb, self.words[clause.start + 1 : index]))

    def _follows_plural(self, index: int) -> bool:
        """Return True if the preceding word is a plural noun."""
        before = self.word(index - 1)
        if before in wc.IRREGULAR_PLURALS:
            return True
        plural = before.endswith("s") and not before.endswith(("ss", "'s", "us"))
        return plural and before not in _HANDLERS and index - 1 != self.top.verb

    def _is_verb_of_plural(self, index: int) -> bool:
        """Return True for an open-class word directly after a plural noun, which is its verb ("the cafes work")."""
        word = self.words[index]
        return self._follows_plural(index) and word.isalpha() and not word.endswith(("ing", "er"))

    # -- words that open clauses ----------------------------------------------------------------------

    def _on_neutral_word(self, _: int) -> None:
        """Ignore a closed-class word that neither opens nor closes a clause."""

    def _on_subordinator(self, index: int) -> None:
        if self.word(index - 1) not in wc.DETERMINERS:  # "for a while"
            self.close_relatives(index)
            self.push("complement", index + 1)

    def _on_concessive(self, index: int) -> None:
        """Begin a main clause at "although"; before the predicate of the sentence, open a subordinate one instead."""
        if self.stack[0].predicate >= 0:
            self.restart(index)
        else:
            self._on_subordinator(index)

    def _on_if(self, index: int) -> None:
        """Open a clause at "if", "unless", "whether" or "than", where the table makes it no licensor."""
        self.close_relatives(index)
        self.push("adverbial", index + 1)

    def _on_that(self, index: int) -> None:
        before = self.word(index - 1)
        if before in wc.COMPLEMENT_VERBS or before.endswith("ly"):
            self.push("complement", index + 1)
            return
        pending = self.top.pending
        if pending and index > pending.position + (_NEAR + 2 if pending.direct else _NEAR):
            self.top.pending = None  # "all part of the general growth and concentration that ..."
        if before and before not in wc.NOT_A_NOUN:
            self.push_relative(index)

    def _on_relativizer(self, index: int) -> None:
        before = self.word(index - 1)
        if before and before not in wc.CONJUNCTIONS | wc.BREAKS:
            self.push_relative(index)

    def _on_pronoun(self, index: int) -> None:
        clause = self.top
        if self._opens_contact_relative(index):
            self.push_relative(index)
        elif clause.kind == "main" and clause.predicate >= 0 and self._opens_main_clause(index):
            self.restart(index - 1)  # "he could not be rescued, still he was ..."
        elif clause.kind == "adverbial" and clause.predicate >= 0 and self._opens_consequence(index):
            self.unwind(len(self.stack) - 1, index)  # "if he had asked I would have ..."

    def _opens_contact_relative(self, index: int) -> bool:
        """Return True if a pronoun opens a relative clause without "that": "the best book I have ever read"."""
        pending = self.top.pending
        # "All of his fears he ...", "all this she must ..."
        if not pending or self.word(pending.position + 1) in ("of", "this", "these"):
            return False
        if self.word(index - 1) in wc.PREPOSITIONS:
            return False
        return bool(pending.direct) or (
            index <= pending.position + _NEAR and self.word(index - 1) not in wc.TIMES  # "every evening he ..."
        )

    def _on_determiner(self, index: int) -> None:
        """Open a relative clause without "that" after a superlative: "the best thing my father ever did"."""
        pending = self.top.pending
        before = self.word(index - 1)
        if pending and pending.direct and index > pending.position + 1 and before not in _HANDLERS:
            self.push_relative(index)

    def _opens_consequence(self, index: int) -> bool:
        verbs = wc.AUXILIARIES if self.words[index] == "there" else wc.MODALS | {"can", "may"}
        return self.word(index + 1) in verbs and self.word(index - 1) not in wc.COMPLEMENT_VERBS

    def _opens_main_clause(self, index: int) -> bool:
        """Return True if a pronoun opens a main clause after a comma, but not in ", he said,"."""
        before = index - 1
        if self.word(before) in ("so", "still", "for", "then", "and"):
            before -= 1
        return self.word(before) == "," and "," not in self.words[index : index + 4]

    def _on_with(self, index: int) -> None:
        """Open a relative clause at "with" soon after a universal, which it restricts: "everyone with any sense"."""
        pending = self.top.pending
        if pending and index <= pending.position + 3:
            self.push_relative(index)
            self.top.verb = index

    # -- punctuation ----------------------------------------------------------------------------------

    def _on_comma(self, index: int) -> None:
        self.close_relatives(index)
        clause = self.top
        pending = clause.pending
        # A relative clause after a comma does not restrict. Directly after a superlative, a comma separates adjectives:
        # "the biggest, fattest man who ever ...".
        if pending and (index > pending.position + 1 or self.words[pending.position] in ("first", "last")):
            clause.pending = None
        for depth, clause in enumerate(self.stack):
            if clause.kind == "adverbial" and index > clause.start:
                self.unwind(depth, index)
                return

    def _on_period(self, index: int) -> None:
        if self.word(index - 1) not in wc.ABBREVIATED:
            self.restart(index)

    def _on_but(self, index: int) -> None:
        if self.word(index - 1) not in wc.NEGATED and self.word(index + 1) not in wc.ENDINGS:  # "nobody but him"
            self.restart(index)

    def _on_dash(self, index: int) -> None:
        if self.word(index + 1) in wc.COORDINATORS:
            self._on_comma(index)
        elif self._aside is not None and self.words[self._aside_at] == self.words[index]:
            self.resume(index)
        elif self.words.count(self.words[index]) == 2:
            self.set_aside(index)
        else:
            self.restart(index)

    def _on_bracket(self, index: int) -> None:
        if self.words[index] == "(" and self._aside is None:
            self.set_aside(index)
        elif self.words[index] == ")" and self._aside is not None:
            self.resume(index)
        else:
            self.restart(index)

    def _on_quote(self, index: int) -> None:
        """Read a quotation mark around a word, around speech, or around an interruption of speech."""
        before = self.word(index - 1)
        if self._in_quoted_word or (before and before not in wc.ENDINGS and before not in wc.BREAKS):
            self._in_quoted_word = not self._in_quoted_word  # nothing " horrid " about it
        elif before != ",":
            self.restart(index)
            self._aside = None
        elif self._aside is not None and index - self._aside_at <= _INTERRUPTION:
            self.resume(index)
        else:
            self.set_aside(index)


_Handler = Callable[[ClauseReader, int], None]


def _handlers() -> dict[str, _Handler]:
    """Return the handler of each closed-class word; later groups override earlier ones."""
    groups: list[tuple[_Handler, frozenset[str] | tuple[str, ...]]] = [
        (ClauseReader._on_neutral_word, wc.BE | wc.ADVERBS | wc.PARTICLES),
        (ClauseReader._on_determiner, wc.DETERMINERS),
        (ClauseReader._on_contraction, ("'s", "’s")),
        (ClauseReader._on_neutral_word, wc.PREPOSITIONS | wc.CONJUNCTIONS | wc.NEGATED),
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
        (ClauseReader.restart, wc.BREAKS | {"?", "!"}),
        (ClauseReader._on_period, (".",)),
        (ClauseReader._on_but, ("but",)),
        (ClauseReader._on_dash, wc.DASHES),
        (ClauseReader._on_bracket, ("(", ")")),
        (ClauseReader._on_quote, wc.QUOTES),
    ]
    return {word: handler for handler, words in groups for word in words}


_HANDLERS = _handlers()
