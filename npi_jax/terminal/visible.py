"""Safe display of text from files: the terminal shows control characters instead of obeying them."""

import unicodedata
from typing import Final

# Unicode has symbols for the C0 control characters; other invisible characters become escapes.
_PICTURES: Final = {number: 0x2400 + number for number in range(0x20)} | {0x7F: 0x2421}
_INVISIBLE: Final = ("Cc", "Cs", "Cn")
_REORDER: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    """Replace characters that a terminal should not receive by symbols or escapes.

    They are control characters, surrogates, unassigned characters, and marks that reorder text.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(letter) for letter in text.translate(_PICTURES))


def _shown(letter: str) -> str:
    if unicodedata.category(letter) in _INVISIBLE or letter in _REORDER:
        return f"\\u{ord(letter):04x}"
    return letter
