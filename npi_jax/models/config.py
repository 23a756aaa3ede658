"""The shape of a model: what can be chosen, and what is refused."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

ComputeDtype = Literal["float32", "bfloat16"]
Initialization = Literal["gulordava", "scaled"]
_CHOICES: dict[str, tuple[object, ...]] = {
    "tie": (True, False),
    "compute_dtype": get_args(ComputeDtype),
    "initialization": get_args(Initialization),
}


def _check(config: object) -> None:
    """Raises ValueError naming the first field of ``config`` that cannot be built."""
    name = type(config).__name__
    for item in fields(config):  # type: ignore[arg-type]
        value = getattr(config, item.name)
        if item.name in _CHOICES:
            if value not in _CHOICES[item.name] or isinstance(value, int) != isinstance(value, bool):
                valid = ", ".join(map(repr, _CHOICES[item.name]))
                raise ValueError(f"{name}.{item.name} is {value!r}; it must be one of {valid}")
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}.{item.name} is {value!r}; it must be a whole number above 0")


@dataclass(frozen=True)
class LSTMConfig:
    """The LSTM of Gulordava et al. (2018); the defaults are theirs.

    Attributes:
        embedding: size of the word embeddings.
        hidden: size of each layer's hidden state.
        layers: number of LSTM layers.
        tie: whether the output layer uses the embedding matrix; needs ``embedding == hidden``.
        initialization: ``"gulordava"``: uniform in +-0.1 (embedding, output) and +-1/sqrt(hidden) (layers), as
            theirs, made for large layers and plain SGD; ``"scaled"``: variances of 1/fan-in, orthogonal recurrent
            matrices and zero biases, with which small layers learn faster.
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


@dataclass(frozen=True)
class TransformerConfig:
    """A decoder-only, pre-norm transformer with rotary positions.

    Attributes:
        width: size of the residual stream.
        layers: number of blocks.
        heads: attention heads a block; must divide ``width`` into heads of even size.
        mlp: size of the hidden layer of each block's MLP.
        tie: whether the output layer uses the embedding matrix.
        compute_dtype: dtype of the operands of matrix products; parameters and sums stay float32.
    """

    width: int = 256
    layers: int = 4
    heads: int = 4
    mlp: int = 1024
    tie: bool = False
    compute_dtype: ComputeDtype = "float32"

    def __post_init__(self) -> None:
        _check(self)
        if self.width % (2 * self.heads):
            raise ValueError(
                f"TransformerConfig.heads is {self.heads}; it must divide TransformerConfig.width "
                f"({self.width}) into heads of even size, because rotary positions turn pairs of features"
            )


@dataclass(frozen=True)
class CustomConfig:
    """A model of the user's own.

    Attributes:
        factory: ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``, called with this configuration, the size of the
            vocabulary and the options; gives a `npi_jax.models.Model`. It is code and is run.
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
