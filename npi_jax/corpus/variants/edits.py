"""Replacement of licensors by non-licensors, and of items by counterparts that need no licensor."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from npi_jax.corpus.annotation.annotator import Annotator
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.encoded import Corpus, annotations_after_cut
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.corpus.text.words import split_spans

_WordSpan = tuple[str, int, int]  # a word, and its characters [start, end)
_Words = tuple[int, int]  # positions [start, stop) of words


@dataclass(frozen=True)
class EditedSentence:
    """A sentence after its edits.

    Attributes:
        text: the new text.
        tokens: its tokens, as many as before, `<eos>` included.
        annotations: annotations of the new text, with sentence number 0.
    """

    text: str
    tokens: Integer[np.ndarray, " tokens"]
    annotations: AnnotationTable


class Editor:
    """Replaces words of sentences by others, without a change in the number of tokens.

    Args:
        corpus: the corpus with the sentences.
        tokenizer: tokenizer of the corpus.
        annotator: annotator of the corpus' phenomenon; annotates edited sentences.
        seed: seed of the choice between replacements.
    """

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, annotator: Annotator, seed: int) -> None:
        self.corpus, self.tokenizer, self.annotator, self.seed = corpus, tokenizer, annotator, seed
        self._items = corpus.phenomenon.items
        self.without_counterpart: Counter[str] = Counter()
        """Words without a replacement in the table, and the number of sentences with each."""
        self._contrasts: dict[tuple[str, str], tuple[str, ...]] = {
            (entry.name, form): group.contrasts_of(form)
            for entry in corpus.phenomenon.environments
            for group in entry.licensors
            for form in group.forms
            if group.contrasts_of(form)
        }

    def edit(self, sentence: int, rows: Sequence[tuple[str, int]]) -> EditedSentence | None:
        """Replace words in one sentence.

        Args:
            sentence: number of the sentence.
            rows: pairs of the part to replace (``"licensor"`` or ``"npi"``) and a row of the corpus' annotations.

        Returns:
            the edited sentence; None if a word has no replacement, or no attempt keeps the number of tokens. The word
            with most replacements determines the number of attempts.
        """
        text = self.corpus.text[sentence]
        spans = split_spans(text)
        replacements = self._replacements(rows, spans)
        if replacements is None:
            return None
        n_tokens, most_tokens = len(self.tokenizer.encode(text).ids), int(self.corpus.lengths[sentence]) - 1
        rng = generator(self.seed, f"edit {sentence}")
        orders = {words: rng.permutation(len(choices)) for words, choices in replacements.items()}
        for attempt in range(max(map(len, replacements.values()))):
            chosen = {words: choices[orders[words][attempt % len(choices)]] for words, choices in replacements.items()}
            new_text = _rewrite(text, spans, chosen)
            if len(self.tokenizer.encode(new_text).ids) == n_tokens:
                return self._edited(new_text, most_tokens)
        return None

    def _replacements(
        self, rows: Sequence[tuple[str, int]], spans: Sequence[_WordSpan]
    ) -> dict[_Words, tuple[str, ...]] | None:
        """Return the possible replacements of each part; None if a part has none, which is counted."""
        replacements: dict[_Words, tuple[str, ...]] = {}
        for part, row in rows:
            words, choices = self._choices(part, row, [word for word, _, _ in spans])
            if not choices:
                form = " ".join(word for word, _, _ in spans[slice(*words)]).lower()
                self.without_counterpart[form if words[0] >= 0 else "(no licensor)"] += 1
                return None
            replacements[words] = choices
        return replacements

    def _edited(self, text: str, most_tokens: int) -> EditedSentence:
        """Tokenize and annotate an edited sentence; truncate it if its original was truncated."""
        encoding, spans = self.tokenizer.encode(text), split_spans(text)
        annotations = self.annotator.annotate([word for word, _, _ in spans], contexts=True)
        table = AnnotationTable.from_sentences([annotations], self.corpus.phenomenon)
        end = int(encoding.offsets[min(most_tokens, len(encoding.ids)) - 1, 1])
        kept = sum(word_end <= end for _, _, word_end in spans)
        cut = {0: kept} if kept < len(spans) else {}
        table = annotations_after_cut(table, cut, self.corpus.phenomenon)
        tokens = np.append(encoding.ids[:most_tokens], self.corpus.eos).astype(self.corpus.tokens.dtype)
        return EditedSentence(text, tokens, table)

    def _choices(self, part: str, row: int, words: list[str]) -> tuple[_Words, tuple[str, ...]]:
        """Return the words of a licensor or an item, and their replacements."""
        table = self.corpus.annotations
        if part == "npi":
            span = int(table.start[row]), int(table.stop[row])
            return span, self._items[table.item[row]].counterparts if table.item[row] >= 0 else ()
        at = int(table.licensor[row])
        if at < 0:
            return (at, at), ()
        environment = self.corpus.phenomenon.labels[table.label[row]]
        return (at, at + 1), self._contrasts.get((environment, words[at].lower()), ())


def _rewrite(text: str, spans: Sequence[_WordSpan], chosen: Mapping[_Words, str]) -> str:
    """Return the text with some words replaced; replacements take the case of the original words."""
    for (start, stop), replacement in sorted(chosen.items(), reverse=True):
        begin, end = spans[start][1], spans[stop - 1][2]
        # The words of a contraction ("don't") need a space between them when one is replaced.
        space = " " if begin and text[begin - 1].isalnum() else ""
        text = text[:begin] + space + _in_case_of(text[begin:end], replacement) + text[end:]
    return text


def _in_case_of(old: str, new: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new
