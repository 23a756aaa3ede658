"""Checkpoints as files: what is read, refused and written. Agreement with transformers is in test_hf_parity.py."""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from calls import at_most
from facts import facts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npi_jax.models import HFError, LSTMConfig, TransformerConfig, load_hf, load_hf_stack, make_model, save_hf
from npi_jax.models.hf.load import read_hf_config

LLAMA = TransformerConfig(width=8, layers=2, heads=2, mlp=12)
LAYERED = {"norm": "layer", "norm_epsilon": 1e-5, "gated": False, "attention_bias": True, "mlp_bias": True}
GPT2 = TransformerConfig(
    width=8,
    layers=1,
    heads=2,
    mlp=12,
    tie=True,
    positions="learned",
    max_positions=9,
    activation="gelu_tanh",
    **LAYERED,
)
NEOX = TransformerConfig(
    width=16,
    layers=1,
    heads=2,
    mlp=12,
    activation="gelu",
    rotary_fraction=0.25,
    parallel=True,
    max_positions=9,
    **LAYERED,
)


OPT = dataclasses.replace(GPT2, activation="relu", attention_bias=False, mlp_bias=False)


@functools.cache
def initial(config, seed):
    model = make_model(config, 11)
    return model, jax.jit(model.init)(jax.random.key(seed))


def write(path, config=LLAMA, seed=0):
    model, params = initial(config, seed)
    save_hf(path, model, params, start=1, end=2)
    return model, params


@pytest.mark.parametrize("config", [LLAMA, GPT2, NEOX], ids=["llama", "gpt2", "neox"])
def test_a_written_checkpoint_is_read_unchanged(tmp_path, config):
    model, params = write(tmp_path / "m", config)
    loaded = load_hf(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    assert loaded.model.vocab_size == model.vocab_size
    assert loaded.model.config.rotary_fraction == config.rotary_fraction
    # Nothing is left beside it.
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def change(path, **fields):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **fields}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "bert"}, ("config.json: model_type", "'bert'", "llama, gpt2, gpt_neox, opt")),
        ({"quantization_config": {"bits": 4}}, ("quantization_config", "quantized weights")),
        ({"pruned_heads": {"0": [1]}}, ("pruned_heads", "heads")),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, ("rope_type", "'yarn'", "default", "llama3")),
        ({"hidden_act": "mish"}, ("hidden_act", "'mish'", "gelu_new")),
        ({"head_dim": 6}, ("head_dim", "6", "hidden_size / num_attention_heads")),
        ({"num_attention_heads": 3}, ("TransformerConfig.heads", "3", "divide width")),
        ({"num_hidden_layers": 0}, ("TransformerConfig.layers", "0", "whole number")),
        ({"num_hidden_layers": 3}, ("'model.layers.2.input_layernorm.weight'", "missing")),
        ({"num_hidden_layers": 1}, ("9 tensors", "llama", "'model.layers.1")),
        ({"vocab_size": 12}, ("'model.embed_tokens.weight'", "(11, 8)", "config.json", "(12, 8)")),
        ({"vocab_size": True}, ("vocab_size", "True")),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is true, but 'lm_head.weight' differs"),
    ],
)
def test_unsupported_architectures_are_refused(tmp_path, fields, message):
    write(tmp_path / "m")
    change(tmp_path / "m", **fields)
    with pytest.raises(HFError, match=facts(message)):
        load_hf(tmp_path / "m")


@pytest.mark.parametrize(
    ("config", "embedding", "output"),
    [
        (GPT2, "transformer.wte.weight", "lm_head.weight"),
        (dataclasses.replace(NEOX, tie=True), "gpt_neox.embed_in.weight", "embed_out.weight"),
        (dataclasses.replace(OPT, tie=True), "model.decoder.embed_tokens.weight", "lm_head.weight"),
        (dataclasses.replace(LLAMA, tie=True), "model.embed_tokens.weight", "lm_head.weight"),
    ],
    ids=["gpt2", "neox", "opt", "llama"],
)
def test_a_tied_matrix_is_read_under_either_name_or_both(tmp_path, config, embedding, output):
    _, params = write(tmp_path / "m", config)
    weights = tmp_path / "m" / "model.safetensors"
    tensors = safetensors.numpy.load_file(weights)
    assert output not in tensors
    safetensors.numpy.save_file({**tensors, output: tensors[embedding]}, weights)
    jax.tree.map(np.testing.assert_array_equal, load_hf(tmp_path / "m").params, params)
    safetensors.numpy.save_file({**tensors, output: tensors[embedding] + 1}, weights)
    with pytest.raises(HFError, match=facts("tie_word_embeddings", f"'{output}'", "differs")):
        load_hf(tmp_path / "m")
    tensors[output] = tensors.pop(embedding)
    safetensors.numpy.save_file(tensors, weights)
    jax.tree.map(np.testing.assert_array_equal, load_hf(tmp_path / "m").params, params)
    del tensors[output]
    safetensors.numpy.save_file(tensors, weights)
    with pytest.raises(HFError, match=facts(f"'{output}'", "missing")):
        load_hf(tmp_path / "m")


def test_the_bare_body_with_a_tied_matrix_under_the_name_of_the_output_is_read(tmp_path):
    _, params = write(tmp_path / "m", GPT2)
    weights = tmp_path / "m" / "model.safetensors"
    tensors = {n.removeprefix("transformer."): t for n, t in safetensors.numpy.load_file(weights).items()}
    tensors["lm_head.weight"] = tensors.pop("wte.weight")
    safetensors.numpy.save_file(tensors, weights)
    jax.tree.map(np.testing.assert_array_equal, load_hf(tmp_path / "m").params, params)


SCALED = {"rotary_scaling": (32.0, 1.0, 4.0, 8192.0), "rotary_base": 5e5, "max_positions": 99}


@pytest.mark.parametrize(
    ("config", "old", "new"),
    [
        # What each version reads, as its own LlamaConfig and GPTNeoXConfig write it; the other spelling is invisible.
        (dataclasses.replace(LLAMA, **SCALED), ("rope_theta", "rope_scaling"), ("rope_parameters",)),
        (
            dataclasses.replace(NEOX, **SCALED),
            ("rotary_emb_base", "rotary_pct", "rope_scaling"),
            ("rope_parameters",),
        ),
        (LLAMA, ("rope_theta", "rope_scaling"), ("rope_parameters",)),
    ],
    ids=["llama 3", "neox", "llama"],
)
def test_rotary_positions_are_written_for_transformers_4_and_5(tmp_path, config, old, new):
    write(tmp_path / "m", config)
    fields = json.loads((tmp_path / "m" / "config.json").read_text())
    expected = read_hf_config(tmp_path / "m").config
    assert expected.rotary_scaling == config.rotary_scaling
    for hidden in (old, new):
        seen = {name: value for name, value in fields.items() if name not in hidden}
        (tmp_path / "m" / "config.json").write_text(json.dumps(seen))
        assert read_hf_config(tmp_path / "m").config == expected


def test_a_gpt2_of_another_kind_is_refused(tmp_path):
    write(tmp_path / "m", GPT2)
    change(tmp_path / "m", scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(
        HFError,
        match=facts("scale_attn_by_inverse_layer_idx", "True", "False"),
    ):
        load_hf(tmp_path / "m")


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    with pytest.raises(HFError, match=facts("config.json", "no such file")):
        load_hf(tmp_path)
    write(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text("{")
    with pytest.raises(HFError, match=facts("config.json", "not JSON")):
        load_hf(tmp_path / "m")
    write(tmp_path / "n")
    weights = tmp_path / "n" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(HFError, match=facts("model.safetensors", "read")):
        load_hf(tmp_path / "n")
    weights.unlink()
    (tmp_path / "n" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(HFError, match=facts("pytorch_model.bin", "pickle")):
        load_hf(tmp_path / "n")


def test_an_index_does_not_lead_out_of_the_directory(tmp_path):
    write(tmp_path / "m")
    shutil.move(tmp_path / "m" / "model.safetensors", tmp_path / "out.safetensors")
    for place in ("../out.safetensors", str(tmp_path / "out.safetensors"), "config.json", 3):
        index = {"weight_map": {"model.embed_tokens.weight": place}}
        (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(HFError, match=facts("safetensors")):
            load_hf(tmp_path / "m")


def test_weights_beyond_the_memory_are_refused_before_they_are_read(tmp_path):
    write(tmp_path / "m")
    # 10 TiB that take no room on disk: a whole header, and nothing after it.
    entry = {"dtype": "F32", "shape": [10 << 38], "data_offsets": [0, 10 << 40]}
    header = json.dumps({"model.embed_tokens.weight": entry}).encode()
    with (tmp_path / "m" / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate((10 << 40) + 8 + len(header))
    with at_most(30), pytest.raises(HFError, match=r"m: .*10,995,[0-9,]* bytes"):
        load_hf(tmp_path / "m")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "missing"])
def test_a_shard_that_is_not_a_plain_file_is_refused(tmp_path, kind):
    write(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    part = tmp_path / "m" / "a.safetensors"
    index = {"weight_map": {"model.embed_tokens.weight": part.name}}
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    if kind != "missing":
        {"pipe": os.mkfifo, "device": lambda at: at.symlink_to("/dev/zero"), "folder": Path.mkdir}[kind](part)
    with at_most(30), pytest.raises(HFError, match=facts("a.safetensors", "no such file", "plain")):
        load_hf(tmp_path / "m")


def test_tensors_that_are_not_floating_point_are_refused(tmp_path):
    write(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.int32)
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(HFError, match=facts("'model.norm.weight'", "int32")):
        load_hf(tmp_path / "m")


def test_only_one_architecture_makes_a_stack(tmp_path):
    _, params = write(tmp_path / "a")
    write(tmp_path / "b", seed=1)
    _, stack = load_hf_stack([tmp_path / "a", tmp_path / "b"])
    np.testing.assert_array_equal(stack["embedding"][0], params["embedding"])
    assert not np.array_equal(stack["embedding"][0], stack["embedding"][1])
    write(tmp_path / "c", TransformerConfig(width=8, layers=1, heads=2, mlp=12))
    with pytest.raises(HFError, match=facts("layers", "1", "2", "architecture")):
        load_hf_stack([tmp_path / "a", tmp_path / "c"])


def test_models_without_a_class_in_transformers_are_not_written(tmp_path):
    lstm = make_model(LSTMConfig(embedding=4, hidden=4), 5)
    with pytest.raises(HFError, match=facts("LSTM", "transformers")):
        save_hf(tmp_path / "m", lstm, jax.jit(lstm.init)(jax.random.key(0)))
    odd = make_model(TransformerConfig(width=8, layers=1, heads=2, mlp=12, output_bias=True), 5)
    with pytest.raises(HFError, match=facts("llama", "output_bias=True")):
        save_hf(tmp_path / "m", odd, jax.jit(odd.init)(jax.random.key(0)))
    write(tmp_path / "there")
    with pytest.raises(HFError, match=facts("already")):
        write(tmp_path / "there")
    assert [entry.name for entry in tmp_path.iterdir()] == ["there"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "m"
    write(path)
    return path, (path / "model.safetensors").read_bytes(), (path / "config.json").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_are_read_or_refused(written, data):
    path, weights, config = written
    which = data.draw(st.sampled_from(["model.safetensors", "config.json"]))
    content = bytearray(weights if which == "model.safetensors" else config)
    for _ in range(data.draw(st.integers(1, 4))):
        # The header of the weights is what can be damaged; the rest is numbers.
        content[data.draw(st.integers(0, min(len(content), 1500) - 1))] = data.draw(st.integers(0, 255))
    (path / "model.safetensors").write_bytes(weights)
    (path / "config.json").write_bytes(config)
    (path / which).write_bytes(bytes(content))
    with contextlib.suppress(HFError):
        loaded = load_hf(path)
        assert {leaf.dtype for leaf in jax.tree.leaves(loaded.params)} == {np.dtype(np.float32)}
