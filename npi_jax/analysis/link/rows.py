"""Rows of the table `Link`: one test for each predictor and outcome, with and without additive effects of tasks."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from npi_jax.analysis.link.additive import free_values
from npi_jax.analysis.link.centered import Recentered, centered, off_diagonal
from npi_jax.analysis.link.permutation import p_value, qap_correlations
from npi_jax.analysis.link.prediction import MIN_PAIRS
from npi_jax.analysis.link.predictors import Predictor
from npi_jax.analysis.link.seeds import Matrix, Seeded
from npi_jax.results.columns import Row
from npi_jax.results.names import (
    BOTH_CENTERED,
    DELTA,
    DISJOINT_SEEDS,
    MEAN_OVER_TRAINING,
    NO_SEEDS,
    NOT_CENTERED,
    SHARED_SEEDS,
)
from npi_jax.results.tables_alignment import Alignment
from npi_jax.results.tables_link import Link

EXPLORATORY: Final = 999
"""Number of relabelings for the exploratory tests; the primary test uses all."""
PRIMARY_OUTCOME: Final = DELTA
MIN_FREE: Final = 3
"""Minimum number of pairs beyond the additive effects of tasks for a test of centered matrices."""

_ROUNDING: Final = 1e-12

Correlations = Float[np.ndarray, " labels"]


def link_rows(
    predictors: Sequence[Predictor],
    effects: Mapping[str, Seeded],
    labels: Int[np.ndarray, "labels tasks"],
    primary: tuple[str, int],
) -> list[Row]:
    """Return rows for every predictor and outcome; exploratory rows also get p-values adjusted for all of them.

    Args:
        predictors: alignment and surface measures.
        effects: effects of removals by outcome.
        labels: relabelings of the tasks, the identity first.
        primary: group and step of the corrected alignment in the primary test.
    """
    rows: list[Row] = []
    family = _Family(np.zeros(min(len(labels), EXPLORATORY + 1)))
    for its in predictors:
        exploratory = _Relabeled(its, labels[: EXPLORATORY + 1])
        for centering, outcome in itertools.product(_centerings(its), effects):
            declared = (Alignment.corrected, *primary, PRIMARY_OUTCOME, BOTH_CENTERED)
            is_primary = (its.name, its.group, its.step, outcome, centering) == declared
            relabeled = _Relabeled(its, labels) if is_primary else exploratory
            row, correlations = relabeled.test(effects[outcome], centering)
            if correlations is not None and not is_primary:
                family.add(len(rows), correlations)
            names: Row = {Link.predictor: its.name, Link.group: its.group, Link.step: its.step, Link.outcome: outcome}
            names |= {Link.centered: centering, Link.primary: is_primary}
            rows.append({**names, Link.p_adjusted: row[Link.p], **row})
    for number, p in family.adjusted().items():
        rows[number][Link.p_adjusted] = p
    return rows


def _centerings(its: Predictor) -> tuple[str, ...]:
    """Return the values of `Link.centered` for a predictor: uncentered matrices are tested once, not at each step."""
    return (BOTH_CENTERED, NOT_CENTERED) if its.step == MEAN_OVER_TRAINING else (BOTH_CENTERED,)


@dataclass
class _Family:
    """Tests that are adjusted for each other by max-T over the same relabelings."""

    largest: Correlations
    sizes: dict[int, float] = field(default_factory=dict)

    def add(self, number: int, correlations: Correlations) -> None:
        size = np.nan_to_num(np.abs(correlations), nan=0.0)
        # Correlations over few pairs vary more by chance: divide by the root mean square over relabelings.
        size /= math.sqrt(float((size**2).mean())) or 1.0
        self.largest = np.maximum(self.largest, size)
        self.sizes[number] = float(size[0])

    def adjusted(self) -> dict[int, float]:
        """Return adjusted p-values by the number of the test."""
        return {number: float((self.largest >= size - _ROUNDING).mean()) for number, size in self.sizes.items()}


class _Relabeled:
    """A predictor under relabelings, to be tested against several outcomes."""

    def __init__(self, its: Predictor, labels: Int[np.ndarray, "labels tasks"]) -> None:
        self._its, self._labels = its, labels
        self._recentered: dict[int, Recentered] = {}

    def test(self, effects: Seeded, centering: str) -> tuple[Row, Correlations | None]:
        """Return a row of the table, and the correlation in each relabeling (None if there is no test)."""
        values = self._its.values
        directions = (
            values.directions(effects) if centering == BOTH_CENTERED else [(values.all_seeds, effects.all_seeds)]
        )
        seeds = DISJOINT_SEEDS if len(directions) > 1 else SHARED_SEEDS if self._its.group else NO_SEEDS
        there = off_diagonal(directions[0][0]) & off_diagonal(directions[0][1])
        n_tasks = int((there.any(axis=0) | there.any(axis=1)).sum())
        common: Row = {Link.seeds: seeds, Link.n_pairs: int(there.sum()), Link.n_tasks: n_tasks}
        reasons = (_no_test(*matrices, there, centering) for matrices in directions)
        reason, correlations = next(filter(None, reasons), ""), None
        if not reason:
            correlations = self._correlations(directions, centering)
            reason = "" if math.isfinite(correlations[0]) else _no_residuals(directions, there)
        if correlations is None or reason:
            missing: Row = {Link.statistic: math.nan, Link.p: math.nan, Link.n_permutations: 0, Link.reason: reason}
            return common | missing, None
        found: Row = {Link.statistic: float(correlations[0]), Link.p: p_value(correlations)}
        return common | found | {Link.n_permutations: len(self._labels) - 1, Link.reason: ""}, correlations

    def _correlations(self, directions: Sequence[tuple[Matrix, Matrix]], centering: str) -> Correlations:
        """Return the mean correlation over directions, for each relabeling."""
        if centering == NOT_CENTERED:
            ((predictor, effects),) = directions
            return qap_correlations(predictor, effects, self._labels)
        total = np.zeros(len(self._labels))
        for number, (predictor, effects) in enumerate(directions):
            # All outcomes share the relabeled predictor, because ranking it takes most of the time.
            if number not in self._recentered:
                self._recentered[number] = Recentered(predictor, self._labels)
            total += self._recentered[number].correlations(effects)
        return total / len(directions)


def _no_test(predictor: Matrix, effects: Matrix, there: Bool[np.ndarray, "tasks tasks"], centering: str) -> str:
    """Return why a predictor cannot be tested; "" if it can."""
    n_pairs = int(there.sum())
    if n_pairs < MIN_PAIRS:
        of_effects, of_predictor = (int(off_diagonal(side).sum()) for side in (effects, predictor))
        return f"{n_pairs} pairs; {MIN_PAIRS} are needed ({of_effects} have an effect, {of_predictor} a predictor)"
    for name, values in (("predictor", predictor[there]), ("effect", effects[there])):
        if np.ptp(values) == 0:
            return f"the {name} is the same in all pairs"
    free = MIN_FREE if centering == NOT_CENTERED else _free(there.tobytes(), len(there))
    if free < MIN_FREE:
        return (
            f"{n_pairs} pairs are {free} more than the effects of single tasks, which are removed; {MIN_FREE} are "
            "needed: remove more environments"
        )
    return ""


@functools.lru_cache(maxsize=64)
def _free(there: bytes, n_tasks: int) -> int:
    """Return `free_values`; most tests have the same pairs."""
    return free_values(np.frombuffer(there, dtype=bool).reshape(n_tasks, n_tasks))


def _no_residuals(directions: Sequence[tuple[Matrix, Matrix]], there: Bool[np.ndarray, "tasks tasks"]) -> str:
    """Return the reason for the undefined correlation of matrices of which one has no residuals."""
    empty = [not centered(np.where(there, predictor, np.nan))[there].any() for predictor, _ in directions]
    name = "predictor" if any(empty) else "effect"
    return f"the {name} is the sum of effects of single tasks; without these it is the same in all pairs"
