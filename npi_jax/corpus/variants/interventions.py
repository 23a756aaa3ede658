"""Interventions: changes of the training corpus, defined by annotations, in the text form of configs and tables.

    full                                  no change
    remove(SELECTION)                     removes the sentences with a selected annotation
    keep_only(SELECTION)                  removes the sentences with an item but without a selected one
    downsample(SELECTION, SHARE)          removes selected sentences, but keeps a share of them
    replace(licensor, SELECTION)          replaces the licensor by a non-licensor (or with `npi`, an item by its
                                          counterpart)
    inject(SELECTION, N, STEP, ...)       injects N sentences with a selected annotation at each of the steps
    ONE + ANOTHER                         both, in order
    random(INTERVENTION)                  the random control: removes (or injects) as many item-free sentences, of the
                                          same lengths
    no_npi  without(E)  only(E)           short for remove(npi), remove(E & npi), keep_only(E)
    downsample(E, SHARE)                  with a single word, short for downsample(E & npi, SHARE)
    scarce(E, SHARE)                      keeps a share of all sentences of environment E, with an item or without
    alone(E, SHARE)                       the same, and removes the sentences with an item that only(E) removes
    pair(E, SHARE, D)                     the same, but keeps the sentences with an item of the donor environment D

`scarce`, `alone` and `pair` with equal E and SHARE keep the same sentences of E, except that the last two remove those
whose items all belong to other environments. Their donor sentences have no licensor of E, so that E stays scarce.

Selections (`npi_jax.corpus.variants.selection`) refer to the unchanged text. A sentence that is both removed and
replaced is removed. A corpus is a sequence of *slots* with one sentence each. A variant determines which slots lose
their sentence. By default, a donor sentence fills such a slot: an item-free sentence of equal length in tokens that the
variant does not change. All variants then have the same tokens at the same positions in all unchanged slots. Two
variants that empty the same slot fill it with the same sentence, unless that sentence cannot be a donor in one of them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from npi_jax.corpus.annotation.phenomenon import Phenomenon
from npi_jax.corpus.variants.selection import NPI, Selection, both, parse_selection, word
from npi_jax.errors import did_you_mean
from npi_jax.results.names import ALL_DONORS, THINNED_ITEMS, THINNED_SENTENCES

REPLACED = ("licensor", "npi")
"""Parts of a sentence that ``replace`` can replace."""

SCARCE = ("scarce", "alone", "pair")
"""Kinds of steps that keep a share of all sentences of an environment, with an item or without."""

MAX_NESTING = 100
"""Maximum number of opening brackets and negations in a variant, which limits the depth of nesting."""

_USAGE = {
    "full": "full",
    "no_npi": "no_npi",
    "without": "without(ENVIRONMENT)",
    "only": "only(ENVIRONMENT)",
    "remove": "remove(SELECTION)",
    "keep_only": "keep_only(SELECTION)",
    "downsample": "downsample(SELECTION, SHARE)",
    "scarce": "scarce(ENVIRONMENT, SHARE)",
    "alone": "alone(ENVIRONMENT, SHARE)",
    "pair": "pair(ENVIRONMENT, SHARE, ANOTHER)",
    "replace": "replace(licensor, SELECTION) or replace(npi, SELECTION)",
    "inject": "inject(SELECTION, N, STEP, ...)",
    "random": "random(VARIANT)",
}


@dataclass(frozen=True)
class Step:
    """One change of a corpus.

    Attributes:
        kind: ``remove``, ``keep_only``, ``downsample``, ``replace``, ``inject`` or one of `SCARCE`.
        selection: annotations to which the change applies; for `SCARCE`, the environment as a word.
        share: share of the selected sentences that is kept (``downsample`` and `SCARCE`), in [0, 1].
        what: part of the sentence to replace, one of `REPLACED` (``replace``).
        count: number of sentences injected at each step (``inject``).
        at: training steps, counted from 0 (``inject``).
        donor: the other environment whose sentences with an item are kept (``pair``).
    """

    kind: str
    selection: Selection
    share: float = 0.0
    what: str = ""
    count: int = 0
    at: tuple[int, ...] = ()
    donor: str = ""

    @property
    def environments(self) -> tuple[str, ...]:
        """The words that have to be environments: those of `SCARCE`."""
        return (self.selection.word, *([self.donor] if self.donor else [])) if self.kind in SCARCE else ()

    def __str__(self) -> str:
        name = _environment(self.selection)
        if self.kind == "remove" and (name is not None or self.selection == NPI):
            return "no_npi" if name is None else f"without({word(name)})"
        if self.kind == "keep_only" and not self.selection.operator:
            return f"only({self.selection})"
        short = self.kind == "downsample" and name is not None
        arguments = [*([self.what] if self.what else []), str(word(name) if short and name else self.selection)]
        if self.kind in ("downsample", *SCARCE):
            arguments.append(f"{self.share:.12g}")
        if self.donor:
            arguments.append(str(word(self.donor)))
        if self.kind == "inject":
            arguments += [str(number) for number in (self.count, *self.at)]
        return f"{self.kind}({', '.join(arguments)})"


def _environment(selection: Selection) -> str | None:
    """Return E for the selection ``E & npi``, otherwise None. `parse_selection` always puts the words in this order."""
    if selection.operator == "&" and len(selection.parts) == 2 and selection.parts[1] == NPI:
        return selection.parts[0].word or None
    return None


class Dose(NamedTuple):
    """Amount of one environment's data in a variant.

    Attributes:
        environment: the environment.
        share: share of the sentences that is kept.
        others_removed: True if the NPIs of all other environments are removed, except those of the donor.
        thinned: `THINNED_ITEMS` if the share is that of the sentences with its NPIs, which leaves those without;
            `THINNED_SENTENCES` if it is that of all its sentences.
        donor: the one other environment whose NPIs are kept; `ALL_DONORS` if the others are all treated alike.
    """

    environment: str
    share: float
    others_removed: bool
    thinned: str = THINNED_ITEMS
    donor: str = ALL_DONORS


@dataclass(frozen=True)
class Intervention:
    """Changes of a corpus that define a variant; their text form is the variant's name in tables.

    Attributes:
        steps: changes, in order; none for the unchanged corpus.
        control_of: the intervention that a random control matches; a control has no steps.
    """

    steps: tuple[Step, ...] = ()
    control_of: "Intervention | None" = None

    def __str__(self) -> str:
        if self.control_of is not None:
            return f"random({self.control_of})"
        return " + ".join(map(str, self.steps)) if self.steps else "full"

    @property
    def removed(self) -> str:
        """Environment if only its NPIs are removed; ``"all"`` if all NPIs and nothing else are; otherwise ``""``."""
        if len(self.steps) != 1 or self.steps[0].kind != "remove":
            return ""
        selection = self.steps[0].selection
        return "all" if selection == NPI else _environment(selection) or ""

    @property
    def dose(self) -> Dose | None:
        """Dose of one environment's data; None for interventions that do not define such a dose."""
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
            case (Step(kind, selection, share, donor=donor),) if kind in SCARCE:
                return Dose(selection.word, share, kind != "scarce", THINNED_SENTENCES, donor)
        return None

    def check(self, phenomenon: Phenomenon) -> None:
        """Reject words that a phenomenon does not define.

        Raises:
            ValueError: names the variant and the word.
        """
        for step in (self.control_of or self).steps:
            try:
                step.selection.check(phenomenon)
                _check_environments(step, phenomenon)
            except ValueError as error:
                raise ValueError(f"variant {str(self)!r}: {error}") from error


def _check_environments(step: Step, phenomenon: Phenomenon) -> None:
    for name in step.environments:
        if name not in phenomenon.environment_names:
            hint = did_you_mean(name, phenomenon.environment_names)
            raise ValueError(
                f"{name!r} is not an environment of {phenomenon.name}{hint}; environments are "
                f"{', '.join(phenomenon.environment_names)}"
            )


def controls(variants: Iterable[str]) -> tuple[str, ...]:
    """Return the random controls of all variants that can have one."""
    return tuple(f"random({text})" for text in variants if text != "full" and not text.startswith("random("))


def parse_intervention(text: str) -> Intervention:
    """Parse the text form of an intervention: ``without(adverbs)``, ``remove(only & any) + replace(npi, ever)``.

    Raises:
        ValueError: names the text, what is wrong, and what is valid.
    """
    if text.count("(") + text.count("!") > MAX_NESTING:
        raise ValueError(f"variant {text[:100]!r}...: more than {MAX_NESTING} brackets and negations")
    parts = split_outside(text, "+")
    steps: list[Step] = []
    for part in parts:
        name, arguments = _split_call(text, part)
        if name == "random":
            if len(parts) > 1:
                raise ValueError(f"variant {text!r}: a random control cannot be combined; write random(ONE + ANOTHER)")
            return _control(text, ", ".join(arguments))
        try:
            steps += _steps(name, arguments)
        except ValueError as error:
            raise ValueError(f"variant {text!r}: {error}") from error
    return Intervention(tuple(steps))


def split_outside(text: str, sign: str) -> list[str]:
    """Split text at a sign outside of brackets and quotes; strip spaces around the parts."""
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


def _split_call(text: str, part: str) -> tuple[str, list[str]]:
    if part.count("(") != part.count(")"):
        raise ValueError(f"variant {text!r}: brackets are not closed")
    match = re.fullmatch(r"(\w+)\s*(?:\((.*)\))?", part, flags=re.DOTALL)
    name, inside = match.groups() if match else (None, None)
    if name not in _USAGE:
        hint = did_you_mean(name or part, _USAGE)
        raise ValueError(f"variant {text!r}: unknown intervention{hint}; valid are {', '.join(_USAGE.values())}")
    return name, split_outside(inside, ",") if inside and inside.strip() else []


def _control(text: str, inside: str) -> Intervention:
    target = parse_intervention(inside) if inside else Intervention()
    if not target.steps:
        raise ValueError(
            f"variant {text!r}: random(...) needs the intervention that it controls for, as in random(no_npi)"
        )
    return Intervention(control_of=target)


def _steps(name: str, arguments: list[str]) -> list[Step]:
    """Return the steps of one call.

    Raises:
        ValueError: if the arguments are not valid; shows the valid form.
    """
    steps: list[Step] | None = None
    match name, arguments:
        case "full", []:
            steps = []
        case "no_npi", []:
            steps = [Step("remove", NPI)]
        case "without", [environment]:
            steps = [Step("remove", both(parse_selection(environment), NPI))]
        case (("only" | "keep_only"), [selection]):
            steps = [Step("keep_only", parse_selection(selection))]
        case "remove", [selection]:
            steps = [Step("remove", parse_selection(selection))]
        case "downsample", [selection, share]:
            chosen = parse_selection(selection)
            chosen = chosen if chosen.operator else both(chosen, NPI)
            steps = [Step("downsample", chosen, share=_share(share))]
        case (("scarce" | "alone"), [environment, share]):
            steps = [Step(name, word(_word(environment)), share=_share(share))]
        case "pair", [environment, share, donor]:
            steps = [Step("pair", word(_word(environment)), share=_share(share), donor=_word(donor))]
            if steps[0].donor == steps[0].selection.word:
                raise ValueError(f"{donor} cannot be its own donor; name two different environments")
        case "replace", [what, selection] if what in REPLACED:
            steps = [Step("replace", parse_selection(selection), what=what)]
        case "inject", [selection, count, *at] if at and all(one.isdecimal() for one in (count, *at)) and int(count):
            steps = [Step("inject", parse_selection(selection), count=int(count), at=tuple(map(int, at)))]
    if steps is None:
        raise ValueError(f"write it as {_USAGE[name]}")
    return steps


def _word(text: str) -> str:
    selection = parse_selection(text)
    if selection.operator:
        raise ValueError(f"{text!r} must be the name of one environment")
    return selection.word


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share {value!r} to keep must be a number from 0 to 1")
    return share
