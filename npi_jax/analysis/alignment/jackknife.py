"""Leave out each micro-batch in turn: standard errors, and draws of resampled micro-batches."""

import numpy as np
from jaxtyping import Float, Int

from npi_jax.analysis.alignment.products import Blocks, cross, weigh


def leave_one_out(blocks: Blocks) -> Float[np.ndarray, "*lead batches tasks tasks"]:
    """Return cross products, each without one micro-batch; NaN if only one remains."""
    n_batches = blocks.shape[-1]
    if n_batches < 3:
        return np.full((*blocks.shape[:-4], n_batches, *blocks.shape[-4:-2]), np.nan)
    return weigh(blocks, cross(1.0 - np.eye(n_batches)))


def standard_error(replicates: Float[np.ndarray, "..."], axis: int) -> Float[np.ndarray, "..."]:
    """Return the standard error from replicates, in each of which one entry along ``axis`` was left out."""
    n = replicates.shape[axis]
    apart = replicates - replicates.mean(axis=axis, keepdims=True)
    return np.sqrt((n - 1) / n * (apart**2).sum(axis=axis))


def resampled(
    estimate: Float[np.ndarray, "*lead"],
    replicates: Float[np.ndarray, "*lead batches"],
    counts: Int[np.ndarray, "draws batches"],
) -> Float[np.ndarray, "*lead draws"]:
    """Return the estimate with micro-batches resampled, to first order in the number of times that each is drawn.

    The influence of a micro-batch is what leaving it out changes (infinitesimal jackknife; Efron 1982, The jackknife,
    the bootstrap and other resampling plans, chapter 6). Over draws, the variance is that of the jackknife, times
    (K - 1) / K, as with draws of K values. Draws of the estimate itself are worse: a draw with two distinct
    micro-batches has norms from a single product, which can be almost 0 or negative. A significantly positive squared
    norm stays above half of its estimate if one micro-batch is left out, so these replicates have no such outliers.
    """
    n_batches = replicates.shape[-1]
    influence = (n_batches - 1) / n_batches * (replicates.mean(axis=-1, keepdims=True) - replicates)
    return estimate[..., None] + influence @ (counts - 1.0).T
