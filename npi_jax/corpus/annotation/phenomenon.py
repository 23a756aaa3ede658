"""Tables of phenomena: items, their licensors, and the environments of the licensors.

A phenomenon is a TOML file: one of the package (`PHENOMENA`), or one that the user wrote.

    name = "npi_en"                  # letters, digits and "_"
    item = "NPI"                     # what tables and messages call an item

    [[items]]                        # an expression that needs a licensor
    name = "any"

    [[environments]]                 # a class of licensors; the order is that of every table
    name = "adverbs"
    scope = "clause"

    [[environments.licensors]]       # If several fit a word, the first one counts; those with a condition on the
                                     # preceding word come first.
    forms = ["rarely", "hardly"]

    [[outside]]                      # a licensor that belongs to none of the environments
    forms = ["without"]
    scope = "adverbial"

The fields are those of `Item`, `Environment` and `Licensor`. Conditions on neighboring words are lists of lower-case
words. In a condition, ``"^"`` is the start or the end of the sentence. ``"@endings"`` means all words of that class in
`npi_jax.corpus.annotation.wordclasses`.
"""

import functools
import hashlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from npi_jax.corpus.annotation.annotations import RESIDUALS
from npi_jax.corpus.annotation.entries import NAME, STRICT, Environment, Item, Licensor, Words, resolve
from npi_jax.errors import UserError, did_you_mean
from npi_jax.files.plain import read_named

_FOLDER = Path(__file__).parent / "phenomena"
PHENOMENA: tuple[str, ...] = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
"""Names of the phenomena in the package."""

SELECTION_WORDS: tuple[str, ...] = ("npi", "item", "licensed", "weak", "strong")
"""Words of selections that are valid for every phenomenon."""


class PhenomenonError(UserError):
    """A phenomenon file that cannot be used; the message names the file and each wrong field."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Phenomenon:
    """Items, and the environments that license them.

    Attributes:
        name: name of the phenomenon.
        item: name for an item in tables and messages, such as "NPI".
        description: one line about the phenomenon.
        language: language of the words; word classes exist for ``"en"`` only.
        items, environments: as in the file.
        outside: licensors that belong to none of the environments.
        digest: SHA-256 of the file, for caches and manifests.
    """

    name: Annotated[str, Field(pattern=NAME)]
    items: tuple[Item, ...]
    environments: tuple[Environment, ...]
    item: str = "item"
    description: str = ""
    language: Literal["en"] = "en"
    outside: tuple[Licensor, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        for fault in (*self._name_faults(), *self._entry_faults()):
            raise ValueError(fault)

    def _name_faults(self) -> Iterator[str]:
        for what, names in (("items", self.item_names), ("environments", self.environment_names)):
            if not names:
                yield f"{what}: there are none"
            if repeated := _repeated(names):
                yield f"{what}: {', '.join(repeated)} occurs more than once"
        reserved = {*RESIDUALS, *SELECTION_WORDS}
        for what, taken in (
            ("environments", set(self.environment_names) & (reserved | set(self.item_names))),
            ("items", set(self.item_names) & reserved),
        ):
            if taken:
                yield f"{what}: {sorted(taken)[0]!r} has another meaning in selections; choose another name"

    def _entry_faults(self) -> Iterator[str]:
        if [entry.scope for entry in self.environments].count("question") > 1:
            yield "environments: only one may have the scope 'question'"
        if repeated := _repeated([form for entry in self.items for form in entry.all_forms]):
            yield f"items: two items have the form {repeated[0]!r}"
        direct = {name for entry in self.environments for group in entry.licensors for name in group.direct}
        if unknown := direct - set(self.item_names):
            yield f"environments: direct has {sorted(unknown)[0]!r}, which is no item"
        if any(group.scope is None for group in self.outside):
            yield "outside: every licensor there needs a scope"
        for entry in self.items:
            if entry.grammar and (unknown := set(entry.grammar.barred) - set(self.environment_names)):
                yield f"items: {entry.name!r} is barred in {sorted(unknown)[0]!r}, which is no environment"

    @property
    def item_names(self) -> Words:
        """Names of the items, in the order of the file."""
        return tuple(entry.name for entry in self.items)

    @property
    def environment_names(self) -> Words:
        """Names of the environments, in the order of the file."""
        return tuple(entry.name for entry in self.environments)

    @property
    def labels(self) -> Words:
        """Labels of items: the environments and `RESIDUALS`."""
        return (*self.environment_names, *RESIDUALS)


def _repeated(names: Words | list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def load_phenomenon(name: str | Path) -> Phenomenon:
    """Read a phenomenon, given as one of `PHENOMENA` or as the path of a file.

    Raises:
        PhenomenonError: if there is no such file, or its content is not valid; names file and field.
    """
    path = _FOLDER / f"{name}.toml" if name in PHENOMENA else Path(name)
    if not path.is_file():
        hint = did_you_mean(str(name), PHENOMENA)
        raise PhenomenonError(f"phenomenon {str(name)!r}: no such file, and not one of {', '.join(PHENOMENA)}{hint}")
    return _read(path.resolve(), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _read(path: Path, _modified: int) -> Phenomenon:
    content = read_named(path)
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PhenomenonError(f"{path}: not TOML: {error}") from error
    try:
        phenomenon = _Adapter.validate_python({**values, "digest": hashlib.sha256(content).hexdigest()})
    except pydantic.ValidationError as error:
        raise PhenomenonError(f"{path}: {_explain(error)}") from error
    _check_classes(path, values)
    return phenomenon


_Adapter: pydantic.TypeAdapter[Phenomenon] = pydantic.TypeAdapter(Phenomenon)


def _explain(error: pydantic.ValidationError) -> str:
    faults = []
    for fault in error.errors():
        field = ".".join(str(part + 1) if isinstance(part, int) else part for part in fault["loc"])
        faults.append(f"{field}: {fault['msg'].removeprefix('Value error, ')}" if field else fault["msg"])
    return "; ".join(fault.removeprefix("Value error, ") for fault in faults)


def _check_classes(path: Path, values: Any, field: str = "") -> None:
    """Check that `resolve` knows every ``@class`` in the file."""
    if isinstance(values, dict):
        for key, value in values.items():
            _check_classes(path, value, f"{field}.{key}".lstrip("."))
    elif isinstance(values, list):
        for number, value in enumerate(values, 1):
            _check_classes(path, value, field if isinstance(value, str) else f"{field}.{number}")
    elif isinstance(values, str) and values.startswith("@"):
        try:
            resolve((values,))
        except ValueError as error:
            raise PhenomenonError(f"{path}: {field}: {error}") from error
