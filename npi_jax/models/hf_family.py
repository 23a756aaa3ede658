"""How one model type of transformers is written: the form of the tables of `hf_families`.

The same table serves reading and writing, so that the two cannot disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from npi_jax.models.config import TransformerConfig
from npi_jax.models.hf_fields import EVERYWHERE, SILENT, Only, activation, agreed, unused_in_rotary

Place = tuple[str, ...]
"""The path of a parameter here."""
_EMPTY: tuple[Any, ...] = (None, False, [], {}, "")


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
        aliases: other names of fields, which transformers takes for them.
        only: fields that change the function and of which one value is supported.
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
    aliases: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, Only] = field(default_factory=dict)
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
        for name, only in {**EVERYWHERE, **self.only}.items():
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
        """Names of fields with a value that have no effect here, and are none that transformers always writes."""
        known = {*self.fields.values(), self.activation[0], *self.more_fields, *EVERYWHERE, *self.only, *self.aliases}
        names = [name for name, value in fields.items() if name not in known | SILENT and value not in _EMPTY]
        return names + (unused_in_rotary(fields) if self.constant["positions"] == "rotary" else [])

    def write(self, config: TransformerConfig) -> dict[str, Any]:
        """The fields of config.json for a configuration; what the family cannot say is lost."""
        return {
            **{theirs: getattr(config, ours) for ours, theirs in self.fields.items()},
            self.activation[0]: "gelu_new" if config.activation == "gelu_tanh" else config.activation,
            "tie_word_embeddings": config.tie,
            **self.write_more(config),
        }

    def _unaliased(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(fields)
        for name in dict.fromkeys(self.aliases.values()):
            spellings = [name, *(alias for alias, target in self.aliases.items() if target == name)]
            value = agreed([(spelling, fields.get(spelling)) for spelling in spellings], None)
            if value is not None:
                found[name] = value
        return found
