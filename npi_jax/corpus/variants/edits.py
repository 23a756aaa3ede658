"""Sentences with a licensor or an item replaced by what does not license, or needs no licensor."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npi_jax.corpus.annotation.annotator import Annotator
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.encoded import Corpus, annotations_after_cut
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.corpus.text.words import split_spans


@dataclass(frozen=True)
class Edited:
    """A sentence after its edits.

    Attributes:
        text: as it would be written.
        tokens: as many as before, `<eos>` included.
        annotations: found anew; they have sentence number 0.
    """

    text: str
    tokens: np.ndarray
    annotations: AnnotationTable


class Editor:
    """Replaces words of sentences by others that take as many tokens.

    Args:
        corpus: whose sentences.
        tokenizer: of the corpus.
        annotator: of the corpus' phenomenon, which says what is left after an edit.
        seed: of the choice among several replacements.
    """

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, annotator: Annotator, seed: int) -> None:
        self.corpus, self.tokenizer, self.annotator, self.seed = corpus, tokenizer, annotator, seed
        self._items = corpus.phenomenon.items
        self.without_counterpart: Counter[str] = Counter()
        """Words for which the table has nothing to replace them by, and in how many sentences."""
        self._contrasts: dict[tuple[str, str], tuple[str, ...]] = {
            (entry.name, form): group.contrasts_of(form)
            for entry in corpus.phenomenon.environments
            for group in entry.licensors
            for form in group.forms
            if group.contrasts_of(form)
        }

    def edit(self, sentence: int, rows: Sequence[tuple[str, int]]) -> Edited | None:
        """Replace in one sentence.

        Args:
            sentence: its number.
            rows: what to replace (``"licensor"`` or ``"npi"``) of which rows of the corpus' annotations.

        Returns:
            None if a word has no counterpart, or none of the choices tried takes as many tokens as before: with several
            words to replace, as many choices as the word with most counterparts has.
        """
        text = self.corpus.text[sentence]
        spans = split_spans(text)
        swaps: dict[tuple[int, int], tuple[str, ...]] = {}
        for what, row in rows:
            place, choices = self._choices(what, row, [word for word, _, _ in spans])
            if not choices:
                words = " ".join(word for word, _, _ in spans[slice(*place)]).lower()
                self.without_counterpart[words if place[0] >= 0 else "(no licensor)"] += 1
                return None
            swaps[place] = choices
        wanted, room = len(self.tokenizer.encode(text).ids), int(self.corpus.lengths[sentence]) - 1
        rng = generator(self.seed, f"edit {sentence}")
        orders = {place: rng.permutation(len(choices)) for place, choices in swaps.items()}
        for turn in range(max(map(len, swaps.values()))):
            chosen = {p: swaps[p][orders[p][turn % len(swaps[p])]] for p in swaps}
            written = _rewrite(text, spans, chosen)
            if len(self.tokenizer.encode(written).ids) == wanted:
                return self._edited(written, room)
        return None

    def _edited(self, text: str, room: int) -> Edited:
        """A sentence with its annotations, cut where its original was."""
        encoding, spans = self.tokenizer.encode(text), split_spans(text)
        found = self.annotator.annotate([word for word, _, _ in spans], contexts=True)
        table = AnnotationTable.from_sentences([found], self.corpus.phenomenon)
        end = int(encoding.offsets[min(room, len(encoding.ids)) - 1, 1])
        kept = sum(word_end <= end for _, _, word_end in spans)
        cut = {0: kept} if kept < len(spans) else {}
        table = annotations_after_cut(table, cut, self.corpus.phenomenon)
        return Edited(text, np.append(encoding.ids[:room], self.corpus.eos).astype(self.corpus.tokens.dtype), table)

    def _choices(self, what: str, row: int, words: list[str]) -> tuple[tuple[int, int], tuple[str, ...]]:
        table = self.corpus.annotations
        if what == "npi":
            place = int(table.start[row]), int(table.stop[row])
            return place, self._items[table.item[row]].counterparts if table.item[row] >= 0 else ()
        at = int(table.licensor[row])
        if at < 0:
            return (at, at), ()
        environment = self.corpus.phenomenon.labels[table.label[row]]
        return (at, at + 1), self._contrasts.get((environment, words[at].lower()), ())


def _rewrite(text: str, spans: Sequence[tuple[str, int, int]], swaps: Mapping[tuple[int, int], str]) -> str:
    """The text with words ``[start, stop)`` replaced, in the case of what they replace."""
    for (start, stop), word in sorted(swaps.items(), reverse=True):
        begin, end = spans[start][1], spans[stop - 1][2]
        # What was written together ("don't") has to come apart.
        space = " " if begin and text[begin - 1].isalnum() else ""
        text = text[:begin] + space + _in_case_of(text[begin:end], word) + text[end:]
    return text


def _in_case_of(old: str, new: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new
