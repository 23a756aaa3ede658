"""Classes of the tables in `families`: the config fields and tensors of one model type of transformers.

Reading and writing use the same table, so that they cannot disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from npi_jax.models.config import TransformerConfig
from npi_jax.models.hf.fields import (
    COMMON_LIMITS,
    IGNORED_FIELDS,
    SupportedValue,
    activation,
    agreed,
    unused_in_rotary,
)

ParameterPath = tuple[str, ...]
"""Path of a parameter in the pytree of this package."""

_EMPTY: tuple[Any, ...] = (None, False, [], {}, "")


@dataclass(frozen=True)
class Linear:
    """A linear layer of a checkpoint.

    Attributes:
        names: names of its modules, with ``{layer}`` for the block's number; several modules are concatenated.
        path: path of the parameter in our pytree, without ``_kernel`` and ``_bias``.
        transposed: True if the checkpoint stores the kernel as [out, in], as PyTorch's Linear does.
        bias: function that maps a configuration to True if the layer has a bias.
        interleaved: True if columns are ordered (head, q|k|v, feature), as in GPT-NeoX, instead of
            (q|k|v, head, feature).
    """

    names: tuple[str, ...]
    path: ParameterPath
    transposed: bool = True
    bias: Callable[[TransformerConfig], bool] = lambda _: False
    interleaved: bool = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model type of transformers.

    Attributes:
        model_type, architecture: values of these fields of config.json.
        fields: maps fields of `TransformerConfig` to fields of config.json with the same meaning.
        defaults: values of the fields that config.json may omit.
        activation: name of the field of the MLP's activation, and its default.
        constant: fields of `TransformerConfig` that are the same in all models of the type.
        prefix: prefix of the names of the body's tensors; a checkpoint without output layer may lack its first parts.
        embedding, positions, norms, linears: names of modules; norms and linears also have their paths in our pytree.
        position_offset: number of reserved rows in the table of positions.
        output: name of the output layer.
        read_more, write_more: functions that convert the remaining fields from config.json and back.
        more_fields: the fields of config.json that these functions use.
        aliases: other field names that transformers accepts.
        only: fields with a single supported value.
        tied: True if output layer and embedding are tied when config.json has no field for it.
        ignored: suffixes of tensors that are not parameters.
    """

    model_type: str
    architecture: str
    fields: Mapping[str, str]
    activation: tuple[str, str]
    constant: Mapping[str, Any]
    prefix: str
    embedding: str
    norms: Mapping[ParameterPath, str]
    linears: tuple[Linear, ...]
    output: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    read_more: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _: {}
    write_more: Callable[[TransformerConfig], dict[str, Any]] = lambda _: {}
    more_fields: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, SupportedValue] = field(default_factory=dict)
    positions: str | None = None
    position_offset: int = 0
    tied: bool = False
    ignored: tuple[str, ...] = ()

    def read(self, fields: Mapping[str, Any]) -> TransformerConfig:
        """Return the configuration that the fields of config.json describe.

        Raises:
            HFError: naming a field whose value is not supported.
            KeyError, ValueError: if a field is missing, or its value is not valid.
        """
        for name, only in {**COMMON_LIMITS, **self.only}.items():
            if name in fields:
                only.check(name, fields[name])
        fields = self._unaliased(fields)
        values = {
            ours: fields.get(theirs, self.defaults[theirs]) if theirs in self.defaults else fields[theirs]
            for ours, theirs in self.fields.items()
        }
        values["activation"] = activation(fields, *self.activation)
        tie = fields.get("tie_word_embeddings", self.tied)
        return TransformerConfig(**{**values, **self.constant, **self.read_more(fields)}, tie=tie)

    def unused(self, fields: Mapping[str, Any]) -> list[str]:
        """Return the names of fields that this package ignores, except those that transformers always writes."""
        known = {
            *self.fields.values(),
            self.activation[0],
            *self.more_fields,
            *self.only,
            *self.aliases,
            *COMMON_LIMITS,
            *IGNORED_FIELDS,
        }
        names = [name for name, value in fields.items() if name not in known and value not in _EMPTY]
        return names + (unused_in_rotary(fields) if self.constant["positions"] == "rotary" else [])

    def write(self, config: TransformerConfig) -> dict[str, Any]:
        """Return the fields of config.json for a configuration, without settings that the family lacks."""
        return {
            **{theirs: getattr(config, ours) for ours, theirs in self.fields.items()},
            self.activation[0]: "gelu_new" if config.activation == "gelu_tanh" else config.activation,
            "tie_word_embeddings": config.tie,
            **self.write_more(config),
        }

    def _unaliased(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        renamed = dict(fields)
        for name in dict.fromkeys(self.aliases.values()):
            spellings = [name, *(alias for alias, target in self.aliases.items() if target == name)]
            value = agreed([(spelling, fields.get(spelling)) for spelling in spellings], None)
            if value is not None:
                renamed[name] = value
        return renamed
