"""The cross-entropy in three lines, which the one in chunks is compared with."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from npi_jax.models.config import ComputeDtype
from npi_jax.models.numerics import matmul


def cross_entropy_reference(
    hidden: Float[Array, "rows features"],
    weights: Float[Array, "features vocabulary"],
    bias: Float[Array, " vocabulary"],
    targets: Int[Array, " rows"],
    mask: Float[Array, " rows"],
    *,
    compute_dtype: ComputeDtype = "float32",
) -> Float[Array, ""]:
    """Compute the same from all logits; can be differentiated in every mode."""
    logits = matmul(hidden, weights, compute_dtype) + bias
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], axis=-1)[:, 0]
    return -(chosen * mask).sum()
