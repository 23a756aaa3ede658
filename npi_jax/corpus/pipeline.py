"""From text to what training reads, stage by stage, each kept in the cache under all that it depends on.

    documents -> annotated text -> vocabulary -> tokens -> rows of each variant

A stage that was prepared before is opened, not made again: a change of the vocabulary annotates nothing anew, and
another set of variants tokenizes nothing anew.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from jaxtyping import Integer
from pydantic import Field, TypeAdapter

from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.overlap import environment_table
from npi_jax.corpus.annotation.phenomenon import Phenomenon, load_phenomenon
from npi_jax.corpus.annotation.stored_text import AnnotatedStore, Block, Text, write_blocks, write_documents
from npi_jax.corpus.encoded import Corpus, encode_store
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.storage.cache import Make, Opened, Say, cache_folder, opened
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.text.sources import Document
from npi_jax.corpus.text.tokenizer import LibraryTokenizer, Tokenizer
from npi_jax.corpus.variants.builder import RowPool, Variant, VariantBuilder, variant_table
from npi_jax.corpus.variants.edits import Editor
from npi_jax.corpus.variants.interventions import parse_intervention
from npi_jax.corpus.variants.row_files import RowRecords, write_records
from npi_jax.errors import UserError
from npi_jax.files.checksums import DamagedError
from npi_jax.files.writing import read_checked, read_table, write_json, write_table

Track = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Pipeline:
    """Where data is kept, and how it is made.

    Attributes:
        phenomenon: name or path of the phenomenon.
        cache: folder of the cache; "" for the usual one (`cache_folder`).
        processes: that annotate and tokenize; 0 for one a core.
        say: gets a line about what is waited for.
        track: is wrapped around long work, with its name, to show how far it is.
    """

    phenomenon: str = "npi_en"
    cache: str = ""
    processes: int = 1
    say: Say = print
    track: Track = lambda items, _: items

    @property
    def table(self) -> Phenomenon:
        """The phenomenon."""
        return load_phenomenon(self.phenomenon)

    def opened(self, kind: str, key: Mapping[str, Any], make: Make, open_: Callable[[Path], Opened]) -> Opened:
        """A folder of the cache, opened; see `npi_jax.corpus.storage.cache.opened`."""
        return opened(cache_folder(self.cache), kind, key, make, open_, self.say)

    def annotated(self, key: Mapping[str, Any], documents: Callable[[], Iterable[Document]], what: str) -> "StoredText":
        """Annotate documents.

        Args:
            key: what the documents are, e.g. their digests.
            documents: opens them; called only if they are not in the cache.
            what: the text's name in messages.

        Raises:
            UserError: if there is no sentence, or as reading the documents raises.
        """

        digest = self.table.digest

        def make(folder: Path) -> None:
            parts = self.track(documents(), f"annotating {what} text")
            processes = self._processes(key)
            if not write_documents(folder, parts, self.phenomenon, processes=processes, digest=digest):
                raise UserError(f"corpus: the {what} text has no sentences")

        return self._stored({"source": dict(key), "phenomenon": digest}, make)

    def given(self, key: Mapping[str, Any], blocks: Callable[[], Iterable[Block]]) -> "StoredText":
        """Keep sentences whose annotations are known."""
        return self._stored(
            {"given": dict(key), "phenomenon": self.table.digest}, lambda at: write_blocks(at, blocks())
        )

    def _stored(self, key: Mapping[str, Any], make: Callable[[Path], Any]) -> "StoredText":
        return self.opened("text", key, make, lambda folder: StoredText(folder.name, AnnotatedStore.open(folder)))

    def _processes(self, key: Mapping[str, Any]) -> int:
        """One for little text, where starting others takes longer than the work."""
        return self.processes if int(key.get("bytes", _LARGE)) >= _LARGE else 1

    def encoded(self, text: "StoredText", tokenizer: Tokenizer, *, row_length: int) -> "StoredCorpus":
        """Tokenize text.

        Raises:
            UserError: if a sentence holds no token.
        """
        key = {**text.key, "tokenizer": tokenizer_digest(tokenizer), "row_length": row_length}

        def make(folder: Path) -> None:
            encode_store(
                folder,
                text.store,
                tokenizer,
                self.table,
                row_length=row_length,
                chosen=text.chosen,
                processes=self.processes if len(text.text) > _MANY else 1,
                track=lambda blocks: self.track(blocks, "tokenizing"),
            )

        def open_(folder: Path) -> StoredCorpus:
            return StoredCorpus(folder.name, Corpus.open(folder, text.store, self.table))

        return self.opened("corpus", key, make, open_)

    def variants(
        self,
        corpus: "StoredCorpus",
        tokenizer: Tokenizer,
        names: Sequence[str],
        *,
        row_length: int,
        mode: str,
        seed: int,
        batch_size: int,
        seeds: Sequence[int],
    ) -> "StoredVariants":
        """Build variants; see `VariantBuilder` for the arguments.

        Raises:
            UserError: as `VariantBuilder.build`.
        """
        interventions = [parse_intervention(name) for name in names]
        injects = any(step.kind == "inject" for one in interventions for step in (one.control_of or one).steps)
        key = {
            "corpus": corpus.name,
            "variants": list(map(str, interventions)),
            "mode": mode,
            "seed": seed,
            "row_length": row_length,
            "training": [batch_size, *seeds] if injects else None,
        }

        def make(folder: Path) -> None:
            width = {"tokens": corpus.corpus.tokens.dtype, "used": np.dtype(np.int32)}
            with ColumnWriter(folder / "pool", width) as pool:
                builder = VariantBuilder(
                    corpus.corpus,
                    row_length,
                    mode,
                    seed,
                    Editor(corpus.corpus, tokenizer, annotator(self.phenomenon), seed),
                    batch_size,
                    seeds,
                    pool,
                )
                built = [builder.build(one) for one in self.track(interventions, "building variants")]
                pool.close(row_length=row_length)
            _save_variants(folder, built, self.table)
            write_table(folder / "slots.parquet", builder.log.table())
            write_table(folder / "examples.parquet", builder.log.examples(corpus.corpus.text, seed=seed))
            overlap = environment_table(corpus.corpus.text, corpus.corpus.annotations, self.table)
            write_table(folder / "environments.parquet", overlap)

        return self.opened("variants", key, make, StoredVariants.open)

    def records(self, variants: "StoredVariants") -> RowRecords:
        """The rows of variants on disk, for training that does not hold them in memory.

        Raises:
            UserError: if Grain, which reads them, is not installed.
        """

        def make(folder: Path) -> None:
            write_records(folder, variants.pool, lambda stretches: self.track(stretches, "writing rows for reading"))

        return self.opened("records", {"variants": variants.folder.name}, make, RowRecords)


_LARGE = 16 << 20  # bytes of text
_MANY = 200_000  # sentences


@dataclass(frozen=True)
class StoredText:
    """Annotated text in the cache, all of it or some of its sentences.

    Attributes:
        name: of its folder, which stands for all that it was made from.
        store: the text.
        chosen: the sentences that count, in increasing order; None for all.
    """

    name: str
    store: AnnotatedStore
    chosen: Integer[np.ndarray, " chosen"] | None = None

    @property
    def key(self) -> dict[str, str | None]:
        """What tells these sentences from all others, for the keys of what is made from them."""
        chosen = None if self.chosen is None else hashlib.sha256(self.chosen.tobytes()).hexdigest()
        return {"text": self.name, "chosen": chosen}

    @property
    def text(self) -> Text:
        """The sentences that count."""
        return (
            self.store.text if self.chosen is None else Text(self.store.text.content, self.store.text.ends, self.chosen)
        )

    def sample(self, most: int | None, seed: int, use: str) -> "StoredText":
        """At most so many sentences, drawn at random, in the order of the text."""
        count = len(self.store.text)
        if most is None or count <= most:
            return self
        drawn = np.sort(generator(seed, use).choice(count, most, replace=False))
        return replace(self, chosen=drawn)


@dataclass(frozen=True)
class StoredCorpus:
    """A tokenized corpus in the cache, and the name of its folder."""

    name: str
    corpus: Corpus


@dataclass(frozen=True)
class StoredVariants:
    """Variants in the cache, with what is worth knowing about them.

    Attributes:
        variants: by the order they were asked for.
        pool: their rows.
        table: what each changed (`variant_table`).
        environments: how alike environments are (`environment_table`).
        folder: where ``slots.parquet`` (what was done to which slot) and ``examples.parquet`` are.
    """

    variants: Sequence[Variant]
    pool: RowPool
    table: pl.DataFrame
    environments: pl.DataFrame
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> "StoredVariants":
        """Open what `Pipeline.variants` has made."""
        columns = Columns(folder / "pool")
        used = columns["used"]
        pool = RowPool(columns["tokens"].reshape(len(used), -1), used)
        table, environments = read_table(folder / "corpus.parquet"), read_table(folder / "environments.parquet")
        return cls(_load_variants(folder), pool, table, environments, folder)


def _save_variants(folder: Path, variants: Sequence[Variant], phenomenon: Phenomenon) -> None:
    """Indices as columns, the rest as JSON."""
    columns: dict[str, np.ndarray] = {}
    entries = []
    for number, variant in enumerate(variants):
        columns[f"rows_{number}"] = variant.rows
        overrides = []
        for (seed, step), rows in variant.overrides.items():
            name = f"rows_{number}_seed_{seed}_step_{step}"
            columns[name] = rows
            overrides.append([seed, step, name])
        plain = {name: getattr(variant, name) for name in _PLAIN}
        counts = {"items": variant.items.tolist(), "contexts": variant.contexts.tolist()}
        entries.append({"intervention": str(variant.intervention), "overrides": overrides, **plain, **counts})
    with ColumnWriter(folder / "rows", dict.fromkeys(columns, np.int64)) as writer:
        writer.append(**columns)
        writer.close()
    write_json(folder / "variants.json", entries)
    write_table(folder / "corpus.parquet", variant_table(variants, phenomenon.labels))


_PLAIN = ("removed", "unmatched", "sentences", "tokens", "edited", "injected", "unreplaced")


def _load_variants(folder: Path) -> list[Variant]:
    columns = Columns(folder / "rows")
    path = folder / "variants.json"
    form = TypeAdapter(Annotated[list[_Entry], Field(min_length=1)])
    entries = read_checked(path, form.validate_json)
    try:
        return [
            Variant(
                intervention=parse_intervention(entry.intervention),
                rows=columns[f"rows_{number}"],
                items=np.array(entry.items, np.int64),
                contexts=np.array(entry.contexts, np.int64),
                overrides={(seed, step): columns[name] for seed, step, name in entry.overrides},
                **{name: getattr(entry, name) for name in _PLAIN},
            )
            for number, entry in enumerate(entries)
        ]
    except (ValueError, OverflowError) as error:
        raise DamagedError(f"{path}: damaged ({error})") from error


@dataclass(frozen=True)
class _Entry:
    """A variant in ``variants.json``."""

    intervention: str
    overrides: list[tuple[int, int, str]]
    removed: int
    unmatched: int
    sentences: int
    tokens: int
    edited: int
    injected: int
    unreplaced: dict[str, int]
    items: list[int]
    contexts: list[int]

    def __post_init__(self) -> None:
        if len(self.items) != len(self.contexts):
            raise ValueError(f"{len(self.items)} counts of items and {len(self.contexts)} of contexts")


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 over a tokenizer's entries and the kind it is of."""
    if isinstance(tokenizer, LibraryTokenizer):  # tokens that are parts of characters look alike: take all of it
        return hashlib.sha256(tokenizer.serialized().encode()).hexdigest()
    settings = f"{type(tokenizer).__name__} {getattr(tokenizer, 'lowercase', '')}"
    sha = hashlib.sha256(settings.encode())
    for index in range(tokenizer.vocab_size):
        sha.update(tokenizer.token(index).encode() + b"\n")
    return sha.hexdigest()


def token_counts(corpus: Corpus, size: int) -> Integer[np.ndarray, " vocabulary"]:
    """How often each token occurs, a stretch of the corpus at a time."""
    counts = np.zeros(size, np.int64)
    for start in range(0, len(corpus.tokens), 1 << 22):
        counts += np.bincount(corpus.tokens[start : start + (1 << 22)], minlength=size)
    return counts


def sentences_of(text: Text) -> Iterator[str]:
    """The sentences one by one, read some thousands at a time."""
    for block in text.blocks():
        yield from block
