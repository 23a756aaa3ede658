"""Settings of the variants of a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from npi_jax.corpus.variants.interventions import Intervention, parse_intervention


@dataclass(frozen=True, kw_only=True)
class VariantSettings:
    """Settings for the construction of variants; see `npi_jax.corpus.variants.builder.VariantBuilder`.

    Attributes:
        names: the interventions as text, one for each variant.
        row_length: tokens of a row.
        mode: ``"replace"`` or ``"delete"``.
        seed: seed of donors, random controls and replacements.
        batch_size, seeds: batch size and seeds of training; they affect interventions that inject sentences.
    """

    names: Sequence[str]
    row_length: int
    mode: str
    seed: int
    batch_size: int
    seeds: Sequence[int]

    @property
    def interventions(self) -> list[Intervention]:
        """The interventions, parsed."""
        return [parse_intervention(name) for name in self.names]

    @property
    def key(self) -> dict[str, Any]:
        """All that the variants depend on besides the corpus."""
        interventions = self.interventions
        injects = any(step.kind == "inject" for one in interventions for step in (one.control_of or one).steps)
        return {
            "variants": list(map(str, interventions)),
            "mode": self.mode,
            "seed": self.seed,
            "row_length": self.row_length,
            "training": [self.batch_size, *self.seeds] if injects else None,
        }
