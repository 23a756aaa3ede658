"""Prediction formulas of SyntaxGym: what a model's surprisals must be like, such as ``(5;%a%) > (5;%b%)``.

::

    formula    := conjunct ("|" conjunct)*
    conjunct   := comparison ("&" comparison)*
    comparison := sum (("<" | ">" | "=") sum)?
    sum        := unit (("+" | "-") unit)*
    unit       := number | "(" region ";" "%" condition "%" ")" | "(" formula ")" | "[" formula "]" | "-" unit
    region     := number | "*"

``&`` binds more tightly than ``|``; ``=`` holds within a relative 1e-5 and an absolute 1e-3 (bits), as in
syntaxgym-core.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npi_jax.errors import UserError

Values = Mapping[tuple[str, str], np.ndarray]
_Evaluate = Callable[[Values], np.ndarray]

RELATIVE, ABSOLUTE = 1e-5, 1e-3
_TOKEN = re.compile(
    r"\s*(?:\(\s*(?P<region>\d+|\*)\s*;\s*%(?P<condition>[^%]+)%\s*\)|(?P<number>\d+(?:\.\d+)?)|(?P<sign>[\[\]()<>=+\-&|]))"
)
_CLOSING = {"(": ")", "[": "]"}


class FormulaError(UserError):
    """A prediction formula that cannot be read."""


@dataclass(frozen=True)
class Formula:
    """A prediction.

    Attributes:
        text: as it was written.
        regions: the (region, condition) pairs that it compares.
    """

    text: str
    regions: frozenset[tuple[str, str]]
    _evaluate: _Evaluate

    def evaluate(self, values: Values) -> np.ndarray:
        """1 where the prediction holds, 0 where it does not, NaN where a value is missing (NaN); float [items].

        Args:
            values: surprisals in bits of every (region, condition) in `regions`, [items] each.

        Raises:
            FormulaError: if one of them is not given.
        """
        if missing := sorted(self.regions - set(values)):
            region, condition = missing[0]
            raise FormulaError(f"{self.text!r} needs region {region} of condition {condition!r}, which is not there")
        known = ~np.any([np.isnan(values[key]) for key in self.regions], axis=0)
        return np.where(known, self._evaluate(values).astype(float), np.nan)


def parse_formula(text: str, where: str = "formula") -> Formula:
    """Read a formula.

    Raises:
        FormulaError: with `where` and the column, if it is not of the form above.
    """
    parser = _Parser(text, where)
    value, is_truth = parser.formula()
    parser.end()
    if not is_truth:
        raise FormulaError(f"{where}: {text!r} is a number, not a prediction; nothing is compared")
    if not parser.regions:
        raise FormulaError(f"{where}: {text!r} compares no region")
    return Formula(text, frozenset(parser.regions), value)


class _Parser:
    """Recursive descent; each method gives a function of the values, and whether it is a truth or a number."""

    def __init__(self, text: str, where: str):
        self.text, self.where = text, where
        self.tokens: list[tuple[int, re.Match[str]]] = []
        self.regions: set[tuple[str, str]] = set()
        self.index = position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(position, "cannot be read")
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
            raise self.error(self.here(), "nothing may follow here")

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
                raise self.error(position, f"a number cannot be joined by {sign!r}")
            self.index += 1
            position = self.here()
            other, is_truth = part()
            if not is_truth:
                raise self.error(position, f"a number cannot be joined by {sign!r}")
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
            raise self.error(position, f"a comparison cannot be compared by {sign!r}")
        return _apply(_COMPARE[sign], left, right), True

    def sum(self) -> tuple[_Evaluate, bool]:
        position = self.here()
        value, is_truth = self.unit()
        while (sign := self.sign()) in ("+", "-"):
            self.index += 1
            other, other_is_truth = self.unit()
            if is_truth or other_is_truth:
                raise self.error(position, f"a comparison cannot be added to by {sign!r}")
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
            return lambda values: values[key], False
        if match["number"]:
            number = np.asarray(match["number"], np.float64)
            return lambda _: number, False
        if match["sign"] == "-":
            value, is_truth = self.unit()
            if is_truth:
                raise self.error(position, "a comparison has no negative")
            return lambda values: -value(values), False
        if match["sign"] not in _CLOSING:
            raise self.error(position, f"{match['sign']!r} cannot stand here")
        value, is_truth = self.formula()
        if self.sign() != _CLOSING[match["sign"]]:
            raise self.error(self.here(), f"the bracket of column {position + 1} is not closed")
        self.index += 1
        return value, is_truth


def _apply(function: Callable[..., np.ndarray], left: _Evaluate, right: _Evaluate) -> _Evaluate:
    return lambda values: function(left(values), right(values))


def _close(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.isclose(left, right, rtol=RELATIVE, atol=ABSOLUTE)


_COMPARE: dict[str, Callable[..., Any]] = {"<": np.less, ">": np.greater, "=": _close}
