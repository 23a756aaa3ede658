"""Types of fields in words, as a reader of a config sees them."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

WORDS = {int: "integer", float: "number", str: "string", bool: "True or False", type(None): "None", Any: "anything"}
BOUNDS = {"Ge": "at least", "Gt": "above", "Le": "at most", "Lt": "below"}
BELOW = "fields below"


def type_text(hint: Any) -> str:
    """A type in words: ``int | None`` is "integer or None"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        text = type_text(arguments[0]) + "".join(_bounds(arguments[1:]))
    elif origin is typing.Literal:
        text = ", ".join(f"`{value}`" for value in arguments)
    elif origin in (typing.Union, types.UnionType):
        groups = any(dataclasses.is_dataclass(part) for part in arguments)
        text = BELOW if groups else _either([type_text(part) for part in arguments])
    elif origin is tuple:
        text = "list of " + _several(type_text(arguments[0]))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        text = f"{type_text(arguments[1])}, by name"
    else:
        text = BELOW if dataclasses.is_dataclass(hint) else WORDS.get(hint, f"`{getattr(hint, '__name__', hint)}`")
    return text


def _either(texts: list[str]) -> str:
    return ("; or " if "," in texts[0] else " or ").join(texts)


def _several(text: str) -> str:
    return "members" if text == BELOW else re.sub(r"^(integer|number|string)", r"\1s", text)


def _bounds(metadata: tuple[Any, ...]) -> Iterator[str]:
    for item in metadata:
        for bound in item.metadata if isinstance(item, pydantic.fields.FieldInfo) else ():
            if word := BOUNDS.get(type(bound).__name__):
                yield f", {word} {getattr(bound, type(bound).__name__.lower()):,}"
