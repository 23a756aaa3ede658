"""From a configuration to what training needs: tokens, variants, validation rows, encoded suites."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from npi_jax.config.schema import Config, CorpusConfig, TokenizerConfig
from npi_jax.corpus.annotation.stored_text import DATASET, Block, annotated_block, annotated_blocks
from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.grammar import generate as grammar
from npi_jax.corpus.pipeline import Pipeline, StoredText, Track, sentences_of, token_counts, tokenizer_digest
from npi_jax.corpus.repeats import warn_of_shared
from npi_jax.corpus.storage.cache import Say
from npi_jax.corpus.text import sources
from npi_jax.corpus.text.tokenizer import BPETokenizer, Tokenizer, WordTokenizer
from npi_jax.corpus.variants.builder import RowPool, Variant, VariantBuilder, check_changes, row_orders
from npi_jax.corpus.variants.row_files import RowRecords
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.models import CustomConfig
from npi_jax.preparation.inputs import (
    Inputs,
    TextSource,
    open_gradient_suite,
    open_inputs,
    open_suite,
    open_vocabulary,
    text_sources,
)
from npi_jax.suites.encode import EncodedSuite


@dataclass(frozen=True)
class Prepared:
    """All that training needs, and what is worth knowing about it.

    Attributes:
        tokenizer: the vocabulary.
        corpus: training text.
        variants: one for each intervention of the configuration, as indices over `pool`.
        orders: for each variant the order of its rows.
        pool: all training rows.
        valid: validation rows, of the corpus as it is (no intervention).
        suites: encoded minimal pairs by name.
        gradient_suite: the pairs whose gradients are compared; None if none are.
        table: what each variant changed.
        environments: how alike the environments' NPIs and words are, see `environment_table`.
        facts: for the manifest: digests, sizes, shares of unknown words, unigram perplexity.
        records: the same rows as `pool` on disk, written when this is called first.
        folder: of the cache, with ``slots.parquet`` and ``examples.parquet``, see `StoredVariants`.
    """

    tokenizer: Tokenizer
    corpus: Corpus
    variants: Sequence[Variant]
    orders: Sequence[RowOrder]
    pool: RowPool
    valid: RowPool
    suites: dict[str, EncodedSuite]
    gradient_suite: EncodedSuite | None
    table: pl.DataFrame
    environments: pl.DataFrame
    facts: dict[str, object]
    records: Callable[[], RowRecords]
    folder: Path


def prepare(config: Config, say: Say, track: Track | None = None, inputs: Inputs | None = None) -> Prepared:
    """Read or write the text, annotate, tokenize, build variants and suites; or open what was prepared before.

    Args:
        config: the experiment.
        say: gets a line about each stage.
        track: is wrapped around long work, see `npi_jax.corpus.pipeline.Pipeline`.
        inputs: what `open_inputs` has opened; None to open it now.

    Raises:
        UserError: naming file, line and field of whatever is wrong with text, vocabulary or suites; a variant changes
            nothing.
    """
    inputs = open_inputs(config) if inputs is None else inputs
    pipeline = make_pipeline(config.corpus, say, track)
    train_text, valid_text = texts(config.corpus, pipeline, inputs)
    tokenizer = inputs.vocabulary or make_tokenizer(config, train_text, pipeline)
    if config.corpus.source != "grammar":
        warn_of_shared(train_text.text, valid_text.text, say)
    length = config.train.row_length
    stored = pipeline.encoded(train_text, tokenizer, row_length=length)
    corpus, valid_corpus = stored.corpus, pipeline.encoded(valid_text, tokenizer, row_length=length).corpus
    counts = token_counts(corpus, tokenizer.vocab_size)
    unknown = 0.0 if tokenizer.unk is None else float(counts[tokenizer.unk] / counts.sum())
    say(
        f"corpus: {len(corpus):,} sentences, {len(corpus.tokens):,} tokens, {tokenizer.vocab_size:,} entries in the "
        f"vocabulary, {unknown:.1%} unknown words; validation {len(valid_corpus.tokens):,} tokens"
    )
    if corpus.cut:
        say(f"  {corpus.cut:,} sentences are longer than a row ({length} tokens) and were cut")
    known = frozenset(sentences_of(train_text.text)) if config.corpus.source == "grammar" else frozenset()
    suites = _encoded_suites(config, tokenizer, known, inputs, say)
    variants = pipeline.variants(
        stored,
        tokenizer,
        list(map(str, config.interventions)),
        row_length=length,
        mode=config.corpus.removal,
        seed=config.corpus.seed,
        batch_size=config.train.batch_size,
        seeds=config.seeds,
    )
    check_changes(variants.variants, len(corpus), say, allow_empty=config.corpus.allow_empty)
    orders = row_orders(variants.variants, config.train.batch_size)
    facts = {
        "corpus_sha256": corpus.digest(),
        "valid_sha256": valid_corpus.digest(),
        "vocabulary_sha256": tokenizer_digest(tokenizer),
        **{f"suite_{name}_sha256": _digest(map(repr, encoded.suite)) for name, encoded in suites.items()},
        **_code_digest(config),
        "phenomenon": corpus.phenomenon.name,
        "phenomenon_sha256": corpus.phenomenon.digest,
        "sentences": len(corpus),
        "tokens": len(corpus.tokens),
        "sentences_cut": corpus.cut,
        "vocabulary": tokenizer.vocab_size,
        "unknown_share": unknown,
        "unigram_perplexity": unigram_perplexity(corpus, valid_corpus, tokenizer.vocab_size),
        "steps_per_epoch": orders[0].steps_per_epoch,
    }
    valid = VariantBuilder(valid_corpus, length).pool()
    gradient_suite = inputs.gradient_suite
    if config.gradients.enabled and gradient_suite is None:
        gradient_suite = open_gradient_suite(config, known)
    return Prepared(
        tokenizer,
        corpus,
        variants.variants,
        orders,
        variants.pool,
        valid,
        suites,
        None if gradient_suite is None else gradient_suite.encode(tokenizer),
        variants.table,
        variants.environments,
        facts,
        partial(pipeline.records, variants),
        variants.folder,
    )


def make_pipeline(config: CorpusConfig, say: Say, track: Track | None = None) -> Pipeline:
    """The pipeline that a configuration asks for."""
    shown: Track = track or (lambda items, _: items)
    return Pipeline(config.phenomenon, config.cache, config.processes, say, shown)


def unigram_perplexity(train: Corpus, valid: Corpus, vocab_size: int) -> float:
    """Perplexity of validation tokens under training frequencies (each count plus one)."""
    counts = token_counts(train, vocab_size) + 1.0
    return float(np.exp(-np.log(counts / counts.sum()) @ (held := token_counts(valid, vocab_size)) / held.sum()))


def make_tokenizer(config: Config, text: StoredText, pipeline: Pipeline) -> Tokenizer:
    """The tokenizer that the configuration asks for, trained on the training sentences unless a file is given."""
    wanted = config.tokenizer
    if wanted.file is not None:
        return open_vocabulary(wanted)
    key = {**text.key, "tokenizer": dataclasses.asdict(wanted)}

    def make(folder: Path) -> None:
        _train_tokenizer(wanted, text, pipeline).save(folder)

    return pipeline.opened("tokenizer", key, make, Tokenizer.load)


def _train_tokenizer(wanted: TokenizerConfig, text: StoredText, pipeline: Pipeline) -> Tokenizer:
    sentences = sentences_of(text.text)
    if wanted.kind == "bpe":
        assert wanted.size is not None
        return BPETokenizer.train(sentences, size=wanted.size)
    shown = pipeline.track(sentences, "counting words")
    return WordTokenizer.train(shown, max_size=wanted.size, min_count=wanted.min_count, lowercase=wanted.lowercase)


def _digest(lines: Iterable[str]) -> str:
    sha = hashlib.sha256()
    for line in lines:
        sha.update(line.encode() + b"\n")
    return sha.hexdigest()


def _code_digest(config: Config) -> dict[str, str]:
    """The digest of the file that a custom model comes from."""
    if not isinstance(config.model, CustomConfig):
        return {}
    path = Path(config.model.factory.rpartition(":")[0])
    return {"model_sha256": hashlib.sha256(path.read_bytes()).hexdigest()} if path.is_file() else {}


def texts(config: CorpusConfig, pipeline: Pipeline, inputs: Inputs | None = None) -> tuple[StoredText, StoredText]:
    """Training and validation text, annotated."""
    if config.source == "grammar":
        spec = config.grammar
        valid_spec = dataclasses.replace(spec, sentences=config.grammar_valid_sentences, seed=spec.seed + 1_000_003)
        return _from_grammar(spec, pipeline), _from_grammar(valid_spec, pipeline)
    found = text_sources(config) if inputs is None else (inputs.training, inputs.validation)
    train, valid = (
        _stored(config, source, which, pipeline)
        for source, which in zip(found, ("training", "validation"), strict=True)
        if source is not None
    )
    return (
        train.sample(config.max_sentences, config.seed, "training sample"),
        valid.sample(config.max_valid_sentences, config.seed, "validation sample"),
    )


def _stored(config: CorpusConfig, source: TextSource, which: str, pipeline: Pipeline) -> StoredText:
    """Text as it was annotated before, where a data set holds annotations, or annotated now."""
    if config.source == "tfds":
        data = sources.tfds_source(source.name, source.split, config.tfds_dir)
        if data.dataset_info.name == DATASET:
            return pipeline.given(source.key, lambda: annotated_blocks(data, pipeline.table))
    return pipeline.annotated(source.key, source.documents, which)


def _from_grammar(spec: grammar.GrammarSpec, pipeline: Pipeline) -> StoredText:
    def blocks() -> Iterator[Block]:
        text = grammar.generate(spec)
        yield annotated_block([" ".join(words) for words in text.sentences], text.annotations, "npi_en")

    return pipeline.given({"grammar": dataclasses.asdict(spec)}, blocks)


def _encoded_suites(
    config: Config, tokenizer: Tokenizer, known: frozenset[str], inputs: Inputs, say: Say
) -> dict[str, EncodedSuite]:
    suites = {}
    for name in config.score.suites:
        suite = inputs.suites[name] if name in inputs.suites else open_suite(config, name, known)
        encoded = suite.encode(tokenizer)
        suites[name] = encoded
        say(f"suite {name}: {len(encoded.suite):,} minimal pairs")
        for line in [*encoded.notes(), *encoded.suite.notes().lines()]:
            say(f"  {line}")
    return suites
