"""From a configuration to what training needs: tokens, variants, validation rows, encoded suites."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from npi_jax.config import Config, CorpusConfig, SuiteConfig
from npi_jax.corpus import grammar, sources
from npi_jax.corpus.annotate import annotate
from npi_jax.corpus.annotations import Annotation
from npi_jax.corpus.overlap import environment_table
from npi_jax.corpus.rows import RowOrder, generator
from npi_jax.corpus.store import (
    Corpus,
    RowPool,
    Variant,
    VariantBuilder,
    build_corpus,
    row_orders,
    variant_table,
)
from npi_jax.corpus.tokenizer import BPETokenizer, Tokenizer, WordTokenizer, split_words
from npi_jax.errors import UserError
from npi_jax.models import CustomConfig
from npi_jax.suites import Suite, load_suite
from npi_jax.suites.encode import EncodedSuite
from npi_jax.suites.grammar import grammar_suite

Say = Callable[[str], None]


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


Text = tuple[list[str], list[tuple[Annotation, ...]]]


def prepare(config: Config, say: Say) -> Prepared:
    """Read or write the text, annotate, tokenize, build variants and suites.

    Args:
        config: the experiment.
        say: gets a line about each stage.

    Raises:
        UserError: naming file, line and field of whatever is wrong with text, vocabulary or suites.
    """
    train_text, valid_text = read_text(config.corpus)
    tokenizer = make_tokenizer(config, train_text[0])
    length = config.train.row_length
    corpus = build_corpus(*train_text, tokenizer, row_length=length)
    valid_corpus = build_corpus(*valid_text, tokenizer, row_length=length)
    say(
        f"corpus: {len(corpus):,} sentences, {len(corpus.tokens):,} tokens, {tokenizer.vocab_size:,} entries in the "
        f"vocabulary, {_unknown(corpus, tokenizer):.1%} unknown words; validation {len(valid_corpus.tokens):,} tokens"
    )
    if corpus.cut:
        say(f"  {corpus.cut:,} sentences are longer than a row ({length} tokens) and were cut")
    suites = _load_suites(config, tokenizer, train_text[0], say)
    builder = VariantBuilder(corpus, length, config.corpus.removal, config.corpus.seed)
    variants = [builder.build(intervention) for intervention in config.interventions]
    orders = row_orders(variants, config.train.batch_size)
    valid_builder = VariantBuilder(valid_corpus, length)
    facts = {
        "corpus_sha256": corpus.digest(),
        "valid_sha256": valid_corpus.digest(),
        "vocabulary_sha256": _digest(tokenizer.token(index) for index in range(tokenizer.vocab_size)),
        **{f"suite_{name}_sha256": _digest(map(repr, encoded.suite)) for name, encoded in suites.items()},
        **_code_digest(config),
        "sentences": len(corpus),
        "tokens": len(corpus.tokens),
        "sentences_cut": corpus.cut,
        "vocabulary": tokenizer.vocab_size,
        "unknown_share": _unknown(corpus, tokenizer),
        "unigram_perplexity": unigram_perplexity(corpus, valid_corpus, tokenizer.vocab_size),
        "steps_per_epoch": orders[0].steps_per_epoch,
    }
    table = variant_table(variants)
    environments = environment_table(*train_text)
    pools = builder.pool(), valid_builder.pool()
    gradient_suite = _gradient_suite(config, tokenizer, train_text[0])
    return Prepared(tokenizer, corpus, variants, orders, *pools, suites, gradient_suite, table, environments, facts)


def unigram_perplexity(train: Corpus, valid: Corpus, vocab_size: int) -> float:
    """Perplexity of validation tokens under training frequencies (each count plus one)."""
    counts = np.bincount(train.tokens, minlength=vocab_size) + 1.0
    return float(np.exp(-np.log(counts / counts.sum())[valid.tokens].mean()))


def make_tokenizer(config: Config, sentences: Sequence[str]) -> Tokenizer:
    """The tokenizer that the configuration asks for, trained on the training sentences unless a file is given."""
    wanted = config.tokenizer
    if wanted.kind == "bpe":
        assert wanted.size is not None
        return BPETokenizer.train(sentences, size=wanted.size)
    if wanted.file is not None:
        given = WordTokenizer.from_file(Path(wanted.file), lowercase=wanted.lowercase)
        if wanted.size not in (None, given.vocab_size):
            raise UserError(f"{wanted.file} has {given.vocab_size:,} words, but tokenizer.size is {wanted.size:,}")
        return given
    return WordTokenizer.train(sentences, max_size=wanted.size, min_count=wanted.min_count, lowercase=wanted.lowercase)


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


def _unknown(corpus: Corpus, tokenizer: Tokenizer) -> float:
    return 0.0 if tokenizer.unk is None else float((corpus.tokens == tokenizer.unk).mean())


def read_text(config: CorpusConfig) -> tuple[Text, Text]:
    """Training and validation sentences with their annotations."""
    if config.source == "grammar":
        spec = config.grammar
        valid_spec = dataclasses.replace(spec, sentences=config.grammar_valid_sentences, seed=spec.seed + 1_000_003)
        return _from_grammar(spec), _from_grammar(valid_spec)
    train, valid = _documents(config)
    return (
        _annotated(_sample(train, config.max_sentences, config.seed, "training")),
        _annotated(_sample(valid, config.max_valid_sentences, config.seed, "validation")),
    )


def _from_grammar(spec: grammar.GrammarSpec) -> Text:
    text = grammar.generate(spec)
    return [" ".join(words) for words in text.sentences], list(text.annotations)


def _documents(config: CorpusConfig) -> tuple[Iterable[sources.Document], Iterable[sources.Document]]:
    match config.source:
        case "text":
            return (
                sources.read_text(config.paths, unit=config.unit),
                sources.read_text(config.valid_paths, unit=config.unit),
            )
        case "jsonl":
            return (
                sources.read_jsonl(config.paths, field=config.field, unit=config.unit),
                sources.read_jsonl(config.valid_paths, field=config.field, unit=config.unit),
            )
        case _:
            name, field, folder = config.tfds_name, config.field, config.tfds_dir
            return (
                sources.read_tfds(name, split=config.tfds_split, field=field, data_dir=folder, unit=config.unit),
                sources.read_tfds(name, split=config.tfds_valid_split, field=field, data_dir=folder, unit=config.unit),
            )


def _sample(documents: Iterable[sources.Document], most: int | None, seed: int, which: str) -> list[str]:
    sentences = [sentence for document in documents for sentence in document.sentences]
    if not sentences:
        raise UserError(f"corpus: the {which} text has no sentences")
    if most is None or len(sentences) <= most:
        return sentences
    drawn = generator(seed, f"{which} sample").choice(len(sentences), most, replace=False)
    return [sentences[index] for index in np.sort(drawn)]


def _annotated(sentences: list[str]) -> Text:
    return sentences, [annotate(split_words(sentence)) for sentence in sentences]


def _load_suites(config: Config, tokenizer: Tokenizer, training: Sequence[str], say: Say) -> dict[str, EncodedSuite]:
    suites = {}
    for name, wanted in config.score.suites.items():
        encoded = _load_suite(name, wanted, config, training).encode(tokenizer)
        suites[name] = encoded
        note = f", {encoded.unknown_items:,} with unknown words" if encoded.unknown_items else ""
        if encoded.unknown_critical:
            note += f" ({encoded.unknown_critical:,} in the critical region)"
        say(f"suite {name}: {len(encoded.suite):,} minimal pairs{note}")
        for line in encoded.suite.notes().lines():
            say(f"  {line}")
    return suites


def _gradient_suite(config: Config, tokenizer: Tokenizer, training: Sequence[str]) -> EncodedSuite | None:
    """The suite that gradients are taken of, with a limit of its own."""
    if not config.gradients.enabled:
        return None
    name = config.gradients.suite or next(iter(config.score.suites))
    wanted = dataclasses.replace(config.score.suites[name], limit=config.gradients.limit)
    return _load_suite(name, wanted, config, training).encode(tokenizer)


def _load_suite(name: str, wanted: SuiteConfig, config: Config, training: Sequence[str]) -> Suite:
    loader = wanted.loader or name
    if loader == "grammar":
        exclude = frozenset(training) if config.corpus.source == "grammar" else frozenset()
        return grammar_suite(config.corpus.grammar, items=wanted.limit or 100, exclude=exclude)
    if not wanted.path:
        raise UserError(f"score.suites.{name}.path is empty; only the built-in suite 'grammar' needs no files")
    suite = load_suite(loader, Path(wanted.path), limit=wanted.limit)
    if not isinstance(suite, Suite):
        raise UserError(
            f"score.suites.{name}: {loader!r} has items of several conditions; training scores minimal pairs. Score "
            "the trained members with npi-jax score"
        )
    return suite
