"""Built-in models as pure functions of a pytree of parameters."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from npi_jax.models.config import CustomConfig, LSTMConfig, ModelConfig, Remat, TransformerConfig
from npi_jax.models.custom import Model, load_custom
from npi_jax.models.lstm import LSTM
from npi_jax.models.numerics import matmul
from npi_jax.models.transformer import Transformer

Params = dict[str, Any]


@dataclass(frozen=True)
class LanguageModel:
    """A language model as pure functions, which JAX's transformations can map over members.

    Rows are packed: a row contains several segments one after another. ``segment_ids`` numbers the segments of a row
    from 1 (0 is padding), and ``positions`` counts from 0 within each segment. No segment attends to another.

    Attributes:
        config: the configuration.
        vocab_size: size of the vocabulary.
        module: the Flax module.
    """

    config: LSTMConfig | TransformerConfig
    vocab_size: int
    module: nn.Module

    def init(self, key: Key[Array, ""]) -> Params:
        """Draw new float32 parameters; a pure function of the key."""
        example = jnp.zeros((1, 1), jnp.int32)
        return self.module.init(key, example, example, example)["params"]

    def hidden(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        segment_ids: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        *,
        dropout_key: Key[Array, "*rows"] | None = None,
        dropout_rate: Float[Array, ""] | float | None = None,
    ) -> Float[Array, "batch time features"]:
        """Return the inputs of the output layer at each token, float32.

        Without ``dropout_key`` there is no dropout. ``dropout_rate`` may be traced. With one key, the mask depends
        only on the key and ``tokens.shape``. With a key for each row, the mask of a row depends only on its key.
        """
        variables = {"params": params}
        hidden = self.module.apply(variables, tokens, segment_ids, positions, dropout_key, dropout_rate)
        assert isinstance(hidden, jax.Array)
        return hidden

    def output(self, params: Params) -> tuple[Float[Array, "features vocabulary"], Float[Array, " vocabulary"]]:
        """Return the output layer's weights and bias.

        If weights are tied, they are the transposed embedding. Without a bias the bias is zero.
        """
        weights = params["embedding"].T if self.config.tie else params["output_kernel"]
        bias = params.get("output_bias")
        return weights, jnp.zeros(weights.shape[1], weights.dtype) if bias is None else bias

    @property
    def max_positions(self) -> int | None:
        """Maximum number of tokens in a sentence; None for no limit."""
        return self.config.max_positions if isinstance(self.config, TransformerConfig) else None

    def logits(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        segment_ids: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
    ) -> Float[Array, "batch time vocabulary"]:
        """Return the logits of the token after each position, float32, without dropout."""
        weights, bias = self.output(params)
        hidden = self.hidden(params, tokens, segment_ids, positions)
        return matmul(hidden, weights, self.config.compute_dtype) + bias

    def group(self, path: tuple[Any, ...]) -> str:
        """Return the parameter group of a path of `jax.tree_util`.

        Groups are ``"embedding"``, ``"output"`` (with the norm before it), and one for each layer: ``"recurrent_0"``
        or ``"blocks_0"`` and so on. A tied matrix belongs to ``"embedding"``.
        """
        name = str(path[0].key)
        return next((group for group in ("output", "embedding") if name.startswith(group)), name)

    def groups(self, params: Params) -> Any:
        """Return the pytree of ``params`` with each leaf replaced by the name of its group."""
        return jax.tree_util.tree_map_with_path(lambda path, _: self.group(path), params)


def make_model(config: ModelConfig, vocab_size: int, *, plain: bool = False, remat: Remat = "none") -> Model:
    """Make the model of a configuration: a `LanguageModel`, or what the factory of a custom model returns.

    Args:
        config: the configuration.
        vocab_size: size of the vocabulary.
        plain: leave out custom derivatives, which forward-mode differentiation (`jax.jvp`) cannot use. Parameters and
            values are the same.
        remat: recomputation in the backward pass, see `TrainConfig.remat`.
    """
    if vocab_size < 1:
        raise ValueError(f"vocab_size is {vocab_size}; a model needs at least one token")
    match config:
        case LSTMConfig():
            return LanguageModel(config, vocab_size, LSTM(config, vocab_size, plain, remat))
        case TransformerConfig():
            return LanguageModel(config, vocab_size, Transformer(config, vocab_size, plain, remat))
        case CustomConfig():
            return load_custom(config, vocab_size)
        case _:
            raise TypeError(f"config is a {type(config).__name__}; give an LSTMConfig or a TransformerConfig")
