"""Annotated text on disk: sentences as written, and their annotations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Integer

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.phenomenon import Phenomenon, load_phenomenon
from npi_jax.corpus.annotation.table import DTYPES, AnnotationTable
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.storage.workers import ordered_map
from npi_jax.corpus.text.sources import Document
from npi_jax.corpus.text.words import split_words
from npi_jax.errors import UserError

_BLOCK = 20_000  # sentences
_TASK = 1 << 20  # characters
DATASET = "npi_annotated_text"
"""Name of the TFDS data sets that `npi_jax.corpus.annotation.beam` writes."""
ANNOTATION_FEATURES: tuple[str, ...] = tuple(name for name in DTYPES if name != "sentence")
"""Features of these data sets besides ``text`` and ``document``: the columns of a sentence's annotations."""


@dataclass(frozen=True)
class Block:
    """Some sentences and their annotations; sentence numbers start at 0 in each block."""

    sentences: list[str]
    annotations: AnnotationTable


class Text(Sequence[str]):
    """Sentences that are read from disk on access.

    Args:
        content: all sentences, concatenated, in UTF-8.
        ends: end of each sentence in `content`.
        chosen: numbers of the sentences in this text, in increasing order; None for all.
    """

    def __init__(
        self,
        content: Integer[np.ndarray, " bytes"],
        ends: Integer[np.ndarray, " sentences"],
        chosen: Integer[np.ndarray, " chosen"] | None = None,
    ) -> None:
        self.content, self.ends, self.chosen = content, ends, chosen

    def __len__(self) -> int:
        return len(self.ends) if self.chosen is None else len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"sentence {index} of {len(self)}")
        at = index if self.chosen is None else int(self.chosen[index])
        start = int(self.ends[at - 1]) if at else 0
        return self.content[start : int(self.ends[at])].tobytes().decode()

    def blocks(self) -> Iterator[list[str]]:
        """Yield the sentences in order, in lists of at most 20,000."""
        for start in range(0, len(self), _BLOCK):
            yield self[start : start + _BLOCK]


@dataclass(frozen=True)
class AnnotatedStore:
    """Text and annotations, mapped into memory from a folder of `write_documents` or `write_blocks`."""

    text: Text
    annotations: AnnotationTable

    @classmethod
    def open(cls, folder: Path) -> "AnnotatedStore":
        """Open a folder.

        Raises:
            UserError: if a file is missing or damaged.
        """
        columns = Columns(folder)
        table = AnnotationTable(*(columns[name] for name in DTYPES))
        return cls(Text(columns["content"], columns["ends"]), table)


def write_documents(
    folder: Path, documents: Iterable[Document], phenomenon: str, *, processes: int = 1, digest: str = ""
) -> int:
    """Split documents into sentences, annotate them, and write both; return the number of sentences.

    Memory use does not grow with the text. Licensors without an item are also written.

    Args:
        folder: output folder.
        documents: the text; see `npi_jax.corpus.text.sources`.
        phenomenon: name or path, see `load_phenomenon`.
        processes: number of processes that annotate; 0 for one per core.
        digest: expected digest of the phenomenon; "" for any.

    Raises:
        UserError: if the phenomenon has another digest, or reading the documents fails.
    """
    make_annotator = partial(_DocumentAnnotator, phenomenon, digest)
    return write_blocks(folder, ordered_map(make_annotator, _tasks(documents), processes=processes))


def _tasks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Group documents into tasks of about a megabyte; one task per small document would be slow."""
    task: list[Document] = []
    size = 0
    for document in documents:
        task.append(document)
        size += len(document.text)
        if size >= _TASK:
            yield task
            task, size = [], 0
    if task:
        yield task


def write_blocks(folder: Path, blocks: Iterable[Block]) -> int:
    """Write annotated sentences; return the number of sentences."""
    count = size = 0
    with ColumnWriter(folder, {"content": np.uint8, "ends": np.int64, **DTYPES}) as writer:
        for block in blocks:
            encoded = [sentence.encode() for sentence in block.sentences]
            ends = np.cumsum([len(content) for content in encoded], dtype=np.int64) + size
            table = block.annotations.columns()
            writer.append(
                content=np.frombuffer(b"".join(encoded), np.uint8),
                ends=ends,
                **{**table, "sentence": table["sentence"] + count},
            )
            count += len(encoded)
            size = int(ends[-1]) if len(ends) else size
        writer.close(sentences=count)
    return count


def annotated_block(sentences: list[str], annotations: Sequence[Sequence[Annotation]], phenomenon: str) -> Block:
    """Return a block of sentences with given annotations."""
    return Block(sentences, AnnotationTable.from_sentences(annotations, load_phenomenon(phenomenon)))


def annotated_blocks(source: Any, phenomenon: Phenomenon) -> Iterator[Block]:
    """Read a TFDS data set that `npi_jax.corpus.annotation.beam` wrote.

    Args:
        source: the data set, opened by `npi_jax.corpus.text.sources.tfds_source`.
        phenomenon: expected phenomenon of its annotations.

    Raises:
        UserError: if the data set was annotated with another table.
    """
    metadata = source.dataset_info.metadata or {}
    if metadata.get("phenomenon_sha256") != phenomenon.digest:
        raise UserError(
            f"the data set was annotated with another table ({metadata.get('phenomenon')}) than {phenomenon.name} is "
            "now: annotate the text again, or set corpus.phenomenon"
        )
    for start in range(0, len(source), _BLOCK):
        yield _block([source[at] for at in range(start, min(start + _BLOCK, len(source)))])


def _block(examples: Sequence[Mapping[str, Any]]) -> Block:
    numbers = [np.full(len(example["label"]), at, np.int64) for at, example in enumerate(examples)]
    columns = [
        np.concatenate([example[name] for example in examples]).astype(DTYPES[name]) for name in ANNOTATION_FEATURES
    ]
    sentences = [example["text"].decode() for example in examples]
    return Block(sentences, AnnotationTable(np.concatenate(numbers), *columns))


class _DocumentAnnotator:
    """Annotates documents; each process builds one."""

    def __init__(self, phenomenon: str, digest: str = "") -> None:
        self.annotator = annotator(phenomenon)
        if digest not in ("", self.annotator.phenomenon.digest):
            raise UserError(
                f"{phenomenon}: the file changed while text was annotated with it; run again when nothing writes to it"
            )

    def __call__(self, documents: list[Document]) -> Block:
        sentences = [sentence for document in documents for sentence in document.sentences]
        annotate = self.annotator.annotate
        annotations = [annotate(split_words(sentence), contexts=True) for sentence in sentences]
        return Block(sentences, AnnotationTable.from_sentences(annotations, self.annotator.phenomenon))
