"""A suite in a tokenizer's ids: what the scorer takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from npi_jax.corpus.text.tokenizer import Encoding, Tokenizer
from npi_jax.errors import UserError
from npi_jax.scoring import ABSENT, EncodedSentences, ScoreSpec
from npi_jax.suites.schema import ConditionSuite, Span, Suite


class EncodingError(UserError):
    """An item that the tokenizer cannot put into ids together with its regions."""


@dataclass(frozen=True)
class Layout:
    """A suite as sentences one after another, S of them in groups (pairs, or the conditions of an item).

    Attributes:
        texts: the sentences.
        groups: int [S], the number of each sentence's group.
        regions: by name each sentence's span of characters, or None.
        labels: columns with a value for each group.
        sentence_labels: columns with a value for each sentence.
    """

    texts: Sequence[str]
    groups: np.ndarray
    regions: Mapping[str, Sequence[Span | None]]
    labels: Mapping[str, Sequence[str]]
    sentence_labels: Mapping[str, Sequence[str]]


def layout(suite: Suite | ConditionSuite) -> Layout:
    """The sentences of a suite in the order in which they are scored."""
    if isinstance(suite, ConditionSuite):
        conditions = [(name, c) for item in suite for name, c in item.conditions.items()]
        named = dict.fromkeys(region for _, c in conditions for region in c.regions)
        return Layout(
            [c.text for _, c in conditions],
            np.repeat(np.arange(len(suite)), [len(item.conditions) for item in suite]),
            {region: [c.regions.get(region) for _, c in conditions] for region in named},
            {"suite": [suite.name] * len(suite)}
            | {field: [getattr(item, field) for item in suite] for field in ("paradigm", "task", "item")},
            {"condition": [name for name, _ in conditions]},
        )
    regions: dict[str, list[Span | None]] = {
        "critical": [span for item in suite for span in (item.critical_good, item.critical_bad)]
    }
    for name in dict.fromkeys(name for item in suite for name in item.regions):
        regions[name] = [span for item in suite for span in item.regions.get(name, (None, None))]
    return Layout(
        [text for item in suite for text in (item.good, item.bad)],
        np.repeat(np.arange(len(suite)), 2),
        regions,
        {"suite": [suite.name] * len(suite)}
        | {field: [getattr(item, field) for item in suite] for field in ("paradigm", "task", "kind", "item")},
        {},
    )


class EncodedSuite:
    """A suite together with a tokenizer: gives its sentences in ids, as a `ScoreSpec` wants them.

    Arguments:
        suite: the items.
        tokenizer: the model's.

    Raises:
        EncodingError: naming the item, if no token overlaps one of its regions, or its text is no Unicode text.
    """

    def __init__(self, suite: Suite | ConditionSuite, tokenizer: Tokenizer) -> None:
        self.suite, self.tokenizer = suite, tokenizer
        self._layout = layout(suite)
        _check_texts(self._layout)
        self._plain = self._encode(leading_space=False)

    def sentences(self, spec: ScoreSpec) -> EncodedSentences:
        """The sentences as token ids, with the leading space and the context that the spec asks for."""
        encoded = self._spaced if spec.leading_space else self._plain
        if not spec.context:
            return encoded
        context = tuple(int(i) for i in self.tokenizer.encode(spec.context).ids)
        return EncodedSentences(**{**vars(encoded), "context": context})

    @property
    def unknown_items(self) -> int:
        """Items with a word outside the vocabulary in any of their sentences."""
        return len(set(self._plain.groups[[unknown.any() for unknown in self._unknown]]))

    @property
    def unknown_critical(self) -> int:
        """Items whose critical region holds such a word: their scores say little."""
        if "critical" not in self._plain.regions:
            return 0
        spans = self._plain.regions["critical"]
        inside = [unknown[slice(*span)].any() for unknown, span in zip(self._unknown, spans, strict=True)]
        return len(set(self._plain.groups[inside]))

    @cached_property
    def split_regions(self) -> int:
        """Items of which a region begins or ends inside a token, in any sentence: all of that token is scored.

        Of minimal pairs the critical region counts, of items of several conditions every region.
        """
        names = ["critical"] if isinstance(self.suite, Suite) else list(self._plain.regions)
        split = np.zeros(len(self._plain.ids), bool)
        for name in names:
            split |= self._begins_or_ends_inside(self._layout.regions[name], self._plain.regions[name])
        return len(set(self._plain.groups[split]))

    def notes(self) -> list[str]:
        """What the tokenizer makes of the suite that is worth knowing before its scores are believed, a line each."""
        critical = f" ({self.unknown_critical:,} in the critical region)" if self.unknown_critical else ""
        region = "critical region" if isinstance(self.suite, Suite) else "region"
        found = [
            (self.unknown_items, f"words outside the vocabulary{critical}"),
            (self.split_regions, f"a {region} begins or ends inside a token; all of the token is scored"),
        ]
        return [f"{count:,} of {len(self.suite):,} items: {text}" for count, text in found if count]

    def _begins_or_ends_inside(self, spans: Sequence[Span | None], tokens: np.ndarray) -> np.ndarray:
        """Whether each sentence's span of characters cuts the first or the last of its tokens, bool [S]."""
        offsets = self._plain.offsets
        assert offsets is not None
        return np.array(
            [
                span is not None and bool(places[start, 0] < span[0] or places[end - 1, 1] > span[1])
                for span, (start, end), places in zip(spans, tokens, offsets, strict=True)
            ]
        )

    @cached_property
    def _unknown(self) -> list[np.ndarray]:
        """Which tokens are unknown words, for each sentence."""
        return [ids == (ABSENT if self.tokenizer.unk is None else self.tokenizer.unk) for ids in self._plain.ids]

    @cached_property
    def _spaced(self) -> EncodedSentences:
        return self._encode(leading_space=True)

    def _encode(self, *, leading_space: bool) -> EncodedSentences:
        texts, tokenizer = self._layout.texts, self.tokenizer
        if leading_space:
            # Characters are counted in the sentence itself, without the space.
            spaced = tokenizer.encode_many([f" {text}" for text in texts])
            encodings = [Encoding(one.ids, np.maximum(one.offsets - 1, 0)) for one in spaced]
        else:
            encodings = tokenizer.encode_many(texts)
        offsets = [one.offsets for one in encodings]
        regions = {name: self._token_spans(name, spans, offsets) for name, spans in self._layout.regions.items()}
        return EncodedSentences(
            ids=[one.ids for one in encodings],
            groups=self._layout.groups,
            regions=regions,
            start=tokenizer.start,
            end=tokenizer.end,
            prefix=tokenizer.prefix,
            suffix=tokenizer.suffix,
            leading_space=leading_space,
            texts=texts,
            offsets=offsets,
            labels=self._layout.labels,
            pairs=isinstance(self.suite, Suite),
            sentence_labels=self._layout.sentence_labels,
        )

    def _token_spans(self, name: str, spans: Sequence[Span | None], offsets: Sequence[np.ndarray]) -> np.ndarray:
        """The tokens that overlap each sentence's span of characters, [S, 2]."""
        found = np.full((len(spans), 2), ABSENT, np.int32)
        for index, (span, places) in enumerate(zip(spans, offsets, strict=True)):
            if span is None:
                continue
            # Tokens stand in the order of their characters.
            tokens = np.flatnonzero((places[:, 0] < span[1]) & (places[:, 1] > span[0]))
            if not len(tokens):
                group = int(self._layout.groups[index])
                raise EncodingError(
                    f"item {self._layout.labels['item'][group]!r}: no token of {self._layout.texts[index]!r} lies in "
                    f"its region {name!r}, characters {span[0]} to {span[1]}"
                )
            found[index] = tokens[0], tokens[-1] + 1
        return found


def _check_texts(found: Layout) -> None:
    """Refuse text that cannot be written as UTF-8: half of a surrogate pair, as JSON's ``\\ud800`` gives it.

    Raises:
        EncodingError: naming the item and the field.
    """
    columns = {"a sentence": [(int(group), text) for group, text in zip(found.groups, found.texts, strict=True)]}
    columns |= {field: list(enumerate(values)) for field, values in found.labels.items()}
    for field, values in found.sentence_labels.items():
        columns[field] = [(int(group), value) for group, value in zip(found.groups, values, strict=True)]
    for field, entries in columns.items():
        for group, text in entries:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise EncodingError(
                    f"item {found.labels['item'][group]!r}: {field} ({text!r}) has {text[error.start]!r} at character "
                    f"{error.start}, half of a surrogate pair, which is no text; correct the suite's file"
                ) from error
