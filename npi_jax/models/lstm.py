"""The word-level LSTM of Gulordava et al. (2018), Colorless green recurrent networks dream hierarchically."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from npi_jax.models.config import LSTMConfig, Remat
from npi_jax.models.numerics import dropout, project, rematerialized, site_key
from npi_jax.models.recurrence import lstm_layer


def symmetric_uniform(bound: float) -> nn.initializers.Initializer:
    """Return an initializer that draws from the uniform distribution on ``(-bound, bound)``."""

    def draw(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def _bias(bound: float) -> nn.initializers.Initializer:
    """Return an initializer for the sum of the two biases of PyTorch's ``nn.LSTM``."""

    def draw(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, (2, *shape), dtype, -bound, bound).sum(axis=0)

    return draw


def _orthogonal_gates(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    """Draw one orthogonal matrix for each gate, and concatenate them."""
    hidden = shape[0]
    gates = [nn.initializers.orthogonal()(gate, (hidden, hidden), dtype) for gate in jax.random.split(key, 4)]
    return jnp.concatenate(gates, axis=1)


def _layer_initializers(config: LSTMConfig) -> tuple[nn.initializers.Initializer, ...]:
    """Return the initializers of a layer's input kernel, hidden kernel and bias."""
    if config.initialization == "scaled":
        return nn.initializers.lecun_normal(), _orthogonal_gates, nn.initializers.zeros
    bound = config.hidden**-0.5
    return symmetric_uniform(bound), symmetric_uniform(bound), _bias(bound)


class LSTMLayer(nn.Module):
    """The parameters of one layer, applied by `recurrence.lstm_layer`."""

    config: LSTMConfig
    plain: bool

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "*rows features"],
        starts: Bool[Array, "time batch"],
        words: Int[Array, "time batch"] | None = None,
    ) -> Float[Array, "time batch hidden"]:
        """Return the layer's hidden states.

        Args:
            inputs: [time, batch, features]; or [vocabulary, features] if ``words`` is given.
            starts: True at the first token of each segment.
            words: row of ``inputs`` that each step reads.
        """
        hidden, dtype = self.config.hidden, self.config.compute_dtype
        input_init, hidden_init, bias_init = _layer_initializers(self.config)
        kernel = self.param("input_kernel", input_init, (inputs.shape[-1], 4 * hidden))
        if words is None:
            projected = project(inputs, kernel, dtype, plain=self.plain)
        elif words.size < inputs.shape[0]:
            projected = project(inputs[words], kernel, dtype, plain=self.plain)
        else:
            # There are no more words in the vocabulary than tokens in the batch, so each word is projected once.
            projected = project(inputs, kernel, dtype, plain=self.plain)[words]
        return lstm_layer(
            projected,
            self.param("hidden_kernel", hidden_init, (hidden, 4 * hidden)),
            self.param("bias", bias_init, (4 * hidden,)),
            starts,
            compute_dtype=dtype,
            plain=self.plain,
        )


class LSTM(nn.Module):
    """Embedding and LSTM layers, each followed by dropout; also holds the parameters of the output layer.

    Parameters: ``embedding`` [vocabulary, embedding]; ``recurrent_0``, ``recurrent_1``, ...;
    ``output_kernel`` [hidden, vocabulary] unless tied; ``output_bias`` [vocabulary].
    """

    config: LSTMConfig
    vocab_size: int
    plain: bool = False
    remat: Remat = "none"

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        segment_ids: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        dropout_key: Key[Array, "*rows"] | None = None,
        dropout_rate: Float[Array, ""] | float | None = None,
    ) -> Float[Array, "batch time hidden"]:
        """Return the last layer's hidden states; a segment begins where its positions are 0."""
        del segment_ids
        config = self.config
        scaled = config.initialization == "scaled"
        embedding_init = nn.initializers.normal(config.embedding**-0.5) if scaled else symmetric_uniform(0.1)
        embedding = self.param("embedding", embedding_init, (self.vocab_size, config.embedding))
        if not config.tie:
            output_init = nn.initializers.lecun_normal() if scaled else symmetric_uniform(0.1)
            self.param("output_kernel", output_init, (config.hidden, self.vocab_size))
        self.param("output_bias", nn.initializers.zeros, (self.vocab_size,))

        starts = positions.T == 0
        if dropout_key is None:
            # Without dropout a step's input depends only on its word.
            states, words = embedding, tokens.T
        else:
            states, words = dropout(embedding[tokens.T], site_key(dropout_key, 0), dropout_rate, axis=1), None
        layer = rematerialized(LSTMLayer, self.remat)
        for index in range(config.layers):
            states = layer(config, self.plain, name=f"recurrent_{index}")(states, starts, words if index == 0 else None)
            states = dropout(states, site_key(dropout_key, index + 1), dropout_rate, axis=1)
        return states.swapaxes(0, 1)
