"""The programs of a run, built before its text is read.

They are the same programs as in training (`npi_jax.training.programs`), built for rows that have the right shape but no
contents. Suites are read, and each of their words counts as one token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npi_jax.config.schema import Config
from npi_jax.corpus.encoded import token_dtype
from npi_jax.corpus.variants.variant import RowPool
from npi_jax.preparation.inputs import open_gradient_suite, open_suite, stand_in
from npi_jax.suites import Suite
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.feed import rows_of_shape
from npi_jax.training.member.step import Pool
from npi_jax.training.programs import VALID_CHUNK_ROWS, Program, Programs, make_programs, training_program
from npi_jax.training.scorers import make_scorers
from npi_jax.training.task_gradients import make_task_gradients

_EOS = 0
"""Arbitrary id of `<eos>`; it does not affect the size of a program."""


def plan_training_program(ensemble: Ensemble, vocabulary: int, rows: int, *, streamed: bool) -> Program:
    """Build the training program.

    Args:
        ensemble: the members.
        vocabulary: entries of the vocabulary.
        rows: rows of the corpus.
        streamed: True if rows are read from disk.
    """
    config = ensemble.config
    if streamed:
        pool = rows_of_shape(ensemble.call_shape, config.train.row_length + 1, token_dtype(vocabulary))
    else:
        pool = all_rows(config, vocabulary, rows)
    return training_program(ensemble, _EOS, pool, streamed=streamed)


def all_rows(config: Config, vocabulary: int, rows: int) -> Pool:
    """Return the shapes of all rows of all variants; variants are assumed to change half of the rows.

    Args:
        config: the experiment.
        vocabulary: entries of the vocabulary.
        rows: rows of the corpus.
    """
    total = rows if len(config.variants) == 1 else rows + rows // 2
    return rows_of_shape((total,), config.train.row_length + 1, token_dtype(vocabulary))


def plan_all_programs(ensemble: Ensemble, vocabulary: int, training: Program) -> tuple[Programs, list[str]]:
    """Build all programs of a run.

    Args:
        ensemble: the members.
        vocabulary: entries of the vocabulary.
        training: the result of `plan_training_program`.

    Returns:
        the programs, and a note on each part that they leave out because it is unknown without the text.

    Raises:
        UserError: if a suite cannot be read, or does not fit the model or the configuration.
    """
    config = ensemble.config
    suites = _read_suites(config)
    pairs = [*suites.suites.values(), *([] if suites.of_gradients is None else [suites.of_gradients])]
    tokenizer = stand_in(pairs, size=vocabulary)
    valid = _valid_rows(config, vocabulary)
    scorers = make_scorers(config, ensemble.model, {n: suite.encode(tokenizer) for n, suite in suites.suites.items()})
    compared = None if suites.of_gradients is None else suites.of_gradients.encode(tokenizer)
    gradients = make_task_gradients(config, ensemble.model, compared, valid, tokenizer.eos)
    programs = make_programs(ensemble, _EOS, training, valid, scorers, gradients)
    notes = list(suites.notes)
    if config.tokenizer.kind == "bpe" and suites.suites:
        notes.append("words of suites that are several tokens: each is taken for one")
    notes.append(f"validation rows beyond {len(valid.used)}: how many there are is not known here")
    return programs, notes


@dataclass(frozen=True)
class _ReadSuites:
    """The suites that exist, the suite for gradients, and a note on each missing suite."""

    suites: Mapping[str, Suite]
    of_gradients: Suite | None
    notes: tuple[str, ...]


def _read_suites(config: Config) -> _ReadSuites:
    paths = {name: suite.path for name, suite in config.score.suites.items()}
    absent = {name: path for name, path in paths.items() if path and not Path(path).exists()}
    notes = [f"scoring {name}: there is no {path}" for name, path in absent.items()]
    compared = config.gradients.enabled and config.gradient_suite not in absent
    if config.gradients.enabled and not compared:
        notes.append(f"gradients: they are of suite {config.gradient_suite}")
    suites = {name: open_suite(config, name) for name in paths if name not in absent}
    return _ReadSuites(suites, open_gradient_suite(config) if compared else None, tuple(notes))


def _valid_rows(config: Config, vocabulary: int) -> RowPool:
    """Make full rows of arbitrary tokens: two validation chunks, and enough rows for the gradients of text.

    More chunks would take no more memory, since chunks are computed one after another.
    """
    rows, length = max(2 * VALID_CHUNK_ROWS, config.gradients.text_rows), config.train.row_length
    return RowPool(np.zeros((rows, length + 1), token_dtype(vocabulary)), np.full(rows, length, np.int32))
