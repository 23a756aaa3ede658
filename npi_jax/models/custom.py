"""Models of the user's own: anything with the three functions that training and scoring call."""

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
    """What training and scoring need of a model: pure functions over a pytree of float32 parameters.

    Rows are packed: ``segment_ids`` numbers a row's sentences from 1 (0 is padding), ``positions`` counts from 0
    in each; no sentence may see another. Nothing is dropped where ``dropout_key`` is None.
    """

    @property
    def config(self) -> ModelConfig:
        """The model's configuration; its ``compute_dtype`` is used for the output layer too."""

    def init(self, key: Key[Array, ""]) -> Any:
        """Fresh parameters; a pure function of the key."""

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
        """What the output layer sees at each token."""

    def output(self, params: Any) -> tuple[Float[Array, "features vocabulary"], Float[Array, " vocabulary"]]:
        """The output layer's weights and bias."""


def find_factory(config: CustomConfig) -> Callable[..., Model]:
    """The function that the configuration names.

    Raises:
        UserError: if there is no such file, module or function.
    """
    place, _, name = config.factory.rpartition(":")
    what = f"model.factory = {config.factory!r}"
    module = _module(place, what)
    factory = getattr(module, name, None)
    if not callable(factory):
        hint = did_you_mean(name, (other for other in vars(module) if not other.startswith("_")))
        raise UserError(f"{what}: {place} defines no function {name}{hint}")
    found: Callable[..., Model] = factory
    return found


def load_custom(config: CustomConfig, vocab_size: int) -> Model:
    """Call the factory that the configuration names: ``factory(config, vocab_size, **options)``.

    Raises:
        UserError: if there is no such file, module or function, it fails, or what it gives is not a `Model`.
    """
    what = f"model.factory = {config.factory!r}"
    factory = find_factory(config)
    with users_code(what):
        model = factory(config, vocab_size, **config.options)
    if missing := [part for part in ("config", "init", "hidden", "output") if not hasattr(model, part)]:
        raise UserError(f"{what} gave a model without {', '.join(missing)}")
    return model


def dropped_by_row(
    model: Model,
    params: Any,
    rows: tuple[Int[Array, "batch time"], ...],
    keys: Key[Array, " batch"],
    rate: Float[Array, ""] | float | None,
) -> Float[Array, "batch time features"]:
    """Return hidden states with dropout, each row under its own key, from a model that takes one key.

    Every row is a batch of its own to the model, so that its mask does not depend on the rows beside it.

    Args:
        model: of the user's own.
        params: its parameters.
        rows: tokens, segment ids and positions.
        keys: one a row.
        rate: the share that is dropped.
    """

    def of_row(row: tuple[Array, ...], key: Array) -> Array:
        return model.hidden(params, *(part[None] for part in row), dropout_key=key, dropout_rate=rate)[0]

    hidden: Array = jax.vmap(of_row)(rows, keys)
    return hidden


def _module(place: str, what: str) -> Any:
    if place.endswith(".py"):
        return load_python(place, what)
    with users_code(what):
        module = importlib.import_module(place)
    note_module(module)
    return module
