"""Number of floating-point operations of a model, counted from its shape.

Only matrix products count: a multiplication and an addition for each term. The counts follow Chowdhery et al. (2022,
PaLM, appendix B) and Kaplan et al. (2020, table 1). The backward pass takes twice as many operations as the forward
pass. Recomputation to save memory does not count. XLA's `cost_analysis` cannot be used, because it counts the body of a
loop once.
"""

from npi_jax.models.config import CustomConfig, LSTMConfig, ModelConfig, TransformerConfig


def forward_flops(config: ModelConfig, vocab_size: int, row_length: int, *, parameters: int | None = None) -> int:
    """Count the operations of the forward pass for one token.

    Args:
        config: the model.
        vocab_size: entries in the vocabulary.
        row_length: number of tokens in a row; each query is multiplied by all keys of its row.
        parameters: number of parameters of a custom model, which count two operations each (Kaplan et al.).

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
                raise ValueError("a custom model needs its number of parameters to count operations (parameters=...)")
            return 2 * parameters


def train_flops(config: ModelConfig, vocab_size: int, row_length: int, *, parameters: int | None = None) -> int:
    """Count the operations of the forward and the backward pass for one token; arguments as in `forward_flops`."""
    return 3 * forward_flops(config, vocab_size, row_length, parameters=parameters)
