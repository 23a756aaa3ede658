"""Sizes of the text without reading it: from the configuration, a prepared run directory, or the built-in grammar."""

from pathlib import Path
from typing import Any

from npi_jax.config.schema import Config, ConfigError
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.errors import UserError
from npi_jax.preparation.prepare import make_pipeline, make_tokenizer, texts
from npi_jax.results.directory import Run

_IRRELEVANT = ("cache", "processes", "planned_tokens")
"""Fields of the configuration that do not change the text or the vocabulary."""


def text_sizes(config: Config) -> tuple[int, int]:
    """Return the number of entries of the vocabulary and of rows of the corpus, without reading files of text.

    Raises:
        ConfigError: if neither the configuration nor a prepared run directory determines them.
    """
    size, tokens = _known_sizes(config)
    if size is None:
        raise _unknown("tokenizer.size to the entries of the vocabulary")
    if tokens is None:
        raise _unknown("corpus.planned_tokens to the tokens of the training text")
    return size, -(-tokens // config.train.row_length)


def vocabulary_size(config: Config) -> int:
    """Return the number of entries of the vocabulary, without reading files of text.

    Raises:
        ConfigError: if neither the configuration nor a prepared run directory determines them.
    """
    size = config.tokenizer.size or _known_sizes(config)[0]
    if size is None:
        raise _unknown("tokenizer.size to the entries of the vocabulary")
    return size


def _unknown(field: str) -> ConfigError:
    return ConfigError(f"no text is read here: set {field}, or prepare the text first (npi-jax prepare)")


def _known_sizes(config: Config) -> tuple[int | None, int | None]:
    """Return both sizes from the configuration, else from its run directory, else from the grammar; None if unknown."""
    size, tokens = config.tokenizer.size, config.corpus.planned_tokens
    if None not in (size, tokens):
        return size, tokens
    prepared = _sizes_of_run(config) or (_sizes_of_grammar(config) if config.corpus.source == "grammar" else None)
    return (size, tokens) if prepared is None else (size or prepared[0], tokens or prepared[1])


def _sizes_of_run(config: Config) -> tuple[int, int] | None:
    """Return the number of entries of the vocabulary and of tokens of the training text in a run directory.

    Returns:
        None if the run directory has no prepared text, or its text has other sources or another tokenizer.
    """
    run = Run(Path(config.run_dir or f"runs/{config.name}"))
    try:
        if not (run.path / "config.json").is_file() or not _has_same_text(run, config):
            return None
        tokens = run.corpus()["tokens"].to_list()
        return Tokenizer.load(run.path / "tokenizer").vocab_size, max(tokens)
    except UserError:
        # A plan does not need an intact run directory. Commands that need one report the damage.
        return None


def _sizes_of_grammar(config: Config) -> tuple[int, int]:
    """Return the same numbers for the built-in grammar, whose text is generated in about a second."""
    pipeline = make_pipeline(config.corpus, lambda _: None)
    train, _ = texts(config.corpus, pipeline)
    tokens = sum(sentence.count(" ") + 2 for sentence in train.sentences)
    return make_tokenizer(config, train, pipeline).vocab_size, tokens


def _has_same_text(run: Run, config: Config) -> bool:
    wanted = config.to_dict()
    return all(_relevant(run.config.get(part)) == _relevant(wanted[part]) for part in ("corpus", "tokenizer"))


def _relevant(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {name: value for name, value in fields.items() if name not in _IRRELEVANT}
