"""The minimal pair and the suite: what every loader returns and every scorer starts from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    """

    item: str
    paradigm: str
    task: str
    kind: str
    good: str
    bad: str
    critical_good: Span
    critical_bad: Span


@dataclass(frozen=True)
class Suite:
    """A named set of minimal pairs; iterates over its items."""

    name: str
    items: Sequence[Item]

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError(f"suite {self.name!r} has no items")

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
