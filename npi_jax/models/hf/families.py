"""Tables of GPT-2, GPT-NeoX, OPT and LLaMA: the config fields and tensors of each in transformers."""

from collections.abc import Mapping
from typing import Any

from npi_jax.models.config import TransformerConfig
from npi_jax.models.hf.family import Family, Linear
from npi_jax.models.hf.fields import (
    ROTARY_FIELDS,
    HFError,
    SupportedValue,
    full_rotary,
    number,
    rotary,
    shown,
    write_rotary,
)


def _attention(config: TransformerConfig) -> bool:
    return config.attention_bias


def _mlp(config: TransformerConfig) -> bool:
    return config.mlp_bias


_BLOCK = "blocks_{layer}"


def _gpt2_mlp(fields: Mapping[str, Any]) -> dict[str, Any]:
    inner = fields.get("n_inner")
    return {"mlp": 4 * fields["n_embd"] if inner is None else inner}


def _read_neox_rotary(fields: Mapping[str, Any]) -> dict[str, Any]:
    bases, fractions = ("rotary_emb_base", "rope_theta"), ("rotary_pct", "partial_rotary_factor")
    return rotary(fields, bases, fractions, fraction=0.25)


def _write_neox_rotary(config: TransformerConfig) -> dict[str, Any]:
    rope = write_rotary(config, partial_rotary_factor=config.rotary_fraction)
    return {"rotary_emb_base": config.rotary_base, "rotary_pct": config.rotary_fraction, **rope}


def _opt_biases(fields: Mapping[str, Any]) -> dict[str, Any]:
    projected = fields.get("word_embed_proj_dim")
    if projected not in (None, fields["hidden_size"]):
        raise HFError(
            f"word_embed_proj_dim is {shown(projected)}; only hidden_size ({shown(fields['hidden_size'])}) is supported"
        )
    return dict.fromkeys(("attention_bias", "mlp_bias"), fields.get("enable_bias", True))


def _opt_fields(config: TransformerConfig) -> dict[str, Any]:
    return {
        "word_embed_proj_dim": config.width,
        "enable_bias": config.attention_bias,
        "do_layer_norm_before": True,
    }


def _llama_heads(fields: Mapping[str, Any]) -> dict[str, Any]:
    heads, kv_heads, head_size = (
        fields.get(name) for name in ("num_attention_heads", "num_key_value_heads", "head_dim")
    )
    if (
        head_size is not None
        and number("head_dim", head_size) * number("num_attention_heads", heads) != fields["hidden_size"]
    ):
        raise HFError(f"head_dim is {shown(head_size)}; only hidden_size / num_attention_heads is supported")
    return {"kv_heads": None if kv_heads == heads else kv_heads, **full_rotary(rotary(fields))}


def _llama_fields(config: TransformerConfig) -> dict[str, Any]:
    return {
        "num_key_value_heads": config.kv_heads or config.heads,
        "rope_theta": config.rotary_base,
        **write_rotary(config),
    }


_LAYERED = {"norm": "layer", "gated": False}

FAMILIES = (
    Family(
        model_type="llama",
        architecture="LlamaForCausalLM",
        fields={
            "width": "hidden_size",
            "layers": "num_hidden_layers",
            "heads": "num_attention_heads",
            "mlp": "intermediate_size",
            "max_positions": "max_position_embeddings",
            "norm_epsilon": "rms_norm_eps",
            "attention_bias": "attention_bias",
            "mlp_bias": "mlp_bias",
        },
        defaults={
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "attention_bias": False,
            "mlp_bias": False,
        },
        activation=("hidden_act", "silu"),
        constant={"norm": "rms", "positions": "rotary", "gated": True},
        read_more=_llama_heads,
        write_more=_llama_fields,
        more_fields=("num_key_value_heads", "head_dim", *ROTARY_FIELDS),
        prefix="model.",
        embedding="embed_tokens",
        norms={
            ("output_norm",): "norm",
            (_BLOCK, "attention_norm"): "layers.{layer}.input_layernorm",
            (_BLOCK, "mlp_norm"): "layers.{layer}.post_attention_layernorm",
        },
        linears=(
            Linear(tuple(f"layers.{{layer}}.self_attn.{x}_proj" for x in "qkv"), (_BLOCK, "qkv"), bias=_attention),
            Linear(("layers.{layer}.self_attn.o_proj",), (_BLOCK, "mix"), bias=_attention),
            Linear(tuple(f"layers.{{layer}}.mlp.{x}_proj" for x in ("gate", "up")), (_BLOCK, "expand"), bias=_mlp),
            Linear(("layers.{layer}.mlp.down_proj",), (_BLOCK, "contract"), bias=_mlp),
        ),
        output="lm_head",
        ignored=("rotary_emb.inv_freq",),
    ),
    Family(
        model_type="gpt2",
        architecture="GPT2LMHeadModel",
        fields={
            "width": "n_embd",
            "layers": "n_layer",
            "heads": "n_head",
            "mlp": "n_inner",
            "max_positions": "n_positions",
            "norm_epsilon": "layer_norm_epsilon",
        },
        defaults={"n_inner": None, "layer_norm_epsilon": 1e-5},
        activation=("activation_function", "gelu_new"),
        constant={**_LAYERED, "positions": "learned", "attention_bias": True, "mlp_bias": True},
        read_more=_gpt2_mlp,
        only={
            "scale_attn_weights": SupportedValue(True, "attention must be scaled by the root of the head size"),
            "scale_attn_by_inverse_layer_idx": SupportedValue(False, "attention must not be scaled by layer"),
            "add_cross_attention": SupportedValue(False, "cross-attention needs an encoder"),
        },
        aliases={
            "hidden_size": "n_embd",
            "max_position_embeddings": "n_positions",
            "num_attention_heads": "n_head",
            "num_hidden_layers": "n_layer",
        },
        prefix="transformer.",
        embedding="wte",
        positions="wpe",
        norms={
            ("output_norm",): "ln_f",
            (_BLOCK, "attention_norm"): "h.{layer}.ln_1",
            (_BLOCK, "mlp_norm"): "h.{layer}.ln_2",
        },
        linears=(
            Linear(("h.{layer}.attn.c_attn",), (_BLOCK, "qkv"), transposed=False, bias=_attention),
            Linear(("h.{layer}.attn.c_proj",), (_BLOCK, "mix"), transposed=False, bias=_attention),
            Linear(("h.{layer}.mlp.c_fc",), (_BLOCK, "expand"), transposed=False, bias=_mlp),
            Linear(("h.{layer}.mlp.c_proj",), (_BLOCK, "contract"), transposed=False, bias=_mlp),
        ),
        output="lm_head",
        tied=True,
        ignored=(".attn.bias", ".attn.masked_bias"),
    ),
    Family(
        model_type="gpt_neox",
        architecture="GPTNeoXForCausalLM",
        fields={
            "width": "hidden_size",
            "layers": "num_hidden_layers",
            "heads": "num_attention_heads",
            "mlp": "intermediate_size",
            "max_positions": "max_position_embeddings",
            "norm_epsilon": "layer_norm_eps",
            "parallel": "use_parallel_residual",
            "attention_bias": "attention_bias",
        },
        defaults={
            "max_position_embeddings": 2048,
            "layer_norm_eps": 1e-5,
            "use_parallel_residual": True,
            "attention_bias": True,
        },
        activation=("hidden_act", "gelu"),
        constant={**_LAYERED, "positions": "rotary", "mlp_bias": True},
        read_more=_read_neox_rotary,
        write_more=_write_neox_rotary,
        more_fields=("rotary_emb_base", "rotary_pct", *ROTARY_FIELDS),
        prefix="gpt_neox.",
        embedding="embed_in",
        norms={
            ("output_norm",): "final_layer_norm",
            (_BLOCK, "attention_norm"): "layers.{layer}.input_layernorm",
            (_BLOCK, "mlp_norm"): "layers.{layer}.post_attention_layernorm",
        },
        linears=(
            Linear(("layers.{layer}.attention.query_key_value",), (_BLOCK, "qkv"), bias=_attention, interleaved=True),
            Linear(("layers.{layer}.attention.dense",), (_BLOCK, "mix"), bias=_attention),
            Linear(("layers.{layer}.mlp.dense_h_to_4h",), (_BLOCK, "expand"), bias=_mlp),
            Linear(("layers.{layer}.mlp.dense_4h_to_h",), (_BLOCK, "contract"), bias=_mlp),
        ),
        output="embed_out",
        ignored=(".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"),
    ),
    Family(
        model_type="opt",
        architecture="OPTForCausalLM",
        fields={
            "width": "hidden_size",
            "layers": "num_hidden_layers",
            "heads": "num_attention_heads",
            "mlp": "ffn_dim",
            "max_positions": "max_position_embeddings",
        },
        activation=("activation_function", "relu"),
        constant={**_LAYERED, "norm_epsilon": 1e-5, "positions": "learned"},
        read_more=_opt_biases,
        write_more=_opt_fields,
        more_fields=("word_embed_proj_dim", "enable_bias"),
        only={
            "do_layer_norm_before": SupportedValue(True, "norms must precede attention and MLP"),
            "_remove_final_layer_norm": SupportedValue(False, "a norm must precede the output layer"),
            "layer_norm_elementwise_affine": SupportedValue(True, "norms must have a scale and a bias"),
        },
        prefix="model.decoder.",
        embedding="embed_tokens",
        positions="embed_positions",
        # OPT reserves the first two positions for padding.
        position_offset=2,
        norms={
            ("output_norm",): "final_layer_norm",
            (_BLOCK, "attention_norm"): "layers.{layer}.self_attn_layer_norm",
            (_BLOCK, "mlp_norm"): "layers.{layer}.final_layer_norm",
        },
        linears=(
            Linear(tuple(f"layers.{{layer}}.self_attn.{x}_proj" for x in "qkv"), (_BLOCK, "qkv"), bias=_attention),
            Linear(("layers.{layer}.self_attn.out_proj",), (_BLOCK, "mix"), bias=_attention),
            Linear(("layers.{layer}.fc1",), (_BLOCK, "expand"), bias=_mlp),
            Linear(("layers.{layer}.fc2",), (_BLOCK, "contract"), bias=_mlp),
        ),
        output="lm_head",
        tied=True,
    ),
)
