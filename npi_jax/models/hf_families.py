"""GPT-2, GPT-NeoX, OPT and LLaMA as transformers writes them: a table for each, of config fields and of tensors.

The same table serves reading and writing, so that the two cannot disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from npi_jax.errors import UserError
from npi_jax.models.config import TransformerConfig

Place = tuple[str, ...]
"""The path of a parameter here."""


class HFError(UserError):
    """A checkpoint that cannot be read or written; names the file and the field or tensor."""


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
        fields: our config fields, and its fields that hold the same.
        defaults: what its fields are where config.json has none.
        activation: the field of the MLP's activation, and its default.
        constant: our config fields that are always so in it.
        prefix: of the body's tensors; a checkpoint of the bare body lacks all or the first part of it.
        embedding, positions, norms, linears: names of modules; norms and linears with their place here.
        position_offset: rows of the table of positions that belong to none.
        output: name of the output layer.
        read_more, write_more: what the fields do not say one by one, into our fields and back.
        more_fields: what these read and write.
        fixed: fields that must have this value (or be absent), because nothing else is supported.
        tied: whether the output layer is the embedding where config.json does not say.
        ignored: endings of tensors that hold no parameters.
    """

    model_type: str
    architecture: str
    fields: Mapping[str, str]
    activation: tuple[str, str]
    constant: Mapping[str, Any]
    prefix: str
    embedding: str
    norms: Mapping[Place, str]
    linears: tuple[Linear, ...]
    output: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    read_more: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _: {}
    write_more: Callable[[TransformerConfig], dict[str, Any]] = lambda _: {}
    more_fields: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    positions: str | None = None
    position_offset: int = 0
    tied: bool = False
    ignored: tuple[str, ...] = ()

    def read(self, fields: Mapping[str, Any]) -> TransformerConfig:
        """Our configuration of what config.json has.

        Raises:
            HFError: naming a field that would change the function and is not supported.
            KeyError, ValueError: a field is missing, or has no possible value.
        """
        self._check(fields)
        values = {
            ours: fields.get(theirs, self.defaults[theirs]) if theirs in self.defaults else fields[theirs]
            for ours, theirs in self.fields.items()
        }
        values["activation"] = _activation(fields, *self.activation)
        tie = fields.get("tie_word_embeddings", self.tied)
        return TransformerConfig(**{**values, **self.constant, **self.read_more(fields)}, tie=tie)

    def write(self, config: TransformerConfig) -> dict[str, Any]:
        """The fields of config.json for a configuration; what the family cannot say is lost."""
        return {
            **{theirs: getattr(config, ours) for ours, theirs in self.fields.items()},
            self.activation[0]: _hf_activation(config),
            "tie_word_embeddings": config.tie,
            **self.write_more(config),
        }

    def _check(self, fields: Mapping[str, Any]) -> None:
        """Refuse what would change the function and is not built here."""
        known = {*self.fields.values(), self.activation[0], *self.more_fields, *_IRRELEVANT}
        for name, value in fields.items():
            if name in self.fixed:
                if value != self.fixed[name]:
                    raise HFError(f"{name} is {value!r}; only {self.fixed[name]!r} is supported")
            elif name not in known and value not in (None, False, [], {}):
                raise HFError(f"{name} ({value!r}) is not a field of {self.model_type} that is supported")


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


def _gpt2_mlp(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"mlp": fields.get("n_inner") or 4 * fields["n_embd"]}


def _neox_rotary(config: TransformerConfig) -> dict[str, Any]:
    rope = _hf_rotary(config, partial_rotary_factor=config.rotary_fraction)
    return {"rotary_emb_base": config.rotary_base, "rope_parameters": rope}


def _opt_biases(fields: Mapping[str, Any]) -> dict[str, Any]:
    if fields.get("word_embed_proj_dim", fields["hidden_size"]) != fields["hidden_size"]:
        raise HFError(f"word_embed_proj_dim is {fields['word_embed_proj_dim']!r}; only hidden_size is supported")
    return dict.fromkeys(("attention_bias", "mlp_bias"), fields.get("enable_bias", True))


def _opt_fields(config: TransformerConfig) -> dict[str, Any]:
    return {
        "word_embed_proj_dim": config.width,
        "enable_bias": config.attention_bias,
        "do_layer_norm_before": True,
    }


def _llama_heads(fields: Mapping[str, Any]) -> dict[str, Any]:
    heads, kv_heads = fields["num_attention_heads"], fields.get("num_key_value_heads")
    if fields.get("head_dim") not in (None, fields["hidden_size"] // heads):
        raise HFError(f"head_dim is {fields['head_dim']!r}; only hidden_size / num_attention_heads is supported")
    return {"kv_heads": None if kv_heads == heads else kv_heads, **_whole(_rotary(fields, "rope_theta"))}


def _llama_fields(config: TransformerConfig) -> dict[str, Any]:
    return {
        "num_key_value_heads": config.kv_heads or config.heads,
        "rope_theta": config.rotary_base,
        "rope_parameters": _hf_rotary(config),
    }


_LAYERED = {"norm": "layer", "gated": False}

FAMILIES = (
    Family(
        "llama",
        "LlamaForCausalLM",
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
        defaults={"rms_norm_eps": 1e-6, "attention_bias": False, "mlp_bias": False},
        activation=("hidden_act", "silu"),
        constant={"norm": "rms", "positions": "rotary", "gated": True},
        read_more=_llama_heads,
        write_more=_llama_fields,
        more_fields=("num_key_value_heads", "head_dim", "rope_theta", "rope_parameters", "rope_scaling"),
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
        fields={
            "width": "hidden_size",
            "layers": "num_hidden_layers",
            "heads": "num_attention_heads",
            "mlp": "intermediate_size",
            "max_positions": "max_position_embeddings",
            "norm_epsilon": "layer_norm_eps",
            "rotary_fraction": "rotary_pct",
            "parallel": "use_parallel_residual",
            "attention_bias": "attention_bias",
        },
        defaults={
            "layer_norm_eps": 1e-5,
            "rotary_pct": 0.25,
            "use_parallel_residual": True,
            "attention_bias": True,
        },
        activation=("hidden_act", "gelu"),
        constant={**_LAYERED, "positions": "rotary", "mlp_bias": True},
        read_more=lambda fields: _rotary(fields, "rotary_emb_base"),
        write_more=_neox_rotary,
        more_fields=("rotary_emb_base", "rope_parameters", "rope_theta", "rope_scaling"),
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
