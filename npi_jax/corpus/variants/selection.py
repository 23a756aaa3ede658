"""Selections of annotations, in the text form of configs and tables.

    only                      sentences with a licensor of the environment "only", with or without an NPI in its scope
    only & npi                sentences with an NPI in that environment
    npi & !superlative        NPIs with any label other than that environment
    'at all' | ever           two NPIs by name (quoted if the name has a space)
    strong & (only | adverbs) strong NPIs in one of two environments

Valid words are the environments and items of the phenomenon, and its residual labels (``other``, ``ambiguous``,
``unlicensed``). Further words are ``npi`` or ``item`` (any item), ``licensed`` (an item in an environment), ``strong``
and ``weak``. A sentence is selected if one of its annotations is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from npi_jax.corpus.annotation.phenomenon import SELECTION_WORDS, Phenomenon
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.errors import did_you_mean

_TOKEN = re.compile(r"\s*(?:'([^']*)'|\"([^\"]*)\"|([\w\-]+)|([&|!()]))")

AnnotationMask = Bool[np.ndarray, " rows"]
"""Mask of the rows of an `AnnotationTable`."""


@dataclass(frozen=True)
class Selection:
    """A word, or a combination of selections by an operator.

    Attributes:
        operator: ``"&"``, ``"|"`` or ``"!"``; ``""`` for a word.
        word: the word, if there is no operator.
        parts: operands of the operator.
    """

    operator: str
    word: str = ""
    parts: tuple["Selection", ...] = ()

    def __str__(self) -> str:
        if not self.operator:
            quote = '"' if "'" in self.word else "'"
            return self.word if re.fullmatch(r"[\w\-]+", self.word) else f"{quote}{self.word}{quote}"
        if self.operator == "!":
            return f"!{self.parts[0]._inner('!')}"
        return f" {self.operator} ".join(part._inner(self.operator) for part in self.parts)

    def _inner(self, outside: str) -> str:
        """Return the text as an operand of an operator, in brackets if necessary."""
        precedence = {"": 0, "!": 0, "&": 1, "|": 2}
        return (
            f"({self})"
            if precedence[self.operator] > precedence[outside] or (outside == "!" and self.operator)
            else str(self)
        )

    @property
    def words(self) -> tuple[str, ...]:
        """All words of the selection."""
        return (self.word,) if not self.operator else tuple(word for part in self.parts for word in part.words)

    def check(self, phenomenon: Phenomenon) -> None:
        """Reject words that a phenomenon does not define.

        Raises:
            ValueError: names the word and all valid words.
        """
        known = (*phenomenon.labels, *phenomenon.item_names, *SELECTION_WORDS)
        for word in self.words:
            if word not in known:
                hint = did_you_mean(word, known)
                raise ValueError(
                    f"{word!r} is not a valid selection in {phenomenon.name}{hint}; valid words are {', '.join(known)}"
                )

    def mask(self, table: AnnotationTable, phenomenon: Phenomenon) -> AnnotationMask:
        """Return the mask of the selected annotations."""
        match self.operator:
            case "":
                return self._mask_of_word(table, phenomenon)
            case "!":
                return ~self.parts[0].mask(table, phenomenon)
        masks = [part.mask(table, phenomenon) for part in self.parts]
        return np.asarray((np.logical_and if self.operator == "&" else np.logical_or).reduce(masks))

    def _mask_of_word(self, table: AnnotationTable, phenomenon: Phenomenon) -> AnnotationMask:
        match self.word:
            case "npi" | "item":
                return table.holds_item
            case "licensed":
                return table.holds_item & (table.label < len(phenomenon.environments))
            case "weak" | "strong":
                has_strength = np.array([*(entry.strength == self.word for entry in phenomenon.items), False])
                return np.asarray(has_strength[table.item])  # -1 (no item) indexes the last entry
        if self.word in phenomenon.labels:
            return np.asarray(table.label == phenomenon.labels.index(self.word))
        return np.asarray(table.item == phenomenon.item_names.index(self.word))


def word(name: str) -> Selection:
    """Return the selection of one word."""
    return Selection("", name)


NPI = word("npi")


def both(*parts: Selection) -> Selection:
    """Return the selection of the annotations that are in all parts."""
    return Selection("&", parts=parts)


def parse_selection(text: str) -> Selection:
    """Parse the text form of a selection.

    Raises:
        ValueError: names the character at which the text cannot be parsed.
    """
    parser = _Parser(text)
    selection = parser.alternatives()
    if parser.token:
        raise ValueError(f"selection {text!r}: {parser.token[1]!r} is unexpected after character {parser.at}")
    return selection


class _Parser:
    """Recursive-descent parser of selections."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self._next = text, 0, 0
        self.token: tuple[bool, str] | None = None  # (True for a word or False for a sign, text)
        self.advance()

    def advance(self) -> None:
        """Move to the next token."""
        self.at = self._next
        match = _TOKEN.match(self.text, self._next)
        if match is None:
            if self.text[self._next :].strip():
                raise ValueError(f"selection {self.text!r}: cannot be parsed from character {self._next + 1} on")
            self.token = None
            return
        self._next = match.end()
        single, double, plain, sign = match.groups()
        name = next((one for one in (single, double, plain) if one is not None), None)
        self.token = (False, sign) if name is None else (True, name)

    def alternatives(self) -> Selection:
        """Parse parts joined by ``|``."""
        return self._chain("|", self.conjunction)

    def conjunction(self) -> Selection:
        """Parse parts joined by ``&``."""
        return self._chain("&", self.operand)

    def _chain(self, sign: str, part: Callable[[], Selection]) -> Selection:
        parts = [part()]
        while self.token == (False, sign):
            self.advance()
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        # "npi & only" becomes "only & npi", so that equal selections have equal texts.
        parts.sort(key=lambda part: part == NPI)
        return Selection(sign, parts=tuple(parts))

    def operand(self) -> Selection:
        """Parse a word, brackets or a negation."""
        if self.token is None:
            raise ValueError(f"selection {self.text!r}: a word is missing at the end")
        is_word, text = self.token
        self.advance()
        if is_word:
            return NPI if text == "item" else word(text)
        if text == "!":
            return Selection("!", parts=(self.operand(),))
        if text == "(":
            inside = self.alternatives()
            if self.token != (False, ")"):
                raise ValueError(f"selection {self.text!r}: a bracket is not closed")
            self.advance()
            return inside
        raise ValueError(f"selection {self.text!r}: {text!r} is unexpected before character {self.at + 1}")
