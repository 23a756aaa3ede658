"""Minimal pairs, items of several conditions, and suites of either kind."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.errors import UserError
from npi_jax.results.names import RESERVED_TASKS
from npi_jax.suites.encode import EncodedSuite
from npi_jax.suites.formulas import Formula
from npi_jax.suites.sentences import SentenceTable, Span


class SuiteError(UserError):
    """A suite that is missing, damaged or not of the expected form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One minimal pair.

    Attributes:
        item: name of the pair, unique within its suite.
        paradigm: named subset of the suite to which the pair belongs.
        task: task for which the pair counts, such as its environment or its paradigm.
        kind: difference between the sentences. ``"licensor"``: the bad one lacks the licensor. ``"scope"``: the NPI
            of the bad one is outside of the licensor's scope. ``"npi"``: the NPI differs. ``"other"``: anything else.
        good, bad: the acceptable and the unacceptable sentence, as ordinary text.
        critical_good, critical_bad: the critical region (the NPI) as a span of characters ``[start, end)``.
        regions: further regions by name, in the good and the bad sentence; None where a sentence lacks the region.
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


def _check_names(suite: str, items: Sequence[Item] | Sequence["ConditionItem"]) -> None:
    if not items:
        raise ValueError(f"suite {suite!r} has no items")
    most, count = Counter(item.item for item in items).most_common(1)[0]
    if count > 1:
        raise ValueError(f"suite {suite!r}: two items are named {most!r}")
    for item in items:
        if fault := task_fault(item):
            raise ValueError(f"suite {suite!r}: {fault}")


def task_fault(item: "Item | ConditionItem") -> str | None:
    """Return an error message if the item's task has a name that result tables reserve, otherwise None."""
    if item.task not in RESERVED_TASKS:
        return None
    return (
        f"item {item.item!r} has the task {item.task!r}, a name that stands for {RESERVED_TASKS[item.task]}; "
        "give the task another name"
    )


@dataclass(frozen=True)
class SuiteNotes:
    """Properties of a suite that affect how far its scores can be trusted.

    Attributes:
        equal: number of pairs of identical sentences by paradigm; they are kept, and their scores tie.
        repeated: number of repeated pairs by paradigm; they are kept and count again.
        left_out: number of items that a limit excluded.
    """

    equal: Mapping[str, int] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0

    def lines(self) -> list[str]:
        """Return the notes as lines of text, none if all counts are 0."""
        lines = []
        for counts, text in (
            (self.equal, "pairs of identical sentences, kept: they tie"),
            (self.repeated, "pairs that are in their paradigm already, kept: they count again"),
        ):
            if counts:
                most = sorted(counts.items(), key=lambda entry: -entry[1])
                named = ", ".join(f"{paradigm} {count}" for paradigm, count in most[:3])
                more = f" and {len(most) - 3} more paradigms" if len(most) > 3 else ""
                lines.append(f"{sum(counts.values()):,} {text} ({named}{more})")
        if self.left_out:
            lines.append(f"{self.left_out:,} items left out by the limit")
        return lines


@dataclass(frozen=True)
class Suite:
    """A named set of minimal pairs; iterates over its items.

    Attributes:
        name: name of the suite in result tables.
        items: the pairs.
        left_out: number of items that a limit excluded.
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
        """Count pairs of identical sentences, repeated pairs, and items that a limit excluded."""
        equal = Counter(item.paradigm for item in self.items if item.good == item.bad)
        seen = Counter((item.paradigm, item.good, item.bad) for item in self.items)
        repeated: Counter[str] = Counter()
        for (paradigm, _, _), count in seen.items():
            if count > 1:
                repeated[paradigm] += count - 1
        return SuiteNotes(dict(equal), dict(repeated), self.left_out)

    def sentence_table(self) -> SentenceTable:
        """Return the sentences in the order in which they are scored: for each pair the good, then the bad one."""
        items = self.items
        regions: dict[str, list[Span | None]] = {
            "critical": [span for item in items for span in (item.critical_good, item.critical_bad)]
        }
        for name in dict.fromkeys(name for item in items for name in item.regions):
            regions[name] = [span for item in items for span in item.regions.get(name, (None, None))]
        return SentenceTable(
            texts=[text for item in items for text in (item.good, item.bad)],
            groups=np.repeat(np.arange(len(items)), 2),
            regions=regions,
            labels=_labels(self.name, items, ("paradigm", "task", "kind", "item")),
            sentence_labels={},
            pairs=True,
        )

    def encode(self, tokenizer: Tokenizer) -> "EncodedSuite[Suite]":
        """Encode the suite with a tokenizer, for `npi_jax.scoring.make_scorer`.

        Raises:
            EncodingError: if no token overlaps a region, or text is not valid Unicode; names the item.
        """
        return EncodedSuite(self, tokenizer)


@dataclass(frozen=True, slots=True)
class Condition:
    """One sentence of an item, and its named regions as spans of characters; None for a region without words."""

    text: str
    regions: Mapping[str, Span | None]


@dataclass(frozen=True, slots=True)
class ConditionItem:
    """An item whose sentences are the conditions of an experiment.

    Attributes:
        item: name of the item, unique within its suite.
        paradigm: named subset of the suite to which the item belongs; all its items have the same conditions.
        task: task for which the item counts.
        conditions: the sentences by condition.
    """

    item: str
    paradigm: str
    task: str
    conditions: Mapping[str, Condition]


@dataclass(frozen=True)
class Prediction:
    """A prediction about the surprisals of each item of a paradigm.

    Attributes:
        formula: comparison of regions' surprisals in several conditions.
        metric: aggregation of token surprisals to the surprisal of a region: ``"sum"``, ``"mean"``, ``"median"``,
            ``"range"``, ``"max"`` or ``"min"``.
    """

    formula: Formula
    metric: str = "sum"


@dataclass(frozen=True)
class ConditionSuite:
    """A named set of items of several conditions; iterates over its items.

    Attributes:
        name: name of the suite in result tables.
        items: the items.
        predictions: predictions by paradigm.
        left_out: number of items that a limit excluded.
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
        """Count the items that a limit excluded."""
        return SuiteNotes(left_out=self.left_out)

    def sentence_table(self) -> SentenceTable:
        """Return the sentences in the order in which they are scored: item by item, in the order of conditions."""
        conditions = [(name, condition) for item in self.items for name, condition in item.conditions.items()]
        regions = dict.fromkeys(region for _, condition in conditions for region in condition.regions)
        return SentenceTable(
            texts=[condition.text for _, condition in conditions],
            groups=np.repeat(np.arange(len(self.items)), [len(item.conditions) for item in self.items]),
            regions={region: [condition.regions.get(region) for _, condition in conditions] for region in regions},
            labels=_labels(self.name, self.items, ("paradigm", "task", "item")),
            sentence_labels={"condition": [name for name, _ in conditions]},
            pairs=False,
        )

    def encode(self, tokenizer: Tokenizer) -> "EncodedSuite[ConditionSuite]":
        """Encode the suite with a tokenizer; see `Suite.encode`."""
        return EncodedSuite(self, tokenizer)


def _labels(
    suite: str, items: Sequence[Item] | Sequence[ConditionItem], fields: Sequence[str]
) -> dict[str, Sequence[str]]:
    """Return the columns of score tables that describe items."""
    columns: dict[str, Sequence[str]] = {"suite": [suite] * len(items)}
    return columns | {name: [getattr(item, name) for item in items] for name in fields}
