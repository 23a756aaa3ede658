"""Sentences as token ids, the input of a scorer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from npi_jax.scoring.shapes import Integer
from npi_jax.scoring.spec import ScoreSpec

Ids = Sequence[int] | Integer[np.ndarray, " _"]

ABSENT = -1
"""Value of both ends of a region's span in a sentence without the region."""

MAX_ID = np.iinfo(np.int32).max
"""The largest token id; models read int32."""


@dataclass(frozen=True, kw_only=True)
class EncodedSentences:
    """S sentences as token ids, in groups: minimal pairs (good first), or the conditions of an item.

    Attributes:
        ids: token ids of each sentence, without special tokens.
        groups: group number of each sentence, never decreasing. The sentences of a group share a row.
        regions: for each region's name the span ``[start, end)`` of its tokens in each sentence. Both ends are `ABSENT`
            in a sentence without the region. The scorer adds ``sentence``, ``difference`` and ``critical_last``.
        start, end: ids of the start and the end token; None if the tokenizer has none.
        prefix, suffix: ids that the tokenizer adds before and after a text.
        context: token ids of the text `ScoreSpec.context`.
        leading_space: whether the sentences were encoded with a space before them.
        texts, offsets: the sentences as text, and the span of characters of each token. Normalization by words,
            characters or bytes needs both.
        pairs: whether groups of two are minimal pairs; False if they are two conditions of an item.
        labels: columns of score tables, with one value for each group.
        sentence_labels: further columns, with one value for each sentence.
    """

    ids: Sequence[Integer[np.ndarray, " _"]]
    groups: Integer[np.ndarray, " sentences"]
    regions: Mapping[str, Integer[np.ndarray, "sentences 2"]] = field(default_factory=dict)
    start: int | None = None
    end: int | None = None
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    context: tuple[int, ...] = ()
    leading_space: bool = False
    texts: Sequence[str] | None = None
    offsets: Sequence[Integer[np.ndarray, "_ 2"]] | None = None
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
                f"{self.where(index)}: region {name!r} [{start[index]}, {end[index]}) is not within its "
                f"{lengths[index]} tokens"
            )

    @property
    def is_pairs(self) -> bool:
        """True if all groups are minimal pairs."""
        return self.pairs and bool((np.bincount(self.groups - self.groups[0]) == 2).all())

    def where(self, index: int) -> str:
        """Return the name by which messages refer to a sentence."""
        group = int(self.groups[index] - self.groups[0])
        number = index - int(np.searchsorted(self.groups, self.groups[index]))
        side = ("good", "bad")[number] if self.is_pairs else f"number {number}"
        name = f"item {self.labels['item'][group]!r}" if "item" in self.labels else f"group {group}"
        return f"{name}, {side} sentence"

    def sentences(self, spec: ScoreSpec) -> "EncodedSentences":
        """Return these sentences if they were encoded as `spec` requires.

        Raises:
            ValueError: if the spec differs in the leading space, or has a context whose ids were not given.
        """
        if spec.leading_space != self.leading_space:
            raise ValueError(
                f"the spec has leading_space={spec.leading_space}, but the sentences were encoded with "
                f"leading_space={self.leading_space}; encode them again, or give a suite's encode(tokenizer)"
            )
        if spec.context and not self.context:
            raise ValueError(f"the spec has context={spec.context!r}, but no ids of it were given (context=())")
        return self

    def tokens_after(self, spec: ScoreSpec) -> tuple[int, ...]:
        """Return the ids that the spec scores after a sentence: the tokenizer's suffix and the end token.

        Raises:
            ValueError: if the spec scores an end token and the tokenizer has none.
        """
        suffix = self.suffix if spec.beginning == "special" else ()
        if not spec.score_end:
            return suffix
        if self.end is None:
            raise ValueError("the ScoreSpec scores the end token, but none was given (end=None)")
        return (*suffix, self.end)


@runtime_checkable
class Encodable(Protocol):
    """Sentences that can be encoded as any spec requires, such as a suite with its tokenizer."""

    def sentences(self, spec: ScoreSpec) -> EncodedSentences:
        """Return the sentences as token ids, with the leading space and the context of the spec."""


def encode_pairs(
    pairs: Sequence[tuple[Ids, Ids]],
    critical: Integer[np.ndarray, "pairs 2 2"] | None = None,
    *,
    start: int | None = None,
    end: int | None = None,
    prefix: tuple[int, ...] = (),
    suffix: tuple[int, ...] = (),
    leading_space: bool = False,
) -> EncodedSentences:
    """Make `EncodedSentences` of minimal pairs that are token ids already.

    Args:
        pairs: for each pair the ids of its good and its bad sentence, without special tokens.
        critical: the critical region of the good and the bad sentence, as a span ``[start, end)`` of tokens.
        start, end: ids of the start and the end token.
        prefix, suffix: ids that the tokenizer adds before and after a text.
        leading_space: whether the sentences were encoded with a space before them.

    Raises:
        ValueError: if there are no pairs, a sentence is empty, or a region is not within its sentence.
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
