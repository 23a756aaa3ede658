"""Fields of a config set on the command line: ``--config.train.steps=2000``.

What a value is read as follows from the type of its field, not from the value that the config file has there: fields
that are empty or None in the file can be set too, and so can fields of another kind of model.
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
    """The values of a config file with fields set as the command line says.

    Setting ``model.kind`` to another kind drops the fields of the file's model; ``model.factory`` implies ``custom``.

    Args:
        values: as the config file has them; they stay as they are.
        overrides: ``--config.FIELD=VALUE``; a field that is true or false may stand alone, for true.

    Raises:
        ConfigError: naming the flag, with the field that was probably meant.
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
    """Every field with its type, by its dotted path; the fields of inner data classes one by one."""
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
    # A model that is no mapping is refused with all else that the file has wrong.
    if isinstance(model, Mapping):
        values["model"] = {**(model if model.get("kind", "lstm") == kind else {}), "kind": kind}


def _set(place: dict[str, Any], cls: Any, default: Any, parts: Sequence[str], flag: str) -> None:
    """Set a field at or below `place`, filling in what the file leaves to the defaults on the way.

    Args:
        place: values of the data class or mapping `cls`.
        cls: type of `place`.
        default: what `place` is by default, as plain values.
        parts: names from `place` down to the field.
        flag: the whole override, for messages.
    """
    name, *rest = parts
    hint = _type_below(cls, name, place, flag)
    default = default.get(name) if isinstance(default, Mapping) else None
    if not rest:
        place[name] = _read(hint, flag.partition("=")[2])
        return
    inner = place.get(name)
    if inner is None:
        inner = _copied(default) if isinstance(default, Mapping) else {}
    elif hint is ScoreSpec and isinstance(inner, str) and inner in ScoreSpec.presets:
        inner = ScoreSpec.preset(inner).to_dict()
    elif not isinstance(inner, Mapping):
        raise ConfigError(f"{flag}: {name} = {shown(inner)} has no field {'.'.join(rest)}")
    place[name] = filled = dict(inner)
    _set(filled, hint, default, rest, flag)


def _type_below(cls: Any, name: str, place: Mapping[str, Any], flag: str) -> Any:
    """The type of a field of a data class, or of a value of a mapping."""
    if dataclasses.is_dataclass(cls):
        hints = _hints(typing.cast(type, cls))
        if name not in hints:
            raise ConfigError(f"{flag}: {_unknown(flag, name, hints)}")
        model = place.get(name)
        if hints[name] != ModelConfig:
            return hints[name]
        kind = model.get("kind", "lstm") if isinstance(model, Mapping) else "lstm"
        return MODELS.get(kind, Any) if isinstance(kind, str) else Any
    of_mapping = _member(cls, Mapping)
    if cls is not Any and of_mapping is None:
        raise ConfigError(f"{flag}: {flag.removeprefix(PREFIX).partition('.' + name)[0]} has no fields")
    return Any if of_mapping is None else (*typing.get_args(of_mapping), Any, Any)[1]


def _unknown(flag: str, name: str, beside: Mapping[str, Any]) -> str:
    path = flag.removeprefix(PREFIX).partition("=")[0]
    paths = [other for other, _ in all_fields(Config)]
    kinds = [kind for kind, cls in MODELS.items() if path.startswith("model.") and name in _hints(cls)]
    if kinds:
        return f"there is no such field in this kind of model; it is of {PREFIX}model.kind={kinds[0]}"
    elsewhere = [other for other in paths if other.rpartition(".")[2] == path]
    hint = f" (did you mean {elsewhere[0]}?)" if elsewhere else did_you_mean(name, beside) or did_you_mean(path, paths)
    return f"there is no such field{hint}; valid are {', '.join(beside)}"


def _read(hint: Any, text: str) -> Any:
    """The value that a text stands for in a field of this type; `make_config` checks it."""
    if (of_tuple := _member(hint, tuple)) is not None:
        return _tuple(typing.get_args(of_tuple)[0], text)
    if _member(hint, str) is None and not _is_choice(hint):
        return _literal(text)
    return None if text == "None" and _member(hint, type(None)) is not None else text


def _tuple(element: Any, text: str) -> tuple[Any, ...]:
    """Values with commas between them, with or without brackets and quotation marks."""
    value = _literal(text)
    if isinstance(value, list | tuple) and (_member(element, str) is None or all(isinstance(v, str) for v in value)):
        return tuple(value)
    return tuple(_read(element, part) for part in split_outside(text, ",") if part)


def _literal(text: str) -> Any:
    """Python's value, or the text where it is none; true, false and null as in JSON too."""
    try:
        return ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text, text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _member(hint: Any, wanted: type) -> Any:
    """The part of a type, itself or one of a union, that is a `wanted`; None if no part is."""
    options = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
    classes = ((option, typing.get_origin(option) or option) for option in options)
    return next((option for option, cls in classes if isinstance(cls, type) and issubclass(cls, wanted)), None)


def _is_choice(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal
