"""Reference page of the configuration: every field with its type, default and the text of its docstring."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from type_words import type_text

from npi_jax.config.schema import MODELS, Config, SuiteConfig, SweepMember, may_change
from npi_jax.scoring import ScoreSpec

INTRODUCTION = """# Configuration

A config file is Python: its function `get_config` returns an `ml_collections.ConfigDict` with the fields that differ
from their defaults. On the command line, every field can be overridden: `--config.train.steps=2000`,
`--config.seeds=0,1,2`, `--config.model.kind=transformer`, `--config.score.suites.blimp.path=blimp/data`. A value that
is not valid is refused, and the message names the field, the value and what would be valid.

A run is resumed with the values with which it started. Only `run_dir` and the fields marked *may change* can differ.
"""

MAY_CHANGE = "*May change* when a run is resumed."


@dataclass(frozen=True)
class Entry:
    """A field as it is shown.

    Attributes:
        name: its path, as on the command line.
        type: what it holds, as Markdown.
        default: its default, as Markdown.
        text: what its docstring says.
    """

    name: str
    type: str
    default: str
    text: str


@dataclass(frozen=True)
class Section:
    """The fields of one class.

    Attributes:
        title: name of the group of fields.
        cls: the class.
        entries: its fields.
    """

    title: str
    cls: type
    entries: list[Entry]


def sections() -> Iterator[Section]:
    """All fields by section, in the order of the classes that define them."""
    config = Config(name="NAME")
    yield _section("Experiment", Config, "", config)
    yield _section("sweep: each member", SweepMember, "sweep.*.")
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        if field.name == "model":
            for kind, cls in MODELS.items():
                section = _section(f"model: {kind}", cls, "model.")
                section.entries.insert(0, _kind(kind))
                yield section
        elif dataclasses.is_dataclass(value):
            yield from _nested(field.name, value)
    yield _section("score.suites: each suite", SuiteConfig, "score.suites.NAME.", SuiteConfig())
    yield _section("score.suites: spec", ScoreSpec, "score.suites.NAME.spec.", ScoreSpec())


def _section(title: str, cls: type, prefix: str, value: Any = None) -> Section:
    return Section(title, cls, list(_entries(cls, value, prefix)))


def _nested(path: str, value: Any) -> Iterator[Section]:
    """The fields of a group, and those of the groups in it."""
    yield _section(path, type(value), f"{path}.", value)
    for field in dataclasses.fields(value):
        if dataclasses.is_dataclass(inner := getattr(value, field.name)):
            yield from _nested(f"{path}.{field.name}", inner)


def page() -> str:
    """The page, as Markdown."""
    parts = [INTRODUCTION]
    for section in sections():
        about = (inspect.getdoc(section.cls) or "").partition("\n\nAttributes:")[0].replace("``", "`")
        parts.append(f"## {section.title}\n\n{about}\n\n| field | type | default | meaning |\n|---|---|---|---|")
        parts += [_row(_anchor(section.title, entry), entry) for entry in section.entries]
        parts.append("")
    return "\n".join(parts) + "\n"


def _row(anchor: str, entry: Entry) -> str:
    return f'| <a id="{anchor}"></a>`{entry.name}` | {entry.type} | {entry.default} | {entry.text} |'


def _anchor(title: str, entry: Entry) -> str:
    kind = f"{title.rpartition(' ')[2]}." if title.startswith("model: ") else ""
    return kind + entry.name


def _kind(kind: str) -> Entry:
    others = ", ".join(f"`{name}`" for name in MODELS)
    return Entry("model.kind", "string", f"`{kind}`" if kind == "lstm" else "", f"`{kind}`; valid are {others}")


def _entries(cls: type, value: Any, prefix: str) -> Iterator[Entry]:
    """The fields of a class with their defaults, which `value` has where it is given."""
    hints = typing.get_type_hints(cls, include_extras=True)
    texts = attribute_texts(cls)
    for field in dataclasses.fields(cls):
        default = field.default if value is None else getattr(value, field.name)
        if value is None and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if prefix == "" and field.name == "name":
            default = dataclasses.MISSING
        text = texts.get(field.name) or _first_sentence(default, prefix + field.name)
        if may_change(prefix + field.name):
            text = f"{text} {MAY_CHANGE}"
        yield Entry(prefix + field.name, type_text(hints[field.name]), _default_text(default), _cell(text))


def attribute_texts(cls: type) -> dict[str, str]:
    """What the section "Attributes" of a class's docstring says of each; fields described together share a text."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if match := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = match[1].split(", ")
            texts |= dict.fromkeys(names, match[2])
        elif line.startswith(" " * 8):
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
        else:
            break
    return texts


def _first_sentence(value: Any, name: str) -> str:
    """The first sentence on the class of a group of fields."""
    if name == "model":
        return "The model, of one of the kinds below."
    return (inspect.getdoc(type(value)) or "").partition("\n")[0] if dataclasses.is_dataclass(value) else ""


def _default_text(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if dataclasses.is_dataclass(value) or (isinstance(value, dict) and value):
        return ""
    return f"`{value}`" if value not in ("", (), {}) else "empty"


def _cell(text: str) -> str:
    """Text that stands in a cell of a table."""
    return text.replace("``", "`").replace("|", "\\|")
