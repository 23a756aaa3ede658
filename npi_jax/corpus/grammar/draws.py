"""Random choices of the grammar, with one endless stream for each kind of choice."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.annotation.entries import Item
from npi_jax.corpus.annotation.npi_en import NPIS, TABLE, npi_words
from npi_jax.corpus.grammar import lexicon
from npi_jax.corpus.grammar.lexicon import Noun, draws, uniforms

Tense = Literal["perfect", "modal", "past", "present"]
Form = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Name of an NPI, the words of its shared form, and the words of its form in one environment."""

POSITIONS = ("determiner", "person", "thing", "adverb", "final", "final perfect")
_KINDS = {
    "person": (lexicon.PERSONS, lexicon.PERSON_VERBS),
    "place": (lexicon.PLACES, lexicon.PLACE_VERBS),
    "work": (lexicon.WORKS, lexicon.WORK_VERBS),
}
_TENSES: dict[Tense, float] = {"perfect": 0.55, "modal": 0.2, "past": 0.25}
_OBJECT_DETERMINERS = {Noun("the", "the"): 0.5, Noun("some", "some"): 0.3, Noun("this", "these"): 0.2}


def npis_in(position: str, environment: str) -> tuple[Item, ...]:
    """Return the NPIs that can fill a position in an environment.

    ``"final perfect"`` is the final position after a perfect, the only one for NPIs that need the perfect.
    """
    base, _, perfect = position.partition(" ")
    return tuple(
        npi
        for npi in NPIS.values()
        if (use := npi.grammar)
        and use.position == base
        and environment not in use.barred
        and (perfect or not use.perfect)
    )


def npi_stream(rng: np.random.Generator, position: str, environment: str) -> Iterator[Form]:
    """Draw NPIs for a position in an environment without end, all with equal probability."""
    names = [npi.name for npi in npis_in(position, environment)]
    forms = [(name, npi_words(name), npi_words(name, environment)) for name in names]
    return draws(rng, forms, np.full(len(forms), 1 / len(forms)))


def _phrases(rng: np.random.Generator, phrases: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    words = [tuple(phrase.split()) for phrase in phrases]
    return draws(rng, words, np.full(len(words), 1 / len(words)))


def _counterparts(position: str) -> tuple[str, ...]:
    items = (npi for npi in NPIS.values() if npi.grammar and npi.grammar.position == position)
    return tuple(text for npi in items for text in npi.counterparts)


class Draws:
    """The streams of choices. Each has a separate generator, so that a draw from one does not affect the others."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Create the streams, with generators spawned from ``rng``."""

        def fork() -> np.random.Generator:
            return rng.spawn(1)[0]

        # Separate streams, so that texts with different `npi_rate` or `sharing` differ only in the NPIs.
        self.npi_unit, self.sharing_unit = uniforms(fork()), uniforms(fork())
        self.unit = uniforms(fork())
        self.tense: Iterator[Tense] = draws(fork(), list(_TENSES), np.array(list(_TENSES.values())))
        self.kind = draws(fork(), tuple(_KINDS))
        self.nouns = {kind: draws(fork(), nouns) for kind, (nouns, _) in _KINDS.items()}
        self.verbs = {kind: draws(fork(), verbs) for kind, (_, verbs) in _KINDS.items()}
        self.say = draws(fork(), lexicon.SAY_VERBS)
        self.ask = draws(fork(), lexicon.ASK_VERBS)
        self.know = draws(fork(), lexicon.KNOW_VERBS)
        self.determiner = draws(fork(), tuple(lexicon.DETERMINERS), np.array(list(lexicon.DETERMINERS.values())))
        weights = np.array(list(_OBJECT_DETERMINERS.values()))
        self.object_determiner = draws(fork(), list(_OBJECT_DETERMINERS), weights)
        self.preposition = draws(fork(), lexicon.PREPOSITIONS)
        self.modal = draws(fork(), lexicon.MODALS)
        self.adjective = draws(fork(), TABLE["superlative"].non_licensors)
        self.licensors = {name: draws(fork(), tuple(TABLE[name].contrasts)) for name in ENVIRONMENTS}
        self.contrasts = {
            (name, licensor): _phrases(fork(), words)
            for name in ENVIRONMENTS
            for licensor, words in TABLE[name].contrasts.items()
            if words
        }
        positions = ("person", "thing", "adverb", "final")
        self.fillers = {position: _phrases(fork(), _counterparts(position)) for position in positions}
        self.npis = {
            (name, position): npi_stream(fork(), position, name) for name in ENVIRONMENTS for position in POSITIONS
        }
