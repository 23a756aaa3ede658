"""The path of a sentence from text to the device: one function for each stage, in order.

    1. annotate_documents   split documents into sentences, and annotate each   (`text.sources`, `annotation`)
       import_annotated     or copy sentences that are annotated already        (`annotation.beam`)
       write_grammar        or write the sentences of the built-in grammar      (`grammar`)
    2. sample               draw at most a given number of sentences
    3. train_tokenizer      learn a vocabulary from the training sentences      (`text.tokenizer`)
    4. encode               turn each sentence into token ids                   (`encoded`)
    5. build_variants       change the corpus, and pack sentences into rows     (`variants`)
       pack_rows            or pack sentences as they are, for validation
    6. write_row_files      write the rows to disk, for pools beyond memory     (`variants.row_files`)
    7. order_rows           decide which rows a seed reads at a step            (`variants.rows`)

`npi_jax.preparation.prepare` calls these functions. Then `npi_jax.training.feed` places the rows on the devices, and
`npi_jax.training.member.step.read_rows` reads each batch there.

The cache keeps the output of stages 1, 3, 4, 5 and 6, but not of the fast functions `sample`, `pack_rows` and
`order_rows`. Another vocabulary therefore needs no new annotations, and other variants need no new token ids. Each
cached stage has a version number, see `npi_jax.corpus.storage.stage`. Raise it when the output changes.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from npi_jax.corpus.annotation import wordclasses
from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.overlap import environment_table
from npi_jax.corpus.annotation.phenomenon import Phenomenon, load_phenomenon
from npi_jax.corpus.annotation.stored_text import AnnotatedStore, Block, annotated_block, write_blocks, write_documents
from npi_jax.corpus.encoded import Corpus, encode_store
from npi_jax.corpus.grammar.generate import GrammarSpec, generate
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.storage.cache import Make, Opened, Say, cache_folder, open_cached
from npi_jax.corpus.storage.columns import ColumnWriter
from npi_jax.corpus.storage.stage import Stage
from npi_jax.corpus.stored import StoredCorpus, StoredText, StoredVariants, save_variants
from npi_jax.corpus.text.sources import Document
from npi_jax.corpus.text.tokenizer import BPETokenizer, Tokenizer, WordTokenizer
from npi_jax.corpus.variants.builder import VariantBuilder
from npi_jax.corpus.variants.edits import Editor
from npi_jax.corpus.variants.row_files import RowRecords, check_grain, write_records
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.corpus.variants.settings import VariantSettings
from npi_jax.corpus.variants.variant import RowPool, Variant
from npi_jax.errors import UserError
from npi_jax.results.table_files import write_declared
from npi_jax.results.tables_preparation import Environments, Examples, Slots

Track = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Settings that all stages share.

    Attributes:
        phenomenon: name or path of the phenomenon table.
        cache: folder of the cache; "" for the default (`cache_folder`).
        processes: number of processes that annotate and tokenize; 0 for one per core.
        say: receives messages about waiting and rebuilding.
        track: wraps the items of a long loop, with the loop's name, to show progress.
    """

    phenomenon: str = "npi_en"
    cache: str = ""
    processes: int = 1
    say: Say = print
    track: Track = lambda items, _: items

    @property
    def table(self) -> Phenomenon:
        """The phenomenon table."""
        return load_phenomenon(self.phenomenon)

    def output(self, stage: Stage, inputs: Mapping[str, Any], make: Make, open_: Callable[[Path], Opened]) -> Opened:
        """Open a stage's output for some inputs, and compute it if the cache has none; see `open_cached`."""
        return open_cached(cache_folder(self.cache), stage, inputs, make, open_, self.say)


# -- 1. sentences and their annotations -----------------------------------------------------------------

# Version 1: sentences by sentencex or by line, words by `split_words`, annotations by `Annotator`.
TEXT = Stage("text", version=1, libraries=("sentencex",))


def annotate_documents(
    pipeline: Pipeline, source: Mapping[str, Any], documents: Callable[[], Iterable[Document]], what: str
) -> StoredText:
    """Split documents into sentences, and annotate each.

    Args:
        pipeline: shared settings.
        source: identification of the documents, such as their digests.
        documents: opens the documents; called only if the cache has no output for them.
        what: name of the text in messages.

    Raises:
        UserError: if the documents have no sentence, or cannot be read.
    """
    digest = pipeline.table.digest
    processes = pipeline.processes if int(source.get("bytes", _LARGE)) >= _LARGE else 1

    def make(folder: Path) -> None:
        tracked = pipeline.track(documents(), f"annotating {what} text")
        if not write_documents(folder, tracked, pipeline.phenomenon, processes=processes, digest=digest):
            raise UserError(f"corpus: the {what} text has no sentences")

    return pipeline.output(TEXT, {"source": dict(source), **_phenomenon_key(pipeline)}, make, _open_text)


def import_annotated(
    pipeline: Pipeline, source: Mapping[str, Any], blocks: Callable[[], Iterable[Block]]
) -> StoredText:
    """Copy sentences that were annotated before, for example by `npi_jax.corpus.annotation.beam`."""
    inputs = {"annotated": dict(source), **_phenomenon_key(pipeline)}
    return pipeline.output(TEXT, inputs, lambda folder: write_blocks(folder, blocks()), _open_text)


# Version 1: sentences by `Derivation`, word frequencies by the Zipf-Mandelbrot law.
GRAMMAR = Stage("grammar", version=1, libraries=("numpy",))


def write_grammar(pipeline: Pipeline, spec: GrammarSpec) -> StoredText:
    """Write the sentences of the built-in grammar with their gold annotations."""

    def make(folder: Path) -> None:
        text = generate(spec)
        sentences = [" ".join(words) for words in text.sentences]
        write_blocks(folder, [annotated_block(sentences, text.annotations, pipeline.phenomenon)])

    return pipeline.output(
        GRAMMAR, {"grammar": dataclasses.asdict(spec), **_phenomenon_key(pipeline)}, make, _open_text
    )


_LARGE = 16 << 20
"""Minimum size of a text, bytes, for which several processes are used: starting them takes seconds."""


def _open_text(folder: Path) -> StoredText:
    return StoredText(folder.name, AnnotatedStore.open(folder))


def _phenomenon_key(pipeline: Pipeline) -> dict[str, str]:
    """Return digests of the phenomenon table, and of the word classes in table and annotator."""
    classes = {name: sorted(words) for name, words in vars(wordclasses).items() if isinstance(words, frozenset)}
    digest = hashlib.sha256(repr(sorted(classes.items())).encode()).hexdigest()
    return {"phenomenon": pipeline.table.digest, "word_classes": digest}


# -- 2. a sample of the sentences -----------------------------------------------------------------------


def sample(text: StoredText, most: int | None, *, seed: int, use: str) -> StoredText:
    """Draw at most `most` sentences at random, in the order of the text; None keeps all sentences.

    Samples of different uses are independent, even with one seed.
    """
    count = len(text.store.text)
    if most is None or count <= most:
        return text
    drawn = np.sort(generator(seed, use).choice(count, most, replace=False))
    return dataclasses.replace(text, chosen=drawn)


# -- 3. the vocabulary ----------------------------------------------------------------------------------

# Version 1: most frequent words first, ties in alphabetical order; byte-level BPE with <eos> as id 0.
TOKENIZER = Stage("tokenizer", version=1, libraries=("tokenizers",))


def train_tokenizer(
    pipeline: Pipeline,
    text: StoredText,
    *,
    kind: Literal["word", "bpe"],
    size: int | None,
    min_count: int = 1,
    lowercase: bool = False,
) -> Tokenizer:
    """Learn a vocabulary from sentences; see `WordTokenizer.train` and `BPETokenizer.train` for the settings."""

    def make(folder: Path) -> None:
        if kind == "bpe":
            assert size is not None
            BPETokenizer.train(text.sentences, size=size).save(folder)
            return
        tracked = pipeline.track(text.sentences, "counting words")
        WordTokenizer.train(tracked, max_size=size, min_count=min_count, lowercase=lowercase).save(folder)

    settings = {"kind": kind, "size": size, "min_count": min_count, "lowercase": lowercase}
    return pipeline.output(TOKENIZER, {**text.key, **settings}, make, Tokenizer.load)


# -- 4. token ids ---------------------------------------------------------------------------------------

# Version 1: <eos> after each sentence; longer sentences are cut to the row, with the annotations that remain.
ENCODED = Stage("corpus", version=1, libraries=("tokenizers",))


def encode(pipeline: Pipeline, text: StoredText, tokenizer: Tokenizer, *, row_length: int) -> StoredCorpus:
    """Turn each sentence into token ids, and cut those that are longer than a row.

    Raises:
        UserError: if a sentence has no token.
    """

    def make(folder: Path) -> None:
        encode_store(
            folder,
            text.store,
            tokenizer,
            pipeline.table,
            row_length=row_length,
            chosen=text.chosen,
            processes=pipeline.processes if len(text.sentences) > _MANY else 1,
            track=lambda blocks: pipeline.track(blocks, "tokenizing"),
        )

    def open_(folder: Path) -> StoredCorpus:
        return StoredCorpus(folder.name, Corpus.open(folder, text.store, pipeline.table))

    inputs = {**text.key, "tokenizer": tokenizer.digest(), "row_length": row_length}
    return pipeline.output(ENCODED, inputs, make, open_)


_MANY = 200_000
"""Maximum number of sentences that one process tokenizes faster than several."""


# -- 5. variants of the corpus --------------------------------------------------------------------------

# Version 1: slots are refilled with donor sentences of equal length; rows are packed by best fit.
VARIANTS = Stage("variants", version=1, libraries=("numpy", "polars", "tokenizers"))


def build_variants(
    pipeline: Pipeline, corpus: StoredCorpus, tokenizer: Tokenizer, settings: VariantSettings
) -> StoredVariants:
    """Change the corpus by each intervention, and pack the sentences into rows that the variants share.

    Raises:
        UserError: if an intervention cannot be carried out, see `VariantBuilder.build`.
    """

    def make(folder: Path) -> None:
        _write_variants(folder, pipeline, corpus.corpus, tokenizer, settings)

    return pipeline.output(VARIANTS, {"corpus": corpus.name, **settings.key}, make, StoredVariants.open)


def _write_variants(
    folder: Path, pipeline: Pipeline, corpus: Corpus, tokenizer: Tokenizer, settings: VariantSettings
) -> None:
    with ColumnWriter(folder / "pool", {"tokens": corpus.tokens.dtype, "used": np.dtype(np.int32)}) as pool:
        builder = VariantBuilder(
            corpus=corpus,
            row_length=settings.row_length,
            mode=settings.mode,
            seed=settings.seed,
            editor=Editor(corpus, tokenizer, annotator(pipeline.phenomenon), settings.seed),
            batch_size=settings.batch_size,
            seeds=settings.seeds,
            sink=pool,
        )
        built = [builder.build(one) for one in pipeline.track(settings.interventions, "building variants")]
        pool.close(row_length=settings.row_length)
    save_variants(folder, built, pipeline.table)
    write_declared(folder / Slots.FILE, builder.log.table(), Slots)
    write_declared(folder / Examples.FILE, builder.log.examples(corpus.text, seed=settings.seed), Examples)
    overlap = environment_table(corpus.text, corpus.annotations, pipeline.table)
    write_declared(folder / Environments.FILE, overlap, Environments)


def pack_rows(corpus: Corpus, *, row_length: int) -> RowPool:
    """Pack the sentences of a corpus into rows as they are, for validation."""
    return VariantBuilder(corpus=corpus, row_length=row_length).pool()


# -- 6. rows on disk ------------------------------------------------------------------------------------

# Version 1: one uncompressed record for each row, beginning with the number of used tokens.
ROW_FILES = Stage("row_files", version=1, libraries=("array_record",))


def write_row_files(pipeline: Pipeline, variants: StoredVariants) -> RowRecords:
    """Write the rows of variants to disk, for training that does not hold them in memory.

    Raises:
        UserError: if Grain, which reads the rows, is not installed, or the rows cannot be written.
    """
    check_grain()

    def make(folder: Path) -> None:
        write_records(folder, variants.pool, lambda chunks: pipeline.track(chunks, "writing rows for reading"))

    return pipeline.output(ROW_FILES, {"variants": variants.folder.name}, make, RowRecords)


# -- 7. the order of the rows ---------------------------------------------------------------------------


def order_rows(variants: Sequence[Variant], batch_size: int) -> list[RowOrder]:
    """Return the order of the rows for each variant; variants with equal numbers of rows share one order.

    Raises:
        UserError: naming the variant whose rows do not fill a batch.
    """
    orders: dict[int, RowOrder] = {}
    for variant in variants:
        n_rows = len(variant.rows)
        try:
            orders.setdefault(n_rows, RowOrder(n_rows, batch_size))
        except ValueError as error:
            raise UserError(f"variant {variant.intervention}: {error}") from error
    return [orders[len(variant.rows)] for variant in variants]


STAGES = (TEXT, GRAMMAR, TOKENIZER, ENCODED, VARIANTS, ROW_FILES)
"""Stages whose output is cached."""
