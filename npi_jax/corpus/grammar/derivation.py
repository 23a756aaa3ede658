"""Writes sentences of the grammar: one frame for each licensing environment, and frames without a licensor."""

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.grammar.clauses import ClauseWriter, Marker
from npi_jax.corpus.grammar.draws import Tense

EMBEDDED_RATE = 0.25
"""Share of sentences with the licensor in a relative clause, in environments that allow it."""
DISTRACTOR_RATE = 0.40
"""Share of sentences with a second marker, a non-licensor, in environments that allow it."""

_STYLES = {
    "adverbs": "adverb",
    "sentential_negation": "adverb",
    "determiner_negation": "determiner",
    "only": "focus",
}


class Derivation(ClauseWriter):
    """Writes sentences; the attributes of `ClauseWriter` describe the sentence that was written last."""

    def sentence(self, environment: str | None, *, licensed: bool = True, embedded: bool | None = None) -> None:
        """Write a sentence.

        Args:
            environment: one of `ENVIRONMENTS`; None for a sentence without licensor or non-licensor.
            licensed: True to write the licensor, False to write a non-licensor in its place.
            embedded: True to write the licensor in a relative clause, which leaves positions out of its scope; None
                for a random choice. Ignored in environments whose licensor cannot be in a relative clause.
        """
        self.begin(environment or "")
        if environment is None:
            self.plain()
        elif environment in _STYLES:
            self.marked(licensed, self.chance(EMBEDDED_RATE) if embedded is None else embedded)
        else:
            getattr(self, environment)(licensed)
        if self.words[-1] != "?":
            self.words.append(".")

    def annotations(self) -> tuple[Annotation, ...]:
        """Return the annotations of the last sentence; a licensor without NPIs has one annotation with ``npi=None``."""
        if self.licensor < 0:
            return ()
        head = (self.environment, self.licensor, self.scope)
        if not self.npis:
            return (Annotation(*head),)
        return tuple(Annotation(*head, name, (start, stop)) for name, start, stop in self.npis)

    def plain(self) -> None:
        """Write a statement without licensor or non-licensor."""
        self.frame()
        self.clause()

    def marked(self, licensed: bool, embedded: bool) -> None:
        """Write a statement with a licensor on the subject or verb of its main clause, or of a relative clause."""
        style = _STYLES[self.environment]
        marker = Marker(style, *self.pair_of_words(), licensed)
        distractor = Marker(style, *self.pair_of_words(), False) if self.chance(DISTRACTOR_RATE) else None
        self.frame()
        if embedded:
            self.clause(distractor, marker)
        else:
            self.clause(marker, distractor if self.chance(0.5) else None)

    def conditional(self, licensed: bool) -> None:
        """Write a main clause with an if-clause before or after it."""
        if first := self.chance(0.6):
            self.subordinate(licensed)
            self.words.append(",")
        self.clause(nested=False)
        if not first:
            self.subordinate(licensed)

    def subordinate(self, licensed: bool) -> None:
        """Write a clause with the licensor as its first word; the rest of the clause is its scope."""
        self.mark(*self.pair_of_words(), licensed)
        start = len(self.words)
        self.clause(nested=False)
        self.close(start, licensed)

    def embedded_question(self, licensed: bool) -> None:
        """Write a whether-clause after a verb of asking or knowing; the non-licensor is "that"."""
        plural = self.chance(0.5)
        self.noun_phrase("person", plural, modify=True)
        tense: Tense = "present" if self.chance(0.5) else next(self.draw.tense)
        form = self.auxiliary(tense, plural)
        self.adverb()
        if self.chance(0.5):
            self.words.append(next(self.draw.know)[form])
        else:
            self.mark(next(self.draw.ask)[form], next(self.draw.say)[form], licensed)
        self.subordinate(licensed)

    def simple_question(self, licensed: bool) -> None:
        """Write a question that begins with its auxiliary, or the corresponding statement if not licensed."""
        plural, tense = self.chance(0.5), next(self.draw.tense)
        form = self.auxiliary(tense, plural, required=True)
        auxiliary = self.words.pop()
        self.words += (auxiliary,) * licensed
        self.noun_phrase("person", plural, modify=True)
        self.subject = len(self.words)
        self.words += (auxiliary,) * (not licensed)
        self.active = licensed
        self.verb_phrase(form, tense, nested=False)
        self.close(1, licensed)
        if licensed:
            self.licensor = 0
            self.words.append("?")

    def quantifier(self, licensed: bool) -> None:
        """Write a clause with a universal determiner; its scope is the relative clause on its noun."""
        word, other = self.pair_of_words()
        self.with_restrictor(word, other, licensed, plural=word == "all")

    def superlative(self, licensed: bool) -> None:
        """Write a clause with a superlative; its scope is the relative clause on its noun."""
        self.with_restrictor(*self.pair_of_words(), licensed, plural=self.chance(0.5))

    def with_restrictor(self, word: str, other: str, licensed: bool, plural: bool) -> None:
        """Write a clause whose subject or object has the determiner or superlative, and a relative clause."""
        kind = next(self.draw.kind)
        if self.chance(0.35):
            number = self.chance(0.5)
            self.noun_phrase("person", number)
            form = self.auxiliary(next(self.draw.tense), number)
            self.adverb()
            self.words.append(next(self.draw.verbs[kind])[form])
            self.restricted(kind, word, other, licensed, plural)
            return
        self.restricted("person", word, other, licensed, plural)
        self.predicate(plural, nested=False)

    def restricted(self, kind: str, word: str, other: str, licensed: bool, plural: bool) -> None:
        """Write a noun phrase: the determiner or superlative, its noun, and the relative clause."""
        if self.environment == "superlative":
            self.words.append("the")
        self.mark(word, other, licensed)
        self.active = False
        self.words.append(next(self.draw.nouns[kind])[plural])
        start = len(self.words)
        self.relative(kind, plural, None, licensed)
        self.close(start, licensed)
