"""What a score is: the conventions that change numbers, carried along with every result."""

import dataclasses
from dataclasses import dataclass

import numpy as np

TIES = {"half": 0.5, "wrong": 0.0, "right": 1.0}
BEGINNINGS = ("token", "none")


@dataclass(frozen=True)
class ScoreSpec:
    """The conventions of a score.

    Attributes:
        beginning: ``"token"``: every sentence is read after a start token, so that its first word is scored;
            ``"none"``: the sentence stands alone and its first token is not scored.
        score_end: whether the end-of-sentence token counts for the whole sentence (never for the critical region).
        ties: what a pair with equal scores counts for: ``"half"``, ``"wrong"`` or ``"right"``.
        precision: of matrix products, as `jax.default_matmul_precision` takes it. Log-probabilities and their
            sums are always float32.
    """

    beginning: str = "token"
    score_end: bool = True
    ties: str = "half"
    precision: str = "highest"

    def __post_init__(self) -> None:
        if self.beginning not in BEGINNINGS:
            raise ValueError(f"ScoreSpec.beginning={self.beginning!r}: valid are {', '.join(BEGINNINGS)}")
        if self.ties not in TIES:
            raise ValueError(f"ScoreSpec.ties={self.ties!r}: valid are {', '.join(TIES)}")

    def to_dict(self) -> dict[str, str | bool]:
        """The spec as plain values, for manifests and table columns."""
        return dataclasses.asdict(self)


def pair_accuracy(delta: np.ndarray, ties: str = "half") -> np.ndarray:
    """1 where the good sentence scores higher, 0 where lower, and what `ties` says where equal.

    A delta that is NaN gives NaN: a score that does not exist is neither right nor wrong.
    """
    right = np.where(delta > 0, 1.0, np.where(delta < 0, 0.0, TIES[ties]))
    return np.where(np.isnan(delta), np.nan, right)
