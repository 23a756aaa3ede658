"""The corpus as integers: tokens, where sentences start, and the annotations that are left of each."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.annotation.phenomenon import NO_ITEM, Phenomenon, load_phenomenon
from npi_jax.corpus.annotation.stored_text import AnnotatedStore, Text
from npi_jax.corpus.annotation.table import DTYPES, AnnotationTable
from npi_jax.corpus.storage.arrays import spread
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.storage.workers import ordered_map
from npi_jax.corpus.text.tokenizer import Tokenizer, split_spans
from npi_jax.errors import UserError

_BLOCK = 20_000


@dataclass(frozen=True)
class Corpus:
    """Tokenized, annotated sentences.

    Attributes:
        tokens: all sentences one after the other, each ended by `<eos>`.
        lengths: tokens of each sentence, `<eos>` included.
        annotations: of all sentences; what a cut took away is left out.
        phenomenon: whose annotations they are.
        text: the sentences as written.
        eos: id of `<eos>`.
        cut: sentences that were longer than a row and lost their end.
    """

    tokens: Integer[np.ndarray, " tokens"]
    lengths: Integer[np.ndarray, " sentences"]
    annotations: AnnotationTable
    phenomenon: Phenomenon
    text: Sequence[str]
    eos: int
    cut: int = 0

    def __post_init__(self) -> None:
        offsets = np.zeros(len(self.lengths) + 1, np.int64)
        np.cumsum(self.lengths, out=offsets[1:])
        object.__setattr__(self, "offsets", offsets)

    offsets: Integer[np.ndarray, " sentences_and_end"] = None  # type: ignore[assignment]
    """Where each sentence starts in `tokens`, and the end."""

    def __len__(self) -> int:
        return len(self.lengths)

    def digest(self) -> str:
        """SHA-256 over tokens, boundaries and annotations: two corpora train alike exactly if these agree."""
        sha = hashlib.sha256()
        for array in (self.tokens, self.lengths, *self.annotations.columns().values()):
            for start in range(0, len(array), 1 << 22):
                sha.update(np.ascontiguousarray(array[start : start + (1 << 22)]).tobytes())
        return sha.hexdigest()

    def item_counts(self) -> Integer[np.ndarray, " labels"]:
        """How many items each label has."""
        held = self.annotations.label[self.annotations.holds_item]
        return np.bincount(held, minlength=len(self.phenomenon.labels))

    def sentence(self, index: int) -> Integer[np.ndarray, " tokens"]:
        """The tokens of a sentence, `<eos>` included."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @classmethod
    def open(cls, folder: Path, store: AnnotatedStore, phenomenon: Phenomenon) -> "Corpus":
        """Open what `encode_store` has written.

        Raises:
            UserError: if a file of it is missing or cut off.
        """
        columns = Columns(folder)
        chosen = columns["chosen"] if columns.facts["chosen"] else None
        text = Text(store.text.content, store.text.ends, chosen)
        table = AnnotationTable(*(columns[name] for name in DTYPES))
        facts = columns.facts
        return cls(columns["tokens"], columns["lengths"], table, phenomenon, text, facts["eos"], facts["cut"])


def build_corpus(
    sentences: Sequence[str],
    annotations: Sequence[tuple[Annotation, ...]],
    tokenizer: Tokenizer,
    *,
    row_length: int,
    phenomenon: Phenomenon | None = None,
) -> Corpus:
    """Tokenize sentences in memory.

    Sentences that do not fit a row are cut to ``row_length - 1`` tokens and `<eos>`, and counted in `cut`.

    Raises:
        UserError: if there is no sentence, or a sentence holds no token.
    """
    phenomenon = phenomenon or load_phenomenon("npi_en")
    blocks = list(map(_Encoding(tokenizer, row_length), _blocks(sentences)))
    _check(blocks, sentences)
    table = AnnotationTable.from_sentences(annotations, phenomenon)
    cut = _cut_words(blocks)
    return Corpus(
        np.concatenate([block.tokens for block in blocks]),
        np.concatenate([block.lengths for block in blocks]),
        left_of(table, cut, phenomenon),
        phenomenon,
        sentences,
        tokenizer.eos,
        len(cut),
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
    """Tokenize stored text into a folder; memory does not grow with the text.

    Args:
        folder: where to.
        store: the text.
        tokenizer: of the text.
        phenomenon: whose annotations the text has.
        row_length: as for `build_corpus`.
        chosen: the sentences to take, in increasing order; None for all.
        processes: that tokenize; 0 for one a core.
        track: is wrapped around the blocks, to show how far they are.

    Raises:
        UserError: as for `build_corpus`.
    """
    text = store.text if chosen is None else Text(store.text.content, store.text.ends, chosen)
    table = store.annotations if chosen is None else _renumbered(store.annotations, chosen)
    width = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    columns = {"tokens": width, "lengths": np.uint32, "chosen": np.int64, **DTYPES}
    blocks = ordered_map(partial(_Encoding, tokenizer, row_length), text.blocks(), processes=processes)
    cut: dict[int, int] = {}
    count = 0
    with ColumnWriter(folder, columns) as writer:
        for block in track(blocks):
            _check([block], text, count)
            writer.append(tokens=block.tokens, lengths=block.lengths)
            cut.update({count + at: words for at, words in block.cut.items()})
            count += len(block.lengths)
        if not count:
            raise UserError("the corpus has no sentences")
        writer.append(**left_of(table, cut, phenomenon).columns())
        if chosen is not None:
            writer.append(chosen=chosen)
        writer.close(eos=tokenizer.eos, cut=len(cut), chosen=chosen is not None)


@dataclass(frozen=True)
class EncodedBlock:
    """Some sentences tokenized.

    Attributes:
        tokens, lengths: as in `Corpus`; a sentence without tokens has length 1.
        cut: sentences that were cut, with how many words each has left.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    cut: dict[int, int]


class _Encoding:
    """Tokenizes blocks of sentences; made once in each process."""

    def __init__(self, tokenizer: Tokenizer, row_length: int) -> None:
        self.tokenizer, self.row_length = tokenizer, row_length
        self.dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32

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
        """How many words of a sentence lie whole in its first tokens."""
        end = int(self.tokenizer.encode(sentence).offsets[tokens - 1, 1])
        return sum(word_end <= end for _, _, word_end in split_spans(sentence))


def _blocks(sentences: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(sentences), _BLOCK):
        yield list(sentences[start : start + _BLOCK])


def _check(blocks: Sequence[EncodedBlock], text: Sequence[str], first: int = 0) -> None:
    if not blocks:
        raise UserError("the corpus has no sentences")
    for block in blocks:
        empty = np.flatnonzero(block.lengths == 1)
        if len(empty):
            where = first + int(empty[0])
            raise UserError(f"sentence {where + 1} of the corpus has no tokens: {text[where]!r}")
        first += len(block.lengths)


def _cut_words(blocks: Sequence[EncodedBlock]) -> dict[int, int]:
    cut, first = {}, 0
    for block in blocks:
        cut.update({first + at: words for at, words in block.cut.items()})
        first += len(block.lengths)
    return cut


def left_of(table: AnnotationTable, cut: dict[int, int], phenomenon: Phenomenon) -> AnnotationTable:
    """What is left of annotations where sentences were cut.

    An item that stays without its licensor becomes what its table calls it without one.

    Args:
        table: of the whole sentences.
        cut: sentences that were cut, with how many words each has left.
        phenomenon: whose annotations they are.
    """
    if not cut or not len(table):
        return table
    sentences = np.array(sorted(cut))
    at = np.minimum(np.searchsorted(sentences, table.sentence), len(sentences) - 1)
    left = np.array([cut[one] for one in sentences.tolist()])[at]
    whole = sentences[at] != table.sentence
    orphaned = ~whole & table.holds_item & (table.licensor >= left)
    without = [entry.unlicensed for entry in phenomenon.items]
    label, licensor = np.array(table.label), np.array(table.licensor)
    names = [without[item] for item in table.item[orphaned].tolist()]
    label[orphaned] = [phenomenon.labels.index(name) if name != NO_ITEM else -1 for name in names]
    licensor[orphaned] = -1
    mended = AnnotationTable(table.sentence, label, table.item, licensor, table.start, table.stop)
    return mended.where((label >= 0) & (whole | (np.maximum(mended.stop, mended.licensor + 1) <= left)))


def _renumbered(table: AnnotationTable, chosen: np.ndarray) -> AnnotationTable:
    """The annotations of some of the sentences, which are numbered anew."""
    if not len(chosen):
        return table.where(np.zeros(len(table), bool))
    at = np.minimum(np.searchsorted(chosen, table.sentence), len(chosen) - 1)
    kept = table.where(chosen[at] == table.sentence)
    return AnnotationTable(np.searchsorted(chosen, kept.sentence), *list(kept.columns().values())[1:])
