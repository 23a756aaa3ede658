"""Prediction formulas of SyntaxGym, which compare surprisals of regions: ``(5;%a%) > (5;%b%)``.

::

    formula    := conjunct ("|" conjunct)*
    conjunct   := comparison ("&" comparison)*
    comparison := sum (("<" | ">" | "=") sum)?
    sum        := unit (("+" | "-") unit)*
    unit       := number | "(" region ";" "%" condition "%" ")" | "(" formula ")" | "[" formula "]" | "-" unit
    region     := number | "*"

``&`` binds more tightly than ``|``. ``=`` allows a relative difference of 1e-5 or an absolute one of 1e-3 bits, as
syntaxgym-core does.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from npi_jax.errors import UserError

Surprisals = Mapping[tuple[str, str], Float[np.ndarray, " items"]]
"""Surprisals of all items, in bits, by (region, condition)."""

_Evaluate = Callable[[Surprisals], np.ndarray]

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-3
"""Tolerances of ``=``; the absolute one is in bits."""

_TOKEN = re.compile(
    r"\s*(?:\(\s*(?P<region>\d+|\*)\s*;\s*%(?P<condition>[^%]+)%\s*\)|(?P<number>\d+(?:\.\d+)?)|(?P<sign>[\[\]()<>=+\-&|]))"
)
_CLOSING = {"(": ")", "[": "]"}


class FormulaError(UserError):
    """A prediction formula that cannot be parsed."""


@dataclass(frozen=True)
class Formula:
    """A parsed prediction.

    Attributes:
        text: the formula as written.
        regions: the (region, condition) pairs in the formula.
    """

    text: str
    regions: frozenset[tuple[str, str]]
    _evaluate: _Evaluate

    def evaluate(self, surprisals: Surprisals) -> Float[np.ndarray, " items"]:
        """Return for each item 1 if the prediction holds, 0 if not, NaN if a surprisal is NaN.

        Args:
            surprisals: surprisals of every (region, condition) in `regions`.

        Raises:
            FormulaError: if a (region, condition) is missing.
        """
        if missing := sorted(self.regions - set(surprisals)):
            region, condition = missing[0]
            raise FormulaError(f"{self.text!r} needs region {region} of condition {condition!r}, which is missing")
        known = ~np.any([np.isnan(surprisals[key]) for key in self.regions], axis=0)
        return np.where(known, self._evaluate(surprisals).astype(float), np.nan)


def parse_formula(text: str, where: str = "formula") -> Formula:
    """Parse a formula.

    Raises:
        FormulaError: if the text does not follow the grammar above; names `where` and the column.
    """
    parser = _Parser(text, where)
    value, is_truth = parser.formula()
    parser.end()
    if not is_truth:
        raise FormulaError(f"{where}: {text!r} is a number, not a prediction; a prediction needs <, > or =")
    if not parser.regions:
        raise FormulaError(f"{where}: {text!r} compares no region")
    return Formula(text, frozenset(parser.regions), value)


class _Parser:
    """Recursive-descent parser; methods return a function of surprisals, and True if its result is a truth value."""

    def __init__(self, text: str, where: str):
        self.text, self.where = text, where
        self.tokens: list[tuple[int, re.Match[str]]] = []
        self.regions: set[tuple[str, str]] = set()
        self.index = position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(position, "cannot be parsed")
            self.tokens.append((match.start(), match))
            position = match.end()

    def error(self, position: int, what: str) -> FormulaError:
        return FormulaError(f"{self.where}, column {position + 1} of {self.text!r}: {what}")

    def here(self) -> int:
        return self.tokens[self.index][0] if self.index < len(self.tokens) else len(self.text)

    def sign(self) -> str | None:
        return self.tokens[self.index][1]["sign"] if self.index < len(self.tokens) else None

    def end(self) -> None:
        if self.index < len(self.tokens):
            raise self.error(self.here(), "the formula should end here")

    def formula(self) -> tuple[_Evaluate, bool]:
        return self._joined("|", self.conjunct, np.logical_or)

    def conjunct(self) -> tuple[_Evaluate, bool]:
        return self._joined("&", self.comparison, np.logical_and)

    def _joined(
        self, sign: str, part: Callable[[], tuple[_Evaluate, bool]], join: Callable[..., np.ndarray]
    ) -> tuple[_Evaluate, bool]:
        position = self.here()
        value, is_truth = part()
        while self.sign() == sign:
            if not is_truth:
                raise self.error(position, f"{sign!r} joins predictions, not numbers")
            self.index += 1
            position = self.here()
            other, is_truth = part()
            if not is_truth:
                raise self.error(position, f"{sign!r} joins predictions, not numbers")
            value = _apply(join, value, other)
        return value, is_truth

    def comparison(self) -> tuple[_Evaluate, bool]:
        position = self.here()
        left, is_truth = self.sum()
        sign = self.sign()
        if sign not in _COMPARE:
            return left, is_truth
        self.index += 1
        right, right_is_truth = self.sum()
        if is_truth or right_is_truth:
            raise self.error(position, f"{sign!r} compares numbers, not predictions")
        return _apply(_COMPARE[sign], left, right), True

    def sum(self) -> tuple[_Evaluate, bool]:
        position = self.here()
        value, is_truth = self.unit()
        while (sign := self.sign()) in ("+", "-"):
            self.index += 1
            other, other_is_truth = self.unit()
            if is_truth or other_is_truth:
                raise self.error(position, f"{sign!r} joins numbers, not predictions")
            value = _apply(np.add if sign == "+" else np.subtract, value, other)
        return value, is_truth

    def unit(self) -> tuple[_Evaluate, bool]:
        if self.index == len(self.tokens):
            raise self.error(len(self.text), "a region, a number or a bracket is missing")
        position, match = self.tokens[self.index]
        self.index += 1
        if match["region"]:
            key = (match["region"], match["condition"])
            self.regions.add(key)
            return lambda surprisals: surprisals[key], False
        if match["number"]:
            number = np.asarray(match["number"], np.float64)
            return lambda _: number, False
        if match["sign"] == "-":
            value, is_truth = self.unit()
            if is_truth:
                raise self.error(position, "'-' negates numbers, not predictions")
            return lambda surprisals: -value(surprisals), False
        if match["sign"] not in _CLOSING:
            raise self.error(position, f"{match['sign']!r} is not valid here")
        value, is_truth = self.formula()
        if self.sign() != _CLOSING[match["sign"]]:
            raise self.error(self.here(), f"the bracket of column {position + 1} is not closed")
        self.index += 1
        return value, is_truth


def _apply(function: Callable[..., np.ndarray], left: _Evaluate, right: _Evaluate) -> _Evaluate:
    return lambda surprisals: function(left(surprisals), right(surprisals))


def _close(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.isclose(left, right, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE)


_COMPARE: dict[str, Callable[..., Any]] = {"<": np.less, ">": np.greater, "=": _close}
