"""Write the configs of ``transformers-VERSION.json`` beside this file, with the transformers that is installed.

``python tests/models/configs/make.py`` in an environment of that version; neither torch nor this project is needed.
"""

import json
from pathlib import Path

import transformers

LLAMA = {"vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32}
LLAMA |= {"intermediate_size": 5632, "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5}
PYTHIA = {"vocab_size": 50304, "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8}
PYTHIA |= {"intermediate_size": 2048, "rotary_pct": 0.25, "rotary_emb_base": 10000, "max_position_embeddings": 2048}
OPT = {"vocab_size": 50272, "num_attention_heads": 12, "max_position_embeddings": 2048}
OPT_350M = {"hidden_size": 1024, "ffn_dim": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
LLAMA3 = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])


def scaling(kind: str, **numbers: object) -> dict[str, object]:
    """Return a scaling in the spelling of the installed version."""
    return {("type" if VERSION < (4, 43) else "rope_type"): kind, **numbers}


def rotary(theta: float, **values: object) -> dict[str, object]:
    """Return the arguments for a base and a scaling in the spelling of the installed version."""
    if VERSION >= (5, 0):
        return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **values}}
    return {"rope_theta": theta, "rope_scaling": values or None}


CONFIGS = {
    "gpt2": ("GPT2Config", {}),
    "gpt2, attention scaled by layer": (
        "GPT2Config",
        {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    ),
    "gpt2, attention not scaled": ("GPT2Config", {"scale_attn_weights": False}),
    "gpt2, own shape": (
        "GPT2Config",
        {"n_inner": 1000, "activation_function": "gelu", "tie_word_embeddings": False, "n_layer": 6, "num_labels": 3},
    ),
    "pythia-70m": ("GPTNeoXConfig", PYTHIA),
    "pythia, sequential": ("GPTNeoXConfig", {**PYTHIA, "use_parallel_residual": False, "rotary_pct": 1.0}),
    "pythia, linear scaling": (
        "GPTNeoXConfig",
        {**PYTHIA, "rope_scaling": scaling("linear", factor=2.0)},
    ),
    "opt-125m": ("OPTConfig", {**OPT, "hidden_size": 768, "ffn_dim": 3072, "word_embed_proj_dim": 768}),
    "opt-350m": (
        "OPTConfig",
        {**OPT, **OPT_350M, "word_embed_proj_dim": 512, "do_layer_norm_before": False},
    ),
    "opt, norm after": ("OPTConfig", {**OPT, **OPT_350M, "do_layer_norm_before": False}),
    "opt, no bias": ("OPTConfig", {**OPT, **OPT_350M, "enable_bias": False, "layer_norm_elementwise_affine": True}),
    "llama, grouped queries": ("LlamaConfig", {**LLAMA, **rotary(10000.0)}),
    "llama, biases, tied": (
        "LlamaConfig",
        {**LLAMA, **rotary(500000.0), "attention_bias": True, "tie_word_embeddings": True, "pretraining_tp": 2},
    ),
    "llama, head_dim": ("LlamaConfig", {**LLAMA, "head_dim": 128}),
    "llama 3.2": (
        "LlamaConfig",
        {
            **LLAMA,
            **rotary(500000.0, **scaling("llama3", **LLAMA3)),
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
        },
    ),
    "llama, linear scaling": ("LlamaConfig", {**LLAMA, **rotary(10000.0, **scaling("linear", factor=2.0))}),
    "llama, dynamic scaling": ("LlamaConfig", {**LLAMA, **rotary(10000.0, **scaling("dynamic", factor=2.0))}),
    "llama, yarn": (
        "LlamaConfig",
        {**LLAMA, **rotary(10000.0, **scaling("yarn", factor=2.0, original_max_position_embeddings=1024))},
    ),
}


def main() -> None:
    """Write all that this version can express; a scaling that it does not know yet is left out."""
    written = {}
    for name, (kind, fields) in CONFIGS.items():
        try:
            config = getattr(transformers, kind)(**json.loads(json.dumps(fields)))
        except (ValueError, TypeError, KeyError) as error:
            print(f"{name}: {error}")
            continue
        config.architectures = [kind.replace("Config", "LMHeadModel" if kind == "GPT2Config" else "ForCausalLM")]
        written[name] = json.loads(config.to_json_string())
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in written.items())
    Path(__file__).with_name(f"transformers-{transformers.__version__}.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
