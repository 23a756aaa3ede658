"""Custom models: any object with the three functions that training and scoring call."""

import importlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Int, Key

from npi_jax.errors import UserError, did_you_mean
from npi_jax.files.user_code import load_python, note_module, users_code
from npi_jax.models.config import CustomConfig, ModelConfig


@runtime_checkable
class Model(Protocol):
    """Interface of a model: pure functions over a pytree of float32 parameters.

    Rows are packed with several sentences. ``segment_ids`` numbers the sentences of a row from 1 (0 is padding), and
    ``positions`` counts from 0 in each sentence. No sentence may attend to another. Without ``dropout_key`` there is no
    dropout.
    """

    @property
    def config(self) -> ModelConfig:
        """The model's configuration. The products of the output layer use its ``compute_dtype`` too."""

    def init(self, key: Key[Array, ""]) -> Any:
        """Draw new parameters; a pure function of the key."""

    def hidden(
        self,
        params: Any,
        tokens: Int[Array, "batch time"],
        segment_ids: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        *,
        dropout_key: Key[Array, ""] | None = None,
        dropout_rate: Float[Array, ""] | float | None = None,
    ) -> Float[Array, "batch time features"]:
        """Return the inputs of the output layer at each token."""

    def output(self, params: Any) -> tuple[Float[Array, "features vocabulary"], Float[Array, " vocabulary"]]:
        """Return the output layer's weights and bias."""


def find_factory(config: CustomConfig) -> Callable[..., Model]:
    """Return the function that the configuration names.

    Raises:
        UserError: if there is no such file, module or function.
    """
    source, _, name = config.factory.rpartition(":")
    setting = f"model.factory = {config.factory!r}"
    module = _module(source, setting)
    factory = getattr(module, name, None)
    if not callable(factory):
        hint = did_you_mean(name, (other for other in vars(module) if not other.startswith("_")))
        raise UserError(f"{setting}: {source} defines no function {name}{hint}")
    checked: Callable[..., Model] = factory
    return checked


def load_custom(config: CustomConfig, vocab_size: int) -> Model:
    """Call the factory that the configuration names: ``factory(config, vocab_size, **options)``.

    Raises:
        UserError: if there is no such file, module or function, if it fails, or if it does not return a `Model`.
    """
    setting = f"model.factory = {config.factory!r}"
    factory = find_factory(config)
    with users_code(setting):
        model = factory(config, vocab_size, **config.options)
    if missing := [part for part in ("config", "init", "hidden", "output") if not hasattr(model, part)]:
        raise UserError(f"{setting} returned a model without {', '.join(missing)}")
    return model


def dropped_by_row(
    model: Model,
    params: Any,
    rows: tuple[Int[Array, "batch time"], ...],
    keys: Key[Array, " batch"],
    rate: Float[Array, ""] | float | None,
) -> Float[Array, "batch time features"]:
    """Return the hidden states of a custom model, with a separate dropout key for each row.

    A custom model takes one key. It is therefore mapped over single rows, so that a row's mask does not depend on the
    other rows.

    Args:
        model: a custom model.
        params: its parameters.
        rows: tokens, segment ids and positions.
        keys: one key for each row.
        rate: dropout rate.
    """

    def of_row(row: tuple[Array, ...], key: Array) -> Array:
        return model.hidden(params, *(part[None] for part in row), dropout_key=key, dropout_rate=rate)[0]

    hidden: Array = jax.vmap(of_row)(rows, keys)
    return hidden


def _module(source: str, setting: str) -> Any:
    if source.endswith(".py"):
        return load_python(source, setting)
    with users_code(setting):
        module = importlib.import_module(source)
    note_module(module)
    return module
