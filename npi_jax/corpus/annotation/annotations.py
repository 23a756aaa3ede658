"""What is known about a sentence: which NPIs it holds, and what licenses each of them."""

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
"""The nine NPI licensing environments of Warstadt et al. (2019), in the order of every table."""

OTHER, AMBIGUOUS, UNLICENSED = RESIDUALS = ("other", "ambiguous", "unlicensed")
"""What stands in an item's environment if it is in none: licensed by something outside of the environments
("without any"), a form with another use that looks alike (free-choice "any"), and without any licensor."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One licensing context in one sentence, with the NPI in it if there is one.

    Positions are word indices into the sentence; spans are half open, ``[start, end)``.

    Attributes:
        environment: one of the phenomenon's environments (`ENVIRONMENTS` for NPIs), or one of `RESIDUALS`.
        licensor: index of the licensor's first word; -1 if there is none (`AMBIGUOUS`, `UNLICENSED`).
        scope: span of words in which the licensor licenses; ``(-1, -1)`` if there is none.
        npi: name of the item (``"any"``, ``"at all"``, ...); None for a licensor with no item in its scope.
        span: the item's words; ``(-1, -1)`` if there is none.
    """

    environment: str
    licensor: int
    scope: tuple[int, int]
    npi: str | None = None
    span: tuple[int, int] = (-1, -1)


def shifted(row: Annotation, words: int) -> Annotation:
    """The annotation in a sentence that begins so many words earlier."""
    licensor = row.licensor + words if row.licensor >= 0 else -1
    scope, span = (
        (-1, -1) if pair == (-1, -1) else (pair[0] + words, pair[1] + words) for pair in (row.scope, row.span)
    )
    return Annotation(row.environment, licensor, scope, row.npi, span)


@dataclass(frozen=True)
class AnnotatedText:
    """Sentences with what is known about each.

    Attributes:
        sentences: one tuple of words a sentence, as written (case kept), punctuation apart.
        annotations: for each sentence its annotations; the empty tuple for most.
    """

    sentences: Sequence[tuple[str, ...]]
    annotations: Sequence[tuple[Annotation, ...]]

    def __post_init__(self) -> None:
        if len(self.sentences) != len(self.annotations):
            raise ValueError(f"{len(self.sentences)} sentences but {len(self.annotations)} annotation tuples")
