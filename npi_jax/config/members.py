"""Members of an ensemble; each has a variant, a seed and hyper-parameters."""

import dataclasses
from typing import Final

from pydantic.dataclasses import dataclass

from npi_jax.config.sections import STRICT, NonNegative, Rate, Seed, Share


@dataclass(frozen=True)
class Member:
    """One model of the ensemble."""

    variant: str
    seed: int
    learning_rate: float
    weight_decay: float
    dropout: float


HYPERPARAMETERS: Final = tuple(
    field.name for field in dataclasses.fields(Member) if field.name not in ("variant", "seed")
)
"""Fields of `TrainConfig` that may differ between members."""


@dataclass(frozen=True, config=STRICT)
class SweepMember:
    """A member in the field `sweep` of a config.

    A hyper-parameter that is None has the first value in `TrainConfig`.

    Attributes:
        variant: the member's intervention.
        seed: seed of initial weights, dropout and data order.
        learning_rate: peak learning rate.
        weight_decay: decoupled weight decay (adamw).
        dropout: dropout rate.
    """

    variant: str
    seed: Seed
    learning_rate: Rate | None = None
    weight_decay: NonNegative | None = None
    dropout: Share | None = None
