"""Escape characters that cannot be displayed safely, in texts from tables and settings."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from npi_jax.terminal.visible import visible


def visible_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the table after applying `visible` to all texts and column names."""
    changed = []
    for name in (name for name, kind in frame.schema.items() if kind == pl.String):
        odd = {text: shown for text in frame[name].unique().drop_nulls() if (shown := visible(text)) != text}
        if odd:
            changed.append(pl.col(name).replace(odd))
    odd_heads = {name: visible(name) for name in frame.columns if visible(name) != name}
    return frame.with_columns(changed).rename(odd_heads)


def visible_values(value: Any) -> Any:
    """Return settings after applying `visible` to all texts, including the names of the settings."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_values(name): visible_values(its) for name, its in value.items()}
    return [visible_values(its) for its in value] if isinstance(value, list | tuple) else value
