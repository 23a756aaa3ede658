"""Writes the grammar's sentences one at a time, with their licensing contexts and positions for NPIs."""

from typing import NamedTuple

import numpy as np

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.grammar.draws import Draws, Tense

# How often a clause has what; together they give sentences of about 5 to 20 words.
PHRASE_RATE = 0.12
RELATIVE_RATE = 0.22
ADJECTIVE_RATE = 0.12
COMPLEMENT_RATE = 0.12
FRAME_RATE = 0.10
PRONOUN_RATE = 0.35
ADVERB_RATE = 0.40
FINAL_RATE = 0.35
EMBEDDED_RATE = 0.25
DISTRACTOR_RATE = 0.40

_FORM = {"perfect": 3, "modal": 0, "past": 2}

_STYLES = {
    "adverbs": "adverb",
    "sentential_negation": "adverb",
    "determiner_negation": "determiner",
    "only": "focus",
}


class Marker(NamedTuple):
    """A licensor or non-licensor and where it goes.

    Style ``"determiner"`` stands for the subject's determiner, ``"focus"`` before it, ``"adverb"`` after the
    auxiliary.
    """

    style: str
    licensor: str
    other: str
    licenses: bool


class Slot(NamedTuple):
    """A position an NPI can take: what fills it is the span ``[start, stop)``, which may be empty."""

    position: str
    start: int
    stop: int
    licensed: bool


class Derivation:
    """A writer of sentences; `sentence` writes the next one and keeps what is known about it.

    Attributes after `sentence`:
        words: the sentence's words.
        licensor: index of the licensor, -1 if there is none.
        scope: the span in which it licenses, ``(-1, -1)`` if there is none.
        npis: (name, start, stop) of each NPI.
        slots: positions for NPIs, where ``record`` was asked for.
        swaps: (index, word) replacements that turn the licensor into its non-licensor.
        distractor: index of a non-licensor in the other place, -1 if there is none.
        subject: end of a question's subject, -1 in other sentences.
    """

    def __init__(self, rng: np.random.Generator, *, npi_rate: float, sharing: float, record: bool = False) -> None:
        """A writer that draws from ``rng``; see `GrammarSpec` for the rates."""
        self.npi_rate, self.sharing, self.record = npi_rate, sharing, record
        self.draw = Draws(rng)
        self.unit = self.draw.unit
        self._reset("")

    def _reset(self, environment: str) -> None:
        self.environment = environment
        self.words: list[str] = []
        self.licensor, self.scope, self.active = -1, (-1, -1), False
        self.npis: list[tuple[str, int, int]] = []
        self.slots: list[Slot] = []
        self.swaps: list[tuple[int, str]] = []
        self.distractor = self.subject = -1

    # -- sentences -------------------------------------------------------------------------------------

    def sentence(self, environment: str | None, *, licensed: bool = True, embedded: bool | None = None) -> None:
        """Write a sentence that holds an environment, or without one if ``environment`` is None.

        Args:
            environment: one of `ENVIRONMENTS`, or None for a sentence without licensors or non-licensors.
            licensed: False puts a non-licensor in the licensor's place.
            embedded: whether the licensor stands in a relative clause, with open positions outside its scope;
                at random if None; for the environments whose licensor can stand there.
        """
        self._reset(environment or "")
        if environment is None:
            self.plain()
        elif environment in _STYLES:
            self.marked(licensed, self.chance(EMBEDDED_RATE) if embedded is None else embedded)
        else:
            getattr(self, environment)(licensed)
        if self.words[-1] != "?":
            self.words.append(".")

    def annotations(self) -> tuple[Annotation, ...]:
        """The licensing contexts of the last sentence; one with ``npi=None`` if its scope holds no NPI."""
        if self.licensor < 0:
            return ()
        head = (self.environment, self.licensor, self.scope)
        if not self.npis:
            return (Annotation(*head),)
        return tuple(Annotation(*head, name, (start, stop)) for name, start, stop in self.npis)

    def plain(self) -> None:
        """A statement without licensor or non-licensor."""
        self.frame()
        self.clause()

    def marked(self, licensed: bool, embedded: bool) -> None:
        """A licensor on the subject or verb of the main clause, or of a relative clause on the subject."""
        style = _STYLES[self.environment]
        marker = Marker(style, *self.pair_of_words(), licensed)
        distractor = Marker(style, *self.pair_of_words(), False) if self.chance(DISTRACTOR_RATE) else None
        self.frame()
        if embedded:
            self.clause(distractor, marker)
        else:
            self.clause(marker, distractor if self.chance(0.5) else None)

    def conditional(self, licensed: bool) -> None:
        """An if-clause before or after its main clause."""
        if first := self.chance(0.6):
            self.subordinate(licensed)
            self.words.append(",")
        self.clause(nested=False)
        if not first:
            self.subordinate(licensed)

    def subordinate(self, licensed: bool) -> None:
        """A clause in whose whole length its first word licenses."""
        self.mark(*self.pair_of_words(), licensed)
        start = len(self.words)
        self.clause(nested=False)
        self.close(start, licensed)

    def embedded_question(self, licensed: bool) -> None:
        """A whether-clause after a verb of asking or knowing, or else a that-clause."""
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
        """A question that opens with its auxiliary; the other is the statement."""
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
        """A universal determiner that licenses in the relative clause on its noun."""
        word, other = self.pair_of_words()
        self.with_restrictor(word, other, licensed, plural=word == "all")

    def superlative(self, licensed: bool) -> None:
        """A superlative that licenses in the relative clause on its noun."""
        self.with_restrictor(*self.pair_of_words(), licensed, plural=self.chance(0.5))

    def with_restrictor(self, word: str, other: str, licensed: bool, plural: bool) -> None:
        """A clause whose subject or object has the determiner or superlative and a relative clause."""
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
        """The noun phrase with the determiner or superlative, its noun and the relative clause."""
        if self.environment == "superlative":
            self.words.append("the")
        self.mark(word, other, licensed)
        self.active = False
        self.words.append(next(self.draw.nouns[kind])[plural])
        start = len(self.words)
        self.relative(kind, plural, None, licensed)
        self.close(start, licensed)

    # -- clauses ---------------------------------------------------------------------------------------

    def frame(self) -> None:
        """Now and then, "the doctor has said that" before the clause that matters."""
        if self.chance(FRAME_RATE):
            plural = self.chance(0.5)
            self.noun_phrase("person", plural)
            form = self.auxiliary(next(self.draw.tense), plural)
            self.adverb()
            self.words += (next(self.draw.say)[form], "that")

    def clause(self, marker: Marker | None = None, inner: Marker | None = None, *, nested: bool = True) -> None:
        """A statement, with a marker in it, another in a relative clause on its subject, or neither."""
        plural = self.chance(0.5)
        self.noun_phrase("person", plural, marker, inner, modify=True)
        start = self.predicate(plural, marker, nested=nested)
        self.close_marker(marker, start)

    def predicate(self, plural: bool, marker: Marker | None = None, *, nested: bool) -> int:
        """Auxiliary, marker and verb phrase; returns where they start."""
        tense, start = next(self.draw.tense), len(self.words)
        required = marker is not None and self.environment == "sentential_negation"
        form = self.auxiliary(tense, plural, required=required)
        if marker and marker.style == "adverb":
            self.place(marker)
        elif marker and marker.licenses:
            self.active = True
        self.verb_phrase(form, tense, nested)
        return start

    def verb_phrase(self, form: int, tense: Tense, nested: bool) -> None:
        """Adverb, verb and object or complement clause."""
        self.adverb()
        if nested and self.chance(COMPLEMENT_RATE):
            self.words += (next(self.draw.say)[form], "that")
            self.clause(nested=False)
            return
        kind = next(self.draw.kind)
        self.words.append(next(self.draw.verbs[kind])[form])
        self.object(kind)
        self.final(tense)

    def relative(self, kind: str, plural: bool, marker: Marker | None, licensed: bool = False) -> None:
        """A relative clause on a noun: "who has visited the park", or gapped, "that the doctors visited"."""
        outer, self.active = self.active, licensed
        self.words.append("who" if kind == "person" else "that")
        verbal = marker is not None and marker.style == "adverb"
        if kind == "person" and (verbal or (marker is None and self.chance(0.5))):
            start = self.predicate(plural, marker, nested=False)
        else:
            start = self.gapped(kind, marker)
        self.close_marker(marker, start)
        self.active = outer

    def gapped(self, kind: str, marker: Marker | None) -> int:
        """Subject, auxiliary, verb and no object; returns where the auxiliary is."""
        number, tense = self.chance(0.5), next(self.draw.tense)
        active, self.active = self.active, False
        self.noun_phrase("person", number, marker)
        self.active = active or bool(marker and marker.licenses)
        start = len(self.words)
        form = self.auxiliary(tense, number)
        self.adverb()
        self.words.append(next(self.draw.verbs[kind])[form])
        self.final(tense)
        return start

    # -- phrases ---------------------------------------------------------------------------------------

    def noun_phrase(
        self,
        kind: str,
        plural: bool,
        marker: Marker | None = None,
        inner: Marker | None = None,
        modify: bool = False,
    ) -> None:
        """Determiner or marker, adjective, noun, and a modifier with ``inner`` in it."""
        if marker and marker.style != "adverb":
            self.place(marker)
        if not marker or marker.style != "determiner":
            self.words.append(next(self.draw.determiner)[plural])
        if self.chance(ADJECTIVE_RATE):
            self.words.append(next(self.draw.adjective))
        self.words.append(next(self.draw.nouns[kind])[plural])
        outer, self.active = self.active, False
        if inner or (modify and self.chance(RELATIVE_RATE)):
            self.relative(kind, plural, inner)
        elif modify and self.chance(PHRASE_RATE):
            number = self.chance(0.5)
            place = next(self.draw.nouns["place"])[number]
            self.words += (next(self.draw.preposition), next(self.draw.determiner)[number], place)
        self.active = outer

    def auxiliary(self, tense: Tense, plural: bool, *, required: bool = False) -> int:
        """Write the auxiliary, if the tense has one; returns which form of the verb follows."""
        if tense == "present":
            return 0 if plural else 1
        if tense == "perfect":
            self.words.append("have" if plural else "has")
        elif tense == "modal":
            self.words.append(next(self.draw.modal))
        elif required:
            self.words.append("did")
            return 0
        return _FORM[tense]

    def object(self, kind: str) -> None:
        """An object pronoun, or a determiner and a noun."""
        if self.chance(PRONOUN_RATE):
            place = "person" if kind == "person" else "thing"
            self.fill(place, next(self.draw.fillers[place]))
            return
        plural = self.chance(0.5)
        self.fill("determiner", (next(self.draw.object_determiner)[plural],))
        self.words.append(next(self.draw.nouns[kind])[plural])

    def adverb(self) -> None:
        """The position before the verb: "ever", a counterpart or nothing."""
        self.fill("adverb", next(self.draw.fillers["adverb"]) if self.chance(ADVERB_RATE) else ())

    def final(self, tense: Tense) -> None:
        """The position at the end of the verb phrase: an NPI such as "at all", a counterpart or nothing."""
        words = next(self.draw.fillers["final"]) if self.chance(FINAL_RATE) else ()
        self.fill("final perfect" if tense == "perfect" else "final", words)

    def fill(self, position: str, counterpart: tuple[str, ...]) -> None:
        """Fill a position: in scope with an NPI at the NPI rate, otherwise with its counterpart.

        The counterpart is drawn first and from the same distribution everywhere, so that among sentences
        without NPIs what fills a position says nothing about whether it is licensed.
        """
        start = len(self.words)
        if self.active and next(self.draw.npi_unit) < self.npi_rate:
            name, words = self.npi(position)
            self.words += words
            self.npis.append((name, start, len(self.words)))
        else:
            self.words += counterpart
        if self.record:
            self.slots.append(Slot(position, start, len(self.words), self.active))

    def npi(self, position: str) -> tuple[str, tuple[str, ...]]:
        """Draw an NPI for a position in this environment: its name and words, by the sharing rule."""
        name, shared, own = next(self.draw.npis[self.environment, position])
        return name, shared if next(self.draw.sharing_unit) < self.sharing else own

    # -- marks -----------------------------------------------------------------------------------------

    def chance(self, rate: float) -> bool:
        """True with this probability."""
        return next(self.unit) < rate

    def pair_of_words(self) -> tuple[str, str]:
        """A licensor of this environment and a non-licensor to contrast with it."""
        word = next(self.draw.licensors[self.environment])
        return word, " ".join(next(self.draw.contrasts[self.environment, word]))

    def mark(self, word: str, other: str, licensed: bool) -> None:
        """Write a licensor, or its non-licensor, and open its scope."""
        if licensed:
            self.licensor, self.active = len(self.words), True
            self.swaps.append((len(self.words), other))
            self.words.append(word)
        else:
            self.words += other.split()

    def place(self, marker: Marker) -> None:
        """Write a marker; a verb's licensor opens its scope at once, a subject's after the noun phrase."""
        if not marker.licenses:
            self.distractor = len(self.words)
        self.mark(marker.licensor, marker.other, marker.licenses)
        self.active = marker.licenses and marker.style == "adverb"

    def close_marker(self, marker: Marker | None, predicate: int) -> None:
        """End a marker's scope here; a focus particle's starts at the predicate."""
        if marker and marker.licenses:
            self.close(predicate if marker.style == "focus" else self.licensor + 1, True)

    def close(self, start: int, licensed: bool) -> None:
        """End the licensor's scope here."""
        self.active = False
        if licensed:
            self.scope = (start, len(self.words))
