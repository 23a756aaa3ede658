"""The corpus as integers: token ids, sentence lengths, and the annotations that remain where sentences are cut."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.annotation.entries import NO_ITEM
from npi_jax.corpus.annotation.phenomenon import Phenomenon
from npi_jax.corpus.annotation.stored_text import AnnotatedStore, Text
from npi_jax.corpus.annotation.table import DTYPES, AnnotationTable
from npi_jax.corpus.storage.arrays import spread
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.storage.workers import ordered_map
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.corpus.text.words import split_spans
from npi_jax.errors import UserError

_COLUMNS: Mapping[str, np.dtype[Any] | type] = {"lengths": np.uint32, "chosen": np.int64, **DTYPES}
_CHUNK = 1 << 22
"""Maximum number of array entries that are processed at once."""


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Return the dtype in which token ids are stored: uint16 for up to 65,536 entries, else uint32."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Tokenized, annotated sentences.

    Attributes:
        tokens: ids of all sentences, one sentence after the other, each with `<eos>` at its end.
        lengths: number of tokens of each sentence, including `<eos>`.
        annotations: annotations of all sentences, except those in removed ends of sentences.
        phenomenon: the table by which the text is annotated.
        text: the sentences as written.
        eos: id of `<eos>`.
        cut: number of sentences whose end was removed because they were longer than a row.
    """

    tokens: Integer[np.ndarray, " tokens"]
    lengths: Integer[np.ndarray, " sentences"]
    annotations: AnnotationTable
    phenomenon: Phenomenon
    text: Sequence[str]
    eos: int
    cut: int = 0

    @cached_property
    def offsets(self) -> Integer[np.ndarray, " sentences_and_end"]:
        """Index of each sentence's first token, and the number of all tokens."""
        offsets = np.zeros(len(self.lengths) + 1, np.int64)
        np.cumsum(self.lengths, out=offsets[1:])
        return offsets

    def __len__(self) -> int:
        return len(self.lengths)

    def digest(self) -> str:
        """Return the SHA-256 of tokens, lengths and annotations; corpora with equal digests train alike."""
        sha = hashlib.sha256()
        for array in (self.tokens, self.lengths, *self.annotations.columns().values()):
            for start in range(0, len(array), _CHUNK):
                sha.update(np.ascontiguousarray(array[start : start + _CHUNK]).tobytes())
        return sha.hexdigest()

    def token_counts(self, vocab_size: int) -> Integer[np.ndarray, " vocabulary"]:
        """Return the frequency of each token id."""
        counts = np.zeros(vocab_size, np.int64)
        for start in range(0, len(self.tokens), _CHUNK):
            counts += np.bincount(self.tokens[start : start + _CHUNK], minlength=vocab_size)
        return counts

    @classmethod
    def open(cls, folder: Path, store: AnnotatedStore, phenomenon: Phenomenon) -> "Corpus":
        """Open the folder that `encode_store` wrote.

        Raises:
            UserError: if a file is missing or damaged.
        """
        columns = Columns(folder)
        facts = columns.facts
        chosen = columns["chosen"] if facts["chosen"] else None
        return cls(
            tokens=columns["tokens"],
            lengths=columns["lengths"],
            annotations=AnnotationTable(*(columns[name] for name in DTYPES)),
            phenomenon=phenomenon,
            text=Text(store.text.content, store.text.ends, chosen),
            eos=facts["eos"],
            cut=facts["cut"],
        )


def encode_store(
    folder: Path,
    store: AnnotatedStore,
    tokenizer: Tokenizer,
    phenomenon: Phenomenon,
    *,
    row_length: int,
    chosen: Integer[np.ndarray, " chosen"] | None = None,
    processes: int = 1,
    track: Callable[[Iterable["EncodedBlock"]], Iterable["EncodedBlock"]] = iter,
) -> None:
    """Tokenize stored text into a folder, block by block, so that memory does not grow with the text.

    Sentences that do not fit a row are cut to ``row_length - 1`` tokens and `<eos>`.

    Args:
        folder: output folder.
        store: text and annotations.
        tokenizer: the vocabulary.
        phenomenon: the table by which the text is annotated.
        row_length: tokens of a row.
        chosen: the sentences to tokenize, in increasing order; None for all.
        processes: number of processes that tokenize; 0 for one per core.
        track: wraps the blocks to show progress.

    Raises:
        UserError: if there is no sentence, or a sentence has no token.
    """
    text = store.text if chosen is None else Text(store.text.content, store.text.ends, chosen)
    table = store.annotations if chosen is None else _renumbered(store.annotations, chosen)
    blocks = ordered_map(partial(_BlockEncoder, tokenizer, row_length), text.blocks(), processes=processes)
    with ColumnWriter(folder, {"tokens": token_dtype(tokenizer.vocab_size), **_COLUMNS}) as writer:
        cut = _write_tokens(writer, track(blocks), text)
        writer.append(**annotations_after_cut(table, cut, phenomenon).columns())
        if chosen is not None:
            writer.append(chosen=chosen)
        writer.close(eos=tokenizer.eos, cut=len(cut), chosen=chosen is not None)


def _write_tokens(writer: ColumnWriter, blocks: Iterable["EncodedBlock"], text: Sequence[str]) -> dict[int, int]:
    """Write blocks; return the number of remaining words of each sentence that was cut."""
    cut: dict[int, int] = {}
    count = 0
    for block in blocks:
        empty = np.flatnonzero(block.lengths == 1)
        if len(empty):
            number = count + int(empty[0])
            raise UserError(f"sentence {number + 1} of the corpus has no tokens: {text[number]!r}")
        writer.append(tokens=block.tokens, lengths=block.lengths)
        cut.update({count + at: words for at, words in block.cut.items()})
        count += len(block.lengths)
    if not count:
        raise UserError("the corpus has no sentences")
    return cut


@dataclass(frozen=True)
class EncodedBlock:
    """Some sentences as token ids.

    Attributes:
        tokens, lengths: as in `Corpus`; a sentence without tokens has length 1.
        cut: number of remaining words of each sentence that was cut.
    """

    tokens: Integer[np.ndarray, " tokens"]
    lengths: Integer[np.ndarray, " sentences"]
    cut: dict[int, int]


class _BlockEncoder:
    """Tokenizes blocks of sentences; each process creates one."""

    def __init__(self, tokenizer: Tokenizer, row_length: int) -> None:
        self.tokenizer, self.row_length = tokenizer, row_length
        self.dtype = token_dtype(tokenizer.vocab_size)

    def __call__(self, sentences: list[str]) -> EncodedBlock:
        encoded = self.tokenizer.encode_batch(sentences)
        lengths = np.array([len(ids) for ids in encoded], np.int64)
        kept = np.minimum(lengths, self.row_length - 1)
        ends = np.cumsum(kept + 1)
        tokens = np.full(int(ends[-1]), self.tokenizer.eos, self.dtype)
        content = [ids[:keep] for ids, keep in zip(encoded, kept, strict=True)]
        tokens[spread(ends - kept - 1, kept)] = np.concatenate(content)
        cut = {int(at): self._words(sentences[at], int(kept[at])) for at in np.flatnonzero(kept < lengths)}
        return EncodedBlock(tokens, (kept + 1).astype(np.uint32), cut)

    def _words(self, sentence: str, tokens: int) -> int:
        """Count the words of a sentence that end within its first tokens."""
        end = int(self.tokenizer.encode(sentence).offsets[tokens - 1, 1])
        return sum(word_end <= end for _, _, word_end in split_spans(sentence))


def annotations_after_cut(table: AnnotationTable, cut: dict[int, int], phenomenon: Phenomenon) -> AnnotationTable:
    """Return the annotations that remain where sentences are cut.

    An item that remains without its licensor gets the label of items without a licensor (`Item.unlicensed`).

    Args:
        table: annotations of the uncut sentences.
        cut: number of remaining words of each sentence that is cut, by number of the sentence.
        phenomenon: the table by which the text is annotated.
    """
    if not cut or not len(table):
        return table
    sentences = np.array(sorted(cut))
    at = np.minimum(np.searchsorted(sentences, table.sentence), len(sentences) - 1)
    words_left = np.array([cut[one] for one in sentences.tolist()])[at]
    uncut = sentences[at] != table.sentence
    orphaned = ~uncut & table.holds_item & (table.licensor >= words_left)
    relabeled = _without_licensor(table, orphaned, phenomenon)
    last = np.maximum(relabeled.stop, relabeled.licensor + 1)
    return relabeled.where((relabeled.label >= 0) & (uncut | (last <= words_left)))


def _without_licensor(
    table: AnnotationTable, orphaned: Bool[np.ndarray, " rows"], phenomenon: Phenomenon
) -> AnnotationTable:
    """Remove the licensor of some rows; the label becomes -1 for words that are no item without a licensor."""
    without = [entry.unlicensed for entry in phenomenon.items]
    names = [without[item] for item in table.item[orphaned].tolist()]
    label, licensor = np.array(table.label), np.array(table.licensor)
    label[orphaned] = [phenomenon.labels.index(name) if name != NO_ITEM else -1 for name in names]
    licensor[orphaned] = -1
    return AnnotationTable(table.sentence, label, table.item, licensor, table.start, table.stop)


def _renumbered(table: AnnotationTable, chosen: Integer[np.ndarray, " chosen"]) -> AnnotationTable:
    """Return the annotations of the chosen sentences, with the sentences numbered from 0."""
    if not len(chosen):
        return table.where(np.zeros(len(table), bool))
    at = np.minimum(np.searchsorted(chosen, table.sentence), len(chosen) - 1)
    kept = table.where(chosen[at] == table.sentence)
    return AnnotationTable(np.searchsorted(chosen, kept.sentence), *list(kept.columns().values())[1:])
