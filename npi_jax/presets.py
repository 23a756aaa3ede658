"""The configurations that travel with the package, and config files of the user's own."""

import ast
import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from npi_jax.config import Config, ConfigError, make_config


def preset_directory() -> Path:
    """Where the presets are: in the installed package, or ``configs/`` of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    """The presets that can be named without a path."""
    return sorted(path.stem for path in preset_directory().glob("*.py") if not path.stem.startswith("_"))


def resolve_config(name: str) -> str:
    """The file behind ``--config``: a preset's name or a path, with ``:argument`` kept.

    Raises:
        ConfigError: if it is neither.
    """
    path, colon, argument = name.partition(":")
    if path in preset_names():
        path = str(preset_directory() / f"{path}.py")
    elif not Path(path).is_file():
        close = difflib.get_close_matches(path, preset_names(), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(
            f"--config {path}: no such file and no such preset{hint}; presets are {', '.join(preset_names())}"
        )
    return path + colon + argument


def load_config(name: str, overrides: Sequence[str] = ()) -> Config:
    """Read a config file and apply overrides as `ml_collections` users write them: ``--config.train.steps=2000``.

    Config files are Python and are executed: use only those you trust.

    Raises:
        ConfigError: naming the flag or field at fault.
    """
    complete = make_config(_read(resolve_config(name)).to_dict()).to_dict(mode="python")
    values = flags.FlagValues()
    line = ["npi-jax", *overrides]
    # Completed with all defaults first, so that every field can be overridden, not only those the file writes.
    try:
        config_flags.DEFINE_config_dict("config", _overridable(complete), flag_values=values, sys_argv=line)
        rest = values(line)
    except (AttributeError, KeyError) as error:
        raise ConfigError(f"{' '.join(overrides)}: no such field: {_plain(error)}") from error
    except (flags.Error, TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error
    if len(rest) > 1:
        raise ConfigError(f"cannot read {' '.join(rest[1:])}; overrides are written --config.FIELD=VALUE")
    config = make_config(values.config.to_dict())
    config.check_phenomenon()
    return config


def _overridable(values: Mapping[str, Any]) -> ConfigDict:
    """A ConfigDict in which fields that are None can be overridden too; `make_config` checks what comes out."""
    return ConfigDict(
        {
            key: _overridable(value)
            if isinstance(value, Mapping)
            else (config_dict.placeholder(object) if value is None else value)
            for key, value in values.items()
        }
    )


def _plain(error: BaseException) -> str:
    """The message of an error that others may have wrapped, without their quotation marks."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return " ".join(str(error.args[0]).strip("'").split()) if error.args else str(error)


def _read(location: str) -> ConfigDict:
    """Run a config file's ``get_config``, with what follows the colon as its argument."""
    path, colon, argument = location.partition(":")
    spec = importlib.util.spec_from_file_location("npi_jax_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path}: a config file defines get_config(), which returns an ml_collections.ConfigDict")
    try:
        values = module.get_config(argument) if colon else module.get_config()
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(values, ConfigDict):
        raise ConfigError(f"{path}: get_config() gave a {type(values).__name__}, not an ml_collections.ConfigDict")
    return values


def summary(name: str) -> str:
    """The first line of a preset's docstring."""
    text = (preset_directory() / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
