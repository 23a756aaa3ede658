"""Fields of config.json: the spellings of transformers 4 and 5, supported values, and ignored fields."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from npi_jax.errors import UserError
from npi_jax.models.config import TransformerConfig

MAX_SHOWN = 80
"""Maximum number of characters of a value in a message."""


class HFError(UserError):
    """A checkpoint that cannot be read or written."""


def shown(value: Any) -> str:
    """Return a value for a message, truncated if it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


@dataclass(frozen=True)
class SupportedValue:
    """The only supported value of a field.

    Attributes:
        value: the supported value, which is also the default of an absent field.
        reason: reason for refusing other values.
    """

    value: Any
    reason: str

    def check(self, name: str, value: Any) -> None:
        """Refuse another value; null and all empty values count as equal.

        Raises:
            HFError: naming the field.
        """
        if value != self.value and (value or self.value):
            raise HFError(f"{name} is {shown(value)}; only {self.value!r} is supported: {self.reason}")


COMMON_LIMITS = {
    "quantization_config": SupportedValue(None, "quantized weights are not read"),
    "compression_config": SupportedValue(None, "compressed weights are not read"),
    "pruned_heads": SupportedValue({}, "all layers must have all their heads"),
}
"""Fields of every family with a single supported value."""

IGNORED_FIELDS = frozenset((
    "_attn_implementation", "_name_or_path", "activation_dropout", "architectures", "attention_dropout",
    "attention_probs_dropout_prob", "attn_pdrop", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
    "chunk_size_feed_forward", "classifier_dropout", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "dropout", "dtype", "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
    "gradient_checkpointing", "hidden_dropout", "id2label", "init_std", "initializer_range",
    "keys_to_ignore_at_inference", "label2id", "layerdrop", "length_penalty", "max_length", "min_length",
    "model_type", "n_ctx", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_scores", "pad_token_id", "prefix", "pretraining_tp",
    "problem_type", "remove_invalid_values", "reorder_and_upcast_attn", "repetition_penalty", "resid_pdrop",
    "return_dict", "return_dict_in_generate", "sep_token_id", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "suppress_tokens", "task_specific_params",
    "temperature", "tf_legacy_loss", "tie_word_embeddings", "tokenizer_class", "top_k", "top_p", "torch_dtype",
    "torchscript", "transformers_version", "typical_p", "unk_token_id", "use_bfloat16", "use_cache", "vocab_size",
))  # fmt: skip
"""Fields for training, generation or other heads, which transformers always writes; notes do not mention them."""

ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Our name of each activation, by its name in transformers."""

LLAMA3_SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_ROPE_OBJECTS = ("rope_parameters", "rope_scaling")
_ROPE_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor", *LLAMA3_SCALING}
ROTARY_FIELDS = (*_ROPE_OBJECTS, "rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
"""Fields that `rotary` reads for every family; some families have further fields."""


def agreed(spellings: Iterable[tuple[str, Any]], default: Any) -> Any:
    """Return the value of a setting that has several spellings, or `default` if no field is set.

    Raises:
        HFError: naming two fields that disagree.
    """
    given = [(name, value) for name, value in spellings if value is not None]
    for name, value in given[1:]:
        first, wanted = given[0]
        if value != wanted:
            raise HFError(
                f"{name} is {shown(value)}, but {first} is {shown(wanted)}; they are one setting and must agree"
            )
    return given[0][1] if given else default


def number(name: str, value: Any) -> float:
    """Return a finite number above 0 as a float.

    Raises:
        HFError: naming the field.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise HFError(f"{name} is {shown(value)}; it must be a finite number above 0")
    try:
        return float(value)
    except OverflowError:
        raise HFError(f"{name} is beyond what a float can hold") from None


def activation(fields: Mapping[str, Any], name: str, default: str) -> str:
    """Return our name for the MLP's activation.

    Raises:
        HFError: naming the field.
    """
    value = fields.get(name, default)
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise HFError(f"{name} is {shown(value)}; supported are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[value]


def rotary(
    fields: Mapping[str, Any],
    base_fields: tuple[str, ...] = ("rope_theta",),
    fraction_fields: tuple[str, ...] = ("partial_rotary_factor",),
    fraction: float = 1.0,
) -> dict[str, Any]:
    """Return rotary base, fraction and scaling from the spellings of transformers 4 and 5.

    Version 5 writes ``rope_parameters``. Version 4 writes ``rope_scaling`` and separate fields. A config.json may have
    the fields of both versions; exports of this package do.

    Args:
        fields: fields of config.json.
        base_fields, fraction_fields: names of the family's separate fields for base and fraction.
        fraction: the family's default.

    Raises:
        HFError: naming an unsupported field, or two fields that disagree.
    """
    objects = {name: _object(fields, name) for name in _ROPE_OBJECTS if fields.get(name) not in (None, {})}
    kinds = [(f"{name}.rope_type", _rope_type(name, rope)) for name, rope in objects.items()]
    kind = agreed(kinds, "default")
    if kind not in ("default", "llama3"):
        raise HFError(f"{kinds[0][0]} is {shown(kind)}; supported are default and llama3")
    base = agreed([*_inner(objects, "rope_theta"), *_outer(fields, base_fields)], 10_000.0)
    rotated = agreed([*_inner(objects, "partial_rotary_factor"), *_outer(fields, fraction_fields)], fraction)
    settings: dict[str, Any] = {"rotary_base": number("rope_theta", base)}
    settings["rotary_fraction"] = number("partial_rotary_factor", rotated)
    if kind == "llama3":
        settings["rotary_scaling"] = _llama3(fields, objects)
    return settings


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields[name]
    if not isinstance(value, Mapping):
        raise HFError(f"{name} is {shown(value)}; it must be an object")
    return value


def _rope_type(name: str, rope: Mapping[str, Any]) -> Any:
    return agreed([(f"{name}.{key}", rope.get(key)) for key in ("rope_type", "type")], "default")


def _inner(objects: Mapping[str, Mapping[str, Any]], key: str) -> list[tuple[str, Any]]:
    return [(f"{name}.{key}", rope.get(key)) for name, rope in objects.items()]


def _outer(fields: Mapping[str, Any], names: tuple[str, ...]) -> list[tuple[str, Any]]:
    return [(name, fields.get(name)) for name in names]


def _llama3(fields: Mapping[str, Any], objects: Mapping[str, Mapping[str, Any]]) -> tuple[float, ...]:
    scaling = {}
    for key in LLAMA3_SCALING:
        # As in transformers 5, the original length defaults to the length of the model.
        last = key == LLAMA3_SCALING[-1]
        spellings = _inner(objects, key) + (_outer(fields, (key,)) if last else [])
        value = agreed(spellings, fields.get("max_position_embeddings") if last else None)
        if value is None:
            raise HFError(f"no field {key!r} in {next(iter(objects))}, which llama3 needs")
        scaling[key] = number(key, value)
    if scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        raise HFError(f"low_freq_factor is {scaling['low_freq_factor']}; it must be below high_freq_factor")
    return tuple(scaling[key] for key in LLAMA3_SCALING)


def unused_in_rotary(fields: Mapping[str, Any]) -> list[str]:
    """Return the keys of the rotary objects that this package ignores."""
    objects = [(name, fields.get(name)) for name in _ROPE_OBJECTS]
    return [
        f"{name}.{key}" for name, rope in objects if isinstance(rope, Mapping) for key in rope if key not in _ROPE_KEYS
    ]


def full_rotary(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a family that always rotates all features of a head.

    Raises:
        HFError: if the settings rotate only some features.
    """
    if settings["rotary_fraction"] != 1.0:
        raise HFError(
            f"partial_rotary_factor is {settings['rotary_fraction']!r}; only 1.0 is supported for this model_type"
        )
    return settings


def write_rotary(config: TransformerConfig, **more: Any) -> dict[str, Any]:
    """Return the fields of rotary base and scaling for transformers 4 (``rope_scaling``) and 5.

    Version 4 silently ignores ``rope_parameters``, so both are written.

    Args:
        config: a model with rotary positions.
        more: further settings of ``rope_parameters``.
    """
    scaling: dict[str, Any] = {}
    if config.rotary_scaling:
        scaling = {"rope_type": "llama3", **dict(zip(LLAMA3_SCALING, config.rotary_scaling, strict=True))}
        scaling[LLAMA3_SCALING[-1]] = int(config.rotary_scaling[-1])
    parameters = {"rope_type": "default", "rope_theta": config.rotary_base, **more, **scaling}
    # Version 5 prefers `rope_scaling`, which must therefore be complete or absent.
    return {"rope_parameters": parameters, "rope_scaling": scaling or None}
