"""One functional face for every model: pure functions of a pytree of parameters."""

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
    """A language model as pure functions, to be mapped over members by any of JAX's transformations.

    Rows are packed: a row holds several segments one after another. ``segment_ids`` numbers them from 1 (0 is
    padding), ``positions`` counts from 0 within each. No segment sees another.

    Attributes:
        config: the model's shape.
        vocab_size: number of tokens, V.
        module: the Flax module behind it.
    """

    config: LSTMConfig | TransformerConfig
    vocab_size: int
    module: nn.Module

    def init(self, key: Key[Array, ""]) -> Params:
        """Fresh float32 parameters; a pure function of the key."""
        nothing = jnp.zeros((1, 1), jnp.int32)
        return self.module.init(key, nothing, nothing, nothing)["params"]

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
        """What the output layer sees at each token; float32.

        Without ``dropout_key`` nothing is dropped. ``dropout_rate`` may be traced. With one key, what is dropped
        depends on it and on ``tokens.shape`` alone; with a key for each row, what is dropped from a row depends on
        its key alone.
        """
        variables = {"params": params}
        hidden = self.module.apply(variables, tokens, segment_ids, positions, dropout_key, dropout_rate)
        assert isinstance(hidden, jax.Array)
        return hidden

    def output(self, params: Params) -> tuple[Float[Array, "features vocabulary"], Float[Array, " vocabulary"]]:
        """The output layer's weights and bias (zeros if it has none); with tied weights the transposed embedding."""
        weights = params["embedding"].T if self.config.tie else params["output_kernel"]
        bias = params.get("output_bias")
        return weights, jnp.zeros(weights.shape[1], weights.dtype) if bias is None else bias

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a sentence that it can read; None for no limit."""
        return self.config.max_positions if isinstance(self.config, TransformerConfig) else None

    def logits(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        segment_ids: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
    ) -> Float[Array, "batch time vocabulary"]:
        """Unnormalized log-probabilities (nats) of the token after each; float32, nothing dropped."""
        weights, bias = self.output(params)
        hidden = self.hidden(params, tokens, segment_ids, positions)
        return matmul(hidden, weights, self.config.compute_dtype) + bias

    def group(self, path: tuple[Any, ...]) -> str:
        """The group of the parameter at ``path`` (as `jax.tree_util` gives it).

        ``"embedding"``, ``"output"`` (with the norm before it), or one name a layer: ``"recurrent_0"``, ...
        or ``"blocks_0"``, .... A tied matrix counts as ``"embedding"``.
        """
        name = str(path[0].key)
        return next((group for group in ("output", "embedding") if name.startswith(group)), name)

    def groups(self, params: Params) -> Any:
        """The pytree of ``params`` with each leaf replaced by the name of its group."""
        return jax.tree_util.tree_map_with_path(lambda path, _: self.group(path), params)


def make_model(config: ModelConfig, vocab_size: int, *, plain: bool = False, remat: Remat = "none") -> Model:
    """The language model that ``config`` describes, over ``vocab_size`` tokens.

    It is a `LanguageModel` unless the config names a factory of the user's own. With ``plain`` it holds no
    derivative rules of its own, as forward-mode differentiation (`jax.jvp`) needs it; parameters and values are
    the same either way. ``remat`` is that of `TrainConfig`.
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
