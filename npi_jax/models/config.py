"""Configurations of models, and the checks of their values."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

ComputeDtype = Literal["float32", "bfloat16"]
Remat = Literal["none", "blocks", "products"]
Initialization = Literal["gulordava", "scaled"]
_BOOLEANS = ("tie", "gated", "attention_bias", "mlp_bias", "output_bias", "parallel")
_CHOICES: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(_BOOLEANS, (True, False)),
    "compute_dtype": get_args(ComputeDtype),
    "initialization": get_args(Initialization),
    "norm": ("rms", "layer"),
    "positions": ("rotary", "learned"),
    "activation": ("silu", "gelu", "gelu_tanh", "relu"),
}
_POSITIVE = ("norm_epsilon", "rotary_fraction", "rotary_base")
_OPTIONAL = ("kv_heads", "max_positions")
MAX_SIZE, MAX_LAYERS = 1 << 20, 1000
"""Largest size and largest number of layers; a square matrix of the largest size takes 4 TiB."""


def _check(config: object) -> None:
    """Raise a ValueError that names the first invalid field of ``config``."""
    name = type(config).__name__
    for item in fields(config):  # type: ignore[arg-type]
        value = getattr(config, item.name)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if item.name in _CHOICES:
            if value not in _CHOICES[item.name] or isinstance(value, int) != isinstance(value, bool):
                valid = ", ".join(map(repr, _CHOICES[item.name]))
                raise ValueError(f"{name}.{item.name} is {value!r}; it must be one of {valid}")
        elif item.name in _POSITIVE:
            if not (is_integer or isinstance(value, float)) or not 0 < value < float("inf"):
                raise ValueError(f"{name}.{item.name} is {value!r}; it must be a number above 0")
        elif item.name == "rotary_scaling" or (item.name in _OPTIONAL and value is None):
            continue
        elif not is_integer or value < 1:
            raise ValueError(f"{name}.{item.name} is {value!r}; it must be a whole number above 0")
        elif value > (most := MAX_LAYERS if item.name == "layers" else MAX_SIZE) and item.name != "max_positions":
            raise ValueError(f"{name}.{item.name} is {value:,}; at most {most:,}")


@dataclass(frozen=True)
class LSTMConfig:
    """The LSTM of Gulordava et al. (2018), with their values as defaults.

    Attributes:
        embedding: size of the word embeddings.
        hidden: size of each layer's hidden state.
        layers: number of LSTM layers.
        tie: True if the output layer uses the embedding matrix, which needs ``embedding == hidden``.
        initialization: ``"gulordava"`` is the original for large layers and plain SGD: uniform in +-0.1 (embedding,
            output) and in +-1/sqrt(hidden) (layers). ``"scaled"`` uses variances of 1/fan-in, orthogonal recurrent
            matrices and zero biases; small layers then learn faster.
        compute_dtype: dtype of the operands of matrix products; parameters and sums stay float32.
    """

    embedding: int = 650
    hidden: int = 650
    layers: int = 2
    tie: bool = False
    initialization: Initialization = "gulordava"
    compute_dtype: ComputeDtype = "float32"

    def __post_init__(self) -> None:
        _check(self)
        if self.tie and self.embedding != self.hidden:
            raise ValueError(
                f"LSTMConfig.tie is True, which needs LSTMConfig.embedding ({self.embedding}) to equal "
                f"LSTMConfig.hidden ({self.hidden}); set tie=False or make them equal"
            )


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A decoder-only, pre-norm transformer; the defaults are the architecture of LLaMA.

    Other values give GPT-2, GPT-NeoX and OPT, whose checkpoints `npi_jax.models.load_hf` reads.

    Attributes:
        width: size of the residual stream.
        layers: number of blocks.
        heads: number of attention heads of a block, a divisor of ``width``.
        mlp: size of the hidden layer of each block's MLP.
        tie: True if the output layer uses the embedding matrix.
        compute_dtype: dtype of the operands of matrix products; parameters and sums stay float32.
        kv_heads: number of heads of keys and values, a divisor of ``heads``; None for ``heads``.
        norm: ``"rms"`` (RMSNorm) or ``"layer"`` (LayerNorm with scale and bias).
        norm_epsilon: number that is added to the variance.
        positions: ``"rotary"`` or ``"learned"``.
        max_positions: maximum number of tokens in a sentence; None for no limit. Learned positions need a limit.
        rotary_fraction: share of each head's features that are rotated.
        rotary_base: base of the rotary frequencies.
        rotary_scaling: empty, or the four numbers of LLaMA 3: factor, low and high frequency factor, original length.
        activation: activation of the MLP: ``"silu"``, ``"gelu"``, ``"gelu_tanh"`` or ``"relu"``.
        gated: True if the activation of one projection is multiplied by a second projection.
        attention_bias, mlp_bias, output_bias: True if these projections have a bias.
        parallel: True if attention and MLP of a block read the same stream, as in GPT-NeoX.
    """

    width: int = 256
    layers: int = 4
    heads: int = 4
    mlp: int = 1024
    tie: bool = False
    compute_dtype: ComputeDtype = "float32"
    kv_heads: int | None = None
    norm: Literal["rms", "layer"] = "rms"
    norm_epsilon: float = 1e-6
    positions: Literal["rotary", "learned"] = "rotary"
    max_positions: int | None = None
    rotary_fraction: float = 1.0
    rotary_base: float = 10_000.0
    rotary_scaling: tuple[float, ...] = ()
    activation: Literal["silu", "gelu", "gelu_tanh", "relu"] = "silu"
    gated: bool = True
    attention_bias: bool = False
    mlp_bias: bool = False
    output_bias: bool = False
    parallel: bool = False

    def __post_init__(self) -> None:
        _check(self)
        if self.width % self.heads:
            raise ValueError(f"TransformerConfig.heads is {self.heads}; it must divide width ({self.width})")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"TransformerConfig.kv_heads is {self.kv_heads}; it must divide heads ({self.heads})")
        if self.positions == "learned" and self.max_positions is None:
            raise ValueError("TransformerConfig.positions is 'learned', which needs max_positions")
        if self.positions == "learned" and (self.max_positions or 0) > MAX_SIZE:
            raise ValueError(
                f"TransformerConfig.max_positions is {self.max_positions:,}; learned positions go up to {MAX_SIZE:,}"
            )
        if self.positions == "rotary" and (self.rotary_size % 2 or not 0 < self.rotary_size <= self.head_size):
            raise ValueError(
                f"TransformerConfig.heads is {self.heads} and rotary_fraction {self.rotary_fraction}: "
                f"{self.rotary_size} of each head's {self.head_size} features would be rotated; it must be an even "
                "number above 0, because rotary positions rotate pairs of features"
            )
        if len(self.rotary_scaling) not in (0, 4):
            raise ValueError(f"TransformerConfig.rotary_scaling is {self.rotary_scaling!r}; give four numbers or none")

    @property
    def head_size(self) -> int:
        """Number of features of a head."""
        return self.width // self.heads

    @property
    def rotary_size(self) -> int:
        """Number of rotated features of a head."""
        return int(self.head_size * self.rotary_fraction)


@dataclass(frozen=True)
class CustomConfig:
    """A custom model, made by a function that the user provides.

    Attributes:
        factory: ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``. It is called with this configuration, the size of the
            vocabulary and the options, and returns a `npi_jax.models.Model`. Making the model runs the user's code.
        options: keyword arguments of the factory.
        compute_dtype: dtype of the operands of the output layer's products.
    """

    factory: str
    options: dict[str, Any] = field(default_factory=dict)
    compute_dtype: ComputeDtype = "float32"

    def __post_init__(self) -> None:
        if not all(self.factory.rpartition(":")):
            raise ValueError(f"CustomConfig.factory is {self.factory!r}; write FILE.py:FUNCTION or MODULE:FUNCTION")


ModelConfig = LSTMConfig | TransformerConfig | CustomConfig
