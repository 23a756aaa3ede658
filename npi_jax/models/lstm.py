"""The word-level LSTM of Gulordava et al. (2018), Colorless green recurrent networks dream hierarchically."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from npi_jax.models.config import LSTMConfig
from npi_jax.models.numerics import dropout, site_key
from npi_jax.models.recurrence import lstm_layer


def symmetric_uniform(bound: float) -> nn.initializers.Initializer:
    """An initializer drawing from the uniform distribution on ``(-bound, bound)``."""

    def draw(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def _bias(bound: float) -> nn.initializers.Initializer:
    """An initializer for the sum of the two biases of PyTorch's ``nn.LSTM``."""

    def draw(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, (2, *shape), dtype, -bound, bound).sum(axis=0)

    return draw


class LSTMLayer(nn.Module):
    """The parameters of one layer, applied by `recurrence.lstm_layer`."""

    config: LSTMConfig
    plain: bool

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "time batch features"], starts: Array
    ) -> Float[Array, "time batch hidden"]:
        """The layer's hidden states; arguments as those of `recurrence.lstm_layer`."""
        hidden, bound = self.config.hidden, self.config.hidden**-0.5
        uniform = symmetric_uniform(bound)
        return lstm_layer(
            inputs,
            self.param("input_kernel", uniform, (inputs.shape[-1], 4 * hidden)),
            self.param("hidden_kernel", uniform, (hidden, 4 * hidden)),
            self.param("bias", _bias(bound), (4 * hidden,)),
            starts,
            compute_dtype=self.config.compute_dtype,
            plain=self.plain,
        )


class LSTM(nn.Module):
    """Embedding, dropout, LSTM layers with dropout after each; the output layer's parameters lie beside them.

    Parameters: ``embedding`` [vocabulary, embedding]; ``recurrent_0``, ``recurrent_1``, ...;
    ``output_kernel`` [hidden, vocabulary] unless tied; ``output_bias`` [vocabulary].
    """

    config: LSTMConfig
    vocab_size: int
    plain: bool = False

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        segment_ids: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        dropout_key: Key[Array, ""] | None = None,
        dropout_rate: Float[Array, ""] | float | None = None,
    ) -> Float[Array, "batch time hidden"]:
        """The last layer's hidden states. Segments are told apart by their positions, which start at 0."""
        del segment_ids
        config, uniform = self.config, symmetric_uniform(0.1)
        embedding = self.param("embedding", uniform, (self.vocab_size, config.embedding))
        if not config.tie:
            self.param("output_kernel", uniform, (config.hidden, self.vocab_size))
        self.param("output_bias", nn.initializers.zeros, (self.vocab_size,))

        starts = positions.T == 0
        states = dropout(embedding[tokens.T], site_key(dropout_key, 0), dropout_rate)
        for index in range(config.layers):
            states = LSTMLayer(config, self.plain, name=f"recurrent_{index}")(states, starts)
            states = dropout(states, site_key(dropout_key, index + 1), dropout_rate)
        return states.swapaxes(0, 1)
