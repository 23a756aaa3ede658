"""Interventions: what a variant changes in the training corpus, stated over annotations, as text in configs and tables.

    full                                  nothing
    remove(SELECTION)                     sentences with a selected annotation
    keep_only(SELECTION)                  of the sentences with an item, all without a selected one are removed
    downsample(SELECTION, SHARE)          as `remove`, but that share of the sentences stays
    replace(licensor, SELECTION)          the licensor by its non-licensor (or `npi` by its counterpart)
    inject(SELECTION, N, STEP, ...)       at each of the steps, N sentences with a selected annotation are put in
    ONE + ANOTHER                         one after the other
    random(INTERVENTION)                  its control: as many sentences of the same lengths, but without items
    no_npi  without(E)  only(E)           short for remove(npi), remove(E & npi), keep_only(E)
    downsample(E, SHARE)                  of one word, short for downsample(E & npi, SHARE)

Selections are those of `npi_jax.corpus.variants.selection`; they look at the text as it is before any change, and
removing beats replacing. A corpus is a sequence of *slots*, each holding one sentence. A variant says which slots lose
their sentence. By default the slot is refilled with a donor, an item-free sentence of the same number of tokens that is
not removed or edited itself, so that all variants have the same tokens at the same places everywhere else. Which donor
a slot would get does not depend on the variant: two variants that empty the same slot fill it with the same sentence,
unless one of them changes that very sentence.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.annotation.phenomenon import Phenomenon
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.variants.selection import NPI, Selection, both, parse_selection, word
from npi_jax.errors import did_you_mean

REPLACED = ("licensor", "npi")
DEEPEST = 100
"""Brackets and negations in a variant; every one may be within all others."""
_USAGE = {
    "full": "full",
    "no_npi": "no_npi",
    "without": "without(ENVIRONMENT)",
    "only": "only(ENVIRONMENT)",
    "remove": "remove(SELECTION)",
    "keep_only": "keep_only(SELECTION)",
    "downsample": "downsample(SELECTION, SHARE)",
    "replace": "replace(licensor, SELECTION) or replace(npi, SELECTION)",
    "inject": "inject(SELECTION, N, STEP, ...)",
    "random": "random(VARIANT)",
}


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        kind: ``remove``, ``keep_only``, ``downsample``, ``replace`` or ``inject``.
        selection: the annotations that it is about.
        share: of the selected sentences that stays (``downsample``), in [0, 1].
        what: one of `REPLACED` (``replace``).
        count: sentences put in at each step (``inject``).
        at: the training steps, counted from 0 (``inject``).
    """

    kind: str
    selection: Selection
    share: float = 0.0
    what: str = ""
    count: int = 0
    at: tuple[int, ...] = ()

    def __str__(self) -> str:
        name = _environment(self.selection)
        if self.kind == "remove" and (name is not None or self.selection == NPI):
            return "no_npi" if name is None else f"without({word(name)})"
        if self.kind == "keep_only" and not self.selection.operator:
            return f"only({self.selection})"
        short = self.kind == "downsample" and name is not None
        arguments = [*([self.what] if self.what else []), str(word(name) if short and name else self.selection)]
        if self.kind == "downsample":
            arguments.append(f"{self.share:.12g}")
        if self.kind == "inject":
            arguments += [str(number) for number in (self.count, *self.at)]
        return f"{self.kind}({', '.join(arguments)})"


def _environment(selection: Selection) -> str | None:
    """E of ``E & npi``, which is how `parse_selection` puts it."""
    if selection.operator == "&" and len(selection.parts) == 2 and selection.parts[1] == NPI:
        return selection.parts[0].word or None
    return None


class Dose(NamedTuple):
    """How much of one environment's NPIs a variant has.

    Attributes:
        environment: whose NPIs.
        share: of their sentences that is left.
        others_removed: whether the NPIs of the other environments are gone.
    """

    environment: str
    share: float
    others_removed: bool


@dataclass(frozen=True)
class Intervention:
    """What a variant changes; its text is what tables call the variant.

    Attributes:
        steps: changes, one after the other; none for the corpus as it is.
        control_of: for a random control, the intervention that it matches; it has no steps of its own.
    """

    steps: tuple[Step, ...] = ()
    control_of: "Intervention | None" = None

    def __str__(self) -> str:
        if self.control_of is not None:
            return f"random({self.control_of})"
        return " + ".join(map(str, self.steps)) if self.steps else "full"

    @property
    def removed(self) -> str:
        """The environment whose NPIs are gone and nothing else is, ``"all"`` for all NPIs, ``""`` otherwise."""
        if len(self.steps) != 1 or self.steps[0].kind != "remove":
            return ""
        selection = self.steps[0].selection
        return "all" if selection == NPI else _environment(selection) or ""

    @property
    def dose(self) -> Dose | None:
        """How much of one environment's NPIs is left, if that is what the intervention is about."""
        if self.removed not in ("", "all"):
            return Dose(self.removed, 0.0, False)
        match self.steps:
            case (Step("downsample", selection, share),) if name := _environment(selection):
                return Dose(name, share, False)
            case (Step("keep_only", selection),) if selection.word:
                return Dose(selection.word, 1.0, True)
            case (Step("keep_only", kept), Step("downsample", selection, share)) if (
                kept.word and kept.word == _environment(selection)
            ):
                return Dose(kept.word, share, True)
        return None

    def check(self, phenomenon: Phenomenon) -> None:
        """Refuse words that mean nothing in a phenomenon.

        Raises:
            ValueError: naming the variant and the word.
        """
        for step in (self.control_of or self).steps:
            try:
                step.selection.check(phenomenon)
            except ValueError as error:
                raise ValueError(f"variant {str(self)!r}: {error}") from error


def controls(variants: Iterable[str]) -> tuple[str, ...]:
    """The random controls of variants that have one."""
    return tuple(f"random({text})" for text in variants if text != "full" and not text.startswith("random("))


def parse_intervention(text: str) -> Intervention:
    """Read an intervention as configs write it: ``without(adverbs)``, ``remove(only & any) + random(no_npi)``.

    Raises:
        ValueError: naming the text, what is wrong in it, and what would be valid.
    """
    if text.count("(") + text.count("!") > DEEPEST:
        raise ValueError(f"variant {text[:100]!r}...: more than {DEEPEST} brackets and negations")
    parts = split_outside(text, "+")
    steps: list[Step] = []
    for part in parts:
        name, arguments = _call(text, part)
        if name == "random":
            if len(parts) > 1:
                raise ValueError(f"variant {text!r}: a random control stands alone, as in random(ONE + ANOTHER)")
            return _control(text, ", ".join(arguments))
        try:
            steps += _steps(name, arguments)
        except ValueError as error:
            raise ValueError(f"variant {text!r}: {error}") from error
    return Intervention(tuple(steps))


def split_outside(text: str, sign: str) -> list[str]:
    """Split text at a sign outside of brackets and quotes; spaces at the ends of the parts are taken off."""
    parts, depth, quote, start = [], 0, "", 0
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == sign and not depth:
            parts.append(text[start:at])
            start = at + 1
    return [part.strip() for part in (*parts, text[start:])]


def _call(text: str, part: str) -> tuple[str, list[str]]:
    if part.count("(") != part.count(")"):
        raise ValueError(f"variant {text!r}: its brackets do not close")
    match = re.fullmatch(r"(\w+)\s*(?:\((.*)\))?", part, flags=re.DOTALL)
    name, inside = match.groups() if match else (None, None)
    if name not in _USAGE:
        hint = did_you_mean(name or part, _USAGE)
        raise ValueError(f"variant {text!r}: unknown intervention{hint}; valid are {', '.join(_USAGE.values())}")
    return name, split_outside(inside, ",") if inside and inside.strip() else []


def _control(text: str, inside: str) -> Intervention:
    target = parse_intervention(inside) if inside else Intervention()
    if not target.steps:
        raise ValueError(f"variant {text!r}: random(...) needs the removal it controls for, as in random(no_npi)")
    return Intervention(control_of=target)


def _steps(name: str, arguments: list[str]) -> list[Step]:
    """The steps that one call stands for.

    Raises:
        ValueError: saying how it is written.
    """
    found: list[Step] | None = None
    match name, arguments:
        case "full", []:
            found = []
        case "no_npi", []:
            found = [Step("remove", NPI)]
        case "without", [environment]:
            found = [Step("remove", both(parse_selection(environment), NPI))]
        case (("only" | "keep_only"), [selection]):
            found = [Step("keep_only", parse_selection(selection))]
        case "remove", [selection]:
            found = [Step("remove", parse_selection(selection))]
        case "downsample", [selection, share]:
            chosen = parse_selection(selection)
            chosen = chosen if chosen.operator else both(chosen, NPI)
            found = [Step("downsample", chosen, share=_share(share))]
        case "replace", [what, selection] if what in REPLACED:
            found = [Step("replace", parse_selection(selection), what=what)]
        case "inject", [selection, count, *at] if at and all(one.isdecimal() for one in (count, *at)) and int(count):
            found = [Step("inject", parse_selection(selection), count=int(count), at=tuple(map(int, at)))]
    if found is None:
        raise ValueError(f"write it as {_USAGE[name]}")
    return found


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share {value!r} that stays must be a number from 0 to 1")
    return share


@dataclass(frozen=True)
class Change:
    """What an intervention does to a corpus.

    Attributes:
        removed: the sentences that are taken out.
        replaced: annotations whose licensor or item is replaced, with which of the two (`REPLACED`).
        injected: the steps that put sentences in.
        missing: sentences that a random control should have removed but could not, for want of an item-free one of
            that length.
    """

    removed: Bool[np.ndarray, " sentences"]
    replaced: tuple[tuple[str, Integer[np.ndarray, " rows"]], ...] = ()
    injected: tuple[Step, ...] = ()
    missing: int = 0

    @property
    def size(self) -> int:
        """How many sentences are removed."""
        return int(self.removed.sum())


def changes(
    intervention: Intervention,
    table: AnnotationTable,
    phenomenon: Phenomenon,
    lengths: Integer[np.ndarray, " sentences"],
    *,
    seed: int,
) -> Change:
    """What an intervention does to the sentences of a corpus.

    Args:
        intervention: what to do.
        table: the annotations.
        phenomenon: whose labels and items they are.
        lengths: tokens of each sentence, for the matching of the random control.
        seed: of the random choices (``downsample`` and ``random``).
    """
    holding = _any(table.holds_item, table, len(lengths))
    if intervention.control_of is not None:
        target = changes(intervention.control_of, table, phenomenon, lengths, seed=seed)
        removed = target.removed.copy()
        for _, rows in target.replaced:
            removed[table.sentence[rows]] = True
        chosen, missing = _length_matched(removed, ~holding & ~removed, lengths, generator(seed, str(intervention)))
        return Change(chosen, (), target.injected, missing)
    removed = np.zeros(len(lengths), bool)
    replaced, injected = [], []
    for step in intervention.steps:
        rows = step.selection.mask(table, phenomenon)
        selected = _any(rows, table, len(lengths)) & ~removed
        match step.kind:
            case "remove":
                removed |= selected
            case "keep_only":
                removed |= holding & ~_any(rows & table.holds_item, table, len(lengths))
            case "downsample":
                removed |= _thinned(step, selected, seed)
            case "replace":
                replaced.append((step.what, np.flatnonzero(rows)))
            case "inject":
                injected.append(step)
    kept = [(what, rows[~removed[table.sentence[rows]]]) for what, rows in replaced]
    return Change(removed, tuple(kept), tuple(injected))


def _any(rows: np.ndarray, table: AnnotationTable, n_sentences: int) -> np.ndarray:
    """The sentences with one of the rows."""
    found = np.zeros(n_sentences, bool)
    found[table.sentence[rows]] = True
    return found


def _thinned(step: Step, selected: np.ndarray, seed: int) -> np.ndarray:
    """The selected sentences that do not stay."""
    members = np.flatnonzero(selected)
    kept = round(step.share * len(members))
    removed = np.zeros(len(selected), bool)
    # The order is drawn once per selection: a smaller share keeps a subset of what a larger one keeps.
    order = generator(seed, f"downsample({step.selection})").permutation(members)
    removed[order[kept:]] = True
    return removed


def _length_matched(
    target: np.ndarray, candidates: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    chosen = np.zeros(len(lengths), bool)
    missing = 0
    wanted_lengths, wanted_counts = np.unique(lengths[target], return_counts=True)
    for length, wanted in zip(wanted_lengths, wanted_counts, strict=True):
        pool = rng.permutation(np.flatnonzero(candidates & (lengths == length)))
        chosen[pool[:wanted]] = True
        missing += max(0, int(wanted) - len(pool))
    return chosen, missing
