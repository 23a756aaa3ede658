"""A suite that is ready to be scored: its sentences, the rows they are packed into, and the conventions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from npi_jax.scoring.encoded import EncodedSentences
from npi_jax.scoring.normalization import Affine, unequal_pairs
from npi_jax.scoring.packing import Packed
from npi_jax.scoring.spec import ScoreSpec


@dataclass(frozen=True)
class PackedSuite:
    """Sentences packed into rows under one spec, with all that is needed to turn log-probabilities into scores.

    Attributes:
        spec: the conventions. Its normalization is the rule that was chosen, never ``"auto"``.
        sentences: the sentences that are scored.
        packed: their rows and buckets.
        affine: for each region the scale and the shift that normalize its log-probabilities.
    """

    spec: ScoreSpec
    sentences: EncodedSentences
    packed: Packed
    affine: Mapping[str, Affine]

    @property
    def region(self) -> str:
        """Region that reports show: the critical one if it is scored, else the spec's first."""
        return "critical" if "critical" in self.spec.regions else self.spec.regions[0]

    @property
    def covered(self) -> str:
        """Name of `region`; ``"sentence"`` if that region contains all tokens of every sentence."""
        spans = np.asarray(self.sentences.regions.get(self.region, ()))
        full_spans = [(0, len(ids)) for ids in self.sentences.ids]
        return "sentence" if np.array_equal(spans, full_spans) else self.region

    @property
    def unequal_regions(self) -> int:
        """Number of pairs whose sentences have different numbers of tokens in `region`."""
        return unequal_pairs(self.region, self.packed) if self.sentences.is_pairs else 0

    def notes(self) -> list[str]:
        """Return remarks about the scored regions, as sentences for the user; an empty list without remarks."""
        count, n_pairs = self.unequal_regions, len(self.sentences.ids) // 2
        if not count:
            return []
        rule = {
            "sum": "the sum favors the shorter one (normalization='matched' does not)",
            "matched": "compared by their means over tokens, times the pair's mean length",
        }.get(self.spec.normalization, f"compared under normalization {self.spec.normalization!r}")
        compared = "sentences" if self.covered == "sentence" else f"{self.covered} regions"
        return [f"{count:,} of {n_pairs:,} pairs have {compared} of different numbers of tokens: {rule}"]
