"""Annotator of sentences: finds the items of a phenomenon and the licensor of each, with a shallow parse."""

from collections.abc import Iterator, Sequence

from npi_jax.corpus.annotation.annotations import Annotation, shifted
from npi_jax.corpus.annotation.items import EnvironmentForms, ItemFinder
from npi_jax.corpus.annotation.licensing import SENTENCE_ENDS, LicensingReader
from npi_jax.corpus.annotation.licensors import LicensorFinder
from npi_jax.corpus.annotation.npi_en import NPI_EN, environment_forms
from npi_jax.corpus.annotation.phenomenon import Phenomenon, load_phenomenon
from npi_jax.corpus.text.words import split_words

MAX_WORDS = 1000
"""Maximum number of words that are annotated at once; time grows with the square of the number of words."""


class Annotator:
    """Annotates sentences for one phenomenon.

    Args:
        phenomenon: its table.
        environment_forms: further forms that only one environment licenses.

    Attributes:
        items: finds the items.
        licensors: finds the licensors.
    """

    def __init__(self, phenomenon: Phenomenon, environment_forms: EnvironmentForms | None = None) -> None:
        self.phenomenon = phenomenon
        self.items = ItemFinder(phenomenon, environment_forms)
        self.licensors = LicensorFinder(phenomenon)

    def annotate(self, words: Sequence[str], *, contexts: bool = False) -> tuple[Annotation, ...]:
        """Find the items of a sentence and the licensor of each.

        An item gets the nearest licensor before it in its clause, otherwise one in an outer clause. One sentence can
        therefore contain several environments. The table labels an item without a licensor `AMBIGUOUS` or `UNLICENSED`,
        or omits it. An item whose licensor belongs to no environment is labeled `OTHER`. Other uses of the same words
        are omitted ("either ... or", "in any case", "for ever"). A sentence of more than `MAX_WORDS` words is read in
        parts. A part ends at a period, question mark, exclamation mark or semicolon if possible.

        Args:
            words: one sentence as `split_words` splits it ("do n't", "can not"), in lower, upper or title case.
            contexts: True to add licensors without an item in their scope (``npi=None``).

        Returns:
            annotations in the order of their items, then those of licensors without an item.
        """
        if len(words) <= MAX_WORDS:
            return self._annotate(words, contexts)
        annotations = [
            shifted(annotation, start)
            for start, stop in _parts(words)
            for annotation in self._annotate(words[start:stop], contexts)
        ]
        return tuple(sorted(annotations, key=lambda annotation: annotation.npi is None))

    def _annotate(self, words: Sequence[str], contexts: bool) -> tuple[Annotation, ...]:
        if not contexts and self.items.triggers.isdisjoint(words):
            return ()
        lower = [word.lower() for word in words]
        items = list(self.items.find(lower))
        if not items and not contexts:
            return ()
        return LicensingReader(self.licensors, self.items.shared_forms(lower), items).annotations(contexts)

    def holds_form(self, text: str) -> bool:
        """Return True if a sentence contains a word of an item, without which it has no item."""
        return not self.items.triggers.isdisjoint(split_words(text))


def _parts(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each part of a very long sentence."""
    start = 0
    while len(words) - start > MAX_WORDS:
        last, middle = start + MAX_WORDS, start + MAX_WORDS // 2
        stop = next((at for at in range(last, middle, -1) if words[at - 1] in SENTENCE_ENDS), last)
        yield start, stop
        start = stop
    yield start, len(words)


_ANNOTATORS: dict[str, Annotator] = {}


def annotator(name: str = "npi_en") -> Annotator:
    """Return the annotator of a phenomenon (see `load_phenomenon`).

    The annotator of `npi_en` also knows the grammar's forms of single environments.
    """
    phenomenon = load_phenomenon(name)
    # The key is the digest of the table, since the file can change.
    if phenomenon.digest not in _ANNOTATORS:
        forms = environment_forms() if phenomenon.digest == NPI_EN.digest else None
        _ANNOTATORS[phenomenon.digest] = Annotator(phenomenon, forms)
    return _ANNOTATORS[phenomenon.digest]
