"""How much two environments have in common on the surface: words around the NPI, and the NPIs themselves."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Integer
from scipy import sparse

from npi_jax.corpus.annotation.phenomenon import Phenomenon
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.text.words import split_words

_SCHEMA = {
    "task_i": pl.String,
    "task_j": pl.String,
    "ngram_overlap": pl.Float64,
    "npi_overlap": pl.Float64,
    "npis_i": pl.Int64,
    "npis_j": pl.Int64,
}


def environment_table(text: Sequence[str], annotations: AnnotationTable, phenomenon: Phenomenon) -> pl.DataFrame:
    """Surface overlap of each ordered pair of environments in a corpus, a baseline for what gradients say.

    Both overlaps are cosines of vectors of counts, from 0 (nothing in common) to 1 (the same shares). For each NPI
    that an environment licenses, `npi_overlap` counts its form, as written in lower case; `ngram_overlap` counts the
    bigrams and trigrams of words in the stretch from the licensor to the NPI, both included: what an n-gram model can
    learn of the licensing. Words outside of that stretch depend on the topic more than on the environment and are
    left out.

    Args:
        text: the sentences.
        annotations: of all of them. Licensors without an NPI and NPIs without a licensor count for nothing.
        phenomenon: whose annotations they are.

    Returns:
        columns task_i, task_j, ngram_overlap, npi_overlap, npis_i, npis_j (NPIs licensed by each): a row for each two
        different environments, in the order of the phenomenon. The overlap is null where one of them has no NPI.

    Raises:
        ValueError: if an annotation does not lie in its sentence.
    """
    numbers: dict[str, int] = {}
    stretches, forms, environment_of = [], [], []
    form_numbers: dict[str, int] = {}
    names = phenomenon.environment_names
    rows = annotations.where(annotations.holds_item & (annotations.label < len(names)))
    before, words = -1, []
    for sentence, label, _, licensor, start, stop in zip(*map(np.ndarray.tolist, rows.columns().values()), strict=True):
        if sentence != before:
            before, words = sentence, [word.lower() for word in split_words(text[sentence])]
        if not 0 <= licensor < len(words) or not 0 <= start < stop <= len(words):
            raise ValueError(f"licensor {licensor}, item {start} to {stop}: not in sentence {sentence + 1}: {words}")
        stretch = words[min(licensor, start) : max(licensor + 1, stop)]
        stretches.append([numbers.setdefault(word, len(numbers)) for word in stretch])
        forms.append(form_numbers.setdefault(" ".join(words[start:stop]), len(form_numbers)))
        environment_of.append(label)
    owner = np.array(environment_of, np.int64)
    npis = np.bincount(owner, minlength=len(names))
    ngrams = _cosines(*_ngrams(stretches, owner), len(names))
    return _pairs(names, ngrams, _cosines(np.array(forms, np.int64), owner, len(names)), npis)


def _ngrams(
    stretches: Sequence[Sequence[int]], owner: Integer[np.ndarray, " stretches"]
) -> tuple[Integer[np.ndarray, " ngrams"], Integer[np.ndarray, " ngrams"]]:
    """All bigrams and trigrams within the stretches as numbers, equal where equal, and the owner of each."""
    lengths = np.array([len(stretch) for stretch in stretches], np.int64)
    words = np.array([word for stretch in stretches for word in stretch], np.int64)
    owners = np.repeat(owner, lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words to the end, this one included
    n_words = int(words.max(initial=0)) + 1
    two = np.flatnonzero(left >= 2)
    _, bigram = np.unique(words[two] * n_words + words[two + 1], return_inverse=True)
    number_at = np.zeros(len(words), np.int64)
    number_at[two] = bigram
    three = np.flatnonzero(left >= 3)
    _, trigram = np.unique(number_at[three] * n_words + words[three + 2], return_inverse=True)
    n_bigrams = int(bigram.max(initial=-1)) + 1
    return np.concatenate([bigram, trigram + n_bigrams]), np.concatenate([owners[two], owners[three]])


def _cosines(
    kinds: Integer[np.ndarray, " things"], owner: Integer[np.ndarray, " things"], n_environments: int
) -> Float[np.ndarray, "environments environments"]:
    """Cosines of the environments' counts of each kind of thing; NaN for an environment that has nothing."""
    shape = (n_environments, int(kinds.max(initial=-1)) + 1)
    # A cell that is named several times holds the sum.
    counts = sparse.csr_array((np.ones(len(kinds)), (owner, kinds)), shape=shape)
    products = (counts @ counts.T).toarray()
    norms = np.sqrt(np.diagonal(products))
    with np.errstate(invalid="ignore"):
        return np.asarray(products / np.outer(norms, norms))


def _pairs(names: Sequence[str], ngrams: np.ndarray, forms: np.ndarray, npis: np.ndarray) -> pl.DataFrame:
    rows = [
        (first, second, ngrams[i, j], forms[i, j], int(npis[i]), int(npis[j]))
        for i, first in enumerate(names)
        for j, second in enumerate(names)
        if i != j
    ]
    table = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return table.with_columns(pl.col("ngram_overlap", "npi_overlap").fill_nan(None))
