"""Names, counts and numbers as the report prints them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from npi_jax.results.names import LM

SHORT: Final[Mapping[str, str]] = {
    "adverbs": "ADV",
    "conditional": "COND",
    "determiner_negation": "D-NEG",
    "sentential_negation": "S-NEG",
    "only": "ONLY",
    "quantifier": "QUANT",
    "embedded_question": "EMB-Q",
    "simple_question": "SMP-Q",
    "superlative": "SUP",
    "lm": "LM",
}
"""The environments' usual abbreviations (Warstadt et al. 2019; Jumelet and Hupkes 2018)."""


def pretty(name: str) -> str:
    """Replace underscores in a name by spaces."""
    return name.replace("_", " ")


def short(name: str) -> str:
    """Abbreviate an environment; other names are cut to 8 letters."""
    return SHORT.get(name) or (pretty(name) if len(name) <= 8 else pretty(name)[:7] + "…")


def key_of(tasks: Iterable[str]) -> str:
    """Explain the abbreviations of tasks, ``ADV: adverbs; COND: conditional``; empty without any."""
    return "; ".join(f"{SHORT[task]}: {pretty(task)}" for task in tasks if task in SHORT and task != LM)


def count(number: int, noun: str) -> str:
    """Format a count with its noun: ``3 seeds``, ``1 seed``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short_number(value: float, digits: int = 2) -> str:
    """Format ``.41``, ``−.05``, ``1.20``; an en dash for NaN."""
    if math.isnan(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    if not float(text):
        return "0"
    return ("−" if value < 0 else "") + (text[1:] if text.startswith("0.") else text)


def p_value(p: Any) -> str:
    """Format ``p = .012`` or ``p < .001``."""
    return "p < .001" if p < 0.001 else f"p = {short_number(p, 3)}"


def known_number(value: Any) -> bool:
    """Return True for a finite number."""
    return value is not None and math.isfinite(value)
