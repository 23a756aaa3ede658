"""Configs that transformers wrote, from 4.40 to 5.24, and those of public repositories: one function, or a refusal.

What each must give is written down here by hand from the models' papers and cards; that transformers computes the same
function from the same file is in test_hf_parity.py.
"""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from facts import facts

from npi_jax.models import HFError, TransformerConfig
from npi_jax.models.hf.load import read_hf_config

CONFIGS = Path(__file__).with_name("configs")

LAYERED = {"norm": "layer", "norm_epsilon": 1e-5, "gated": False, "attention_bias": True, "mlp_bias": True}
LEARNED = {**LAYERED, "positions": "learned", "tie": True}
GPT2 = TransformerConfig(
    width=768, layers=12, heads=12, mlp=3072, max_positions=1024, activation="gelu_tanh", **LEARNED
)
PYTHIA = TransformerConfig(
    width=512,
    layers=6,
    heads=8,
    mlp=2048,
    max_positions=2048,
    activation="gelu",
    rotary_fraction=0.25,
    parallel=True,
    **LAYERED,
)
OPT = TransformerConfig(width=768, layers=12, heads=12, mlp=3072, max_positions=2048, activation="relu", **LEARNED)
LLAMA = TransformerConfig(width=2048, layers=22, heads=32, mlp=5632, kv_heads=4, norm_epsilon=1e-5, max_positions=2048)
LLAMA_7B = TransformerConfig(width=4096, layers=32, heads=32, mlp=11008, norm_epsilon=1e-6, max_positions=2048)
LLAMA_32 = dataclasses.replace(
    LLAMA, rotary_base=5e5, rotary_scaling=(32.0, 1.0, 4.0, 8192.0), max_positions=131072, tie=True
)


def of(base, **fields):
    return dataclasses.replace(base, **fields)


WRITTEN = {
    "gpt2": GPT2,
    "gpt2, attention scaled by layer": "scale_attn_by_inverse_layer_idx is True; only False is supported",
    "gpt2, attention not scaled": "scale_attn_weights is False; only True is supported",
    "gpt2, own shape": of(GPT2, mlp=1000, activation="gelu", tie=False, layers=6),
    "pythia-70m": PYTHIA,
    "pythia, sequential": of(PYTHIA, parallel=False, rotary_fraction=1.0),
    "pythia, linear scaling": ("rope_type", "'linear'", "default", "llama3"),
    "opt-125m": OPT,
    "opt-350m": ("do_layer_norm_before", "False", "True"),
    "opt, norm after": ("do_layer_norm_before", "False", "True"),
    "opt, no bias": of(OPT, width=1024, mlp=4096, layers=24, heads=16, attention_bias=False, mlp_bias=False),
    "llama, grouped queries": LLAMA,
    "llama, biases, tied": of(LLAMA, rotary_base=5e5, attention_bias=True, tie=True),
    "llama, head_dim": ("head_dim", "128", "hidden_size / num_attention_heads"),
    "llama 3.2": LLAMA_32,
    "llama, linear scaling": ("rope_type", "'linear'", "default", "llama3"),
    "llama, dynamic scaling": ("rope_type", "'dynamic'", "default", "llama3"),
    "llama, yarn": ("rope_type", "'yarn'", "default", "llama3"),
}
PUBLIC = {
    "EleutherAI/pythia-70m": (PYTHIA, ""),
    "EleutherAI/gpt-neox-20b": (
        of(PYTHIA, width=6144, layers=44, heads=64, mlp=24576, activation="gelu_tanh"),
        "",
    ),
    "togethercomputer/RedPajama-INCITE-Base-3B-v1": (
        of(PYTHIA, width=2560, layers=32, heads=32, mlp=10240, rotary_fraction=1.0, parallel=False),
        "",
    ),
    "databricks/dolly-v2-3b": (of(PYTHIA, width=2560, layers=32, heads=32, mlp=10240), "custom_pipelines"),
    "openai-community/gpt2": (GPT2, ""),
    "distilbert/distilgpt2": (of(GPT2, layers=6), "_num_labels"),
    "stanford-crfm/alias-gpt2-small-x21": (("scale_attn_by_inverse_layer_idx", "True"), ""),
    "cerebras/Cerebras-GPT-111M": (of(GPT2, layers=10, activation="gelu", max_positions=2048), ""),
    "gpt2 by the general names": (of(GPT2, width=64, layers=2, heads=4, mlp=256, max_positions=128), ""),
    "Xenova/gpt2 (transformers.js)": (GPT2, "transformers.js_config"),
    "facebook/opt-125m": (OPT, ""),
    "facebook/opt-350m": (("do_layer_norm_before", "False"), ""),
    "babylm/opt-125m-strict": (of(OPT, max_positions=256), ""),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": (LLAMA, ""),
    "decapoda-research/llama-7b-hf": (LLAMA_7B, "max_sequence_length"),
    "HuggingFaceTB/SmolLM2-135M": (
        of(LLAMA, width=576, layers=30, heads=9, kv_heads=3, mlp=1536, rotary_base=1e5, max_positions=8192, tie=True),
        "is_llama_config, transformers.js_config",
    ),
    "meta-llama/Llama-3.2-1B": (of(LLAMA_32, layers=16, kv_heads=8, mlp=8192), ""),
    "unsloth/Llama-3.2-1B": (of(LLAMA_32, layers=16, kv_heads=8, mlp=8192), "unsloth_fixed, unsloth_version"),
    "unsloth/Llama-3.2-1B-bnb-4bit": (("quantization_config", "quantized weights"), ""),
    "lmsys/vicuna-7b-v1.3": (LLAMA_7B, "max_sequence_length"),
    "deepseek-ai/deepseek-coder-1.3b-base": (("rope_scaling.rope_type", "'linear'"), ""),
    "llama with code and a window": (
        of(LLAMA_7B, width=768, layers=2, heads=2, mlp=3072),
        "auto_map, is_decoder, sliding_window",
    ),
}


def files():
    return sorted(CONFIGS.glob("transformers-*.json"))


def read(tmp_path, fields):
    (tmp_path / "config.json").write_text(json.dumps(fields))
    return read_hf_config(tmp_path)


def noted_in(tmp_path, fields, expected):
    """Check a config against a configuration of ours or a refusal, and return the fields that were noted."""
    if isinstance(expected, str | tuple):
        with pytest.raises(HFError, match=facts(expected)):
            read(tmp_path, fields)
        return ""
    shape = read(tmp_path, fields)
    assert shape.config == expected
    assert shape.vocab_size == fields["vocab_size"]
    return "".join(shape.notes).rpartition(": ")[2]


def test_there_are_configs_of_five_versions_and_twenty_repositories():
    assert len(files()) >= 5
    assert len(PUBLIC) >= 20
    assert sum(file.stat().st_size for file in CONFIGS.iterdir() if file.is_file()) < 150_000


@pytest.mark.parametrize("file", files(), ids=lambda file: file.stem)
def test_configs_of_each_version_are_read_or_refused_by_field(tmp_path, file):
    version = file.stem.removeprefix("transformers-")
    configs = json.loads(file.read_text())
    assert len(configs) >= 15
    for name, fields in configs.items():
        assert fields["transformers_version"] == version
        assert noted_in(tmp_path, fields, WRITTEN[name]) == "", name


@pytest.mark.parametrize("name", PUBLIC)
def test_public_configs_are_read_and_fields_without_effect_are_noted(tmp_path, name):
    expected, noted = PUBLIC[name]
    assert noted_in(tmp_path, json.loads((CONFIGS / "public.json").read_text())[name], expected) == noted


ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SCALED = of(LLAMA, rotary_scaling=(8.0, 1.0, 4.0, 2048.0))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rope_scaling": ROPE}, SCALED),
        ({"rope_scaling": ROPE, "rope_parameters": {**ROPE, "rope_theta": 1e4}}, SCALED),
        (
            {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10}},
            of(LLAMA, rotary_base=10.0),
        ),
        ({"rope_scaling": {"type": "default"}}, LLAMA),
        (
            {"rope_scaling": ROPE, "original_max_position_embeddings": 100},
            of(SCALED, rotary_scaling=(8.0, 1.0, 4.0, 100.0)),
        ),
        (
            {"rope_scaling": ROPE, "rope_parameters": {"rope_type": "default"}},
            ("rope_scaling.rope_type", "'llama3'", "rope_parameters.rope_type", "'default'"),
        ),
        (
            {"rope_scaling": {**ROPE, "factor": 4.0}, "rope_parameters": ROPE},
            ("rope_scaling.factor", "4.0", "rope_parameters.factor", "8.0"),
        ),
        (
            {"rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}},
            ("rope_theta", "500000.0", "rope_parameters.rope_theta", "10000.0"),
        ),
        ({"rope_scaling": {**ROPE, "type": "linear"}}, ("rope_scaling.type", "'linear'", "rope_scaling.rope_type")),
        ({"rope_scaling": {**ROPE, "low_freq_factor": 4.0}}, ("low_freq_factor", "4.0", "below")),
        ({"rope_scaling": {**ROPE, "factor": None}}, ("'factor'", "rope_scaling", "llama3")),
        ({"rope_scaling": "llama3"}, ("rope_scaling", "'llama3'", "object")),
        ({"rope_theta": "10000"}, ("rope_theta", "'10000'", "finite number")),
        ({"rope_theta": 10**400}, ("rope_theta", "float")),
        ({"partial_rotary_factor": 0.5}, ("partial_rotary_factor", "0.5", "1.0")),
    ],
)
def test_spellings_of_rotary_positions_agree_or_are_refused(tmp_path, fields, expected):
    tiny = json.loads((CONFIGS / "public.json").read_text())["TinyLlama/TinyLlama-1.1B-Chat-v1.0"]
    del tiny["rope_theta"], tiny["rope_scaling"]
    noted_in(tmp_path, {**tiny, **fields}, expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"partial_rotary_factor": 0.25, "rope_theta": 10000}, PYTHIA),
        ({"partial_rotary_factor": 0.5}, ("partial_rotary_factor", "0.5", "rotary_pct", "0.25")),
        ({"rope_theta": 500}, ("rope_theta", "500", "rotary_emb_base", "10000")),
    ],
)
def test_spellings_of_gpt_neox_agree_or_are_refused(tmp_path, fields, expected):
    pythia = json.loads((CONFIGS / "public.json").read_text())["EleutherAI/pythia-70m"]
    noted_in(tmp_path, {**pythia, **fields}, expected)


def test_general_names_of_gpt2_agree_with_its_own_or_are_refused(tmp_path):
    gpt2 = json.loads((CONFIGS / "public.json").read_text())["openai-community/gpt2"]
    noted_in(tmp_path, {**gpt2, "hidden_size": 768}, GPT2)
    noted_in(tmp_path, {**gpt2, "hidden_size": 512}, ("hidden_size", "512", "n_embd", "768"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{}", ("config.json", "byte 0", "UTF-8")),
        (b"[1]", ("config.json", "list", "object")),
        (b"[" * 100_000, ("config.json", "not JSON")),
        (b"{", ("config.json", "not JSON")),
    ],
)
def test_a_config_that_is_not_a_json_object_is_refused(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(HFError, match=facts(message)):
        read_hf_config(tmp_path)


def test_pipes_devices_and_huge_files_are_refused_at_once(tmp_path):
    config = tmp_path / "config.json"
    os.mkfifo(config)
    with pytest.raises(HFError, match=facts("config.json", "plain file")):
        read_hf_config(tmp_path)
    config.unlink()
    config.symlink_to("/dev/zero")
    with pytest.raises(HFError, match=facts("config.json", "plain file")):
        read_hf_config(tmp_path)
    config.unlink()
    with config.open("wb") as file:
        file.truncate(10 << 40)
    with pytest.raises(HFError, match=facts("config.json", "10,995,116,277,760 bytes", "67,108,864")):
        read_hf_config(tmp_path)
