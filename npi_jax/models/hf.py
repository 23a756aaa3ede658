"""Hugging Face checkpoints of GPT-2, GPT-NeoX, OPT and LLaMA form, into the Flax transformer and back.

Only data is read: ``config.json`` and safetensors. Each family is a table of its config fields and its tensors; the
same table serves both directions.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from npi_jax.errors import UserError
from npi_jax.models.config import TransformerConfig
from npi_jax.models.custom import Model
from npi_jax.models.language_model import LanguageModel, Params, make_model

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DEFAULT_POSITIONS = 2048
"""What is written for a model without a limit to its positions, for transformers wants one."""

Place = tuple[str, ...]
Tensors = dict[str, np.ndarray]


class HFError(UserError):
    """A checkpoint that cannot be read or written; names the file and the field or tensor."""


@dataclass(frozen=True)
class HFModel:
    """A checkpoint in our form.

    Attributes:
        model: the architecture.
        params: its parameters, float32 on the host.
        path: where they come from.
    """

    model: LanguageModel
    params: Params
    path: Path


@dataclass(frozen=True)
class Linear:
    """A product's kernel (and bias) in a checkpoint.

    Attributes:
        names: of the modules, with ``{layer}`` for the block's number; several lie side by side here.
        place: of the parameter here, without ``_kernel`` and ``_bias``.
        transposed: whether the checkpoint has [out, in], as PyTorch's Linear does.
        bias: whether there is one, of this configuration.
        interleaved: columns are (head, q|k|v, feature), as in GPT-NeoX, not (q|k|v, head, feature).
    """

    names: tuple[str, ...]
    place: Place
    transposed: bool = True
    bias: Callable[[TransformerConfig], bool] = lambda _: False
    interleaved: bool = False


@dataclass(frozen=True)
class Family:
    """How one model type of transformers writes a transformer.

    Attributes:
        model_type, architecture: as config.json has them.
        read: its config fields to ours.
        write: ours to its fields.
        known: fields of config.json that are read, or change nothing about the function.
        fixed: fields that must have this value (or be absent), because nothing else is supported.
        prefix: of the body's tensors; a checkpoint of the bare body lacks all or the first part of it.
        embedding, positions, norms, linears: names of modules; norms and linears with their place here.
        position_offset: rows of the table of positions that belong to none.
        output: name of the output layer.
        tied: whether it is the embedding where config.json does not say.
        ignored: endings of tensors that hold no parameters.
    """

    model_type: str
    architecture: str
    read: Callable[[Mapping[str, Any]], dict[str, Any]]
    write: Callable[[TransformerConfig], dict[str, Any]]
    known: tuple[str, ...]
    fixed: Mapping[str, Any]
    prefix: str
    embedding: str
    norms: Mapping[Place, str]
    linears: tuple[Linear, ...]
    output: str
    positions: str | None = None
    position_offset: int = 0
    tied: bool = False
    ignored: tuple[str, ...] = ()


def _attention(config: TransformerConfig) -> bool:
    return config.attention_bias


def _mlp(config: TransformerConfig) -> bool:
    return config.mlp_bias


_BLOCK = "blocks_{layer}"
_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
}
# What generation, training or memory use makes of a model, and what says where it comes from.
_IRRELEVANT = (
    "_name_or_path", "_attn_implementation", "architectures", "attention_dropout", "attention_probs_dropout_prob",
    "attn_pdrop", "bos_token_id", "classifier_dropout", "dropout", "dtype", "embd_pdrop", "eos_token_id",
    "gradient_checkpointing", "hidden_dropout", "id2label", "init_std", "initializer_range",
    "keys_to_ignore_at_inference",
    "label2id", "layerdrop", "model_type", "output_attentions", "output_hidden_states",
    "pad_token_id", "prefix", "pretraining_tp", "problem_type", "resid_pdrop", "return_dict", "summary_activation",
    "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj", "task_specific_params",
    "tie_word_embeddings", "torch_dtype", "transformers_version", "unk_token_id", "use_cache", "vocab_size", "n_ctx",
    "chunk_size_feed_forward",
    "torchscript", "use_bfloat16", "finetuning_task", "tokenizer_class",
    "decoder_start_token_id",
    "sep_token_id", "forced_bos_token_id", "forced_eos_token_id", "repetition_penalty", "activation_dropout",
    "reorder_and_upcast_attn", "use_fast_tokenizer", "output_scores", "max_length", "min_length", "do_sample",
    "early_stopping", "num_beams", "temperature", "top_k", "top_p", "typical_p", "length_penalty",
    "num_return_sequences",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "begin_suppress_tokens", "suppress_tokens",
    "num_beam_groups", "diversity_penalty", "return_dict_in_generate", "exponential_decay_length_penalty",
    "remove_invalid_values", "tf_legacy_loss",
)  # fmt: skip


def _activation(fields: Mapping[str, Any], name: str, default: str) -> str:
    value = fields.get(name, default)
    if value not in _ACTIVATIONS:
        raise HFError(f"{name} is {value!r}; {', '.join(_ACTIVATIONS)} are supported")
    return _ACTIVATIONS[value]


def _hf_activation(config: TransformerConfig) -> str:
    return "gelu_new" if config.activation == "gelu_tanh" else config.activation


LLAMA3_SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def _rotary(fields: Mapping[str, Any], base_field: str) -> dict[str, Any]:
    """Rotary base and scaling, as transformers 5 (rope_parameters) and 4 (rope_theta, rope_scaling) write them."""
    rope = fields.get("rope_parameters") or {}
    scaling = rope or fields.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ("default", "llama3"):
        raise HFError(f"rope_type is {kind!r}; default and llama3 are supported")
    names = LLAMA3_SCALING if kind == "llama3" else ()
    if unknown := set(scaling) - {"rope_type", "type", "rope_theta", "partial_rotary_factor", *names}:
        raise HFError(f"{sorted(unknown)[0]} is not a rotary setting of rope_type {kind!r} that is supported")
    found: dict[str, Any] = {"rotary_base": float(scaling.get("rope_theta", fields.get(base_field, 10_000.0)))}
    if "partial_rotary_factor" in scaling:
        found["rotary_fraction"] = float(scaling["partial_rotary_factor"])
    if names:
        found["rotary_scaling"] = tuple(float(scaling[name]) for name in names)
    return found


def _whole(rotary: dict[str, Any]) -> dict[str, Any]:
    """Settings of a family that rotates all features of a head."""
    if rotary.get("rotary_fraction", 1.0) != 1.0:
        raise HFError(
            f"partial_rotary_factor is {rotary['rotary_fraction']!r}; only 1.0 is supported for this model_type"
        )
    return rotary


def _hf_rotary(config: TransformerConfig, **more: Any) -> dict[str, Any]:
    rope = {"rope_theta": config.rotary_base, "rope_type": "default", **more}
    if config.rotary_scaling:
        factor, low, high, original = config.rotary_scaling
        rope |= {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high}
        rope["original_max_position_embeddings"] = int(original)
    return rope


def _read_gpt2(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": fields["n_embd"],
        "layers": fields["n_layer"],
        "heads": fields["n_head"],
        "mlp": fields.get("n_inner") or 4 * fields["n_embd"],
        "max_positions": fields["n_positions"],
        "norm_epsilon": fields.get("layer_norm_epsilon", 1e-5),
        "activation": _activation(fields, "activation_function", "gelu_new"),
        **dict.fromkeys(("attention_bias", "mlp_bias"), True),
        "norm": "layer",
        "positions": "learned",
        "gated": False,
    }


def _write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    return {
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.mlp,
        "n_positions": config.max_positions,
        "layer_norm_epsilon": config.norm_epsilon,
        "activation_function": _hf_activation(config),
    }


def _read_neox(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": fields["hidden_size"],
        "layers": fields["num_hidden_layers"],
        "heads": fields["num_attention_heads"],
        "mlp": fields["intermediate_size"],
        "max_positions": fields["max_position_embeddings"],
        "norm_epsilon": fields.get("layer_norm_eps", 1e-5),
        "activation": _activation(fields, "hidden_act", "gelu"),
        "rotary_fraction": float(fields.get("rotary_pct", 0.25)),
        "parallel": fields.get("use_parallel_residual", True),
        "attention_bias": fields.get("attention_bias", True),
        "norm": "layer",
        "positions": "rotary",
        "gated": False,
        "mlp_bias": True,
        **_rotary(fields, "rotary_emb_base"),
    }


def _write_neox(config: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp,
        "max_position_embeddings": config.max_positions or DEFAULT_POSITIONS,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": _hf_activation(config),
        "rotary_pct": config.rotary_fraction,
        "rotary_emb_base": config.rotary_base,
        "rope_parameters": _hf_rotary(config, partial_rotary_factor=config.rotary_fraction),
        "use_parallel_residual": config.parallel,
        "attention_bias": config.attention_bias,
    }


def _read_opt(fields: Mapping[str, Any]) -> dict[str, Any]:
    if fields.get("word_embed_proj_dim", fields["hidden_size"]) != fields["hidden_size"]:
        raise HFError(f"word_embed_proj_dim is {fields['word_embed_proj_dim']!r}; only hidden_size is supported")
    return {
        "width": fields["hidden_size"],
        "layers": fields["num_hidden_layers"],
        "heads": fields["num_attention_heads"],
        "mlp": fields["ffn_dim"],
        "max_positions": fields["max_position_embeddings"],
        "activation": _activation(fields, "activation_function", "relu"),
        **dict.fromkeys(("attention_bias", "mlp_bias"), fields.get("enable_bias", True)),
        "norm": "layer",
        "norm_epsilon": 1e-5,
        "positions": "learned",
        "gated": False,
    }


def _write_opt(config: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "word_embed_proj_dim": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "ffn_dim": config.mlp,
        "max_position_embeddings": config.max_positions,
        "activation_function": _hf_activation(config),
        "enable_bias": config.attention_bias,
        "do_layer_norm_before": True,
    }


def _read_llama(fields: Mapping[str, Any]) -> dict[str, Any]:
    width, heads = fields["hidden_size"], fields["num_attention_heads"]
    if fields.get("head_dim") not in (None, width // heads):
        raise HFError(f"head_dim is {fields['head_dim']!r}; only hidden_size / num_attention_heads is supported")
    return {
        "width": width,
        "layers": fields["num_hidden_layers"],
        "heads": heads,
        "kv_heads": kv_heads if (kv_heads := fields.get("num_key_value_heads")) != heads else None,
        "mlp": fields["intermediate_size"],
        "max_positions": fields["max_position_embeddings"],
        "norm_epsilon": fields.get("rms_norm_eps", 1e-6),
        "activation": _activation(fields, "hidden_act", "silu"),
        "attention_bias": fields.get("attention_bias", False),
        "mlp_bias": fields.get("mlp_bias", False),
        "norm": "rms",
        "positions": "rotary",
        "gated": True,
        **_whole(_rotary(fields, "rope_theta")),
    }


def _write_llama(config: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "intermediate_size": config.mlp,
        "max_position_embeddings": config.max_positions or DEFAULT_POSITIONS,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": _hf_activation(config),
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "rope_theta": config.rotary_base,
        "rope_parameters": _hf_rotary(config),
    }


FAMILIES = (
    Family(
        "llama",
        "LlamaForCausalLM",
        _read_llama,
        _write_llama,
        known=(
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size"),
            *("max_position_embeddings", "rms_norm_eps", "hidden_act", "attention_bias", "mlp_bias", "head_dim"),
            *("rope_theta", "rope_parameters", "rope_scaling"),
        ),
        fixed={},
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
        "gpt2",
        "GPT2LMHeadModel",
        _read_gpt2,
        _write_gpt2,
        known=(
            *("n_embd", "n_layer", "n_head", "n_inner", "n_positions", "layer_norm_epsilon", "activation_function"),
        ),
        fixed={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
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
        "gpt_neox",
        "GPTNeoXForCausalLM",
        _read_neox,
        _write_neox,
        known=(
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
            *("max_position_embeddings", "layer_norm_eps", "rotary_pct", "rotary_emb_base", "rope_parameters"),
            *("rope_theta", "rope_scaling", "use_parallel_residual", "attention_bias", "partial_rotary_factor"),
        ),
        fixed={},
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
        "opt",
        "OPTForCausalLM",
        _read_opt,
        _write_opt,
        known=(
            *("hidden_size", "word_embed_proj_dim", "num_hidden_layers", "num_attention_heads", "ffn_dim"),
            *("max_position_embeddings", "activation_function", "enable_bias"),
        ),
        fixed={
            "do_layer_norm_before": True,
            "_remove_final_layer_norm": False,
            "layer_norm_elementwise_affine": True,
        },
        prefix="model.decoder.",
        embedding="embed_tokens",
        positions="embed_positions",
        # Positions of OPT count from 2, after those of the padding token.
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


@dataclass(frozen=True)
class _Entry:
    """One parameter here and the tensors that hold it there.

    Attributes:
        place: its path.
        names: of the tensors, without the prefix.
        shapes: theirs.
        read, write: from their arrays to ours, and back.
    """

    place: Place
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    read: Callable[[Sequence[np.ndarray]], np.ndarray]
    write: Callable[[np.ndarray], Sequence[np.ndarray]]


def _as_is(name: str, place: Place, shape: tuple[int, ...]) -> _Entry:
    return _Entry(place, (name,), (shape,), lambda parts: parts[0], lambda array: [array])


def _entries(family: Family, config: TransformerConfig, vocab_size: int) -> Iterator[_Entry]:
    """Every parameter of the body; the output layer is `_output_entry`."""
    yield _as_is(f"{family.embedding}.weight", ("embedding",), (vocab_size, config.width))
    if family.positions is not None:
        skipped, width = family.position_offset, config.width
        shape = ((config.max_positions or 0) + skipped, width)
        yield _Entry(
            ("embedding_positions",),
            (f"{family.positions}.weight",),
            (shape,),
            lambda parts: parts[0][skipped:],
            lambda array: [np.concatenate([np.zeros((skipped, width), array.dtype), array])],
        )
    for place, name in family.norms.items():
        for at, named in _in_layers(config, place, name):
            yield _as_is(f"{named}.weight", (*at, "scale"), (config.width,))
            if config.norm == "layer":
                yield _as_is(f"{named}.bias", (*at, "bias"), (config.width,))
    for linear in family.linears:
        for at, *named in _in_layers(config, linear.place, *linear.names):
            yield from _linear_entries(linear, config, at, named)


def _output_entry(family: Family, config: TransformerConfig, vocab_size: int) -> _Entry:
    shape = ((vocab_size, config.width),)
    name = (f"{family.output}.weight",)
    return _Entry(("output_kernel",), name, shape, lambda parts: parts[0].T, lambda array: [array.T])


def _in_layers(config: TransformerConfig, place: Place, *names: str) -> Iterator[tuple[Any, ...]]:
    layers = range(config.layers) if "{layer}" in names[0] else [0]
    for layer in layers:
        at = tuple(part.format(layer=layer) for part in place)
        yield (at, *(name.format(layer=layer) for name in names))


def _linear_entries(linear: Linear, config: TransformerConfig, at: Place, names: Sequence[str]) -> Iterator[_Entry]:
    rows, sizes = _sizes(config, linear.place[-1])
    if len(names) == 1:
        sizes = [sum(sizes)]
    cuts = np.cumsum(sizes)[:-1]
    shapes = tuple((size, rows) if linear.transposed else (rows, size) for size in sizes)
    heads = config.heads if linear.interleaved else None

    def read(parts: Sequence[np.ndarray]) -> np.ndarray:
        whole = np.concatenate([part.T if linear.transposed else part for part in parts], axis=1)
        return _by_part(whole, heads)

    def write(array: np.ndarray) -> list[np.ndarray]:
        parts = np.split(_by_head(array, heads), cuts, axis=1)
        return [part.T if linear.transposed else part for part in parts]

    *block, name = at
    yield _Entry((*block, f"{name}_kernel"), tuple(f"{n}.weight" for n in names), shapes, read, write)
    if linear.bias(config):
        yield _Entry(
            (*block, f"{name}_bias"),
            tuple(f"{n}.bias" for n in names),
            tuple((size,) for size in sizes),
            lambda parts: _by_part(np.concatenate(parts)[None], heads)[0],
            lambda array: np.split(_by_head(array[None], heads)[0], cuts),
        )


def _sizes(config: TransformerConfig, name: str) -> tuple[int, list[int]]:
    """Rows of a kernel here, and the columns of each of its parts."""
    width, kv = config.width, (config.kv_heads or config.heads) * config.head_size
    return {
        "qkv": (width, [width, kv, kv]),
        "mix": (width, [width]),
        "expand": (width, [config.mlp] * (2 if config.gated else 1)),
        "contract": (config.mlp, [width]),
    }[name]


def _by_part(columns: np.ndarray, heads: int | None) -> np.ndarray:
    """Columns (head, q|k|v, feature) as (q|k|v, head, feature)."""
    if heads is None:
        return columns
    return columns.reshape(len(columns), heads, 3, -1).swapaxes(1, 2).reshape(columns.shape)


def _by_head(columns: np.ndarray, heads: int | None) -> np.ndarray:
    """The inverse of `_by_part`."""
    if heads is None:
        return columns
    return columns.reshape(len(columns), 3, heads, -1).swapaxes(1, 2).reshape(columns.shape)


def load_hf(path: str | Path) -> HFModel:
    """Read a checkpoint of GPT-2, GPT-NeoX (Pythia), OPT or LLaMA form from a local directory.

    Needs ``config.json`` and ``model.safetensors``, or its parts with their index. Half precision becomes float32.
    Its tokenizer is read by `npi_jax.corpus.hf_tokenizer.load_hf_tokenizer`.

    Raises:
        HFError: naming the file and the field or tensor, if anything is missing, damaged or not supported.
    """
    path = Path(path)
    family, config, vocab_size = _read_config(path)
    with _Weights(path) as weights:
        params = _read_params(weights, family, config, vocab_size)
    model = make_model(config, vocab_size)
    assert isinstance(model, LanguageModel)
    return HFModel(model, params, path)


def load_hf_stack(paths: Sequence[str | Path]) -> tuple[LanguageModel, Params]:
    """Read several checkpoints of one architecture, stacked along axis 0 (host arrays, one stack in memory).

    Raises:
        HFError: if one differs from the first, with the directory and the field; and as `load_hf`.
    """
    if not paths:
        raise HFError("no checkpoints to stack")
    first = load_hf(paths[0])
    stack = jax.tree.map(lambda leaf: np.empty((len(paths), *leaf.shape), leaf.dtype), first.params)
    for index, path in enumerate(paths):
        one = first if index == 0 else _load_like(path, first)
        jax.tree.map(lambda places, leaf, index=index: places.__setitem__(index, leaf), stack, one.params)
    return first.model, stack


def _load_like(path: str | Path, first: HFModel) -> HFModel:
    _, config, vocab_size = _read_config(Path(path))
    mine = {**dataclasses.asdict(config), "vocab_size": vocab_size}
    theirs = {**dataclasses.asdict(first.model.config), "vocab_size": first.model.vocab_size}
    if differing := [name for name in mine if mine[name] != theirs[name]]:
        name = differing[0]
        raise HFError(
            f"{path}: {name} is {mine[name]!r}, but {theirs[name]!r} in {first.path}; only checkpoints of one "
            "architecture can be stacked"
        )
    return load_hf(path)


def _read_config(path: Path) -> tuple[Family, TransformerConfig, int]:
    file = path / CONFIG_FILE
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HFError(f"{file}: no such file; give the directory of a Hugging Face checkpoint") from error
    except (OSError, ValueError) as error:
        raise HFError(f"{file}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise HFError(f"{file}: a JSON {type(fields).__name__}, not an object")
    model_type = fields.get("model_type")
    family = next((one for one in FAMILIES if one.model_type == model_type), None)
    if family is None:
        known = ", ".join(one.model_type for one in FAMILIES)
        raise HFError(f"{file}: model_type is {model_type!r}; {known} are supported")
    try:
        _check_fields(family, fields)
        tie = fields.get("tie_word_embeddings", family.tied)
        return family, TransformerConfig(**family.read(fields), tie=tie), _vocab_size(fields)
    except KeyError as error:
        raise HFError(f"{file}: no field {error.args[0]!r}") from error
    except (HFError, ValueError, TypeError, ZeroDivisionError, OverflowError, AttributeError) as error:
        raise HFError(f"{file}: {error}") from error


def _vocab_size(fields: Mapping[str, Any]) -> int:
    value = fields["vocab_size"]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise HFError(f"vocab_size is {value!r}; it must be a whole number above 0")
    return value


def _check_fields(family: Family, fields: Mapping[str, Any]) -> None:
    """Refuse what would change the function and is not built here."""
    for name, value in fields.items():
        if name in family.fixed:
            if value != family.fixed[name]:
                raise HFError(f"{name} is {value!r}; only {family.fixed[name]!r} is supported")
        elif name not in family.known and name not in _IRRELEVANT and value not in (None, False, [], {}):
            raise HFError(f"{name} ({value!r}) is not a field of {family.model_type} that is supported")


class _Weights:
    """The tensors of a checkpoint's safetensors files, read when asked for."""

    def __init__(self, path: Path):
        self.path = path
        self.files = dict(self._list())
        self._open: dict[str, Any] = {}

    def __enter__(self) -> "_Weights":
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._open.values():
            handle.__exit__(None, None, None)

    def _list(self) -> Iterator[tuple[str, str]]:
        if (self.path / WEIGHTS_FILE).is_file():
            with self._opened(WEIGHTS_FILE) as handle:
                yield from ((name, WEIGHTS_FILE) for name in handle.keys())  # noqa: SIM118
            return
        index = self.path / INDEX_FILE
        if not index.is_file():
            pickled = sorted(file.name for file in self.path.glob("*.bin"))
            advice = (
                f" ({pickled[0]} is a pickle, which could run anything and is not read; write safetensors with "
                "transformers: AutoModelForCausalLM.from_pretrained(...).save_pretrained(..., safe_serialization=True))"
                if pickled
                else ""
            )
            raise HFError(f"{self.path}: neither {WEIGHTS_FILE} nor {INDEX_FILE} is there{advice}")
        try:
            places = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise HFError(f"{index}: not an index of safetensors: {error!r}") from error
        for name, file in places:
            # The index must not lead out of the directory.
            if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
                raise HFError(f"{index}: {name} is in {file!r}, which is no safetensors file of the directory")
            yield name, file

    def _opened(self, file: str) -> Any:
        try:
            return safetensors.safe_open(str(self.path / file), framework="flax")
        except (safetensors.SafetensorError, OSError) as error:
            raise HFError(f"{self.path / file}: cannot be read: {error}") from error

    def tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A tensor, as float32.

        Raises:
            HFError: it is not there, or has another shape or no floating dtype.
        """
        if name not in self.files:
            raise HFError(f"{self.path}: the tensor {name!r} is missing")
        file = self.files[name]
        if file not in self._open:
            self._open[file] = self._opened(file)
        try:
            found = self._open[file].get_slice(name)
            if tuple(found.get_shape()) != shape:
                raise HFError(
                    f"{self.path / file}: {name!r} has shape {tuple(found.get_shape())}; config.json makes it {shape}"
                )
            array = np.asarray(self._open[file].get_tensor(name))
        except safetensors.SafetensorError as error:
            raise HFError(f"{self.path / file}: {name!r} cannot be read: {error}") from error
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise HFError(f"{self.path / file}: {name!r} is {array.dtype}, not floating")
        return array.astype(np.float32)


def _read_params(weights: _Weights, family: Family, config: TransformerConfig, vocab_size: int) -> Params:
    prefix = _prefix(weights, family)
    params: Params = {}
    used = set()
    for entry in _entries(family, config, vocab_size):
        names = [prefix + name for name in entry.names]
        parts = [weights.tensor(name, shape) for name, shape in zip(names, entry.shapes, strict=True)]
        _set(params, entry.place, np.ascontiguousarray(entry.read(parts)))
        used.update(names)
    output = _output_entry(family, config, vocab_size)
    (name,), (shape,) = output.names, output.shapes
    used.add(name)
    if not config.tie:
        _set(params, output.place, np.ascontiguousarray(output.read([weights.tensor(name, shape)])))
    elif name in weights.files and not np.array_equal(weights.tensor(name, shape), params["embedding"]):
        raise HFError(f"{weights.path}: tie_word_embeddings is true, but {name!r} differs from the embedding")
    unknown = sorted(n for n in weights.files if n not in used and not n.endswith(family.ignored or ("\0",)))
    if unknown:
        raise HFError(
            f"{weights.path}: {len(unknown)} tensors are not of a {family.model_type}, such as {unknown[0]!r}"
        )
    return params


def _prefix(weights: _Weights, family: Family) -> str:
    name = f"{family.embedding}.weight"
    parts = family.prefix.split(".")
    candidates = [".".join(parts[start:]) for start in range(len(parts))]
    return next((prefix for prefix in candidates if prefix + name in weights.files), family.prefix)


def _set(params: Params, place: Place, value: np.ndarray) -> None:
    for part in place[:-1]:
        params = params.setdefault(part, {})
    params[place[-1]] = value


def _get(params: Params, place: Place) -> np.ndarray:
    for part in place:
        params = params[part]
    return np.asarray(params, np.float32)


def save_hf(
    directory: str | Path,
    model: Model,
    params: Params,
    *,
    start: int | None = None,
    end: int | None = None,
    files: Mapping[str, bytes] | None = None,
) -> str:
    """Write a model as a directory that `transformers.AutoModelForCausalLM.from_pretrained` opens.

    Args:
        directory: must not exist, or be empty; it appears complete or not at all.
        model: a transformer.
        params: of one model.
        start, end: ids for config.json.
        files: more files by name, such as the tokenizer's.

    Returns:
        the name of its class in transformers.

    Raises:
        HFError: if transformers has no class for the architecture, or the directory holds something.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise HFError(f"{directory} is there already; choose a name that is free")
    family = exportable(model)
    assert isinstance(model, LanguageModel)
    assert isinstance(model.config, TransformerConfig)
    tensors: Tensors = {}
    for entry in _entries(family, model.config, model.vocab_size):
        arrays = entry.write(_get(params, entry.place))
        tensors |= {family.prefix + name: array for name, array in zip(entry.names, arrays, strict=True)}
    if not model.config.tie:
        output = _output_entry(family, model.config, model.vocab_size)
        tensors[output.names[0]] = output.write(_get(params, output.place))[0]
    fields = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": model.vocab_size,
        "tie_word_embeddings": model.config.tie,
        "torch_dtype": "float32",
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": None,
        **family.write(model.config),
    }
    directory.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".tmp", dir=directory.parent))
    try:
        contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        safetensors.numpy.save_file(contiguous, half / WEIGHTS_FILE, metadata={"format": "pt"})
        (half / CONFIG_FILE).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        for name, content in (files or {}).items():
            (half / name).write_bytes(content)
        if directory.exists():
            directory.rmdir()
        half.chmod(0o755)
        half.rename(directory)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return family.architecture


def exportable(model: Model) -> Family:
    """The family as which a model can be written.

    Raises:
        HFError: if transformers has no class for it.
    """
    if not isinstance(model, LanguageModel) or not isinstance(model.config, TransformerConfig):
        kind = type(model.config).__name__.removesuffix("Config")
        raise HFError(
            f"transformers has no class for a model of kind {kind}; only transformers can be exported. To evaluate it "
            "with the lm-evaluation-harness use npi_jax.lm_eval, to open it in Python npi_jax.open_run"
        )
    return _family_of(model.config)


def _family_of(config: TransformerConfig) -> Family:
    """The family that can say all of a configuration."""
    wanted = dataclasses.replace(
        config,
        compute_dtype="float32",
        max_positions=config.max_positions or DEFAULT_POSITIONS,
        kv_heads=None if config.kv_heads == config.heads else config.kv_heads,
    )
    closest: list[str] = []
    for family in FAMILIES:
        again = TransformerConfig(**family.read(family.write(wanted)), tie=config.tie)
        mine, theirs = dataclasses.asdict(wanted), dataclasses.asdict(again)
        differing = [f"{name}={mine[name]!r}" for name in mine if mine[name] != theirs[name]]
        if not differing:
            return family
        if not closest or len(differing) < len(closest) - 1:
            closest = [family.model_type, *differing]
    raise HFError(f"transformers has no class for this transformer: {closest[0]} lacks {', '.join(closest[1:])}")
