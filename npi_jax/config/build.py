"""Building of a `Config` from the plain values of a config file or of ``config.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from npi_jax.config.errors import ConfigError, check_plain, explain, shown
from npi_jax.config.members import HYPERPARAMETERS
from npi_jax.config.schema import MODELS, MOST_MEMBERS, Config
from npi_jax.config.sections import STRICT
from npi_jax.corpus.variants.interventions import split_outside
from npi_jax.errors import did_you_mean
from npi_jax.models.config import ModelConfig
from npi_jax.scoring.spec import ScoreSpec


def make_config(values: Mapping[str, Any]) -> Config:
    """Check plain values, and build a `Config` from them.

    They are the result of a config file's ``ConfigDict.to_dict()``, or the content of ``config.json``.

    Raises:
        ConfigError: naming every field at fault, its value, and what would be valid.
    """
    check_plain(values)
    _check_forms(values)
    values = dict(values)
    kind, model = _model_values(values)
    if "train" in values:
        values["train"] = {key: _as_tuple(key, value) for key, value in values["train"].items()}
    if "variants" in values:
        values["variants"] = tuple(part for text in values["variants"] for part in _split_variants(text))
    values |= _swept_lists(values)
    values |= _with_full_specs(values)
    values["model"] = _checked_model(kind, model)
    try:
        return pydantic.TypeAdapter(Config).validate_python(values)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, Config)) from error


def _check_forms(values: Any) -> None:
    """Refuse values of a wrong type in the fields that this module reads before pydantic checks all fields."""
    _expect(values, "a config", Mapping, "fields are")
    for name in ("model", "train", "score"):
        _expect(values.get(name, {}), name, Mapping, "fields are")
    _expect(values.get("score", {}).get("suites", {}), "score.suites", Mapping, "suites by name are")
    for name in ("variants", "seeds", "sweep"):
        _expect(values.get(name, ()), name, list | tuple | range, "a list is")
        _check_length(values.get(name, ()), name)
    for text in values.get("variants", ()):
        _expect(text, "variants", str, "names of interventions are")
    for member in values.get("sweep", ()):
        _expect(member, "sweep", Mapping, "members with their fields are")
        _expect(member.get("variant", ""), "sweep: variant", str, "the name of an intervention is")
        _expect(member.get("seed", 0), "sweep: seed", int, "a number is")


def _expect(value: Any, name: str, kind: Any, expected: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} = {shown(value)}: {expected} expected")


def _check_length(values: Sequence[Any], name: str) -> None:
    # len() fails for a range that is longer than any list can be.
    if values[MOST_MEMBERS:]:
        raise ConfigError(f"{name}: more than {MOST_MEMBERS:,}, the most members that an experiment can have")


def _model_values(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the kind of the model, and its other fields."""
    model = dict(values.get("model", {}))
    kind = model.pop("kind", "lstm")
    if not isinstance(kind, str) or kind not in MODELS:
        raise ConfigError(f"model.kind = {shown(kind)}: valid are {', '.join(MODELS)}{did_you_mean(str(kind), MODELS)}")
    return kind, model


def _checked_model(kind: str, values: Mapping[str, Any]) -> ModelConfig:
    """Build the model's configuration separately, so that errors name only the fields of this kind of model."""
    # Pydantic checks a plain dataclass with the settings of the type that contains it.
    holder: Any = dict[str, MODELS[kind]]  # type: ignore[valid-type]
    adapter = pydantic.TypeAdapter(holder, config=STRICT)
    try:
        checked: ModelConfig = adapter.validate_python({"model": values})["model"]
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, MODELS[kind], inside="model")) from error
    return checked


def _as_tuple(key: str, value: Any) -> Any:
    """Return a tuple of one value for a hyper-parameter that is given as a number; other values unchanged."""
    return (value,) if key in HYPERPARAMETERS and isinstance(value, int | float) else value


def _split_variants(text: str) -> list[str]:
    """Split a text that lists several variants, as on the command line: ``full,downsample(only,0.1)``."""
    return [part for part in split_outside(text, ",") if part]


def _swept_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields `variants` and `seeds` that a sweep implies; nothing without a sweep.

    Raises:
        ConfigError: if a member lacks variant or seed, or if the config also lists other variants or seeds, or several
            values of a hyper-parameter.
    """
    lists: dict[str, Any] = {}
    if not values.get("sweep"):
        return lists
    for plural, name in (("variants", "variant"), ("seeds", "seed")):
        for number, member in enumerate(values["sweep"], 1):
            if name not in member:
                raise ConfigError(f"sweep: member {number} has no {name}: {dict(member)}")
        lists[plural] = tuple(dict.fromkeys(member[name] for member in values["sweep"]))
        given = values.get(plural)
        if given is not None and tuple(given) != lists[plural]:
            raise ConfigError(
                f"{plural} = {tuple(given)}: this config lists its members in `sweep`, which has {plural} "
                f"{lists[plural]}; change the sweep instead"
            )
    for name in HYPERPARAMETERS:
        given = values.get("train", {}).get(name, ())
        if isinstance(given, list | tuple) and len(given) > 1:
            raise ConfigError(f"train.{name}: with a sweep give one value here, and others in the sweep's members")
    return lists


def _with_full_specs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field `score` with the full spec for each name of a preset; nothing without suites."""
    suites = dict(values.get("score", {}).get("suites", {}))
    for name, suite in suites.items():
        if isinstance(suite, Mapping) and isinstance(spec := suite.get("spec"), str):
            try:
                suites[name] = {**suite, "spec": ScoreSpec.preset(spec).to_dict()}
            except ValueError as error:
                raise ConfigError(f"score.suites.{name}.spec: {error}") from error
    return {"score": {**values["score"], "suites": suites}} if suites else {}
