"""Errors of a configuration, one line for each field at fault."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pydantic

from npi_jax.errors import UserError, did_you_mean

DEEPEST = 20
"""Largest number of levels of nested values; no field has half as many."""
_WIDEST = 120


class ConfigError(UserError):
    """A configuration that cannot be run; the message names each field at fault."""


def explain(error: pydantic.ValidationError, root: type, inside: str = "") -> str:
    """Return one line for each fault: the field, its value and the reason.

    Args:
        error: the faults.
        root: the dataclass that the values were checked against.
        inside: name of the field whose value was checked, which is then the first part of every location; "" if the
            locations begin with a field of `root`.
    """
    lines = []
    for fault in error.errors():
        field = ".".join(map(str, fault["loc"]))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "unexpected_keyword_argument":
            valid = _fields_beside(fault["loc"][1:] if inside else fault["loc"], root)
            hint = did_you_mean(str(fault["loc"][-1]), valid)
            message = f"there is no such field{hint}; valid are {', '.join(valid)}"
        if fault["type"] == "string_pattern_mismatch":
            message = "it begins with a letter or digit and contains only letters, digits, '_', '.' and '-'"
        given = "" if isinstance(fault["input"], Mapping) else f" = {shown(fault['input'])}"
        lines.append(f"{field}{given}: {message}" if field else message)
    return "\n".join(lines)


def shown(value: Any) -> str:
    """Return a value as a text for messages, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:
        # Python does not convert integers of more than 4,300 digits to text.
        text = f"a number of {value.bit_length():,} bits" if isinstance(value, int) else type(value).__name__
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}..."


def check_plain(value: Any, name: str = "", depth: int = 0) -> None:
    """Refuse values that cannot be stored: text that is not Unicode or has a zero byte, and values nested too deep.

    Raises:
        ConfigError: naming the field.
    """
    if depth > DEEPEST:
        raise ConfigError(f"{name.split('.', maxsplit=1)[0]}: values nested more than {DEEPEST} levels deep")
    if isinstance(value, str):
        _check_text(value, name)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"{name or 'a config'} has {shown(key)} for the name of a field; names are text")
            _check_text(key, name)
            check_plain(part, f"{name}.{key}" if name else key, depth + 1)
    elif isinstance(value, list | tuple):
        for part in value:
            check_plain(part, name, depth + 1)


def _check_text(text: str, name: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{name} = {shown(text)}: this text is not Unicode (half of a surrogate pair)") from None
    if "\0" in text:
        raise ConfigError(f"{name} = {shown(text)}: this text contains a zero byte")


def _fields_beside(location: tuple[int | str, ...], root: type) -> list[str]:
    """Return the names of the fields that are valid at the location of an unknown field."""
    cls: Any = root
    for part in location[:-1]:
        inner = next((f.type for f in dataclasses.fields(cls) if f.name == part), None)
        if not dataclasses.is_dataclass(inner):
            break
        cls = inner
    return [field.name for field in dataclasses.fields(cls)]
