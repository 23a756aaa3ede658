"""Entries of a phenomenon's table: items, licensors, environments, and conditions on neighboring words."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from npi_jax.corpus.annotation import wordclasses

NO_ITEM = "no_item"
"""Value of `Item.unlicensed` for words that are not an item unless they are licensed."""

EDGE = "^"
"""Edge of the sentence in conditions: the start in ``after``, the end in ``before``."""

Scope = Literal["clause", "predicate", "adverbial", "complement", "relative", "question"]
Words = tuple[str, ...]
STRICT = pydantic.ConfigDict(extra="forbid")
NAME = r"^[a-z][a-z0-9_]*$"
"""Pattern of the names of phenomena and environments."""


@dataclass(frozen=True, config=STRICT)
class Grammar:
    """Use of an item in the built-in grammar.

    Attributes:
        position: place in the clause. ``"determiner"``: of the object. ``"person"``, ``"thing"``: object pronoun.
            ``"adverb"``: before the verb. ``"final"``: end of the verb phrase.
        perfect: True for an item that occurs in the perfect only ("has not left yet").
        barred: environments in which the grammar does not use the item.
    """

    position: Literal["determiner", "person", "thing", "adverb", "final"]
    perfect: bool = False
    barred: Words = ()


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Item:
    """An item that needs a licensor.

    Attributes:
        name: words of the item in lower case, separated by single spaces.
        forms: further forms that are reported under this name.
        strength: ``"weak"`` or ``"strong"``, for selections (`npi_jax.corpus.variants.selection`).
        counterparts: words that fit the same position and need no licensor.
        before, after: words of which one must directly follow (`before`) or precede (`after`) the item. With
            ``before = ["is"]``, "there" is an item in "there is". Empty for no condition.
        not_before, not_after: words that may not directly follow or precede the item: "ever" before "since" is no item.
        not_in: phrases in which the words are no item ("at any rate").
        joins: True for a word that is no item between two open-class words ("sheer yet crumbling").
        not_with_later: words that may not occur later in the sentence ("either ... or").
        free_after: words directly after which the item is never licensed ("as any woman might do").
        licensed_ahead_after: words directly after which a later licensor also licenses the item ("as yet no answer").
        unlicensed: label without a licensor. ``"ambiguous"``: the words have another use (free-choice "any").
            ``"no_item"``: the words are then no item ("whatever he did"). ``"unlicensed"``: all other items.
        grammar: use in the built-in grammar; None if the grammar does not use it.
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
            raise ValueError(f"forms must be lower-case words separated by single spaces, not {bad[0]!r}")
        _check_conditions(self.before, self.after, self.not_before, self.not_after, self.free_after)

    @property
    def all_forms(self) -> Words:
        """All forms, the name first."""
        return tuple(dict.fromkeys((self.name, *self.forms))) if self.forms else (self.name,)


def _check_conditions(*conditions: Words) -> None:
    for words in conditions:
        if bad := [word for word in words if not word or " " in word or word != word.lower()]:
            raise ValueError(f"conditions must be single lower-case words, not {bad[0]!r}")


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Licensor:
    """Words that license, under conditions on neighboring words.

    Attributes:
        forms: the words.
        suffix: ending of further, open-class licensors ("est").
        except_: words with the suffix that do not license; called ``except`` in the file.
        before, after, not_before, not_after: as for `Item`.
        skip: words that `after` and `not_after` ignore between the required word and the licensor.
        within: largest distance of the word that `after` requires. No "to", "and", "that" or end of a sentence may be
            between.
        scope: span in which the words license, see `Environment`; None for the scope of the environment.
        direct: items that the words also license in their noun phrase ("the best ever").
        non_licensors: words of the same kind that do not license, for minimal pairs and for ``replace``.
        contrasts: non-licensors of single forms, where they differ from `non_licensors`.
        grammar: True if the built-in grammar uses these forms.
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
        if bad := [form for form in self.forms if not form or " " in form or form != form.lower()]:
            raise ValueError(f"forms must be single lower-case words, not {bad[0]!r}; use before and after")
        if self.except_ and not self.suffix:
            raise ValueError("except is only valid for licensors with a suffix")
        _check_conditions(self.before, self.after, self.not_before, self.not_after, self.skip)
        if unknown := set(self.contrasts) - set(self.forms):
            raise ValueError(f"contrasts has {sorted(unknown)[0]!r}, which is not in forms")

    def contrasts_of(self, form: str) -> Words:
        """Return the non-licensors of a form."""
        return self.contrasts.get(form, self.non_licensors)


@dataclass(frozen=True, config=STRICT)
class Environment:
    """One licensing environment.

    Attributes:
        name: letters, digits and ``_``.
        scope: span in which its licensors license. ``"clause"``: from the licensor to the end of its clause.
            ``"predicate"``: the verb phrase of its clause, but not the noun phrase that the licensor modifies.
            ``"adverbial"`` and ``"complement"``: the clause that the licensor introduces; an adverbial clause ends at a
            comma. ``"relative"``: the relative clause on the licensor's noun. ``"question"``: the entire question.
            A scope includes embedded complement clauses; it never extends out of a relative clause.
        licensors: its licensors.
    """

    name: Annotated[str, Field(pattern=NAME)]
    scope: Scope
    licensors: Annotated[tuple[Licensor, ...], Field(min_length=1)]

    @property
    def contrasts(self) -> dict[str, Words]:
        """The grammar's licensors, each with its non-licensors."""
        return {form: group.contrasts_of(form) for group in self.licensors if group.grammar for form in group.forms}

    @property
    def non_licensors(self) -> Words:
        """All non-licensors of the grammar's licensors, in the order of their first occurrence."""
        return tuple(dict.fromkeys(word for words in self.contrasts.values() for word in words))


def resolve(words: Words) -> frozenset[str]:
    """Return the words of a condition; ``@class`` becomes all words of the class, and `EDGE` the empty word.

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
