"""Scores of a suite with their conventions, as arrays and as tables."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npi_jax.scoring.encoded import ABSENT
from npi_jax.scoring.packed_suite import PackedSuite
from npi_jax.scoring.shapes import Float, Shaped
from npi_jax.scoring.spec import ScoreSpec, pair_accuracy

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class Scores:
    """Scores of a suite under one spec, for one model, or for several along leading axes.

    Args:
        log_probs: for each region the summed log-probabilities [..., S], nats, as `Scorer.apply` returns them. Values
            of sentences without the region are ignored.
        suite: the suite that was scored.
    """

    def __init__(self, log_probs: Mapping[str, Any], suite: PackedSuite):
        self.log_probs, self.suite = log_probs, suite

    @property
    def spec(self) -> ScoreSpec:
        """The conventions under which the suite was scored."""
        return self.suite.spec

    def log_prob(self, region: str | None = None) -> Float[np.ndarray, "..."]:
        """Return the summed log-probability of a region (default: the spec's first), float64, nats, not normalized.

        The shape is [..., pairs, 2] (good, bad) for pairs, otherwise [..., S]. A sentence without the region has NaN.
        """
        region = self._region(region)
        absent = self.suite.packed.spans[region][:, 0] == ABSENT
        return self._in_pairs(np.where(absent, np.nan, np.asarray(self.log_probs[region], np.float64)))

    def score(self, region: str | None = None) -> Float[np.ndarray, "..."]:
        """Return `log_prob` under the spec's normalization, in the same shape."""
        region = self._region(region)
        scale, shift = (self._in_pairs(part) for part in self.suite.affine[region])
        return self.log_prob(region) * scale + shift

    def delta(self, region: str | None = None) -> Float[np.ndarray, "*models pairs"]:
        """Return the score of the good sentence minus that of the bad one.

        Raises:
            ValueError: if the sentences are not pairs.
        """
        if not self.suite.sentences.is_pairs:
            raise ValueError("delta is defined for pairs; these sentences come in other groups")
        score = self.score(region)
        return score[..., 0] - score[..., 1]

    def correct(self, region: str | None = None) -> Float[np.ndarray, "*models pairs"]:
        """Return 1 for a correct pair, 0 for a wrong one, the spec's value for a tie, NaN without a finite delta."""
        return pair_accuracy(self.delta(region), self.spec.ties)

    def accuracy(self, region: str | None = None) -> Float[np.ndarray, "*models"]:
        """Return the mean of `correct` over pairs with the region; NaN if a score of any such pair is not finite."""
        region = self._region(region)
        absent = (self.suite.packed.spans[region][:, 0] == ABSENT).reshape(-1, 2).any(axis=1)
        return np.asarray(self.correct(region)[..., ~absent].mean(axis=-1))

    def __sub__(self, other: "Scores") -> Float[np.ndarray, "*models pairs"]:
        """Return the deltas of these scores minus those of other scores, in the unit of `delta`.

        Raises:
            SpecMismatchError: if the two were scored under different conventions.
            ValueError: if they are scores of different items.
        """
        self.spec.require_same(other.spec)
        mine, theirs = (scores.suite.sentences.labels.get("item") for scores in (self, other))
        difference = self.delta().shape[-1] - other.delta().shape[-1]
        if difference or (mine is not None and theirs is not None and list(mine) != list(theirs)):
            raise ValueError("these scores are of different items")
        return self.delta() - other.delta()

    def columns(self) -> dict[str, Shaped[np.ndarray, " rows"]]:
        """Return a tidy table as columns: one row for each member, region and pair (or sentence of another group).

        Columns for pairs: member, the suite's labels, region, spec, n_good and n_bad (numbers of scored tokens), good,
        bad and delta (nats, or as normalized), correct. Columns for other groups: member, labels, sentence (number in
        its group), region, spec, n, score. The column member is absent for a single model. Pairs and sentences
        without the region have no row.
        """
        fixed = fixed_columns(self.suite)
        rows = len(next(iter(fixed.values())))
        values = self.value_columns()
        n_members = len(next(iter(values.values()))) // rows
        table = {name: np.tile(column, n_members) for name, column in fixed.items()} | values
        if self._leading:
            table = {"member": np.repeat(np.arange(n_members, dtype=np.int32), rows), **table}
        present = table["n_good" if "n_good" in table else "n"] >= 0
        return {name: column[present] for name, column in table.items()}

    def value_columns(self) -> dict[str, Float[np.ndarray, " rows"]]:
        """Return the part of `columns` that depends on parameters, member after member.

        Pairs and sentences without the region have a row, too.
        """

        def stacked(of_region: Callable[[str], np.ndarray]) -> np.ndarray:
            parts = [of_region(region) for region in self.spec.regions]
            return np.stack([part.reshape(math.prod(self._leading), -1) for part in parts], axis=1).reshape(-1)

        if not self.suite.sentences.is_pairs:
            return {"score": stacked(self.score)}
        return {
            "good": stacked(lambda region: self.score(region)[..., 0]),
            "bad": stacked(lambda region: self.score(region)[..., 1]),
            "delta": stacked(self.delta),
            "correct": stacked(self.correct),
        }

    @property
    def _leading(self) -> tuple[int, ...]:
        """Sizes of the axes before the axis of sentences."""
        return np.shape(next(iter(self.log_probs.values())))[:-1]

    def to_polars(self) -> "pl.DataFrame":
        """Return `columns` as a polars table."""
        import polars  # noqa: PLC0415

        return polars.DataFrame(self.columns())

    def to_pandas(self) -> "pd.DataFrame":
        """Return `columns` as a pandas table (`pip install pandas`)."""
        import pandas  # noqa: PLC0415

        return pandas.DataFrame(self.columns())

    def _region(self, region: str | None) -> str:
        region = region or self.spec.regions[0]
        if region not in self.spec.regions:
            raise ValueError(f"region {region!r} was not scored; the spec has {', '.join(self.spec.regions)}")
        return region

    def _in_pairs(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:-1], -1, 2) if self.suite.sentences.is_pairs else values


def fixed_columns(suite: PackedSuite) -> dict[str, Shaped[np.ndarray, " rows"]]:
    """Return the part of `Scores.columns` that does not depend on parameters.

    Each region has one row for each pair, or for each sentence of other groups. The counts of tokens are -1 where the
    region is absent.
    """
    regions = suite.spec.regions
    spans, counts = suite.packed.spans, suite.packed.counts
    tokens = {name: np.where(spans[name][:, 0] == ABSENT, ABSENT, counts(name)) for name in regions}
    labels, numbers = (_of_pairs if suite.sentences.is_pairs else _of_groups)(suite, tokens)
    n_rows = len(next(iter(numbers.values()))) // len(regions)
    return {
        **{name: np.tile(column, len(regions)) for name, column in labels.items()},
        "region": np.repeat(np.array(regions, dtype=object), n_rows),
        "spec": np.full(n_rows * len(regions), suite.spec.label, dtype=object),
        **numbers,
    }


_Columns = dict[str, np.ndarray]


def _of_pairs(suite: PackedSuite, tokens: Mapping[str, np.ndarray]) -> tuple[_Columns, _Columns]:
    """Return the labels of each pair, and its two sentences' numbers of tokens in each region."""
    by_side = {name: count.reshape(-1, 2) for name, count in tokens.items()}
    # A pair cannot be compared if one of its sentences lacks the region.
    absent = {name: (count == ABSENT).any(axis=1, keepdims=True) for name, count in by_side.items()}
    both = np.concatenate([np.where(absent[name], ABSENT, count) for name, count in by_side.items()])
    labels = {name: np.array(values, dtype=object) for name, values in suite.sentences.labels.items()}
    return labels, {"n_good": both[:, 0].astype(np.int32), "n_bad": both[:, 1].astype(np.int32)}


def _of_groups(suite: PackedSuite, tokens: Mapping[str, np.ndarray]) -> tuple[_Columns, _Columns]:
    """Return the labels of each sentence, and its number of tokens in each region."""
    sentences = suite.sentences
    groups = np.asarray(sentences.groups) - sentences.groups[0]
    labels = {name: np.array(values, dtype=object)[groups] for name, values in sentences.labels.items()}
    labels["sentence"] = (np.arange(len(groups)) - np.searchsorted(groups, groups)).astype(np.int32)
    labels |= {name: np.array(values, dtype=object) for name, values in sentences.sentence_labels.items()}
    return labels, {"n": np.concatenate(list(tokens.values())).astype(np.int32)}
