"""What is wrong with a configuration, in a line for each field."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pydantic


def explain(error: pydantic.ValidationError, root: type, prefix: str = "") -> str:
    """The faults of values that a dataclass `root` was to be made of, each with its field, its value and the reason."""
    lines = []
    for fault in error.errors():
        field = prefix + ".".join(map(str, fault["loc"]))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "unexpected_keyword_argument":
            message = f"there is no such field; valid are {', '.join(_fields_beside(fault['loc'], root))}"
        shown = "" if isinstance(fault["input"], Mapping) else f" = {fault['input']!r}"
        lines.append(f"{field}{shown}: {message}" if field else message)
    return "\n".join(lines)


def _fields_beside(location: tuple[int | str, ...], root: type) -> list[str]:
    cls: Any = root
    for part in location[:-1]:
        found = next((f.type for f in dataclasses.fields(cls) if f.name == part), None)
        if not dataclasses.is_dataclass(found):
            break
        cls = found
    return [field.name for field in dataclasses.fields(cls)]
