"""Writes clauses and phrases of the grammar, and records licensors, scopes and positions for NPIs."""

from typing import NamedTuple

import numpy as np

from npi_jax.corpus.grammar.draws import Draws, Tense

# Rates of optional parts, chosen so that most sentences have 5 to 20 words.
PHRASE_RATE = 0.12
RELATIVE_RATE = 0.22
ADJECTIVE_RATE = 0.12
COMPLEMENT_RATE = 0.12
FRAME_RATE = 0.10
PRONOUN_RATE = 0.35
ADVERB_RATE = 0.40
FINAL_RATE = 0.35

_FORM = {"perfect": 3, "modal": 0, "past": 2}


class Marker(NamedTuple):
    """A licensor or non-licensor, and its place in the clause.

    Style ``"determiner"`` replaces the subject's determiner, ``"focus"`` precedes the determiner, and ``"adverb"``
    follows the auxiliary.
    """

    style: str
    licensor: str
    other: str
    licenses: bool


class NPIPosition(NamedTuple):
    """A position for an NPI in a sentence, and the words ``[start, stop)`` in it (none if it is empty)."""

    position: str
    start: int
    stop: int
    licensed: bool


class ClauseWriter:
    """Writes clauses word by word; `npi_jax.corpus.grammar.derivation.Derivation` joins them to sentences.

    Attributes:
        words: words of the sentence so far.
        licensor: index of the licensor; -1 without one.
        scope: span in which the licensor licenses; ``(-1, -1)`` without a licensor.
        active: True if the next words are in the licensor's scope.
        npis: (name, start, stop) of each NPI.
        positions: positions for NPIs, if ``record`` was set.
        swaps: (index, word) replacements that turn the licensor into its non-licensor.
        distractor: index of a non-licensor elsewhere in the sentence; -1 without one.
        subject: index after the subject of a question; -1 in other sentences.
    """

    def __init__(self, rng: np.random.Generator, *, npi_rate: float, sharing: float, record: bool = False) -> None:
        """Create a writer that draws from ``rng``; see `GrammarSpec` for the rates."""
        self.npi_rate, self.sharing, self.record = npi_rate, sharing, record
        self.draw = Draws(rng)
        self.unit = self.draw.unit
        self.begin("")

    def begin(self, environment: str) -> None:
        """Begin a sentence about an environment; "" for none."""
        self.environment = environment
        self.words: list[str] = []
        self.licensor, self.scope, self.active = -1, (-1, -1), False
        self.npis: list[tuple[str, int, int]] = []
        self.positions: list[NPIPosition] = []
        self.swaps: list[tuple[int, str]] = []
        self.distractor = self.subject = -1

    # -- clauses ----------------------------------------------------------------------------------------

    def frame(self) -> None:
        """Write a frame such as "the doctor has said that" at the frame rate; the main clause follows."""
        if self.chance(FRAME_RATE):
            plural = self.chance(0.5)
            self.noun_phrase("person", plural)
            form = self.auxiliary(next(self.draw.tense), plural)
            self.adverb()
            self.words += (next(self.draw.say)[form], "that")

    def clause(self, marker: Marker | None = None, inner: Marker | None = None, *, nested: bool = True) -> None:
        """Write a statement.

        Args:
            marker: licensor or non-licensor of the clause itself.
            inner: licensor or non-licensor of a relative clause on the subject.
            nested: True if the verb may take a complement clause.
        """
        plural = self.chance(0.5)
        self.noun_phrase("person", plural, marker, inner, modify=True)
        start = self.predicate(plural, marker, nested=nested)
        self.close_marker(marker, start)

    def predicate(self, plural: bool, marker: Marker | None = None, *, nested: bool) -> int:
        """Write auxiliary, marker and verb phrase; return the index of their first word."""
        tense, start = next(self.draw.tense), len(self.words)
        required = marker is not None and self.environment == "sentential_negation"
        form = self.auxiliary(tense, plural, required=required)
        if marker and marker.style == "adverb":
            self.write_marker(marker)
        elif marker and marker.licenses:
            self.active = True
        self.verb_phrase(form, tense, nested)
        return start

    def verb_phrase(self, form: int, tense: Tense, nested: bool) -> None:
        """Write adverb, verb, and an object or a complement clause."""
        self.adverb()
        if nested and self.chance(COMPLEMENT_RATE):
            self.words += (next(self.draw.say)[form], "that")
            self.clause(nested=False)
            return
        kind = next(self.draw.kind)
        self.words.append(next(self.draw.verbs[kind])[form])
        self.object_phrase(kind)
        self.final(tense)

    def relative(self, kind: str, plural: bool, marker: Marker | None, licensed: bool = False) -> None:
        """Write a relative clause on a noun: "who has visited the park", or "that the doctors visited" with a gap."""
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
        """Write subject, auxiliary and verb without an object; return the index after the subject."""
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

    # -- phrases ----------------------------------------------------------------------------------------

    def noun_phrase(
        self,
        kind: str,
        plural: bool,
        marker: Marker | None = None,
        inner: Marker | None = None,
        modify: bool = False,
    ) -> None:
        """Write a noun phrase.

        Args:
            kind: kind of the noun.
            plural: number of the noun.
            marker: replaces or precedes the determiner; an adverb is ignored.
            inner: licensor or non-licensor of a relative clause on the noun.
            modify: True if the noun may have a relative clause or a prepositional phrase.
        """
        if marker and marker.style != "adverb":
            self.write_marker(marker)
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
        """Write the auxiliary, if the tense has one; return the index of the verb form that follows it."""
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

    def object_phrase(self, kind: str) -> None:
        """Write an object pronoun, or a determiner and a noun."""
        if self.chance(PRONOUN_RATE):
            position = "person" if kind == "person" else "thing"
            self.fill(position, next(self.draw.fillers[position]))
            return
        plural = self.chance(0.5)
        self.fill("determiner", (next(self.draw.object_determiner)[plural],))
        self.words.append(next(self.draw.nouns[kind])[plural])

    def adverb(self) -> None:
        """Fill the position before the verb with "ever", a counterpart or nothing."""
        self.fill("adverb", next(self.draw.fillers["adverb"]) if self.chance(ADVERB_RATE) else ())

    def final(self, tense: Tense) -> None:
        """Fill the position at the end of the verb phrase with an NPI such as "at all", a counterpart or nothing."""
        words = next(self.draw.fillers["final"]) if self.chance(FINAL_RATE) else ()
        self.fill("final perfect" if tense == "perfect" else "final", words)

    def fill(self, position: str, counterpart: tuple[str, ...]) -> None:
        """Fill a position with an NPI, at the NPI rate and only in scope; otherwise with the counterpart.

        The counterpart is drawn from the same distribution in and out of scope. In sentences without NPIs the words of
        a position therefore carry no information about licensing.
        """
        start = len(self.words)
        if self.active and next(self.draw.npi_unit) < self.npi_rate:
            name, words = self.npi(position)
            self.words += words
            self.npis.append((name, start, len(self.words)))
        else:
            self.words += counterpart
        if self.record:
            self.positions.append(NPIPosition(position, start, len(self.words), self.active))

    def npi(self, position: str) -> tuple[str, tuple[str, ...]]:
        """Draw an NPI for a position in this environment, and its form (see `GrammarSpec`); return name and words."""
        name, shared, unshared = next(self.draw.npis[self.environment, position])
        return name, shared if next(self.draw.sharing_unit) < self.sharing else unshared

    # -- licensors and scopes ---------------------------------------------------------------------------

    def chance(self, rate: float) -> bool:
        """Return True with probability `rate`."""
        return next(self.unit) < rate

    def pair_of_words(self) -> tuple[str, str]:
        """Draw a licensor of this environment, and a non-licensor that contrasts with it."""
        word = next(self.draw.licensors[self.environment])
        return word, " ".join(next(self.draw.contrasts[self.environment, word]))

    def mark(self, word: str, other: str, licensed: bool) -> None:
        """Write a licensor and open its scope, or write its non-licensor."""
        if licensed:
            self.licensor, self.active = len(self.words), True
            self.swaps.append((len(self.words), other))
            self.words.append(word)
        else:
            self.words += other.split()

    def write_marker(self, marker: Marker) -> None:
        """Write a marker; an adverb opens its scope at once, another marker only after the noun phrase."""
        if not marker.licenses:
            self.distractor = len(self.words)
        self.mark(marker.licensor, marker.other, marker.licenses)
        self.active = marker.licenses and marker.style == "adverb"

    def close_marker(self, marker: Marker | None, predicate: int) -> None:
        """End a marker's scope at the current word; the scope of a focus particle starts at the predicate."""
        if marker and marker.licenses:
            self.close(predicate if marker.style == "focus" else self.licensor + 1, True)

    def close(self, start: int, licensed: bool) -> None:
        """End the licensor's scope at the current word; the scope begins at ``start``."""
        self.active = False
        if licensed:
            self.scope = (start, len(self.words))
