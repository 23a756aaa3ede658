"""Overrides of config fields on the command line: ``--config.train.steps=2000``.

The type of a field decides how its text is read; the value in the config file does not matter. Therefore fields that
are empty or None in the file can be set, too, and fields of another kind of model.
"""

import ast
import dataclasses
import functools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from npi_jax.config.errors import shown
from npi_jax.config.schema import MODELS, Config, ConfigError
from npi_jax.corpus.variants.interventions import split_outside
from npi_jax.errors import did_you_mean
from npi_jax.models.config import ModelConfig
from npi_jax.scoring.spec import ScoreSpec

PREFIX = "--config."


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values of a config file with the overrides of the command line.

    If an override changes ``model.kind``, the fields of the file's model are dropped. An override of ``model.factory``
    implies the kind ``custom``.

    Args:
        values: values of the config file, which are not changed.
        overrides: texts ``--config.FIELD=VALUE``; for a boolean field, ``--config.FIELD`` means true.

    Raises:
        ConfigError: naming the flag and the closest valid field.
    """
    changed = _copied(values)
    split = [_split(override) for override in overrides]
    kinds = ["custom" for path, _ in split if path == "model.factory"]
    kinds += [text for path, text in split if path == "model.kind"]
    if kinds:
        _set_kind(changed, kinds[-1])
    for path, text in split:
        if path != "model.kind":
            _set(changed, Config, _defaults(), path.split("."), f"{PREFIX}{path}={text}")
    return changed


def all_fields(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the type of every field, including those of nested dataclasses."""
    for name, hint in _hints(cls).items():
        if dataclasses.is_dataclass(hint):
            yield from all_fields(typing.cast(type, hint), f"{prefix}{name}.")
        elif hint == ModelConfig:
            for kind in MODELS.values():
                yield from all_fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


@functools.cache
def _defaults() -> dict[str, Any]:
    return Config(name="defaults").to_dict(mode="python")


def _copied(value: Any) -> Any:
    return {key: _copied(part) for key, part in value.items()} if isinstance(value, Mapping) else value


def _split(override: str) -> tuple[str, str]:
    path, equals, text = override.removeprefix(PREFIX).partition("=")
    if not equals and (path, bool) not in all_fields(Config):
        raise ConfigError(f"{override}: write {override}=VALUE, without a space")
    return path, text if equals else "True"


def _set_kind(values: dict[str, Any], kind: str) -> None:
    if kind not in MODELS:
        raise ConfigError(f"{PREFIX}model.kind={kind}: valid are {', '.join(MODELS)}{did_you_mean(kind, MODELS)}")
    model = values.setdefault("model", {})
    # `make_config` refuses a model that is not a mapping.
    if isinstance(model, Mapping):
        values["model"] = {**(model if model.get("kind", "lstm") == kind else {}), "kind": kind}


def _set(values: dict[str, Any], cls: Any, default: Any, parts: Sequence[str], flag: str) -> None:
    """Set a field of `values`; mappings that contain it and are absent are created with their defaults.

    Args:
        values: values of the dataclass or mapping `cls`; changed in place.
        cls: type that `values` describes.
        default: default of `values`, as plain values.
        parts: names that lead from `values` to the field.
        flag: the complete override, for messages.
    """
    name, *rest = parts
    hint = _type_below(cls, name, values, flag)
    default = default.get(name) if isinstance(default, Mapping) else None
    if not rest:
        values[name] = _read(hint, flag.partition("=")[2])
        return
    inner = values.get(name)
    if inner is None:
        inner = _copied(default) if isinstance(default, Mapping) else {}
    elif hint is ScoreSpec and isinstance(inner, str) and inner in ScoreSpec.presets:
        inner = ScoreSpec.preset(inner).to_dict()
    elif not isinstance(inner, Mapping):
        raise ConfigError(f"{flag}: {name} = {shown(inner)} has no field {'.'.join(rest)}")
    values[name] = filled = dict(inner)
    _set(filled, hint, default, rest, flag)


def _type_below(cls: Any, name: str, values: Mapping[str, Any], flag: str) -> Any:
    """Return the type of a field of a dataclass, or of the values of a mapping."""
    if dataclasses.is_dataclass(cls):
        hints = _hints(typing.cast(type, cls))
        if name not in hints:
            raise ConfigError(f"{flag}: {_unknown(flag, name, hints)}")
        model = values.get(name)
        if hints[name] != ModelConfig:
            return hints[name]
        kind = model.get("kind", "lstm") if isinstance(model, Mapping) else "lstm"
        return MODELS.get(kind, Any) if isinstance(kind, str) else Any
    mapping = _member(cls, Mapping)
    if cls is not Any and mapping is None:
        raise ConfigError(f"{flag}: {flag.removeprefix(PREFIX).partition('.' + name)[0]} has no fields")
    return Any if mapping is None else (*typing.get_args(mapping), Any, Any)[1]


def _unknown(flag: str, name: str, beside: Mapping[str, Any]) -> str:
    path = flag.removeprefix(PREFIX).partition("=")[0]
    paths = [other for other, _ in all_fields(Config)]
    kinds = [kind for kind, cls in MODELS.items() if path.startswith("model.") and name in _hints(cls)]
    if kinds:
        return f"this kind of model has no such field; it is a field of {PREFIX}model.kind={kinds[0]}"
    elsewhere = [other for other in paths if other.rpartition(".")[2] == path]
    hint = f" (did you mean {elsewhere[0]}?)" if elsewhere else did_you_mean(name, beside) or did_you_mean(path, paths)
    return f"there is no such field{hint}; valid are {', '.join(beside)}"


def _read(hint: Any, text: str) -> Any:
    """Return the value that a text means in a field of type `hint`; `make_config` checks it later."""
    if (kind := _member(hint, tuple)) is not None:
        return _tuple(typing.get_args(kind)[0], text)
    if _member(hint, str) is None and not _is_choice(hint):
        return _literal(text)
    return None if text == "None" and _member(hint, type(None)) is not None else text


def _tuple(element: Any, text: str) -> tuple[Any, ...]:
    """Return the values in a text with commas between them; brackets and quotation marks are optional."""
    value = _literal(text)
    if isinstance(value, list | tuple) and (_member(element, str) is None or all(isinstance(v, str) for v in value)):
        return tuple(value)
    return tuple(_read(element, _unquoted(part)) for part in _listed(text) if part)


def _listed(text: str) -> list[str]:
    """Split at commas outside of brackets and quotation marks, after removing brackets around the entire list."""
    around = text[:1] + text[-1:]
    if around == "[]" or (around == "()" and "," in text and len(split_outside(text, ",")) == 1):
        text = text[1:-1]
    return split_outside(text, ",")


def _unquoted(text: str) -> str:
    value = _literal(text)
    return value if isinstance(value, str) else text


def _literal(text: str) -> Any:
    """Return the value of a Python or JSON literal; for other text, the text."""
    try:
        return ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text, text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _member(hint: Any, wanted: type) -> Any:
    """Return `hint`, or the part of the union `hint`, that is a kind of `wanted`; None if there is none."""
    options = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
    classes = ((option, typing.get_origin(option) or option) for option in options)
    return next((option for option, cls in classes if isinstance(cls, type) and issubclass(cls, wanted)), None)


def _is_choice(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal
