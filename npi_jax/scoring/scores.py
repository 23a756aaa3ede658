"""Results: what a scorer gives, with the conventions that made it, as arrays and as tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from npi_jax.scoring.encoded import ABSENT
from npi_jax.scoring.spec import ScoreSpec, pair_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    import polars as pl

    from npi_jax.scoring.scorer import Scorer


class Scores:
    """Scores of a suite under one spec: of one model, or of several with leading axes.

    Args:
        log_probs: by region the summed log-probabilities [..., S], nats, as `Scorer.apply` gives them; what they are
            where a sentence lacks the region does not matter.
        scorer: what made them.
    """

    def __init__(self, log_probs: Mapping[str, Any], scorer: Scorer):
        self.log_probs, self.scorer = log_probs, scorer

    @property
    def spec(self) -> ScoreSpec:
        """The conventions behind every number here."""
        return self.scorer.spec

    def log_prob(self, region: str | None = None) -> np.ndarray:
        """Summed log-probability of a region (the spec's first), float64, nats, not normalized.

        [..., pairs, 2] for pairs (good, bad), otherwise [..., S]. NaN where a sentence has no such region.
        """
        region = self._region(region)
        absent = self.scorer.packed.spans[region][:, 0] == ABSENT
        return self._in_pairs(np.where(absent, np.nan, np.asarray(self.log_probs[region], np.float64)))

    def score(self, region: str | None = None) -> np.ndarray:
        """`log_prob`, normalized as the spec says; in the same shape."""
        region = self._region(region)
        scale, shift = (self._in_pairs(part) for part in self.scorer.affine[region])
        return self.log_prob(region) * scale + shift

    def delta(self, region: str | None = None) -> np.ndarray:
        """Score of the good minus that of the bad sentence, [..., pairs].

        Raises:
            ValueError: if the sentences are not pairs.
        """
        if not self.scorer.sentences.is_pairs:
            raise ValueError("delta is of pairs; these sentences come in other groups")
        score = self.score(region)
        return score[..., 0] - score[..., 1]

    def correct(self, region: str | None = None) -> np.ndarray:
        """1, 0, or what the spec says of a tie; NaN where there is no delta; [..., pairs]."""
        return pair_accuracy(self.delta(region), self.spec.ties)

    def accuracy(self, region: str | None = None) -> np.ndarray:
        """Mean of `correct` over the pairs that have the region, [...]; NaN where a score of one is not finite."""
        region = self._region(region)
        absent = (self.scorer.packed.spans[region][:, 0] == ABSENT).reshape(-1, 2).any(axis=1)
        return np.asarray(self.correct(region)[..., ~absent].mean(axis=-1))

    def __sub__(self, other: Scores) -> np.ndarray:
        """By how much the deltas of this model exceed those of another, [..., pairs], nats.

        Raises:
            SpecMismatchError: if the two were scored by different conventions.
            ValueError: if they are of different sentences.
        """
        self.spec.require_same(other.spec)
        mine, theirs = (scores.scorer.sentences.labels.get("item") for scores in (self, other))
        difference = self.delta().shape[-1] - other.delta().shape[-1]
        if difference or (mine is not None and theirs is not None and list(mine) != list(theirs)):
            raise ValueError("these scores are of different items")
        return self.delta() - other.delta()

    def columns(self) -> dict[str, np.ndarray]:
        """A tidy table as columns: one row for each member (if there are several), region and pair or sentence.

        Pairs: member, the suite's labels, region, spec, n_good, n_bad (tokens scored), good, bad, delta (nats, or
        as normalized), correct. Other groups: member, labels, sentence (number in its group), region, spec,
        n, score. Rows without such a region are left out.
        """
        fixed = fixed_columns(self.scorer)
        rows = len(next(iter(fixed.values())))
        values = self.value_columns()
        n_members = len(next(iter(values.values()))) // rows
        table = {name: np.tile(column, n_members) for name, column in fixed.items()} | values
        if self._leading:
            table = {"member": np.repeat(np.arange(n_members, dtype=np.int32), rows), **table}
        present = table["n_good" if "n_good" in table else "n"] >= 0
        return {name: column[present] for name, column in table.items()}

    def value_columns(self) -> dict[str, np.ndarray]:
        """The columns of `columns` that parameters decide, of all rows (absent regions too): member after member."""

        def stacked(of_region: Callable[[str], np.ndarray]) -> np.ndarray:
            parts = [of_region(region) for region in self.spec.regions]
            return np.stack([part.reshape(math.prod(self._leading), -1) for part in parts], axis=1).reshape(-1)

        if not self.scorer.sentences.is_pairs:
            return {"score": stacked(self.score)}
        return {
            "good": stacked(lambda region: self.score(region)[..., 0]),
            "bad": stacked(lambda region: self.score(region)[..., 1]),
            "delta": stacked(self.delta),
            "correct": stacked(self.correct),
        }

    @property
    def _leading(self) -> tuple[int, ...]:
        """The axes before that of the sentences."""
        return np.shape(next(iter(self.log_probs.values())))[:-1]

    def to_polars(self) -> pl.DataFrame:
        """`columns` as a polars table."""
        import polars  # noqa: PLC0415

        return polars.DataFrame(self.columns())

    def to_pandas(self) -> pd.DataFrame:
        """`columns` as a pandas table (`pip install pandas`)."""
        import pandas  # noqa: PLC0415

        return pandas.DataFrame(self.columns())

    def _region(self, region: str | None) -> str:
        region = region or self.spec.regions[0]
        if region not in self.spec.regions:
            raise ValueError(f"region {region!r} was not scored; the spec has {', '.join(self.spec.regions)}")
        return region

    def _in_pairs(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:-1], -1, 2) if self.scorer.sentences.is_pairs else values


def fixed_columns(scorer: Scorer) -> dict[str, np.ndarray]:
    """The columns of `Scores.columns` that no parameter changes: one row for each region and pair or sentence.

    The counts of tokens are -1 where there is no such region.
    """
    sentences, regions = scorer.sentences, scorer.spec.regions
    counts = {
        name: np.where(scorer.packed.spans[name][:, 0] == ABSENT, ABSENT, scorer.packed.counts(name))
        for name in regions
    }
    labels = {name: np.array(values, dtype=object) for name, values in sentences.labels.items()}
    if sentences.is_pairs:
        by_side = {name: count.reshape(-1, 2) for name, count in counts.items()}
        # A pair of which one side lacks the region cannot be compared.
        absent = {name: (count == ABSENT).any(axis=1, keepdims=True) for name, count in by_side.items()}
        both = np.concatenate([np.where(absent[name], ABSENT, by_side[name]) for name in regions])
        numbers = {"n_good": both[:, 0].astype(np.int32), "n_bad": both[:, 1].astype(np.int32)}
        n_rows = len(sentences.ids) // 2
    else:
        groups = np.asarray(sentences.groups) - sentences.groups[0]
        labels = {name: column[groups] for name, column in labels.items()}
        labels["sentence"] = (np.arange(len(groups)) - np.searchsorted(groups, groups)).astype(np.int32)
        labels |= {name: np.array(values, dtype=object) for name, values in sentences.sentence_labels.items()}
        numbers = {"n": np.concatenate([counts[name] for name in regions]).astype(np.int32)}
        n_rows = len(groups)
    return {
        **{name: np.tile(column, len(regions)) for name, column in labels.items()},
        "region": np.repeat(np.array(regions, dtype=object), n_rows),
        "spec": np.full(n_rows * len(regions), scorer.spec.label, dtype=object),
        **numbers,
    }


class TokenScores:
    """The log-probability of every scored token of one model.

    Args:
        predictions: for each bucket float32 [P], nats, as `Scorer.predictions` gives them.
        scorer: what made them.
    """

    def __init__(self, predictions: Sequence[jax.Array], scorer: Scorer):
        self._predictions, self.scorer = [np.asarray(values, np.float64) for values in predictions], scorer

    def log_probs(self, index: int) -> np.ndarray:
        """Of sentence number `index` (pair i has 2 i and 2 i + 1), float64 [n], nats: NaN where not scored.

        One value for each of the sentence's own tokens; those of tokens after them come last if they are scored.
        """
        packed = self.scorer.packed
        bucket, slots = packed.place(index)
        places = np.flatnonzero(slots != ABSENT)
        # Special tokens before the sentence are none of its own.
        places = places[places + packed.first[index] >= 0]
        tokens = places + packed.first[index]
        values = np.full(max(len(self.scorer.sentences.ids[index]), int(tokens.max(initial=-1)) + 1), np.nan)
        values[tokens] = self._predictions[bucket][slots[places]]
        return values

    def columns(self, indices: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """A tidy table of tokens as columns: one row a token, of all sentences or those given.

        Columns: the suite's labels, sentence (0 good, 1 bad), token (its number), id, text, start, end (characters,
        -1 for tokens after the sentence; a character that is divided among tokens is each one's), word (number of the
        word between spaces), log_prob (nats), surprisal, bits.
        """
        table = self._table(indices)
        return {name: column for name, column in table.items() if name != "_index"}

    def _table(self, indices: Sequence[int] | None) -> dict[str, np.ndarray]:
        """`columns`, with the number of the sentence among all in the column ``_index``."""
        sentences = self.scorer.sentences
        indices = range(len(sentences.ids)) if indices is None else indices
        values = [self.log_probs(index) for index in indices]
        sizes = [len(value) for value in values]
        groups = np.asarray(sentences.groups) - sentences.groups[0]
        index_of = np.repeat(np.asarray(indices), sizes)
        log_prob = np.concatenate(values)
        table = {name: np.array(labels, dtype=object)[groups[index_of]] for name, labels in sentences.labels.items()}
        table["sentence"] = (index_of - np.searchsorted(groups, groups[index_of])).astype(np.int32)
        table["token"] = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        after = sentences.tokens_after(self.scorer.spec)
        ids = [[*sentences.ids[i], *after][:size] for i, size in zip(indices, sizes, strict=True)]
        table["id"] = np.concatenate([np.asarray(one, np.int32) for one in ids])
        if sentences.texts is not None and sentences.offsets is not None:
            table |= self._places(indices, sizes)
        table |= {"log_prob": log_prob, "surprisal": -log_prob, "bits": -log_prob / math.log(2)}
        return table | {"_index": index_of}

    def _places(self, indices: Sequence[int], sizes: Sequence[int]) -> dict[str, np.ndarray]:
        sentences = self.scorer.sentences
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

    def word_columns(self, indices: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """`columns` summed over the tokens of each word: log_prob is NaN where one of them is not scored."""
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
        # Not the tokens' texts one after another: each has the whole of a character that is divided among them.
        texts = self.scorer.sentences.texts
        assert texts is not None
        spans = zip(table["_index"][starts], words["start"], words["end"], strict=True)
        words["text"] = np.array([texts[index][start:end].strip() for index, start, end in spans], dtype=object)
        return words
