"""The rules by which a member counts as diverged."""

import numpy as np
from jaxtyping import Bool, Float, Integer

DIVERGED_FACTOR = 2.0
"""A member has diverged if its validation loss is at least this many times the loss of a uniform guess."""


def has_diverged(
    skipped: Integer[np.ndarray, " members"],
    before: Integer[np.ndarray, " members"],
    valid_loss: Float[np.ndarray, " members"],
    vocab_size: int,
) -> Bool[np.ndarray, " members"]:
    """Return for each member whether it diverged.

    A member has diverged if an update since the checkpoint before was not finite. It has also diverged if its
    validation loss is NaN, or far above that of a uniform guess.

    Args:
        skipped, before: updates skipped until this checkpoint, and until the checkpoint before.
        valid_loss: validation losses, nats per token.
        vocab_size: entries of the vocabulary.
    """
    # Not `>=`: a comparison with NaN is false, and a loss of NaN must count as diverged.
    acceptable = valid_loss < DIVERGED_FACTOR * np.log(vocab_size)
    diverged: Bool[np.ndarray, " members"] = (skipped > before) | ~acceptable
    return diverged


def cannot_recover(
    skipped: Integer[np.ndarray, " members"],
    before: Integer[np.ndarray, " members"],
    valid_loss: Float[np.ndarray, " members"],
) -> Bool[np.ndarray, " members"]:
    """Return for each member whether an update since the checkpoint before, or its loss, was not finite.

    A finite loss may come down again, however large it is. The arguments are those of `has_diverged`.
    """
    stuck: Bool[np.ndarray, " members"] = (skipped > before) | ~np.isfinite(valid_loss)
    return stuck
