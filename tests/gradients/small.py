"""A small suite and models whose gradients are compared."""

import numpy as np

from npi_jax.corpus.grammar.generate import GrammarSpec, generate
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.gradients import choose_items, task_batches, text_batches
from npi_jax.scoring import ScoreSpec
from npi_jax.suites.grammar import grammar_suite

TEXT = [" ".join(words) for words in generate(GrammarSpec(sentences=800, seed=5)).sentences]
TOKENIZER = WordTokenizer.train(TEXT)
N_BATCHES = 4


def encoded(items=8):
    return grammar_suite(GrammarSpec(sentences=1, seed=5), items=items).encode(TOKENIZER)


def chosen(items=8, spec=None):
    spec = spec or ScoreSpec()
    return choose_items(encoded(items).sentences(spec), spec, kind="licensor", n_batches=N_BATCHES)


def text_rows(rows=9, length=30):
    """Packed rows of the grammar's sentences, as the corpus store makes them."""
    eos, found, used = TOKENIZER.eos, [], []
    row = [eos]
    for sentence in TEXT:
        ids = [*TOKENIZER.encode(sentence).ids.tolist(), eos]
        if len(ids) > length:
            continue
        if len(row) + len(ids) > length + 1:
            found.append(row + [eos] * (length + 1 - len(row)))
            used.append(len(row) - 1)
            row = [eos]
        row += ids
        if len(found) == rows:
            break
    return np.array(found, np.uint16), np.array(used)


def all_batches(items=8):
    tokens, used = text_rows()
    return task_batches(chosen(items)) + text_batches(tokens, used, TOKENIZER.eos, n_batches=N_BATCHES, rows=8)
