"""Text of unknown origin as something that can be shown: no character in it does anything."""

import unicodedata
from typing import Final

# Controls of C0 have pictures of their own; what reorders text or is no character has none.
_PICTURES: Final = {number: 0x2400 + number for number in range(0x20)} | {0x7F: 0x2421}
_UNSEEN: Final = ("Cc", "Cs", "Cn")
_REORDER: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    """The text with a picture or an escape in the place of every control, surrogate, or mark that reorders."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(letter) for letter in text.translate(_PICTURES))


def _shown(letter: str) -> str:
    if unicodedata.category(letter) in _UNSEEN or letter in _REORDER:
        return f"\\u{ord(letter):04x}"
    return letter
