"""How many floating-point operations a model takes, counted from its shape.

Counted are the products of matrices, a multiplication and an addition each, as in Chowdhery et al. (2022, PaLM,
appendix B) and Kaplan et al. (2020, table 1); the backward pass takes twice what the forward pass takes. What is
computed anew to save memory is not counted: it is no work that the model asks for. XLA's own count
(`cost_analysis`) is of no use here, since it counts the body of a loop once.
"""

from npi_jax.models.config import CustomConfig, LSTMConfig, ModelConfig, TransformerConfig


def forward_flops(config: ModelConfig, vocab_size: int, row_length: int, *, parameters: int | None = None) -> int:
    """Operations of the forward pass for one token.

    Args:
        config: the model.
        vocab_size: entries in the vocabulary.
        row_length: tokens in a row; every query meets all keys of its row.
        parameters: of a custom model, of which nothing else is known: two operations for each (Kaplan et al.).

    Raises:
        ValueError: if `parameters` is missing for a custom model.
    """
    match config:
        case LSTMConfig():
            inputs = [config.embedding, *[config.hidden] * (config.layers - 1)]
            layers = sum(4 * config.hidden * (size + config.hidden) for size in inputs)
            return 2 * (layers + config.hidden * vocab_size)
        case TransformerConfig():
            kv_heads = config.kv_heads or config.heads
            attention = config.width * (config.heads + 2 * kv_heads) * config.head_size + config.width**2
            mlp = (3 if config.gated else 2) * config.width * config.mlp
            scores = 2 * row_length * config.width
            return 2 * (config.layers * (attention + mlp + scores) + config.width * vocab_size)
        case CustomConfig():
            if parameters is None:
                raise ValueError("the operations of a custom model are counted from its number of parameters")
            return 2 * parameters


def train_flops(config: ModelConfig, vocab_size: int, row_length: int, *, parameters: int | None = None) -> int:
    """Operations of the forward and the backward pass for one token; arguments as those of `forward_flops`."""
    return 3 * forward_flops(config, vocab_size, row_length, parameters=parameters)
