"""Surface overlap of environments: the words from licensor to NPI, and the NPIs themselves."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Integer
from scipy import sparse

from npi_jax.corpus.annotation.phenomenon import Phenomenon
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.text.words import split_words
from npi_jax.results.tables_preparation import Environments


def environment_table(text: Sequence[str], annotations: AnnotationTable, phenomenon: Phenomenon) -> pl.DataFrame:
    """Compute the surface overlap of each ordered pair of environments in a corpus, a baseline for gradient alignment.

    Both overlaps are cosines of count vectors, from 0 (nothing shared) to 1 (the same proportions). `npi_overlap`
    counts the lower-case forms of the NPIs that an environment licenses. `ngram_overlap` counts the bigrams and
    trigrams of words from the licensor to the NPI, both included. An n-gram model can learn licensing from them.
    Other words are excluded, because they depend on the topic more than on the environment.

    Args:
        text: the sentences.
        annotations: their annotations. Licensors without an NPI and NPIs without a licensor are ignored.
        phenomenon: the phenomenon of the annotations.

    Returns:
        the table `npi_jax.results.tables_preparation.Environments`, with one row for each ordered pair of different
        environments, in the order of the phenomenon.

    Raises:
        ValueError: if an annotation exceeds its sentence.
    """
    names = phenomenon.environment_names
    licensed = annotations.where(annotations.holds_item & (annotations.label < len(names)))
    contexts, forms = _contexts(text, licensed)
    environment = licensed.label.astype(np.int64)
    npis = np.bincount(environment, minlength=len(names))
    ngrams = _cosines(*_ngrams(contexts, environment), len(names))
    return _pairs(names, ngrams, _cosines(np.array(forms, np.int64), environment, len(names)), npis)


def _contexts(text: Sequence[str], licensed: AnnotationTable) -> tuple[list[list[int]], list[int]]:
    """Return the words from licensor to NPI as numbers, and the form of the NPI as a number, for each NPI."""
    word_numbers: dict[str, int] = {}
    form_numbers: dict[str, int] = {}
    contexts, forms = [], []
    previous, words = -1, []
    for sentence, _, _, licensor, start, stop in zip(*map(np.ndarray.tolist, licensed.columns().values()), strict=True):
        if sentence != previous:
            previous, words = sentence, [word.lower() for word in split_words(text[sentence])]
        if not 0 <= licensor < len(words) or not 0 <= start < stop <= len(words):
            raise ValueError(f"licensor {licensor}, item {start} to {stop}: not in sentence {sentence + 1}: {words}")
        context = words[min(licensor, start) : max(licensor + 1, stop)]
        contexts.append([word_numbers.setdefault(word, len(word_numbers)) for word in context])
        forms.append(form_numbers.setdefault(" ".join(words[start:stop]), len(form_numbers)))
    return contexts, forms


def _ngrams(
    contexts: Sequence[Sequence[int]], environment: Integer[np.ndarray, " contexts"]
) -> tuple[Integer[np.ndarray, " ngrams"], Integer[np.ndarray, " ngrams"]]:
    """Return the bigrams and trigrams of the contexts as numbers, and the environment of each."""
    lengths = np.array([len(context) for context in contexts], np.int64)
    words = np.array([word for context in contexts for word in context], np.int64)
    environments = np.repeat(environment, lengths)
    # Number of words from each word to the end of its context, both included.
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))
    n_words = int(words.max(initial=0)) + 1
    two = np.flatnonzero(left >= 2)
    _, bigram = np.unique(words[two] * n_words + words[two + 1], return_inverse=True)
    number_at = np.zeros(len(words), np.int64)
    number_at[two] = bigram
    three = np.flatnonzero(left >= 3)
    _, trigram = np.unique(number_at[three] * n_words + words[three + 2], return_inverse=True)
    n_bigrams = int(bigram.max(initial=-1)) + 1
    return np.concatenate([bigram, trigram + n_bigrams]), np.concatenate([environments[two], environments[three]])


def _cosines(
    types: Integer[np.ndarray, " occurrences"], environment: Integer[np.ndarray, " occurrences"], n_environments: int
) -> Float[np.ndarray, "environments environments"]:
    """Return the cosines between the environments' count vectors; NaN for an environment without occurrences."""
    shape = (n_environments, int(types.max(initial=-1)) + 1)
    # A sparse array sums repeated entries, which counts the occurrences.
    counts = sparse.csr_array((np.ones(len(types)), (environment, types)), shape=shape)
    products = (counts @ counts.T).toarray()
    norms = np.sqrt(np.diagonal(products))
    with np.errstate(invalid="ignore"):
        return np.asarray(products / np.outer(norms, norms))


def _pairs(
    names: Sequence[str],
    ngrams: Float[np.ndarray, "environments environments"],
    forms: Float[np.ndarray, "environments environments"],
    npis: Integer[np.ndarray, " environments"],
) -> pl.DataFrame:
    rows = [
        (first, second, ngrams[i, j], forms[i, j], int(npis[i]), int(npis[j]))
        for i, first in enumerate(names)
        for j, second in enumerate(names)
        if i != j
    ]
    table = pl.DataFrame(rows, schema=Environments.schema(), orient="row")
    return table.with_columns(pl.col(Environments.ngram_overlap, Environments.npi_overlap).fill_nan(None))
