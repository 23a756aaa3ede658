"""Annotations of a sentence: its items (such as NPIs), and the licensor of each."""

from collections.abc import Sequence
from dataclasses import dataclass

ENVIRONMENTS: tuple[str, ...] = (
    "adverbs",
    "conditional",
    "determiner_negation",
    "sentential_negation",
    "only",
    "quantifier",
    "embedded_question",
    "simple_question",
    "superlative",
)
"""The nine NPI licensing environments of Warstadt et al. (2019), in the order that all tables use."""

OTHER, AMBIGUOUS, UNLICENSED = RESIDUALS = ("other", "ambiguous", "unlicensed")
"""Labels of items in none of the environments.

``other``: licensed by an expression that belongs to none of them ("without any"). ``ambiguous``: no licensor, and the
form has another use (free-choice "any"). ``unlicensed``: no licensor.
"""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One licensor in one sentence, and an item that it licenses, if any.

    Positions are word indices into the sentence; spans are half open, ``[start, end)``.

    Attributes:
        environment: one of the phenomenon's environments (`ENVIRONMENTS` for NPIs), or one of `RESIDUALS`.
        licensor: index of the licensor's first word; -1 without a licensor (`AMBIGUOUS`, `UNLICENSED`).
        scope: span of words in which the licensor licenses; ``(-1, -1)`` without a licensor.
        npi: name of the item (``"any"``, ``"at all"``, ...); None for a licensor without an item in its scope.
        span: words of the item; ``(-1, -1)`` without an item.
    """

    environment: str
    licensor: int
    scope: tuple[int, int]
    npi: str | None = None
    span: tuple[int, int] = (-1, -1)


def shifted(annotation: Annotation, words: int) -> Annotation:
    """Return the annotation with all positions moved to the right by a number of words."""
    licensor = annotation.licensor + words if annotation.licensor >= 0 else -1
    scope, span = (
        (-1, -1) if pair == (-1, -1) else (pair[0] + words, pair[1] + words)
        for pair in (annotation.scope, annotation.span)
    )
    return Annotation(annotation.environment, licensor, scope, annotation.npi, span)


@dataclass(frozen=True)
class AnnotatedText:
    """Sentences and their annotations.

    Attributes:
        sentences: the words of each sentence, in their original case; punctuation marks are words.
        annotations: the annotations of each sentence; an empty tuple for a sentence without any.
    """

    sentences: Sequence[tuple[str, ...]]
    annotations: Sequence[tuple[Annotation, ...]]

    def __post_init__(self) -> None:
        if len(self.sentences) != len(self.annotations):
            raise ValueError(f"{len(self.sentences)} sentences but {len(self.annotations)} annotation tuples")
