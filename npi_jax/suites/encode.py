"""Suites as token ids of one tokenizer, for a scorer."""

from collections.abc import Sequence
from functools import cached_property
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.text.tokenizer import Encoding, Tokenizer
from npi_jax.errors import UserError
from npi_jax.scoring import ABSENT, EncodedSentences, ScoreSpec
from npi_jax.suites.sentences import SentenceTable, Span


class EncodingError(UserError):
    """An item that cannot be encoded: a region without tokens, or text that is not valid Unicode."""


@runtime_checkable
class HasSentences(Protocol):
    """Items whose sentences can be encoded: a `Suite` or a `ConditionSuite`."""

    def __len__(self) -> int:
        """Return the number of items."""

    def sentence_table(self) -> SentenceTable:
        """Return the sentences in the order in which they are scored."""


SuiteT = TypeVar("SuiteT", bound=HasSentences)


class EncodedSuite(Generic[SuiteT]):
    """A suite encoded by one tokenizer; returns its sentences as a `ScoreSpec` asks for them.

    Arguments:
        suite: the items.
        tokenizer: the tokenizer of the model.

    Raises:
        EncodingError: if no token overlaps a region, or text is not valid Unicode; names the item.
    """

    def __init__(self, suite: SuiteT, tokenizer: Tokenizer) -> None:
        self.suite, self.tokenizer = suite, tokenizer
        self._table = suite.sentence_table()
        _check_unicode(self._table)
        self._plain = self._encode(leading_space=False)

    def sentences(self, spec: ScoreSpec) -> EncodedSentences:
        """Return the sentences as token ids, with the leading space and the context of the spec."""
        encoded = self._spaced if spec.leading_space else self._plain
        if not spec.context:
            return encoded
        context = tuple(int(i) for i in self.tokenizer.encode(spec.context).ids)
        return EncodedSentences(**{**vars(encoded), "context": context})

    @property
    def unknown_items(self) -> int:
        """Number of items with an out-of-vocabulary word in any sentence."""
        return len(set(self._plain.groups[[unknown.any() for unknown in self._unknown]]))

    @property
    def unknown_critical(self) -> int:
        """Number of items with an out-of-vocabulary word in the critical region; their scores mean little."""
        if "critical" not in self._plain.regions:
            return 0
        spans = self._plain.regions["critical"]
        inside = [unknown[slice(*span)].any() for unknown, span in zip(self._unknown, spans, strict=True)]
        return len(set(self._plain.groups[inside]))

    @cached_property
    def split_regions(self) -> int:
        """Number of items with a region that begins or ends inside a token; all of that token is scored.

        For minimal pairs only the critical region counts, for items of several conditions every region.
        """
        names = ["critical"] if self._table.pairs else list(self._plain.regions)
        split = np.zeros(len(self._plain.ids), bool)
        for name in names:
            split |= self._splits_token(self._table.regions[name], self._plain.regions[name])
        return len(set(self._plain.groups[split]))

    def notes(self) -> list[str]:
        """Return warnings about the encoding that affect how far scores can be trusted, one line each."""
        critical = f" ({self.unknown_critical:,} in the critical region)" if self.unknown_critical else ""
        region = "critical region" if self._table.pairs else "region"
        warnings = [
            (self.unknown_items, f"words outside the vocabulary{critical}"),
            (self.split_regions, f"a {region} begins or ends inside a token; all of the token is scored"),
        ]
        return [f"{count:,} of {len(self.suite):,} items: {text}" for count, text in warnings if count]

    def _splits_token(
        self, spans: Sequence[Span | None], tokens: Integer[np.ndarray, "sentences 2"]
    ) -> Bool[np.ndarray, " sentences"]:
        """Return True for each sentence whose span begins or ends inside a token."""
        offsets = self._plain.offsets
        assert offsets is not None
        return np.array(
            [
                span is not None and bool(characters[start, 0] < span[0] or characters[end - 1, 1] > span[1])
                for span, (start, end), characters in zip(spans, tokens, offsets, strict=True)
            ]
        )

    @cached_property
    def _unknown(self) -> list[np.ndarray]:
        """Mask of the out-of-vocabulary tokens of each sentence."""
        return [ids == (ABSENT if self.tokenizer.unk is None else self.tokenizer.unk) for ids in self._plain.ids]

    @cached_property
    def _spaced(self) -> EncodedSentences:
        return self._encode(leading_space=True)

    def _encode(self, *, leading_space: bool) -> EncodedSentences:
        table, tokenizer = self._table, self.tokenizer
        encodings = self._encodings(leading_space)
        offsets = [encoding.offsets for encoding in encodings]
        return EncodedSentences(
            ids=[encoding.ids for encoding in encodings],
            groups=table.groups,
            regions={name: self._token_spans(name, spans, offsets) for name, spans in table.regions.items()},
            start=tokenizer.start,
            end=tokenizer.end,
            prefix=tokenizer.prefix,
            suffix=tokenizer.suffix,
            leading_space=leading_space,
            texts=table.texts,
            offsets=offsets,
            labels=table.labels,
            pairs=table.pairs,
            sentence_labels=table.sentence_labels,
        )

    def _encodings(self, leading_space: bool) -> Sequence[Encoding]:
        if not leading_space:
            return self.tokenizer.encode_many(self._table.texts)
        # Offsets must refer to the sentence without the leading space.
        spaced = self.tokenizer.encode_many([f" {text}" for text in self._table.texts])
        return [Encoding(encoding.ids, np.maximum(encoding.offsets - 1, 0)) for encoding in spaced]

    def _token_spans(
        self, name: str, spans: Sequence[Span | None], offsets: Sequence[np.ndarray]
    ) -> Integer[np.ndarray, "sentences 2"]:
        """Return for each sentence the range of tokens that overlap its span of characters."""
        token_spans = np.full((len(spans), 2), ABSENT, np.int32)
        for index, (span, characters) in enumerate(zip(spans, offsets, strict=True)):
            if span is None:
                continue
            # Tokens are in the order of their characters, so that the overlapping ones are consecutive.
            tokens = np.flatnonzero((characters[:, 0] < span[1]) & (characters[:, 1] > span[0]))
            if not len(tokens):
                group = int(self._table.groups[index])
                raise EncodingError(
                    f"item {self._table.labels['item'][group]!r}: no token of {self._table.texts[index]!r} overlaps "
                    f"its region {name!r}, characters {span[0]} to {span[1]}"
                )
            token_spans[index] = tokens[0], tokens[-1] + 1
        return token_spans


def _check_unicode(table: SentenceTable) -> None:
    """Reject half of a surrogate pair (JSON's ``\\ud800``), which cannot be written as UTF-8.

    Raises:
        EncodingError: names the item and the field.
    """
    groups = table.groups.tolist()
    columns = {"a sentence": list(zip(groups, table.texts, strict=True))}
    columns |= {field: list(enumerate(values)) for field, values in table.labels.items()}
    columns |= {field: list(zip(groups, values, strict=True)) for field, values in table.sentence_labels.items()}
    for field, entries in columns.items():
        for group, text in entries:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise EncodingError(
                    f"item {table.labels['item'][group]!r}: {field} ({text!r}) has {text[error.start]!r} at character "
                    f"{error.start}, half of a surrogate pair, which is not valid text; correct the suite's file"
                ) from error
