"""Words of the grammar, and endless streams of words with Zipf-Mandelbrot frequencies."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

T = TypeVar("T")


class Noun(NamedTuple):
    """Singular and plural of a noun."""

    singular: str
    plural: str


class Verb(NamedTuple):
    """Forms of a verb."""

    base: str
    third: str
    past: str
    participle: str


def _nouns(text: str) -> tuple[Noun, ...]:
    """Parse a list of nouns: ``singular``, or ``singular/plural`` if the plural is irregular."""
    pairs = (entry.partition("/") for entry in text.split())
    return tuple(Noun(singular, plural or singular + "s") for singular, _, plural in pairs)


def _verbs(text: str) -> tuple[Verb, ...]:
    """Parse a list of verbs: ``base/past``, or ``base/past/participle`` if these two differ."""
    rows = (entry.split("/") for entry in text.split())
    return tuple(Verb(row[0], _third(row[0]), row[1], row[-1]) for row in rows)


def _third(base: str) -> str:
    if base.endswith(("ch", "sh", "s", "x")):
        return base + "es"
    return base[:-1] + "ies" if base.endswith("y") and base[-2] not in "aeiou" else base + "s"


PERSONS = _nouns(
    "doctor student teacher senator woman/women child/children artist nurse lawyer pilot man/men author "
    "waiter actor farmer neighbor girl boy guest judge singer driver dancer banker cashier patient "
    "customer sailor soldier painter baker tourist poet scientist president librarian gardener cyclist "
    "tailor plumber"
)
PLACES = _nouns(
    "museum school hospital library/libraries park garden theater village island church/churches "
    "restaurant market castle cave harbor bakery/bakeries mountain gallery/galleries college station "
    "bridge tower lake farm"
)
WORKS = _nouns(
    "book story/stories song letter novel painting poem report play movie essay map photograph "
    "speech/speeches newspaper article diary/diaries sketch/sketches statue contract recipe drawing "
    "joke catalog"
)
PERSON_VERBS = _verbs(
    "help/helped meet/met/met like/liked admire/admired thank/thanked invite/invited trust/trusted "
    "praise/praised insult/insulted annoy/annoyed impress/impressed forget/forgot/forgotten hire/hired "
    "blame/blamed"
)
PLACE_VERBS = _verbs(
    "visit/visited leave/left enter/entered explore/explored reach/reached describe/described "
    "find/found approach/approached own/owned clean/cleaned"
)
WORK_VERBS = _verbs(
    "see/saw/seen discuss/discussed buy/bought sell/sold enjoy/enjoyed study/studied lose/lost "
    "hide/hid/hidden steal/stole/stolen copy/copied burn/burned finish/finished borrow/borrowed "
    "hate/hated"
)
SAY_VERBS = _verbs("say/said think/thought claim/claimed believe/believed suggest/suggested")
ASK_VERBS = _verbs("wonder/wondered ask/asked")
KNOW_VERBS = _verbs("know/knew/known learn/learned remember/remembered discover/discovered")
DETERMINERS: dict[Noun, float] = {
    Noun("the", "the"): 0.55,
    Noun("this", "these"): 0.15,
    Noun("my", "my"): 0.12,
    Noun("her", "her"): 0.10,
    Noun("their", "their"): 0.08,
}
PREPOSITIONS = ("from", "near", "behind", "outside")
MODALS = ("will", "could", "would", "should")


def zipf_weights(n: int, shift: float = 2.7) -> Float[np.ndarray, " n"]:
    """Return the probabilities of ranks 1 to n by the Zipf-Mandelbrot law: p(r) proportional to 1 / (r + shift).

    The default shift is the value commonly fitted to English. Without a shift the first word of a class would be a
    quarter of all its tokens.
    """
    weights = 1.0 / (np.arange(1, n + 1) + shift)
    return weights / weights.sum()


def draws(
    rng: np.random.Generator,
    entries: Sequence[T],
    weights: Float[np.ndarray, " entries"] | None = None,
    block: int = 4096,
) -> Iterator[T]:
    """Draw from ``entries`` endlessly, with replacement; the default weights follow the Zipf-Mandelbrot law.

    NumPy is called once for each ``block`` of draws.
    """
    p = zipf_weights(len(entries)) if weights is None else weights
    while True:
        for index in rng.choice(len(entries), size=block, p=p).tolist():
            yield entries[index]


def uniforms(rng: np.random.Generator, block: int = 4096) -> Iterator[float]:
    """Draw floats from [0, 1) endlessly; NumPy is called once for each ``block`` of draws."""
    while True:
        yield from rng.random(block).tolist()
