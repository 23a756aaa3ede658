"""Escape characters in names from tables and settings that cannot be shown safely."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from npi_jax.terminal.visible import visible


def visible_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the table with all texts and column names made `visible`."""
    changed = []
    for name in (name for name, kind in frame.schema.items() if kind == pl.String):
        odd = {text: shown for text in frame[name].unique().drop_nulls() if (shown := visible(text)) != text}
        if odd:
            changed.append(pl.col(name).replace(odd))
    odd_heads = {name: visible(name) for name in frame.columns if visible(name) != name}
    return frame.with_columns(changed).rename(odd_heads)


def visible_values(value: Any) -> Any:
    """Return settings with all texts, names included, made `visible`."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_values(name): visible_values(its) for name, its in value.items()}
    return [visible_values(its) for its in value] if isinstance(value, list | tuple) else value
