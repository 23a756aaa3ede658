"""Log-probabilities of single tokens and words of one model."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npi_jax.scoring.encoded import ABSENT
from npi_jax.scoring.packed_suite import PackedSuite
from npi_jax.scoring.shapes import Float, Shaped


class TokenScores:
    """The log-probability of every scored token of one model.

    Args:
        predictions: for each bucket float32 [P], nats, as `Scorer.predictions` returns them.
        suite: the suite that was scored.
    """

    def __init__(self, predictions: Sequence[Any], suite: PackedSuite):
        self._predictions, self.suite = [np.asarray(values, np.float64) for values in predictions], suite

    def log_probs(self, index: int) -> Float[np.ndarray, " tokens"]:
        """Return the log-probability of each token of one sentence, float64, nats; NaN for a token that is not scored.

        Pair i has the sentences 2 i and 2 i + 1. Special tokens before the sentence have no value. Scored tokens after
        the sentence, such as the end token, come last.
        """
        packed = self.suite.packed
        bucket, table_row = packed.find(index)
        columns = np.flatnonzero(table_row != ABSENT)
        # Special tokens before the sentence have negative indices.
        columns = columns[columns + packed.first[index] >= 0]
        tokens = columns + packed.first[index]
        values = np.full(max(len(self.suite.sentences.ids[index]), int(tokens.max(initial=-1)) + 1), np.nan)
        values[tokens] = self._predictions[bucket][table_row[columns]]
        return values

    def columns(self, indices: Sequence[int] | None = None) -> dict[str, Shaped[np.ndarray, " rows"]]:
        """Return a tidy table as columns: one row for each token of all sentences, or of the sentences `indices`.

        Columns: the suite's labels; sentence (0 good, 1 bad); token (its number); id; log_prob (nats); surprisal
        (nats); bits. If the sentences have texts and offsets, also text, start and end (characters), and word (number
        of the word between spaces). Tokens after the sentence have -1 for start, end and word. If one character is
        split into several tokens, each of them has that character as its text.
        """
        table = self._table(indices)
        return {name: column for name, column in table.items() if name != "_index"}

    def _table(self, indices: Sequence[int] | None) -> dict[str, np.ndarray]:
        """Return the table of `columns`, with each sentence's number in the suite as ``_index``."""
        sentences = self.suite.sentences
        indices = range(len(sentences.ids)) if indices is None else indices
        values = [self.log_probs(index) for index in indices]
        sizes = [len(value) for value in values]
        groups = np.asarray(sentences.groups) - sentences.groups[0]
        index_of = np.repeat(np.asarray(indices), sizes)
        log_prob = np.concatenate(values)
        table = {name: np.array(labels, dtype=object)[groups[index_of]] for name, labels in sentences.labels.items()}
        table["sentence"] = (index_of - np.searchsorted(groups, groups[index_of])).astype(np.int32)
        table["token"] = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        after = sentences.tokens_after(self.suite.spec)
        ids = [[*sentences.ids[i], *after][:size] for i, size in zip(indices, sizes, strict=True)]
        table["id"] = np.concatenate([np.asarray(one, np.int32) for one in ids])
        if sentences.texts is not None and sentences.offsets is not None:
            table |= self._text_columns(indices, sizes)
        table |= {"log_prob": log_prob, "surprisal": -log_prob, "bits": -log_prob / math.log(2)}
        return table | {"_index": index_of}

    def _text_columns(self, indices: Sequence[int], sizes: Sequence[int]) -> dict[str, np.ndarray]:
        """Return the text, the span of characters, and the word number of every token."""
        sentences = self.suite.sentences
        assert sentences.texts is not None
        assert sentences.offsets is not None
        rows = []
        for index, size in zip(indices, sizes, strict=True):
            text, offsets = sentences.texts[index], sentences.offsets[index]
            words = np.cumsum([i == 0 or (text[i - 1].isspace() and not text[i].isspace()) for i in range(len(text))])
            for start, end in offsets:
                rows.append((text[start:end], start, end, words[start] - 1 if start < len(text) else -1))
            rows += [("", -1, -1, -1)] * (size - len(offsets))
        texts, start, end, word = zip(*rows, strict=True)
        numbers = {
            name: np.array(values, np.int32) for name, values in (("start", start), ("end", end), ("word", word))
        }
        return {"text": np.array(texts, dtype=object), **numbers}

    def word_columns(self, indices: Sequence[int] | None = None) -> dict[str, Shaped[np.ndarray, " rows"]]:
        """Return a table like `columns` with one row for each word; sums are NaN if a token of the word is not scored.

        Raises:
            ValueError: if the sentences have no texts and offsets.
        """
        table = self._table(indices)
        if "word" not in table:
            raise ValueError("words need the sentences' texts and offsets; these sentences are ids alone")
        keep = table["word"] >= 0
        table = {name: column[keep] for name, column in table.items()}
        new = np.ones(len(table["word"]), bool)
        new[1:] = (np.diff(table["word"]) != 0) | (np.diff(table["token"]) <= 0)
        starts = np.flatnonzero(new)
        words = {name: column[starts] for name, column in table.items() if name not in ("token", "id", "_index", "end")}
        for name in ("log_prob", "surprisal", "bits"):
            words[name] = np.add.reduceat(table[name], starts)
        words["tokens"] = np.diff(np.append(starts, len(new))).astype(np.int32)
        words["end"] = np.maximum.reduceat(table["end"], starts)
        # The text comes from the sentence, because joined tokens would repeat a character that is split among several.
        texts = self.suite.sentences.texts
        assert texts is not None
        spans = zip(table["_index"][starts], words["start"], words["end"], strict=True)
        words["text"] = np.array([texts[index][start:end].strip() for index, start, end in spans], dtype=object)
        return words
