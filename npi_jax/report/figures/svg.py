"""Figures as parts of an HTML page."""

import re
from typing import Final

from npi_jax.report.figures.style import DARK_PALETTE, FAINT, GRID, INK, MUTED, PALETTE

_DATA: Final = {color: f"--data-{place}" for place, color in enumerate(PALETTE)}
# Lines and text use the page's light or dark colors.
_THEME: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    FAINT: "var(--faint)",
    **{color: f"var({name})" for color, name in _DATA.items()},
}


def colors(*, dark: bool) -> str:
    """Return the style sheet's declarations of the data colors."""
    chosen = DARK_PALETTE if dark else PALETTE
    return " ".join(f"{name}: {color};" for name, color in zip(_DATA.values(), chosen, strict=True))


def inline_svg(text: str, prefix: str) -> str:
    """Turn a matplotlib SVG file into an element for an HTML page.

    Drop the XML head, comments, metadata (which has the only URLs of other sites), the white background and digits too
    small to see. Prefix every id, so that one page can have several elements. The style sheet sets the size.

    Raises:
        ValueError: if there is no svg element.
    """
    start = text.find("<svg")
    if start < 0:
        raise ValueError("no <svg> element in the text; was it saved with format='svg'?")
    body = re.sub(r"<!--.*?-->", "", text[start:], flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'href="#', f'href="#{prefix}-', body)
    body = re.sub(r"url\(#", f"url(#{prefix}-", body)
    body = re.sub(r'\bd="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), body)
    # The first patch is the background of the entire figure.
    body = re.sub(r'(<g id="[^"]*-patch_1">\s*<path [^>]*?)fill: #ffffff', r"\1fill: none", body, count=1)
    for color, variable in _THEME.items():
        body = body.replace(color, variable)
    head, rest = body.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    rest = re.sub(r"\n\s*", "\n", rest).strip()
    return f'{head} aria-hidden="true" focusable="false">{rest}'
