"""Inputs of an experiment, opened and checked before anything is prepared: text files, vocabulary, suites."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npi_jax.config.schema import Config, CorpusConfig, SuiteConfig, TokenizerConfig
from npi_jax.corpus.text import sources
from npi_jax.corpus.text.files import (
    SourceError,
    SourceFile,
    check_distinct,
    check_unchanged,
    digested,
    files_key,
    find_files,
)
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.errors import UserError
from npi_jax.suites import Suite, load_suite
from npi_jax.suites.grammar import grammar_suite


@dataclass(frozen=True)
class TextSource:
    """Training or validation text whose files exist, but whose documents have not been read yet.

    Attributes:
        key: identity of the text: digests of its files, and the settings for reading them.
        documents: opens the text; reading raises `SourceError` if a file has changed since its digest was taken.
        name, split: name and split of a TFDS data set.
    """

    key: dict[str, Any]
    documents: Callable[[], Iterable[sources.Document]]
    name: str = ""
    split: str = ""


@dataclass(frozen=True)
class Inputs:
    """Opened inputs of an experiment.

    Attributes:
        training, validation: text; None if the built-in grammar generates it.
        vocabulary: vocabulary of the configured file; None without a file.
        suites: minimal pairs by name. The built-in suite is missing, since it depends on the training text.
        gradient_suite: pairs whose gradients are compared; None if gradients are off, or for the built-in suite.
    """

    training: TextSource | None = None
    validation: TextSource | None = None
    vocabulary: WordTokenizer | None = None
    suites: dict[str, Suite] = field(default_factory=dict)
    gradient_suite: Suite | None = None


def open_inputs(config: Config) -> Inputs:
    """Open all inputs of an experiment; text files are read only to compute their digests.

    Raises:
        UserError: naming file, line and field of a missing or faulty input.
    """
    config.check_phenomenon()
    suites = {name: open_suite(config, name) for name in config.score.suites if not is_built_in(config, name)}
    compared = config.gradients.enabled and not is_built_in(config, config.gradient_suite)
    gradient_suite = open_gradient_suite(config) if compared else None
    vocabulary = None if config.tokenizer.file is None else open_vocabulary(config.tokenizer)
    return Inputs(*text_sources(config.corpus), vocabulary, suites, gradient_suite)


def open_vocabulary(wanted: TokenizerConfig) -> WordTokenizer:
    """Read the vocabulary file that a configuration names.

    Raises:
        UserError: if the file cannot be read, or has another size than the configuration states.
    """
    if not wanted.file:
        raise UserError("tokenizer.file is empty; name a vocabulary file, or omit the field to make a vocabulary")
    given = WordTokenizer.from_file(Path(wanted.file), lowercase=wanted.lowercase)
    if wanted.size not in (None, given.vocab_size):
        raise UserError(f"{wanted.file} has {given.vocab_size:,} words, but tokenizer.size is {wanted.size:,}")
    return given


# -- text -----------------------------------------------------------------------------------------------


def text_sources(config: CorpusConfig) -> tuple[TextSource | None, TextSource | None]:
    """Return training and validation text; None for both if the built-in grammar generates them.

    Raises:
        SourceError: if there is no text, a file cannot be read, or the same text occurs twice.
    """
    match config.source:
        case "grammar":
            return None, None
        case "tfds":
            if not config.allow_repeats:
                _check_splits(config)
            return _tfds_text(config, config.tfds_split), _tfds_text(config, config.tfds_valid_split)
    training = _digested_files(config, "paths", config.paths)
    validation = _digested_files(config, "valid_paths", config.valid_paths)
    if not config.allow_repeats:
        check_distinct(training, validation)
    return _file_text(config, training), _file_text(config, validation)


def _check_splits(config: CorpusConfig) -> None:
    one, other = config.tfds_split, config.tfds_valid_split
    if shared := sources.tfds_shared(config.tfds_name, one, other, config.tfds_dir):
        raise SourceError(
            f"{config.tfds_name}: {shared:,} examples are in corpus.tfds_split ({one}) and in corpus.tfds_valid_split "
            f"({other}); name splits without common examples, or set corpus.allow_repeats=True if that is what you want"
        )


def _digested_files(config: CorpusConfig, name: str, paths: Sequence[str]) -> list[SourceFile]:
    try:
        ending = ".jsonl" if config.source == "jsonl" else ".txt"
        return digested(find_files(paths, ending, repeats=config.allow_repeats))
    except SourceError as error:
        raise SourceError(f"corpus.{name}: {error}") from error


def _file_text(config: CorpusConfig, files: Sequence[SourceFile]) -> TextSource:
    unit, field = config.unit, config.field
    if config.source == "jsonl":
        key = {**files_key(files), "unit": unit, "field": field}
        return TextSource(key, lambda: sources.read_jsonl_files(files, field=field, unit=unit))
    return TextSource({**files_key(files), "unit": unit}, lambda: sources.read_text_files(files, unit=unit))


def _tfds_text(config: CorpusConfig, split: str) -> TextSource:
    name, folder, field, unit = config.tfds_name, config.tfds_dir, config.field, config.unit
    files = sources.tfds_files(name, split=split, data_dir=folder)
    key = {**files_key(files), "name": name, "split": split, "field": field, "unit": unit}

    def documents() -> Iterator[sources.Document]:
        yield from sources.read_tfds(name, split=split, field=field, data_dir=folder, unit=unit)
        check_unchanged(files)

    return TextSource(key, documents, name, split)


# -- suites ---------------------------------------------------------------------------------------------


def is_built_in(config: Config, name: str) -> bool:
    """Return True if a suite is the built-in one, which the grammar generates."""
    return (config.score.suites[name].loader or name) == "grammar"


def open_suite(config: Config, name: str, known: frozenset[str] = frozenset()) -> Suite:
    """Read or generate the minimal pairs of ``score.suites.NAME``.

    Args:
        config: the experiment.
        name: name of the suite.
        known: training sentences, which the built-in suite leaves out; suites in files are not filtered.

    Raises:
        UserError: if the suite cannot be read, or has no minimal pairs.
    """
    return _open_suite(name, config.score.suites[name], config, known)


def open_gradient_suite(config: Config, known: frozenset[str] = frozenset()) -> Suite:
    """Read or generate the suite whose gradients are compared, with the limit of `gradients`."""
    name = config.gradient_suite
    wanted = dataclasses.replace(config.score.suites[name], limit=config.gradients.limit)
    return _open_suite(name, wanted, config, known)


def _open_suite(name: str, wanted: SuiteConfig, config: Config, known: frozenset[str]) -> Suite:
    if is_built_in(config, name):
        return grammar_suite(config.corpus.grammar, items=wanted.limit or 100, exclude=known)
    if not wanted.path:
        raise UserError(f"score.suites.{name}.path is empty; only the built-in suite 'grammar' needs no files")
    try:
        suite = load_suite(wanted.loader or name, Path(wanted.path), limit=wanted.limit)
    except UserError as error:
        raise UserError(f"score.suites.{name}: {error}") from error
    if not isinstance(suite, Suite):
        raise UserError(
            f"score.suites.{name}: {wanted.loader or name!r} has items of several conditions; training scores minimal "
            "pairs. Score the trained members with npi-jax score"
        )
    return suite


def stand_in(suites: Iterable[Suite], *, size: int | None = None, lowercase: bool = False) -> WordTokenizer:
    """Return a vocabulary of the words in suites, to encode the suites before any text is read."""
    texts = [text for suite in suites for text in suite.sentence_table().texts]
    # A vocabulary needs at least one word, even without suites.
    return WordTokenizer.train([*texts, "word"], max_size=size, lowercase=lowercase)
