"""Selections: which annotations an intervention is about, as text that configs and tables share.

    only                      sentences with the licensor "only" in an environment of that name, with an NPI or without
    only & npi                those with an NPI that it licenses
    npi & !superlative        NPIs in any but that environment
    'at all' | ever           two NPIs by name (quoted where the name has a space)
    strong & (only | adverbs)

Words are the environments and items of the phenomenon, its residual labels (``other``, ``ambiguous``, ``unlicensed``),
``npi`` or ``item`` (any item), ``licensed`` (an item in an environment), ``strong`` and ``weak``. A sentence is
selected if one of its annotations is.
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


@dataclass(frozen=True)
class Selection:
    """One selection.

    Attributes:
        operator: ``""`` for a word, else ``"&"``, ``"|"`` or ``"!"``.
        word: of a selection that is one word.
        parts: what the operator combines.
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
        """The text inside of an operator, in brackets where they are needed."""
        loose = {"": 0, "!": 0, "&": 1, "|": 2}
        return f"({self})" if loose[self.operator] > loose[outside] or (outside == "!" and self.operator) else str(self)

    @property
    def words(self) -> tuple[str, ...]:
        """All words of it."""
        return (self.word,) if not self.operator else tuple(word for part in self.parts for word in part.words)

    def check(self, phenomenon: Phenomenon) -> None:
        """Refuse words that mean nothing in a phenomenon.

        Raises:
            ValueError: naming the word and what would be valid.
        """
        known = (*phenomenon.labels, *phenomenon.item_names, *SELECTION_WORDS)
        for word in self.words:
            if word not in known:
                hint = did_you_mean(word, known)
                raise ValueError(
                    f"{word!r} is no word of selections in {phenomenon.name}{hint}; there are {', '.join(known)}"
                )

    def mask(self, table: AnnotationTable, phenomenon: Phenomenon) -> AnnotationMask:
        """Which annotations are selected."""
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
                of = np.array([*(entry.strength == self.word for entry in phenomenon.items), False])
                return np.asarray(of[table.item])  # -1, no item, is the last
        if self.word in phenomenon.labels:
            return np.asarray(table.label == phenomenon.labels.index(self.word))
        return np.asarray(table.item == phenomenon.item_names.index(self.word))


def word(name: str) -> Selection:
    """The selection of one word."""
    return Selection("", name)


NPI = word("npi")


def both(*parts: Selection) -> Selection:
    """What is in all parts."""
    return Selection("&", parts=parts)


def parse_selection(text: str) -> Selection:
    """Read a selection.

    Raises:
        ValueError: saying where the text cannot be read.
    """
    parser = _Parser(text)
    found = parser.either()
    if parser.token:
        raise ValueError(f"selection {text!r}: {parser.token[1]!r} is not expected after character {parser.at}")
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self._next = text, 0, 0
        self.token: tuple[bool, str] | None = None  # (whether a word, the text)
        self.advance()

    def advance(self) -> None:
        """Go on to the next token."""
        self.at = self._next
        match = _TOKEN.match(self.text, self._next)
        if match is None:
            if self.text[self._next :].strip():
                raise ValueError(f"selection {self.text!r}: cannot be read from character {self._next + 1} on")
            self.token = None
            return
        self._next = match.end()
        single, double, plain, sign = match.groups()
        name = next((one for one in (single, double, plain) if one is not None), None)
        self.token = (False, sign) if name is None else (True, name)

    def either(self) -> Selection:
        """Parts joined by ``|``."""
        return self._chain("|", self.every)

    def every(self) -> Selection:
        """Parts joined by ``&``."""
        return self._chain("&", self.one)

    def _chain(self, sign: str, part: Callable[[], Selection]) -> Selection:
        parts = [part()]
        while self.token == (False, sign):
            self.advance()
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        # "npi & only" is "only & npi": one text for one selection.
        parts.sort(key=lambda part: part == NPI)
        return Selection(sign, parts=tuple(parts))

    def one(self) -> Selection:
        """A word, a bracket or a negation."""
        if self.token is None:
            raise ValueError(f"selection {self.text!r}: something is missing at its end")
        is_word, text = self.token
        self.advance()
        if is_word:
            return NPI if text == "item" else word(text)
        if text == "!":
            return Selection("!", parts=(self.one(),))
        if text == "(":
            inside = self.either()
            if self.token != (False, ")"):
                raise ValueError(f"selection {self.text!r}: a bracket is not closed")
            self.advance()
            return inside
        raise ValueError(f"selection {self.text!r}: {text!r} is not expected before character {self.at + 1}")
