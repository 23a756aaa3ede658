"""Minimal pairs, items of several conditions, and suites of them: what loaders return and scorers start from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from npi_jax.results.names import RESERVED_TASKS
from npi_jax.suites.formulas import Formula

if TYPE_CHECKING:
    from npi_jax.corpus.text.tokenizer import Tokenizer
    from npi_jax.suites.encode import EncodedSuite

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Item:
    """One minimal pair.

    Attributes:
        item: the item's name, unique within its suite.
        paradigm: the named subset of the suite it belongs to.
        task: the task it counts for; by default its environment.
        kind: ``"licensor"`` where the pair differs in the licensor, ``"scope"`` where the NPI is out of its
            scope, ``"npi"`` where the pair differs in the NPI itself, ``"other"`` elsewhere.
        good, bad: the acceptable and the unacceptable sentence, words separated as in ordinary text.
        critical_good, critical_bad: the critical region (the NPI) as a span of characters ``[start, end)``.
        regions: further regions by name, for the good and the bad sentence; None where one has none.
    """

    item: str
    paradigm: str
    task: str
    kind: str
    good: str
    bad: str
    critical_good: Span
    critical_bad: Span
    regions: Mapping[str, tuple[Span | None, Span | None]] = field(default_factory=dict, hash=False)


def _check_names(name: str, items: Sequence[Item] | Sequence[ConditionItem]) -> None:
    if not items:
        raise ValueError(f"suite {name!r} has no items")
    most, count = Counter(item.item for item in items).most_common(1)[0]
    if count > 1:
        raise ValueError(f"suite {name!r}: two items are named {most!r}")
    for item in items:
        if fault := task_fault(item):
            raise ValueError(f"suite {name!r}: {fault}")


def task_fault(item: Item | ConditionItem) -> str | None:
    """A sentence on an item whose task has a name that tables use for something else; None if it has not."""
    if item.task not in RESERVED_TASKS:
        return None
    return (
        f"item {item.item!r} has the task {item.task!r}, a name that stands for {RESERVED_TASKS[item.task]}; "
        "give the task another name"
    )


@dataclass(frozen=True)
class SuiteNotes:
    """What about a suite is worth knowing before its scores are believed.

    Attributes:
        equal: pairs of identical sentences by paradigm; they are kept, and tie.
        repeated: pairs that are in their paradigm already, by paradigm; they are kept, and count again.
        left_out: items left out because of a limit.
    """

    equal: Mapping[str, int] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0

    def lines(self) -> list[str]:
        """The notes as sentences; none where there is nothing to note."""
        found = []
        for counts, text in (
            (self.equal, "pairs of identical sentences, kept: they tie"),
            (self.repeated, "pairs that are in their paradigm already, kept: they count again"),
        ):
            if counts:
                most = sorted(counts.items(), key=lambda entry: -entry[1])
                named = ", ".join(f"{paradigm} {count}" for paradigm, count in most[:3])
                more = f" and {len(most) - 3} more paradigms" if len(most) > 3 else ""
                found.append(f"{sum(counts.values()):,} {text} ({named}{more})")
        if self.left_out:
            found.append(f"{self.left_out:,} items left out by the limit")
        return found


@dataclass(frozen=True)
class Suite:
    """A named set of minimal pairs; iterates over its items.

    Attributes:
        name: what tables call it.
        items: the pairs.
        left_out: items that a limit left out.
    """

    name: str
    items: Sequence[Item]
    left_out: int = 0

    def __post_init__(self) -> None:
        _check_names(self.name, self.items)
        for item in self.items:
            for text, (start, end) in ((item.good, item.critical_good), (item.bad, item.critical_bad)):
                if not 0 <= start < end <= len(text):
                    raise ValueError(f"item {item.item!r}: its critical region [{start}, {end}) is not in {text!r}")

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def notes(self) -> SuiteNotes:
        """Pairs of identical sentences, repeated pairs, and items left out."""
        equal = Counter(item.paradigm for item in self.items if item.good == item.bad)
        seen = Counter((item.paradigm, item.good, item.bad) for item in self.items)
        repeated: Counter[str] = Counter()
        for (paradigm, _, _), count in seen.items():
            if count > 1:
                repeated[paradigm] += count - 1
        return SuiteNotes(dict(equal), dict(repeated), self.left_out)

    def encode(self, tokenizer: Tokenizer) -> EncodedSuite:
        """The suite in a tokenizer's ids, for `npi_jax.scoring.make_scorer`.

        Raises:
            EncodingError: naming the item, if no token overlaps one of its regions.
        """
        from npi_jax.suites.encode import EncodedSuite  # noqa: PLC0415

        return EncodedSuite(self, tokenizer)


@dataclass(frozen=True, slots=True)
class Condition:
    """One sentence of an item, with its named regions as spans of characters (None: nothing stands there)."""

    text: str
    regions: Mapping[str, Span | None]


@dataclass(frozen=True, slots=True)
class ConditionItem:
    """An item whose sentences are conditions of an experiment.

    Attributes:
        item: its name, unique within its suite.
        paradigm: the named subset of the suite it belongs to; all its items have the same conditions.
        task: the task it counts for.
        conditions: the sentences by condition.
    """

    item: str
    paradigm: str
    task: str
    conditions: Mapping[str, Condition]


@dataclass(frozen=True)
class Prediction:
    """What is predicted of the surprisals of each item of a paradigm.

    Attributes:
        formula: over the surprisals of regions in conditions.
        metric: how a region's surprisal comes from those of its tokens: ``"sum"``, ``"mean"``, ``"median"``,
            ``"range"``, ``"max"`` or ``"min"``.
    """

    formula: Formula
    metric: str = "sum"


@dataclass(frozen=True)
class ConditionSuite:
    """A named set of items of several conditions; iterates over its items.

    Attributes:
        name: what tables call it.
        items: the items.
        predictions: by paradigm.
        left_out: items that a limit left out.
    """

    name: str
    items: Sequence[ConditionItem]
    predictions: Mapping[str, Sequence[Prediction]] = field(default_factory=dict)
    left_out: int = 0

    def __post_init__(self) -> None:
        _check_names(self.name, self.items)
        orders: dict[str, list[str]] = {}
        for item in self.items:
            order = orders.setdefault(item.paradigm, list(item.conditions))
            if order != list(item.conditions):
                raise ValueError(
                    f"item {item.item!r}: its conditions are {', '.join(item.conditions)}; those of its paradigm's "
                    f"first item are {', '.join(order)}, and order counts"
                )

    def __iter__(self) -> Iterator[ConditionItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def notes(self) -> SuiteNotes:
        """Items left out."""
        return SuiteNotes(left_out=self.left_out)

    def encode(self, tokenizer: Tokenizer) -> EncodedSuite:
        """The suite in a tokenizer's ids; see `Suite.encode`."""
        from npi_jax.suites.encode import EncodedSuite  # noqa: PLC0415

        return EncodedSuite(self, tokenizer)
