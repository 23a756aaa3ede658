"""N-gram baseline: scores of the suites by a 5-gram model of each variant's text.

Pairs that it gets right require only the words next to the NPI ("hardly ever"). Members show knowledge beyond local
statistics only if they do better.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Integer

from npi_jax.config.schema import Config
from npi_jax.corpus.storage.arrays import spread
from npi_jax.corpus.variants.variant import RowPool, Variant
from npi_jax.preparation.prepare import Prepared
from npi_jax.results.names import MEAN_OVER_TASKS
from npi_jax.results.tables_learning import FinalResults
from npi_jax.results.tables_preparation import Ngram
from npi_jax.scoring import ABSENT, Encodable, EncodedSentences, Scores, ScoreSpec, make_scorer
from npi_jax.scoring.streams import sentence_streams

ORDER: Final = 5
FALLBACK: Final = 0.5
"""Discount of an order if no n-gram was counted exactly once, because the estimate would be 0."""

_SCORES: Final = [column for column in Ngram.COLUMNS if column != Ngram.variant]


@dataclass(frozen=True)
class _Level:
    """Counts of the n-grams of one length above 1.

    Attributes:
        keys: key of each distinct n-gram, ascending: number of its context, times the number of token types including
            the start token, plus the last token.
        counts: count of each n-gram: occurrences, or for shorter n-grams continuations (`KneserNey`).
        totals: sum of the counts of all n-grams with each context.
        distinct: number of different tokens that follow each context.
        discount: amount subtracted from each count.
    """

    keys: Integer[np.ndarray, " ngrams"]
    counts: Integer[np.ndarray, " ngrams"]
    totals: Integer[np.ndarray, " contexts"]
    distinct: Integer[np.ndarray, " contexts"]
    discount: float


class KneserNey:
    """An interpolated Kneser-Ney n-gram model with one absolute discount for each order.

    It follows Kneser & Ney (1995), interpolated as in Chen & Goodman (1999), section 3. The count of the longest
    n-grams, and of those at the start of a sentence, is their number of occurrences. The count of other n-grams is the
    number of different tokens that precede them. The discount is n1 / (n1 + 2 n2), if n1 and n2 n-grams of that order
    have the counts 1 and 2; it is `FALLBACK` if n1 is 0. Unigrams are interpolated with the uniform distribution, so
    that every token has a probability. A sentence starts with one start token, which is never predicted. Contexts do
    not extend before it.

    Attributes:
        order: length of the longest n-grams.
        vocab_size: number of token types that can be predicted.
        discounts: discount of each order, starting with unigrams.
    """

    def __init__(self, unigram: Float[np.ndarray, " vocabulary"], levels: Sequence[_Level], discount: float):
        self._unigram, self._levels = unigram, tuple(levels)
        self.order, self.vocab_size = len(self._levels) + 1, len(unigram)
        self.discounts = (discount, *(level.discount for level in self._levels))

    @classmethod
    def fit(
        cls,
        tokens: Integer[np.ndarray, " tokens"],
        offsets: Integer[np.ndarray, " sentences_and_end"],
        vocab_size: int,
        order: int = ORDER,
    ) -> "KneserNey":
        """Count a corpus; time is that of sorting its tokens `order` - 1 times, and memory is linear in their number.

        Args:
            tokens: concatenated sentences, each with its end token, which is predicted as well.
            offsets: start of each sentence in `tokens`, and at last the number of tokens.
            vocab_size: number of token types.
            order: length of the longest n-grams.

        Raises:
            ValueError: if there is no token, the order is below 1, a token is not in the vocabulary, or the offsets
                do not cover the tokens.
        """
        if order < 1:
            raise ValueError(f"order is {order}; the shortest n-grams have 1 token")
        if not len(tokens):
            raise ValueError("the corpus has no tokens: there is nothing to count")
        _check_tokens(tokens, vocab_size)
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
            raise ValueError(f"offsets must rise from 0 to {len(tokens)}, the number of tokens")
        stream, place = _with_starts(tokens, np.diff(offsets), vocab_size, order)
        counted = [np.bincount(stream, minlength=vocab_size + 1)]
        found: list[tuple[np.ndarray, int]] = []  # keys, and number of contexts
        previous = stream
        for length in range(2, order + 1):
            at = np.flatnonzero(place >= length - 1)
            keys, number, counts = _grouped(previous[at - 1] * np.int64(vocab_size + 1) + stream[at])
            suffix = np.empty(len(keys), np.int32)
            suffix[number] = previous[at]
            counted[-1] = _continuations(counted[-1], suffix, previous[place == length - 2])
            found.append((keys, len(counted[-1])))
            counted.append(counts)
            previous = np.full(len(stream), -1, np.int32)
            previous[at] = number
        levels = [
            _level(keys, keys // (vocab_size + 1), n_contexts, counts)
            for (keys, n_contexts), counts in zip(found, counted[1:], strict=True)
        ]
        return cls(*_unigram(counted[0][:vocab_size], levels))

    def log_prob(
        self, sequences: Sequence[Integer[np.ndarray, " _"]], *, start: bool | Sequence[bool] = True
    ) -> list[Float[np.ndarray, " _"]]:
        """Return the log-probability of every token of each sequence given those before it, nats.

        Args:
            sequences: tokens of one sentence each.
            start: True if the sequences start a sentence, for all or for each of them. The first token is then
                conditioned on the start token, otherwise on nothing.

        Raises:
            ValueError: if a token is not in the vocabulary.
        """
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        if not lengths.sum():
            return [np.zeros(0) for _ in sequences]
        tokens = np.concatenate(sequences).astype(np.int64)
        _check_tokens(tokens, self.vocab_size)
        stream, place = _with_starts(tokens, lengths, self.vocab_size, self.order)
        is_token = place > 0
        begins = np.repeat(np.broadcast_to(np.asarray(start), len(lengths)), lengths + 1)
        previous = np.where(begins | is_token, stream, -1)
        probability = np.append(self._unigram, np.nan)[stream]  # the start token has no probability
        for level in self._levels:
            probability, previous = self._extend(level, stream, previous, probability, is_token)
        return np.split(np.log(probability[is_token]), np.cumsum(lengths)[:-1])

    def _extend(
        self,
        level: _Level,
        stream: Integer[np.ndarray, " n"],
        previous: Integer[np.ndarray, " n"],
        shorter: Float[np.ndarray, " n"],
        is_token: Bool[np.ndarray, " n"],
    ) -> tuple[Float[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
        """Return the probability of each token given one more token of context, and the number of its n-gram."""
        number = np.full(len(stream), -1, np.int64)
        probability = shorter.copy()
        context = np.where(is_token, np.append(-1, previous[:-1]), -1)
        known = np.flatnonzero(context >= 0)
        known = known[level.totals[context[known]] > 0]
        context = context[known]
        wanted = context * np.int64(self.vocab_size + 1) + stream[known]
        slot = np.searchsorted(level.keys, wanted)
        seen = np.append(level.keys, -1)[slot] == wanted
        number[known] = np.where(seen, slot, -1)
        counts = np.where(seen, np.append(level.counts, 0)[slot], 0)
        kept = np.maximum(counts - level.discount, 0.0)
        freed = level.discount * level.distinct[context] * shorter[known]
        probability[known] = (kept + freed) / level.totals[context]
        return probability, number


def _check_tokens(tokens: np.ndarray, vocab_size: int) -> None:
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        raise ValueError(f"tokens run from {tokens.min()} to {tokens.max()}; the vocabulary has 0 to {vocab_size - 1}")


def _with_starts(
    tokens: np.ndarray, lengths: np.ndarray, start: int, most: int
) -> tuple[Integer[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
    """Return tokens with a start token before each sentence, and their positions in the sentence, at most `most`."""
    starts = np.cumsum(lengths + 1) - (lengths + 1)
    stream = np.full(len(tokens) + len(lengths), start, np.int32)
    stream[spread(starts + 1, lengths)] = tokens
    place = np.full(len(stream), most, np.int16)
    for back in range(most - 1, -1, -1):
        place[starts[lengths >= back] + back] = back
    return stream, place


def _grouped(
    keys: Integer[np.ndarray, " n"],
) -> tuple[Integer[np.ndarray, " ngrams"], Integer[np.ndarray, " n"], Integer[np.ndarray, " ngrams"]]:
    """Return distinct keys, the index of each key among them, and counts, like `numpy.unique` with half the memory."""
    order = np.argsort(keys)
    keys = keys[order]
    new = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
    number = np.empty(len(keys), np.int32)
    number[order] = np.cumsum(new, dtype=np.int32) - np.int32(1)
    return keys[new], number, np.diff(np.append(np.flatnonzero(new), len(keys)))


def _continuations(
    counts: Integer[np.ndarray, " ngrams"],
    suffix: Integer[np.ndarray, " longer"],
    initial: Integer[np.ndarray, " initial"],
) -> Integer[np.ndarray, " ngrams"]:
    """Return the number of different tokens that precede each n-gram; for n-grams that start a sentence, occurrences.

    Args:
        counts: occurrences of each n-gram.
        suffix: for each n-gram that is one token longer, the number of the n-gram without its first token.
        initial: numbers of the n-grams that start with the start token.
    """
    continuations = np.bincount(suffix, minlength=len(counts))
    continuations[initial] = counts[initial]
    return continuations


def _level(keys: np.ndarray, context: np.ndarray, n_contexts: int, counts: np.ndarray) -> _Level:
    totals = np.bincount(context, weights=counts, minlength=n_contexts).astype(np.int64)
    return _Level(keys, counts, totals, np.bincount(context, minlength=n_contexts), _discount(counts))


def _discount(counts: np.ndarray) -> float:
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once else FALLBACK


def _unigram(counts: np.ndarray, levels: Sequence[_Level]) -> tuple[np.ndarray, Sequence[_Level], float]:
    discount = _discount(counts)
    freed = discount * (counts > 0).sum() / len(counts)
    return (np.maximum(counts - discount, 0.0) + freed) / counts.sum(), levels, discount


def variant_text(
    variant: Variant, pool: RowPool, eos: int
) -> tuple[Integer[np.ndarray, " tokens"], Integer[np.ndarray, " sentences_and_end"]]:
    """Return the training text of a variant: its sentences, each ended by `eos`, and their offsets."""
    used = pool.used[variant.rows]
    inside = np.arange(pool.tokens.shape[1] - 1) < used[:, None]
    tokens = pool.tokens[variant.rows, 1:][inside]
    return tokens, np.append(0, np.flatnonzero(tokens == eos) + 1)


def ngram_scores(model: KneserNey, suite: Encodable, spec: ScoreSpec, *, eos: int) -> pl.DataFrame:
    """Score minimal pairs with an n-gram model, by the same conventions as members.

    Args:
        model: model over the token ids of the suite's tokenizer.
        suite: the pairs.
        spec: the scoring conventions.
        eos: the token that ends a sentence; a sentence starts after it.

    Returns:
        the table `Ngram` without the column of the variant: one row for each pair and each region of ``spec`` in it.

    Raises:
        ValueError: as `npi_jax.scoring.make_scorer`, or if a token is not in the model's vocabulary.
    """
    scorer = make_scorer(_no_network, suite, spec)
    sentences, packed = scorer.sentences, scorer.packed
    values = _token_log_probs(model, sentences, spec, eos)

    def total(index: int, span: np.ndarray) -> float:
        if span[0] == ABSENT:
            return math.nan
        first, last = (span + packed.first[index]).tolist()
        return float(values[index][first:last].sum())

    sums = {
        region: np.array([total(index, span) for index, span in enumerate(spans)])
        for region, spans in packed.spans.items()
    }
    return pl.DataFrame(Scores(sums, scorer.suite).columns()).select(_SCORES)


def _no_network(*_: object) -> np.ndarray:
    raise AssertionError("an n-gram model predicts from counts")


def _token_log_probs(model: KneserNey, sentences: EncodedSentences, spec: ScoreSpec, eos: int) -> list[np.ndarray]:
    """Return the log-probability of each token of a sentence, and of the end token if the spec scores it."""
    whole, before = sentence_streams(sentences, spec)
    cuts = np.flatnonzero(whole[0][:before] == eos)
    # Contexts do not extend before the start of the sentence.
    cut = int(cuts[-1]) + 1 if len(cuts) else 0
    read = model.log_prob([stream[cut:] for stream in whole], start=len(cuts) > 0)
    return [values[before - cut :] for values in read]


def ngram_table(prepared: Prepared, config: Config, *, order: int = ORDER) -> pl.DataFrame:
    """Return the table `Ngram`: scores of an n-gram model of each variant's training text on all suites."""
    eos, frames = prepared.corpus.eos, []
    for variant in prepared.variants:
        model = KneserNey.fit(*variant_text(variant, prepared.pool, eos), prepared.tokenizer.vocab_size, order)
        for name, suite in prepared.suites.items():
            scores = ngram_scores(model, suite, config.score.suites[name].spec, eos=eos)
            names = {Ngram.variant: str(variant.intervention), Ngram.suite: name}
            named = scores.with_columns(pl.lit(value).alias(column) for column, value in names.items())
            frames.append(named.select(Ngram.COLUMNS))
    return pl.concat(frames)


def with_ngram(final: pl.DataFrame, ngram: pl.DataFrame) -> pl.DataFrame:
    """Return the final table with a column `ngram`: the accuracy of the n-gram model in each row's cell.

    It is null if there are no n-gram scores for the row, and NaN if one of their deltas is not finite. In the mean over
    tasks each task has equal weight, as in `npi_jax.analysis.curves.final_table`.

    Args:
        final: the table `FinalResults`.
        ngram: the table `Ngram`.
    """
    cell, accuracy = [Ngram.variant, Ngram.suite, Ngram.kind, Ngram.region], pl.col(FinalResults.ngram)
    tasks = ngram.group_by([*cell, Ngram.task], maintain_order=True).agg(
        pl.col(Ngram.correct).cast(pl.Float64).mean().alias(FinalResults.ngram)
    )
    mean = tasks.group_by(cell, maintain_order=True).agg(pl.lit(MEAN_OVER_TASKS).alias(Ngram.task), accuracy.mean())
    every = pl.concat([tasks, mean.select(tasks.columns)])
    return final.drop(FinalResults.ngram, strict=False).join(
        every, on=[*cell, Ngram.task], how="left", maintain_order="left", validate="m:1"
    )
