"""Sizes of text that need not be read: it was prepared before, or the grammar writes it."""

from pathlib import Path
from typing import Any

from npi_jax.config.schema import Config
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.errors import UserError
from npi_jax.preparation.prepare import make_pipeline, make_tokenizer, texts
from npi_jax.results.directory import Run

_NO_MATTER = ("cache", "processes", "planned_tokens")


def sizes_of_run(config: Config) -> tuple[int, int] | None:
    """Entries in the vocabulary and tokens of the training text, as the run directory of a config has them.

    Returns:
        None where nothing was prepared there, or from other text or with another tokenizer.
    """
    run = Run(Path(config.run_dir or f"runs/{config.name}"))
    try:
        if not (run.path / "config.json").is_file() or not _is_of_same_text(run, config):
            return None
        tokens = run.corpus()["tokens"].to_list()
        return Tokenizer.load(run.path / "tokenizer").vocab_size, max(tokens)
    except UserError:
        # A run that cannot be read says nothing of its text; the command that uses it says what is wrong.
        return None


def sizes_of_grammar(config: Config) -> tuple[int, int]:
    """The same of the built-in grammar, which writes its text in a second."""
    pipeline = make_pipeline(config.corpus, lambda _: None)
    train, _ = texts(config.corpus, pipeline)
    tokens = sum(sentence.count(" ") + 2 for sentence in train.sentences)
    return make_tokenizer(config, train, pipeline).vocab_size, tokens


def _is_of_same_text(run: Run, config: Config) -> bool:
    wanted = config.to_dict()
    return all(_matter(run.config.get(part)) == _matter(wanted[part]) for part in ("corpus", "tokenizer"))


def _matter(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {name: value for name, value in fields.items() if name not in _NO_MATTER}
