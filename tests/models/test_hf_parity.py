"""Checkpoints of transformers' own models, made on the spot, against transformers."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from npi_jax.models import HFError, TransformerConfig, load_hf, load_hf_stack, make_model, save_hf
from npi_jax.models.hf.load import read_hf_config

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

TINY = {"vocab_size": 53, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 24}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}
CASES = {
    "gpt2": (transformers.GPT2Config, GPT2),
    "gpt2 untied, n_inner, relu": (
        transformers.GPT2Config,
        {**GPT2, "n_inner": 40, "activation_function": "relu", "tie_word_embeddings": False},
    ),
    "neox": (transformers.GPTNeoXConfig, {**SIZES, "intermediate_size": 48, "rotary_pct": 0.25}),
    "neox sequential": (
        transformers.GPTNeoXConfig,
        {**SIZES, "intermediate_size": 48, "rotary_pct": 1.0, "use_parallel_residual": False},
    ),
    "neox no bias": (transformers.GPTNeoXConfig, {**SIZES, "intermediate_size": 48, "attention_bias": False}),
    "opt": (transformers.OPTConfig, {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "opt no bias": (transformers.OPTConfig, {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32, "enable_bias": False}),
    "llama": (transformers.LlamaConfig, {**SIZES, "intermediate_size": 48}),
    "llama gqa, bias, tied": (
        transformers.LlamaConfig,
        {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True}
        | {"tie_word_embeddings": True},
    ),
    "llama 3 scaling": (transformers.LlamaConfig, {**SIZES, "intermediate_size": 48, "rope_parameters": LLAMA3}),
    "neox with llama 3 scaling": (
        transformers.GPTNeoXConfig,
        {**SIZES, "intermediate_size": 48, "rope_parameters": {**LLAMA3, "partial_rotary_factor": 0.5}},
    ),
}


def make(case: str, seed: int = 0):
    config_class, fields = CASES[case]
    return with_noise(config_class(**{**TINY, **fields}), seed)


def with_noise(config, seed: int = 0):
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            # Biases and norms too must be other than they begin, and contexts must matter.
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def their_log_probs(model, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor(ids)).logits, -1).numpy()


def our_log_probs(model, params, ids: np.ndarray) -> np.ndarray:
    positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    logits = jax.jit(model.logits)(params, ids.astype(np.int32), np.ones(ids.shape, np.int32), positions)
    return np.asarray(jax.nn.log_softmax(logits))


IDS = np.random.default_rng(0).integers(0, 53, (3, 20))


@pytest.mark.parametrize("case", CASES)
def test_log_probabilities_agree_and_come_back(case, tmp_path):
    theirs = make(case)
    theirs.save_pretrained(tmp_path / "in", max_shard_size="20KB" if case == "llama" else "1GB")
    loaded = load_hf(tmp_path / "in")
    expected = their_log_probs(theirs, IDS)
    assert expected.std() > 0.3
    np.testing.assert_allclose(our_log_probs(loaded.model, loaded.params, IDS), expected, atol=1e-4)
    save_hf(tmp_path / "out", loaded.model, loaded.params, start=0, end=0)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    np.testing.assert_allclose(their_log_probs(again, IDS), expected, atol=1e-4)


def test_half_precision_is_read_as_float32(tmp_path):
    theirs = make("gpt2").to(torch.bfloat16)
    theirs.save_pretrained(tmp_path)
    loaded = load_hf(tmp_path)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded.params)} == {"float32"}
    expected = their_log_probs(theirs.float(), IDS)
    np.testing.assert_allclose(our_log_probs(loaded.model, loaded.params, IDS), expected, atol=1e-4)


SMALL = {
    **dict.fromkeys(("n_embd", "hidden_size"), 32),
    **dict.fromkeys(("n_layer", "num_hidden_layers"), 2),
    **dict.fromkeys(("n_head", "num_attention_heads"), 4),
    **dict.fromkeys(("n_positions", "max_position_embeddings"), 24),
    **dict.fromkeys(("n_inner", "intermediate_size", "ffn_dim"), 48),
    "vocab_size": 53,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "word_embed_proj_dim": 32,
}


def shrunk(fields):
    """A config of the same form for a model of few parameters; rotary scaling must show within 20 tokens."""
    small = {name: SMALL.get(name, value) if value is not None else None for name, value in fields.items()}
    small |= dict.fromkeys(("bos_token_id", "eos_token_id"), 0) | {"pad_token_id": None}
    for name in ("rope_scaling", "rope_parameters"):
        if small.get(name):
            small[name] = {**small[name], "original_max_position_embeddings": 8}
    return small


def distinct_configs():
    """Configs of the files of test_hf_configs.py that are read, those that differ in a field that counts once."""
    found = {}
    for file in sorted((Path(__file__).parent / "configs").glob("*.json")):
        for name, fields in json.loads(file.read_text()).items():
            key = json.dumps({k: v for k, v in shrunk(fields).items() if k != "transformers_version"}, sort_keys=True)
            found.setdefault(key, (f"{file.stem}: {name}", fields))
    return dict(found.values())


@pytest.mark.parametrize("fields", [pytest.param(f, id=n) for n, f in distinct_configs().items()])
def test_configs_of_other_versions_give_the_function_that_transformers_makes_of_them(fields, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(fields))
    try:
        read_hf_config(tmp_path)
    except HFError:
        pytest.skip("refused; test_hf_configs.py has the reason")
    old = json.dumps(shrunk(fields))
    (tmp_path / "config.json").write_text(old)
    theirs = with_noise(transformers.AutoConfig.from_pretrained(tmp_path))
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(old)
    loaded = load_hf(tmp_path)
    np.testing.assert_allclose(our_log_probs(loaded.model, loaded.params, IDS), their_log_probs(theirs, IDS), atol=1e-4)


@pytest.mark.parametrize("case", ["gpt2", "opt", "llama gqa, bias, tied"])
def test_a_tied_matrix_under_the_name_of_the_output_is_read(case, tmp_path):
    theirs = make(case)
    theirs.save_pretrained(tmp_path)
    tensors = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    (name,) = (name for name in tensors if name.endswith(("wte.weight", "embed_tokens.weight")))
    tensors["lm_head.weight"] = tensors.pop(name)
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    expected = their_log_probs(transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval(), IDS)
    np.testing.assert_allclose(expected, their_log_probs(theirs, IDS), atol=1e-6)
    loaded = load_hf(tmp_path)
    np.testing.assert_allclose(our_log_probs(loaded.model, loaded.params, IDS), expected, atol=1e-4)


def test_several_checkpoints_are_one_stack(tmp_path):
    models = [make("neox", seed) for seed in range(3)]
    for number, model in enumerate(models):
        model.save_pretrained(tmp_path / str(number))
    model, stack = load_hf_stack([tmp_path / str(number) for number in range(3)])
    for number, one in enumerate(models):
        params = jax.tree.map(lambda leaf, number=number: leaf[number], stack)
        np.testing.assert_allclose(our_log_probs(model, params, IDS), their_log_probs(one, IDS), atol=1e-4)


def test_a_member_of_our_own_opens_in_transformers(tmp_path):
    config = TransformerConfig(width=32, layers=2, heads=4, mlp=40)
    model = make_model(config, 53)
    params = jax.tree.map(lambda leaf: leaf * 5, jax.jit(model.init)(jax.random.key(0)))
    assert save_hf(tmp_path / "out", model, params, start=0, end=0) == "LlamaForCausalLM"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    np.testing.assert_allclose(our_log_probs(model, params, IDS), their_log_probs(theirs, IDS), atol=1e-4)
