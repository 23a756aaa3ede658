"""Checkpoints of transformers' own models, made on the spot, against transformers."""

import json

import jax
import numpy as np
import pytest

from npi_jax.models import TransformerConfig, load_hf, load_hf_stack, make_model, save_hf

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
}


def make(case: str, seed: int = 0):
    config_class, fields = CASES[case]
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config_class(**{**TINY, **fields})).eval()
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


def test_the_fields_of_older_versions_are_read(tmp_path):
    theirs = make("llama 3 scaling")
    theirs.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    rope = fields.pop("rope_parameters")
    fields |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "torch_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    loaded = load_hf(tmp_path)
    np.testing.assert_allclose(our_log_probs(loaded.model, loaded.params, IDS), their_log_probs(theirs, IDS), atol=1e-4)


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
    params = jax.tree.map(lambda leaf: leaf * 5, model.init(jax.random.key(0)))
    assert save_hf(tmp_path / "out", model, params, start=0, end=0) == "LlamaForCausalLM"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    np.testing.assert_allclose(our_log_probs(model, params, IDS), their_log_probs(theirs, IDS), atol=1e-4)
