"""The rules by which a member counts as diverged."""

import numpy as np
from jaxtyping import Bool, Float, Integer

DIVERGED_FACTOR = 2.0
"""Multiple of a uniform guess's loss from which the validation loss of a member counts as diverged."""


def has_diverged(
    skipped: Integer[np.ndarray, " members"],
    before: Integer[np.ndarray, " members"],
    valid_loss: Float[np.ndarray, " members"],
    vocab_size: int,
) -> Bool[np.ndarray, " members"]:
    """Return for each member whether it diverged.

    A member has diverged if an update since the previous checkpoint was not finite. It has also diverged if its
    validation loss is NaN, or at least `DIVERGED_FACTOR` times the loss of a uniform guess.

    Args:
        skipped, before: number of updates skipped until this checkpoint, and until the previous checkpoint.
        valid_loss: validation losses, nats per token.
        vocab_size: entries of the vocabulary.
    """
    # A comparison with NaN is false. With `>=` a loss of NaN would not count as diverged.
    acceptable = valid_loss < DIVERGED_FACTOR * np.log(vocab_size)
    diverged: Bool[np.ndarray, " members"] = (skipped > before) | ~acceptable
    return diverged


def cannot_recover(
    skipped: Integer[np.ndarray, " members"],
    before: Integer[np.ndarray, " members"],
    valid_loss: Float[np.ndarray, " members"],
) -> Bool[np.ndarray, " members"]:
    """Return for each member whether an update since the previous checkpoint, or its loss, was not finite.

    A finite loss may decrease again, even if it is large. The arguments are those of `has_diverged`.
    """
    stuck: Bool[np.ndarray, " members"] = (skipped > before) | ~np.isfinite(valid_loss)
    return stuck
