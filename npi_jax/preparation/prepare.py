"""Preparation of an experiment: builds token ids, variants, validation rows and encoded suites."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from npi_jax.config.schema import Config, CorpusConfig
from npi_jax.corpus.annotation.stored_text import DATASET, annotated_blocks
from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.pipeline import (
    Pipeline,
    Track,
    annotate_documents,
    build_variants,
    encode,
    import_annotated,
    order_rows,
    pack_rows,
    sample,
    train_tokenizer,
    write_grammar,
    write_row_files,
)
from npi_jax.corpus.repeats import warn_of_shared
from npi_jax.corpus.storage.cache import Say
from npi_jax.corpus.stored import StoredText
from npi_jax.corpus.text import sources
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.corpus.variants.row_files import RowRecords
from npi_jax.corpus.variants.rows import RowOrder
from npi_jax.corpus.variants.settings import VariantSettings
from npi_jax.corpus.variants.summary import check_changes
from npi_jax.corpus.variants.variant import RowPool, Variant
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


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Data that training reads, and facts about the data.

    Attributes:
        tokenizer: the vocabulary.
        corpus: tokenized training text.
        variants: one variant for each intervention, as indices into `pool`.
        orders: the order of each variant's rows.
        pool: all training rows.
        valid: rows of the validation text, which no intervention changes.
        suites: encoded minimal pairs by name.
        gradient_suite: the pairs whose gradients are compared; None if gradients are off.
        table: changes of each variant.
        environments: surface overlap of the environments, see `environment_table`.
        facts: entries of the manifest: digests, sizes, share of unknown words, unigram perplexity.
        records: opens the rows of `pool` on disk; the first call writes them.
        folder: cache folder with ``slots.parquet`` and ``examples.parquet``, see `StoredVariants`.
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
    """Run the stages of `npi_jax.corpus.pipeline`, and encode the suites.

    Args:
        config: the experiment.
        say: receives a message about each stage.
        track: wraps long loops to show progress, see `Pipeline`.
        inputs: result of `open_inputs`; None to open the inputs here.

    Raises:
        UserError: naming file, line and field of an error in text, vocabulary or suites. Also if a variant changes
            nothing, see `check_changes`.
    """
    inputs = open_inputs(config) if inputs is None else inputs
    pipeline = make_pipeline(config.corpus, say, track)
    length = config.train.row_length
    train_text, valid_text = texts(config.corpus, pipeline, inputs)
    tokenizer = inputs.vocabulary or make_tokenizer(config, train_text, pipeline)
    if config.corpus.source != "grammar":
        warn_of_shared(train_text.sentences, valid_text.sentences, say)
    train = encode(pipeline, train_text, tokenizer, row_length=length)
    valid = encode(pipeline, valid_text, tokenizer, row_length=length).corpus
    _show_sizes(train.corpus, valid, tokenizer, length, say)
    known = frozenset(train_text.sentences) if config.corpus.source == "grammar" else frozenset()
    suites = _encoded_suites(config, tokenizer, known, inputs, say)
    variants = build_variants(pipeline, train, tokenizer, _variant_settings(config))
    check_changes(variants.variants, len(train.corpus), say, allow_empty=config.corpus.allow_empty)
    orders = order_rows(variants.variants, config.train.batch_size)
    return Prepared(
        tokenizer=tokenizer,
        corpus=train.corpus,
        variants=variants.variants,
        orders=orders,
        pool=variants.pool,
        valid=pack_rows(valid, row_length=length),
        suites=suites,
        gradient_suite=_encoded_gradient_suite(config, tokenizer, known, inputs),
        table=variants.table,
        environments=variants.environments,
        facts=_facts(config, train.corpus, valid, tokenizer, suites, orders[0].steps_per_epoch),
        records=partial(write_row_files, pipeline, variants),
        folder=variants.folder,
    )


def make_pipeline(config: CorpusConfig, say: Say, track: Track | None = None) -> Pipeline:
    """Return the settings that all stages share, from a configuration."""
    return Pipeline(
        phenomenon=config.phenomenon,
        cache=config.cache,
        processes=config.processes,
        say=say,
        track=track or (lambda items, _: items),
    )


def texts(config: CorpusConfig, pipeline: Pipeline, inputs: Inputs | None = None) -> tuple[StoredText, StoredText]:
    """Annotate training and validation text, and draw the samples that the configuration asks for."""
    if config.source == "grammar":
        spec = config.grammar
        valid_spec = dataclasses.replace(spec, sentences=config.grammar_valid_sentences, seed=spec.seed + 1_000_003)
        return write_grammar(pipeline, spec), write_grammar(pipeline, valid_spec)
    given = text_sources(config) if inputs is None else (inputs.training, inputs.validation)
    train, valid = (
        _annotated(config, source, which, pipeline)
        for source, which in zip(given, ("training", "validation"), strict=True)
        if source is not None
    )
    return (
        sample(train, config.max_sentences, seed=config.seed, use="training sample"),
        sample(valid, config.max_valid_sentences, seed=config.seed, use="validation sample"),
    )


def _annotated(config: CorpusConfig, source: TextSource, which: str, pipeline: Pipeline) -> StoredText:
    """Annotate text, or copy the annotations of a data set that was annotated before."""
    if config.source == "tfds":
        data = sources.tfds_source(source.name, source.split, config.tfds_dir)
        if data.dataset_info.name == DATASET:
            return import_annotated(pipeline, source.key, lambda: annotated_blocks(data, pipeline.table))
    return annotate_documents(pipeline, source.key, source.documents, which)


def make_tokenizer(config: Config, text: StoredText, pipeline: Pipeline) -> Tokenizer:
    """Train the tokenizer that the configuration asks for, or read its vocabulary file."""
    wanted = config.tokenizer
    if wanted.file is not None:
        return open_vocabulary(wanted)
    return train_tokenizer(
        pipeline,
        text,
        kind=wanted.kind,
        size=wanted.size,
        min_count=wanted.min_count,
        lowercase=wanted.lowercase,
    )


def _variant_settings(config: Config) -> VariantSettings:
    return VariantSettings(
        names=tuple(map(str, config.interventions)),
        row_length=config.train.row_length,
        mode=config.corpus.removal,
        seed=config.corpus.seed,
        batch_size=config.train.batch_size,
        seeds=config.seeds,
    )


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


def _encoded_gradient_suite(
    config: Config, tokenizer: Tokenizer, known: frozenset[str], inputs: Inputs
) -> EncodedSuite | None:
    suite = inputs.gradient_suite
    if config.gradients.enabled and suite is None:
        suite = open_gradient_suite(config, known)
    return None if suite is None else suite.encode(tokenizer)


# -- facts for the terminal and the manifest ------------------------------------------------------------


def _show_sizes(train: Corpus, valid: Corpus, tokenizer: Tokenizer, row_length: int, say: Say) -> None:
    say(
        f"corpus: {len(train):,} sentences, {len(train.tokens):,} tokens, {tokenizer.vocab_size:,} entries in the "
        f"vocabulary, {_unknown_share(train, tokenizer):.1%} unknown words; validation {len(valid.tokens):,} tokens"
    )
    if train.cut:
        say(f"  {train.cut:,} sentences are longer than a row ({row_length} tokens) and were cut")


def _unknown_share(corpus: Corpus, tokenizer: Tokenizer) -> float:
    if tokenizer.unk is None:
        return 0.0
    counts = corpus.token_counts(tokenizer.vocab_size)
    return float(counts[tokenizer.unk] / counts.sum())


def _facts(
    config: Config,
    train: Corpus,
    valid: Corpus,
    tokenizer: Tokenizer,
    suites: Mapping[str, EncodedSuite],
    steps_per_epoch: int,
) -> dict[str, object]:
    return {
        "corpus_sha256": train.digest(),
        "valid_sha256": valid.digest(),
        "vocabulary_sha256": tokenizer.digest(),
        **{f"suite_{name}_sha256": _digest(map(repr, encoded.suite)) for name, encoded in suites.items()},
        **_model_digest(config),
        "phenomenon": train.phenomenon.name,
        "phenomenon_sha256": train.phenomenon.digest,
        "sentences": len(train),
        "tokens": len(train.tokens),
        "sentences_cut": train.cut,
        "vocabulary": tokenizer.vocab_size,
        "unknown_share": _unknown_share(train, tokenizer),
        "unigram_perplexity": unigram_perplexity(train, valid, tokenizer.vocab_size),
        "steps_per_epoch": steps_per_epoch,
    }


def unigram_perplexity(train: Corpus, valid: Corpus, vocab_size: int) -> float:
    """Return the perplexity of validation tokens under the training frequencies, with one added to each count."""
    counts = train.token_counts(vocab_size) + 1.0
    held_out = valid.token_counts(vocab_size)
    return float(np.exp(-np.log(counts / counts.sum()) @ held_out / held_out.sum()))


def _digest(lines: Iterable[str]) -> str:
    sha = hashlib.sha256()
    for line in lines:
        sha.update(line.encode() + b"\n")
    return sha.hexdigest()


def _model_digest(config: Config) -> dict[str, str]:
    """Return the digest of the file that defines a custom model."""
    if not isinstance(config.model, CustomConfig):
        return {}
    path = Path(config.model.factory.rpartition(":")[0])
    return {"model_sha256": hashlib.sha256(path.read_bytes()).hexdigest()} if path.is_file() else {}
