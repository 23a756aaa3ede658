"""Phenomena as data: the items of one, what licenses them, and in which environments.

A phenomenon is a TOML file, of the package (`PHENOMENA`) or of the user's own:

    name = "npi_en"                  # letters, digits and "_"
    item = "NPI"                     # what an item is called in tables and messages

    [[items]]                        # what has to be licensed
    name = "any"

    [[environments]]                 # where it is, in the order of every table
    name = "adverbs"
    scope = "clause"

    [[environments.licensors]]       # what licenses there; of several that fit a word, the first counts, and those
                                     # with a condition on the word before come before those without
    forms = ["rarely", "hardly"]

    [[outside]]                      # what licenses, but belongs to none of the environments
    forms = ["without"]
    scope = "adverbial"

The fields are those of `Item`, `Environment` and `Licensor`. Conditions on the words beside are lists of words in
lower case, where ``"^"`` is the start or the end of the sentence and ``"@endings"`` all words of that class in
`npi_jax.corpus.annotation.wordclasses`.
"""

import functools
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from npi_jax.corpus.annotation import wordclasses
from npi_jax.corpus.annotation.annotations import RESIDUALS
from npi_jax.errors import UserError, did_you_mean
from npi_jax.files.plain import read_named

_FOLDER = Path(__file__).parent / "phenomena"
PHENOMENA: tuple[str, ...] = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
"""The phenomena that come with the package."""

NO_ITEM = "no_item"
"""What `Item.unlicensed` says of words that are no item without a licensor."""

SELECTION_WORDS: tuple[str, ...] = ("npi", "item", "licensed", "weak", "strong")
"""Words that selections understand for every phenomenon."""

EDGE = "^"
"""In conditions: the start (before the first word) or the end (after the last) of a sentence."""

Scope = Literal["clause", "predicate", "adverbial", "complement", "relative", "question"]
Words = tuple[str, ...]
_STRICT = pydantic.ConfigDict(extra="forbid")
_NAME = r"^[a-z][a-z0-9_]*$"


class PhenomenonError(UserError):
    """A phenomenon file that cannot be used; the message names the file and each field at fault."""


@dataclass(frozen=True, config=_STRICT)
class Grammar:
    """How the built-in grammar writes an item.

    Attributes:
        position: ``"determiner"``, ``"person"`` or ``"thing"`` (object pronouns), ``"adverb"`` (before the verb) or
            ``"final"`` (at the end of the verb phrase).
        perfect: whether only in the perfect ("has not left yet").
        barred: environments in which it is not written.
    """

    position: Literal["determiner", "person", "thing", "adverb", "final"]
    perfect: bool = False
    barred: Words = ()


@dataclass(frozen=True, config=_STRICT)
class Item:
    """An item that has to be licensed.

    Attributes:
        name: its words, a space between them, in lower case.
        forms: the forms that are reported under this name; the name alone if empty.
        strength: ``"weak"`` or ``"strong"``, for selections (`npi_jax.corpus.variants.selection`).
        counterparts: what stands in the same place and needs no licensor.
        before, after: it must stand right before, or right after, one of these words, if there are any: with
            ``before = ["is"]`` it is found in "there is".
        not_before, not_after: right before, or right after, one of these words it is no item ("ever since").
        not_in: phrases in which it is no item ("at any rate").
        joins: it may also join two words of open classes, and then is no item ("sheer yet crumbling").
        not_with_later: words that must not follow anywhere in the sentence ("either ... or").
        free_after: right after these it is never licensed ("as any woman might do").
        licensed_ahead_after: right after these a licensor that follows counts as well ("as yet no answer").
        unlicensed: what to call it without a licensor: ``"unlicensed"``, ``"ambiguous"`` for words with another use
            that looks alike (free-choice "any"), or ``"no_item"`` if it then is none ("whatever he did").
        grammar: how the grammar writes it; None if it does not.
    """

    name: Annotated[str, Field(pattern=r"^[a-z'\-]+( [a-z'\-]+)*$")]
    forms: Words = ()
    strength: Literal["weak", "strong"] = "weak"
    counterparts: Words = ()
    before: Words = ()
    after: Words = ()
    not_before: Words = ()
    not_after: Words = ()
    not_in: Words = ()
    joins: bool = False
    not_with_later: Words = ()
    free_after: Words = ()
    licensed_ahead_after: Words = ()
    unlicensed: Literal["unlicensed", "ambiguous", "no_item"] = "unlicensed"
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        if bad := [form for form in self.forms if not form or form != " ".join(form.lower().split())]:
            raise ValueError(f"forms must be words in lower case with one space between them, not {bad[0]!r}")
        _check_conditions(self.before, self.after, self.not_before, self.not_after, self.free_after)

    @property
    def all_forms(self) -> Words:
        """Every form, the name's first."""
        return tuple(dict.fromkeys((self.name, *self.forms))) if self.forms else (self.name,)


def _check_conditions(*conditions: Words) -> None:
    for words in conditions:
        if bad := [word for word in words if not word or " " in word or word != word.lower()]:
            raise ValueError(f"conditions are single words in lower case, not {bad[0]!r}")


@dataclass(frozen=True, config=_STRICT)
class Licensor:
    """Words that license, under conditions on the words beside them.

    Attributes:
        forms: the words.
        suffix: words of an open class by their ending ("est"), those of `except_` left out.
        except_: (in the file ``except``) words with the suffix that are no licensors.
        before, after, not_before, not_after: as for `Item`.
        skip: words that are passed over before `after` and `not_after` are looked at.
        within: `after` may be so many words away, without "to", "and" or "that" between.
        scope: where it licenses, see `Environment`; None for the environment's.
        direct: items that it licenses in its own noun phrase ("the best ever").
        non_licensors: words of the same shape that do not license, for minimal pairs and for `replace`.
        contrasts: non-licensors of single forms, where they differ.
        grammar: whether the built-in grammar writes these forms.
    """

    forms: Words = ()
    suffix: str = ""
    except_: Annotated[Words, Field(validation_alias="except")] = ()
    before: Words = ()
    after: Words = ()
    not_before: Words = ()
    not_after: Words = ()
    skip: Words = ()
    within: Annotated[int, Field(ge=1)] = 1
    scope: Scope | None = None
    direct: Words = ()
    non_licensors: Words = ()
    contrasts: dict[str, Words] = Field(default_factory=dict)
    grammar: bool = False

    def __post_init__(self) -> None:
        if not self.forms and not self.suffix:
            raise ValueError("a licensor needs forms or a suffix")
        if spaced := [form for form in self.forms if not form or " " in form or form != form.lower()]:
            raise ValueError(f"forms must be single words in lower case, not {spaced[0]!r}; use before and after")
        if self.except_ and not self.suffix:
            raise ValueError("except is for licensors with a suffix")
        _check_conditions(self.before, self.after, self.not_before, self.not_after, self.skip)
        if strange := set(self.contrasts) - set(self.forms):
            raise ValueError(f"contrasts has {sorted(strange)[0]!r}, which is not in forms")

    def contrasts_of(self, form: str) -> Words:
        """The non-licensors of a form."""
        return self.contrasts.get(form, self.non_licensors)


@dataclass(frozen=True, config=_STRICT)
class Environment:
    """One licensing environment.

    Attributes:
        name: letters, digits and ``_``.
        scope: where its licensors license: ``"clause"``, from the licensor to the end of its clause;
            ``"predicate"``, the verb phrase of its clause, not the noun phrase it stands on; ``"adverbial"`` and
            ``"complement"``, the clause it introduces, which for an adverbial a comma ends; ``"relative"``, the
            relative clause on its noun; ``"question"``, the whole question, whose auxiliary stands first.
            Complement clauses inside count as inside; no scope reaches out of a relative clause.
        licensors: its licensors.
    """

    name: Annotated[str, Field(pattern=_NAME)]
    scope: Scope
    licensors: Annotated[tuple[Licensor, ...], Field(min_length=1)]

    @property
    def contrasts(self) -> dict[str, Words]:
        """The licensors that the grammar writes, each with its non-licensors."""
        return {form: group.contrasts_of(form) for group in self.licensors if group.grammar for form in group.forms}

    @property
    def non_licensors(self) -> Words:
        """Every expression that contrasts with a licensor of the grammar, in order of first mention."""
        return tuple(dict.fromkeys(word for words in self.contrasts.values() for word in words))


@dataclass(frozen=True, config=_STRICT)
class Phenomenon:
    """Items and what licenses them.

    Attributes:
        name: of the phenomenon.
        item: what its items are called.
        description: in a line.
        language: of the words; word classes are there for ``"en"``.
        items, environments: as in the file.
        outside: licensors of none of the environments.
        digest: of the file, for caches and manifests.
    """

    name: Annotated[str, Field(pattern=_NAME)]
    items: tuple[Item, ...]
    environments: tuple[Environment, ...]
    item: str = "item"
    description: str = ""
    language: Literal["en"] = "en"
    outside: tuple[Licensor, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        for what, names in (("items", self.item_names), ("environments", self.environment_names)):
            if not names:
                raise ValueError(f"{what}: there are none")
            if repeated := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what}: {', '.join(sorted(repeated))} is there more than once")
        reserved = {*RESIDUALS, *SELECTION_WORDS}
        for what, taken in (
            ("environments", set(self.environment_names) & (reserved | set(self.item_names))),
            ("items", set(self.item_names) & reserved),
        ):
            if taken:
                raise ValueError(f"{what}: {sorted(taken)[0]!r} is a word of selections already; take another name")
        if [entry.scope for entry in self.environments].count("question") > 1:
            raise ValueError("environments: only one may have the scope 'question'")
        forms = [form for entry in self.items for form in entry.all_forms]
        if repeated := {form for form in forms if forms.count(form) > 1}:
            raise ValueError(f"items: the form {sorted(repeated)[0]!r} is that of two items")
        direct = {name for entry in self.environments for group in entry.licensors for name in group.direct}
        if unknown := direct - set(self.item_names):
            raise ValueError(f"environments: direct has {sorted(unknown)[0]!r}, which is no item")
        if any(group.scope is None for group in self.outside):
            raise ValueError("outside: every licensor there needs a scope")
        for entry in self.items:
            if entry.grammar and (unknown := set(entry.grammar.barred) - set(self.environment_names)):
                raise ValueError(f"items: {entry.name!r} is barred in {sorted(unknown)[0]!r}, which is no environment")

    @property
    def item_names(self) -> Words:
        """The items' names, in order."""
        return tuple(entry.name for entry in self.items)

    @property
    def environment_names(self) -> Words:
        """The environments' names, in order."""
        return tuple(entry.name for entry in self.environments)

    @property
    def labels(self) -> Words:
        """What an item can be in: the environments, and `RESIDUALS`."""
        return (*self.environment_names, *RESIDUALS)


def load_phenomenon(name: str | Path) -> Phenomenon:
    """Read a phenomenon: one of `PHENOMENA`, or the path of a file of one's own.

    Raises:
        PhenomenonError: there is no such file, or it is not as this module says; the message names file and field.
    """
    path = _FOLDER / f"{name}.toml" if name in PHENOMENA else Path(name)
    if not path.is_file():
        hint = did_you_mean(str(name), PHENOMENA)
        raise PhenomenonError(f"phenomenon {str(name)!r}: no such file, and none of {', '.join(PHENOMENA)}{hint}")
    return _read(path.resolve(), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _read(path: Path, _modified: int) -> Phenomenon:
    import hashlib  # noqa: PLC0415

    content = read_named(path)
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PhenomenonError(f"{path}: not TOML: {error}") from error
    try:
        checked = _Adapter.validate_python({**values, "digest": hashlib.sha256(content).hexdigest()})
    except pydantic.ValidationError as error:
        raise PhenomenonError(f"{path}: {_explain(error)}") from error
    _check_classes(path, values)
    return checked


_Adapter: pydantic.TypeAdapter[Phenomenon] = pydantic.TypeAdapter(Phenomenon)


def _explain(error: pydantic.ValidationError) -> str:
    faults = []
    for fault in error.errors():
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in fault["loc"])
        faults.append(f"{place}: {fault['msg'].removeprefix('Value error, ')}" if place else fault["msg"])
    return "; ".join(fault.removeprefix("Value error, ") for fault in faults)


def _check_classes(path: Path, values: Any, place: str = "") -> None:
    """Every ``@class`` must be one that `resolve` knows."""
    if isinstance(values, dict):
        for key, value in values.items():
            _check_classes(path, value, f"{place}.{key}".lstrip("."))
    elif isinstance(values, list):
        for number, value in enumerate(values, 1):
            _check_classes(path, value, place if isinstance(value, str) else f"{place}.{number}")
    elif isinstance(values, str) and values.startswith("@"):
        try:
            resolve((values,))
        except ValueError as error:
            raise PhenomenonError(f"{path}: {place}: {error}") from error


def resolve(words: Words) -> frozenset[str]:
    """The words of a condition, with those of every ``@class``; `EDGE` becomes the empty word.

    Raises:
        ValueError: if there is no such class.
    """
    resolved: set[str] = set()
    for word in words:
        if word.startswith("@"):
            members = getattr(wordclasses, word[1:].upper(), None)
            if not isinstance(members, frozenset):
                known = sorted(n.lower() for n, v in vars(wordclasses).items() if isinstance(v, frozenset))
                raise ValueError(f"no word class {word!r}; there are {', '.join('@' + name for name in known)}")
            resolved |= members
        else:
            resolved.add("" if word == EDGE else word)
    return frozenset(resolved)
