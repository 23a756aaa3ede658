"""What a score is: the conventions that change numbers, carried along with every result."""

import dataclasses
from dataclasses import dataclass

import numpy as np

BEGINNINGS = ("token", "none")
PRECISIONS = ("default", "high", "highest", "bfloat16", "tensorfloat32", "float32")


@dataclass(frozen=True)
class ScoreSpec:
    """The conventions of a score.

    Attributes:
        beginning: ``"token"``: every sentence is read after a start token, so that its first word is scored;
            ``"none"``: the sentence stands alone and its first token is not scored.
        score_end: whether the end-of-sentence token counts for the whole sentence (never for the critical region).
        precision: of matrix products, as `jax.default_matmul_precision` takes it. Log-probabilities and their
            sums are always float32.
    """

    beginning: str = "token"
    score_end: bool = True
    precision: str = "highest"

    def __post_init__(self) -> None:
        if self.beginning not in BEGINNINGS:
            raise ValueError(f"ScoreSpec.beginning={self.beginning!r}: valid are {', '.join(BEGINNINGS)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"ScoreSpec.precision={self.precision!r}: valid are {', '.join(PRECISIONS)}")

    def to_dict(self) -> dict[str, str | bool]:
        """The spec as plain values, for manifests and table columns."""
        return dataclasses.asdict(self)


def pair_accuracy(delta: np.ndarray) -> np.ndarray:
    """1 where the good sentence scores higher, 0 where lower, one half where they tie.

    A delta that is not finite gives NaN: a score that does not exist is neither right nor wrong.
    """
    right = np.where(delta > 0, 1.0, np.where(delta < 0, 0.0, 0.5))
    return np.where(np.isfinite(delta), right, np.nan)
