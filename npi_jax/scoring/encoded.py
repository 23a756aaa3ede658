"""Sentences as token ids: what a scorer is made for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from npi_jax.scoring.spec import ScoreSpec

Ids = Sequence[int] | np.ndarray

ABSENT = -1
"""Both ends of a region that a sentence does not have."""

MAX_ID = np.iinfo(np.int32).max
"""The largest token id; models read int32."""


@dataclass(frozen=True)
class EncodedSentences:
    """S sentences as token ids, in groups that belong together: pairs (good first), or the conditions of an item.

    Attributes:
        ids: the tokens of each sentence, int [n], without special tokens.
        groups: int [S], not decreasing: the number of each sentence's group. A group shares a row.
        regions: by name, int [S, 2]: a span ``[start, end)`` of tokens in each sentence, `ABSENT` twice where it
            has none. ``sentence``, ``difference`` and ``critical_last`` are made by the scorer.
        start, end: ids of the start and the end token, as far as there are such.
        prefix, suffix: ids that the tokenizer itself puts before and after a text.
        context: ids of the `ScoreSpec.context`.
        leading_space: whether a space was put before each sentence.
        texts, offsets: the sentences, and for each of their tokens its span of characters, int [n, 2]; without
            them nothing can be counted in words, characters or bytes.
        pairs: whether groups of two are minimal pairs, and not two conditions of an item.
        labels: columns of the tables that are made of scores, one value a group.
        sentence_labels: more of them, one value a sentence.
    """

    ids: Sequence[np.ndarray]
    groups: np.ndarray
    regions: Mapping[str, np.ndarray] = field(default_factory=dict)
    start: int | None = None
    end: int | None = None
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    context: tuple[int, ...] = ()
    leading_space: bool = False
    texts: Sequence[str] | None = None
    offsets: Sequence[np.ndarray] | None = None
    pairs: bool = True
    labels: Mapping[str, Sequence[object]] = field(default_factory=dict)
    sentence_labels: Mapping[str, Sequence[object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.ids)
        if n == 0:
            raise ValueError("no sentences to score")
        groups = np.asarray(self.groups)
        if groups.shape != (n,) or (np.diff(groups) < 0).any():
            raise ValueError(f"groups has shape {groups.shape}; give {n} numbers that do not decrease")
        lengths = np.array([len(ids) for ids in self.ids])
        if not lengths.all():
            raise ValueError(f"{self.where(int(np.argmin(lengths)))} has no tokens")
        for index, ids in enumerate(self.ids):
            numbers = np.asarray(ids)
            if numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() > MAX_ID:
                raise ValueError(f"{self.where(index)}: token ids must be whole numbers from 0 to {MAX_ID}")
        for name, spans in self.regions.items():
            self._check_region(name, np.asarray(spans), lengths)

    def _check_region(self, name: str, spans: np.ndarray, lengths: np.ndarray) -> None:
        if spans.shape != (len(lengths), 2):
            raise ValueError(f"region {name!r} has shape {spans.shape}, not ({len(lengths)}, 2)")
        start, end = spans[:, 0], spans[:, 1]
        bad = ~((start == ABSENT) & (end == ABSENT)) & ~((start >= 0) & (start < end) & (end <= lengths))
        if bad.any():
            index = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{self.where(index)}: region {name!r} [{start[index]}, {end[index]}) does not lie in its "
                f"{lengths[index]} tokens"
            )

    @property
    def is_pairs(self) -> bool:
        """Whether all groups are minimal pairs."""
        return self.pairs and bool((np.bincount(self.groups - self.groups[0]) == 2).all())

    def where(self, index: int) -> str:
        """A sentence's name for messages."""
        group = int(self.groups[index] - self.groups[0])
        place = index - int(np.searchsorted(self.groups, self.groups[index]))
        side = ("good", "bad")[place] if self.is_pairs else f"number {place}"
        name = f"item {self.labels['item'][group]!r}" if "item" in self.labels else f"group {group}"
        return f"{name}, {side} sentence"

    def sentences(self, spec: ScoreSpec) -> "EncodedSentences":
        """These sentences, if they are as `spec` wants them.

        Raises:
            ValueError: if it wants a leading space or a context that they were encoded without.
        """
        if spec.leading_space != self.leading_space:
            raise ValueError(
                f"the spec has leading_space={spec.leading_space}, but the sentences were encoded with "
                f"leading_space={self.leading_space}; encode them anew, or give a suite's encode(tokenizer)"
            )
        if spec.context and not self.context:
            raise ValueError(f"the spec has context={spec.context!r}, but no ids of it were given (context=())")
        return self

    def tokens_after(self, spec: ScoreSpec) -> tuple[int, ...]:
        """Ids that are scored after a sentence's own tokens: the tokenizer's, and the end token, as the spec asks.

        Raises:
            ValueError: if the spec asks for an end token and there is none.
        """
        own = self.suffix if spec.beginning == "special" else ()
        if not spec.score_end:
            return own
        if self.end is None:
            raise ValueError("the ScoreSpec asks for the end token, but none was given (end=None)")
        return (*own, self.end)


@runtime_checkable
class Encodable(Protocol):
    """Sentences that can be had as any spec wants them, such as a suite encoded with a tokenizer."""

    def sentences(self, spec: ScoreSpec) -> EncodedSentences:
        """The sentences as token ids, with the leading space and the context that the spec asks for."""


def encode_pairs(
    pairs: Sequence[tuple[Ids, Ids]],
    critical: np.ndarray | None = None,
    *,
    start: int | None = None,
    end: int | None = None,
    prefix: tuple[int, ...] = (),
    suffix: tuple[int, ...] = (),
    leading_space: bool = False,
) -> EncodedSentences:
    """Minimal pairs that are token ids already.

    Args:
        pairs: for each pair the ids of its good and its bad sentence, without special tokens.
        critical: int [pairs, 2, 2]: for good and bad the critical region as a span ``[start, end)`` of tokens.
        start, end: ids of the start and the end token.
        prefix, suffix: ids that the tokenizer itself puts before and after a text.
        leading_space: whether the sentences were encoded with a space before them.

    Raises:
        ValueError: if there are no pairs, a sentence is empty, or a region does not lie in its sentence.
    """
    if critical is not None and np.shape(critical) != (len(pairs), 2, 2):
        raise ValueError(f"critical has shape {np.shape(critical)}, not [pairs, 2, 2] = ({len(pairs)}, 2, 2)")
    regions = {} if critical is None else {"critical": np.asarray(critical).reshape(-1, 2)}
    return EncodedSentences(
        ids=[np.asarray(ids) if len(ids) else np.zeros(0, np.int32) for pair in pairs for ids in pair],
        groups=np.repeat(np.arange(len(pairs)), 2),
        regions=regions,
        start=start,
        end=end,
        prefix=prefix,
        suffix=suffix,
        leading_space=leading_space,
    )
